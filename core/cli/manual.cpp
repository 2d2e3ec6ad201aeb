#include <algorithm>

#include "cli/command_tree.hpp"

namespace roost::cli {
namespace {

// Text of ours in man(7)'s language.
std::string plain(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\n')
      out += ' ';
    else
      out += c;
  }
  if (out.starts_with('.') || out.starts_with('\'')) out.insert(0, "\\&");
  return out;
}

std::string bold(const std::string& text) { return "\\fB" + plain(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + plain(text) + "\\fR"; }

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// "-w, --watch", "--user TEXT"
std::string names_of(const CLI::Option& option) {
  std::string text;
  for (const std::string& name : option.get_snames()) text += (text.empty() ? "" : ", ") + bold("-" + name);
  for (const std::string& name : option.get_lnames()) text += (text.empty() ? "" : ", ") + bold("--" + name);
  return takes_value(option) ? text + " " + italic(option.get_type_name()) : text;
}

std::string options_of(const CLI::App& app) {
  std::string text;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_positional() || option == app.get_help_ptr()) continue;
    text += ".TP\n" + names_of(*option) + "\n" + plain(option->get_description()) + "\n";
  }
  return text;
}

std::string command_of(const CLI::App& app, const std::string& before) {
  std::string text = ".SS " + bold(before + app.get_name());
  std::string arguments;
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) continue;
    const std::string name = italic(option->get_name(true));
    text += option->get_required() ? " " + name : " [" + name + "]";
    arguments += ".TP\n" + name + "\n" + plain(option->get_description()) + "\n";
  }
  text += "\n" + plain(app.get_description()) + ".\n";
  for (const std::string& alias : app.get_aliases()) text += "Also: " + bold(before + alias) + ".\n";
  return text + arguments + options_of(app);
}

std::string commands(const CLI::App& top) {
  std::string text;
  for (const CLI::App* app : commands_of(top)) {
    const auto within = commands_of(*app);
    if (within.empty()) text += command_of(*app, "");
    for (const CLI::App* leaf : within) text += command_of(*leaf, app->get_name() + " ");
  }
  return text;
}

constexpr const char* kRest = R"(.SH ENVIRONMENT
.TP
\fBROOST_URL\fR
The server, where \fB\-\-url\fR and \fB\-\-context\fR are not given.
.TP
\fBROOST_API_KEY\fR
The key, where \fB\-\-key\-file\fR and \fB\-\-context\fR are not given.
.TP
\fBNO_COLOR\fR
Where it is set, there are no colours.
.SH FILES
.TP
\fI$XDG_CONFIG_HOME/roost/config.yaml\fR, else \fI~/.config/roost/config.yaml\fR
The servers that \fBroostctl config\fR knows by name, mode 0600.
.SH EXIT STATUS
.TP
0
Well.
.TP
1
The request was refused or failed; what came was not whole.
.TP
2
The command line or the configuration is wrong; nothing was asked.
.TP
3
Not found.
.TP
4
A conflict, or blocked.
.TP
5
The key is missing, wrong, or may not do this.
.TP
6
The server cannot be reached, is not ready, is too busy, or the time is over.
.TP
130
Interrupted.
)";

}  // namespace

std::string manual() {
  CommandLine line;
  CommandTree tree(line);
  const CLI::App& top = tree.app();
  return ".TH ROOSTCTL 1 \"\" \"Roost " ROOST_VERSION
         "\" \"User Commands\"\n.SH NAME\nroostctl \\- workspaces, their chat and their backups, over Roost's API\n"
         ".SH SYNOPSIS\n\\fBroostctl\\fR [\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...\n"
         ".SH DESCRIPTION\n" +
         plain(top.get_description()) +
         "\nResults are on standard output; progress, notes and errors on standard error.\n"
         ".SH OPTIONS\nThey may stand anywhere.\n" +
         options_of(top) + ".SH COMMANDS\n" + commands(top) + kRest;
}

}  // namespace roost::cli
