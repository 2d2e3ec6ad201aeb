#include "cli/command_line.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/commands.hpp"
#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr const char* kFooter =
    "Exit codes: 0 ok, 1 refused or failed, 2 usage, 3 not found, 4 conflict or blocked, 5 not allowed, 6 unavailable or out of "
    "time,\n"
    "130 interrupted. Environment: ROOST_URL, ROOST_API_KEY, NO_COLOR. The whole of it: docs/roostctl.md\n";

const std::map<std::string, Form> kForms{{"table", Form::table}, {"json", Form::json}, {"name", Form::name}};

// Builds the tree of commands over one CommandLine.
class Tree {
 public:
  explicit Tree(CommandLine& line)
      : line_(line), app_("Workspaces, their chat and their backups, over Roost's API.", "roostctl") {
    app_.footer(kFooter);
    app_.fallthrough();  // the options of every command may stand anywhere
    app_.require_subcommand(1);
    app_.set_version_flag("--version", "roostctl " ROOST_VERSION);
    add_common();
    add_session();
    add_chat();
    add_backup();
    add_rest();
    add_config();
  }
  CLI::App& app() { return app_; }

 private:
  CLI::App* group(const char* name, const char* what, const std::vector<std::string>& aliases) {
    CLI::App* group = app_.add_subcommand(name, what)->require_subcommand(1);
    for (const std::string& alias : aliases) group->alias(alias);
    return group;
  }
  CLI::App* command(CLI::App* parent, const char* name, const char* what, Command run) {
    CLI::App* leaf = parent->add_subcommand(name, what);
    leaf->callback([this, run] { line_.command = run; });
    return leaf;
  }
  CLI::Option* duration(CLI::App* app, const char* name, std::int64_t& to, const char* what) {
    return app
        ->add_option_function<std::string>(
            name,
            [&to](const std::string& text) {
              const auto ms = parse_duration_ms(text);
              if (!ms.ok()) throw CLI::ValidationError(ms.error().message);
              to = *ms;
            },
            what)
        ->type_name("TIME");
  }
  // Commands with a habit of waiting or of not waiting.
  void waits(CLI::App* leaf, const char* what) {
    leaf->add_flag_callback(
        "--wait", [this] { line_.options.wait = true; }, what);
    leaf->add_flag_callback(
        "--no-wait", [this] { line_.options.wait = false; }, "Return as soon as it is recorded");
  }
  void watches(CLI::App* leaf) {
    leaf->add_flag("-w,--watch", line_.options.watch, "Again and again, until interrupted");
    duration(leaf, "--interval", line_.options.interval_ms, "How often, with --watch (2s)");
  }
  CLI::Option* needs(CLI::App* leaf, const char* name, std::string& to, const char* what) {
    return leaf->add_option(name, to, what)->required();
  }
  void limits(CLI::App* leaf) {
    leaf->add_option("--limit", line_.options.limit, "At most so many (all)")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000}))
        ->type_name("N");
  }
  void session_argument(CLI::App* leaf) { needs(leaf, "SESSION", line_.options.id, "A session's uuid"); }
  void backup_argument(CLI::App* leaf) { needs(leaf, "BACKUP", line_.options.id, "A backup's id"); }
  void says_yes(CLI::App* leaf) { leaf->add_flag("-y,--yes", line_.options.yes, "Do not ask"); }

  void add_common();
  void add_session();
  void add_chat();
  void add_backup();
  void add_rest();
  void add_config();

  CommandLine& line_;
  CLI::App app_;
};

void Tree::add_common() {
  Options& o = line_.options;
  app_.add_option("--context", o.context, "A server of the configuration, instead of the one in use")->type_name("NAME");
  app_.add_option("--url", o.url, "The server (ROOST_URL; http://127.0.0.1:8080)")->type_name("URL");
  app_.add_option("--key-file", o.key_file,
                  "A file that holds the API key; -: asked for, or read from standard input (ROOST_API_KEY)")
      ->type_name("FILE");
  app_.add_option("--ca-file", o.ca_file, "The authorities that the server's certificate may be of, PEM")->type_name("FILE");
  app_.add_option("-o,--output", o.form, "table, json (the API's own answer) or name (ids only)")
      ->transform(CLI::CheckedTransformer(kForms))
      ->type_name("FORM");
  app_.add_flag_callback(
      "--json", [&o] { o.form = Form::json; }, "The same as -o json");
  app_.add_flag("-q,--quiet", o.quiet, "No progress, no notes");
  duration(&app_, "--timeout", o.timeout_ms,
           "For all of the command: 30s, 5m, 2h (30s a request; waits and downloads have none)");
}

void Tree::add_session() {
  Options& o = line_.options;
  CLI::App* session = group("session", "Workspaces", {"sessions", "s"});
  CLI::App* leaf = command(session, "create", "Make a workspace for a user and start it", session_create);
  needs(leaf, "USER", o.user, "Whose it is: any text of yours");
  leaf->add_option("--idempotency-key", o.idempotency_key, "The same key again: the same session, not a second one")
      ->type_name("KEY");
  waits(leaf, "Until it runs");
  leaf = command(session, "list", "All sessions", session_list)->alias("ls");
  leaf->add_option("--user", o.user, "Only this user's");
  limits(leaf);
  watches(leaf);
  leaf = command(session, "get", "Everything about one", session_get);
  session_argument(leaf);
  watches(leaf);
  leaf = command(session, "status", "Is it running", session_status);
  session_argument(leaf);
  watches(leaf);
  leaf = command(session, "sleep", "Stop it, keep its files", session_sleep);
  session_argument(leaf);
  waits(leaf, "Until it is asleep");
  leaf = command(session, "wake", "Start it again", session_wake);
  session_argument(leaf);
  waits(leaf, "Until it runs");
  leaf = command(session, "scale", "More CPU and memory, or less", session_scale);
  session_argument(leaf);
  needs(leaf, "DIRECTION", o.text, "up or down")->check(CLI::IsMember({"up", "down"}));
  leaf = command(session, "delete", "Back up, verify the backup, delete", session_delete)->alias("rm");
  session_argument(leaf);
  waits(leaf, "Until it is deleted (this is what it does)");
  leaf->add_flag("--skip-backup", o.skip_backup, "Give the files up: no backup (an admin's key)");
  leaf->add_flag("--accept-losses", o.accept_losses, "Give up what the backup had to skip (an admin's key)");
  says_yes(leaf);
  leaf = command(session, "access", "A link that logs a browser in, once", session_access);
  session_argument(leaf);
  leaf = command(session, "events", "What happens to it, as it happens", session_events);
  session_argument(leaf);
}

void Tree::add_chat() {
  Options& o = line_.options;
  CLI::App* chat = group("chat", "Messages to what works in a workspace", {});
  CLI::App* leaf = command(chat, "send", "Queue a message", chat_send);
  session_argument(leaf);
  needs(leaf, "MESSAGE", o.text, "The text; -: from standard input");
  waits(leaf, "Until it is answered, and print the reply");
  leaf = command(chat, "history", "Messages and their replies", chat_history);
  session_argument(leaf);
  leaf->add_option("--after", o.after, "Only what came after this message")->type_name("ID");
  limits(leaf);
  watches(leaf);
  leaf = command(chat, "follow", "Messages and their replies as they come", chat_follow);
  session_argument(leaf);
  leaf->add_option("--after", o.after, "Only what came after this message")->type_name("ID");
}

void Tree::add_backup() {
  Options& o = line_.options;
  CLI::App* backup = group("backup", "Backups: look into them, fetch them, bring them back", {"backups", "b"});
  CLI::App* leaf = command(backup, "list", "All backups", backup_list)->alias("ls");
  leaf->add_option("--user", o.user, "Only this user's");
  leaf->add_option("--session", o.session, "Only this session's, also after its deletion");
  limits(leaf);
  watches(leaf);
  leaf = command(backup, "get", "Everything about one", backup_get);
  backup_argument(leaf);
  watches(leaf);
  leaf = command(backup, "create", "Back a session up now", backup_create);
  session_argument(leaf);
  waits(leaf, "Until it is verified");
  leaf = command(backup, "files", "What is in one", backup_files);
  backup_argument(leaf);
  leaf->add_option("PREFIX", o.path, "Only what begins with it");
  limits(leaf);
  leaf = command(backup, "download", "The whole archive, or one file of it", backup_download)->alias("get-file");
  backup_argument(leaf);
  leaf->add_option("PATH", o.path, "A file in it");
  leaf->add_option("--to", o.to, "Where to (by its own name, here)")->type_name("FILE");
  leaf->add_flag("--force", o.force, "Replace what is there");
  leaf = command(backup, "cat", "One file, to standard output", backup_cat);
  backup_argument(leaf);
  needs(leaf, "PATH", o.path, "A file in it");
  leaf->add_flag("--force", o.force, "Also what is not plain text, to a terminal");
  leaf = command(backup, "restore", "Bring one back: into a sleeping session, or as a new one", backup_restore);
  backup_argument(leaf);
  leaf->add_option("--into", o.session, "A session that is asleep; what it holds now is backed up first")->type_name("SESSION");
  leaf->add_flag("--as-new", o.as_new, "A new session, filled from the backup");
  leaf->add_option("--user", o.user, "Whose the new session is (the backup's user)");
  waits(leaf, "Until it is restored");
  leaf = command(backup, "hold", "Keep one whatever the retention says", backup_hold);
  backup_argument(leaf);
  leaf->add_option("--reason", o.reason, "Why, for those who find it")->required()->type_name("TEXT");
  leaf->add_option("--until", o.until, "30d, 2026-01-31; without: until `unhold`")->type_name("TIME");
  leaf = command(backup, "unhold", "End a hold", backup_unhold);
  backup_argument(leaf);
  leaf = command(backup, "verify", "Read one again and compare it, now", backup_verify);
  backup_argument(leaf);
  waits(leaf, "Until it was read");
  leaf = command(backup, "delete", "Delete one", backup_delete)->alias("rm");
  backup_argument(leaf);
  leaf->add_flag("--override", o.override_retention, "Also the newest good one of a session that is gone (an admin's key)");
  says_yes(leaf);
  leaf->add_option("--reason", o.reason, "Why, for the record")->type_name("TEXT");
  command(backup, "strangers", "Archives in the storage that no backup names", backup_strangers);
}

void Tree::add_rest() {
  Options& o = line_.options;
  CLI::App* operation = group("operation", "Long work: deletes, backups, restores", {"operations", "op"});
  CLI::App* leaf = command(operation, "get", "How far it is, or how it ended", operation_get);
  needs(leaf, "OPERATION", o.id, "Its id");
  watches(leaf);
  leaf = command(operation, "wait", "Until it has ended", operation_wait);
  needs(leaf, "OPERATION", o.id, "Its id");
  leaf = command(&app_, "events", "What happens, as it happens", events);
  leaf->add_option("--user", o.user, "Only this user's");
  leaf = command(&app_, "version", "Of roostctl and of the server", version);
  leaf->add_flag("--client", o.client_only, "Ask no server");
  command(&app_, "doctor", "Is the server there, does the key fit, do the clocks agree", doctor);
  CLI::App* completion = group("completion", "Scripts that complete commands in a shell", {});
  command(completion, "bash", "source <(roostctl completion bash)", completion_bash);
  command(completion, "zsh", "source <(roostctl completion zsh)", completion_zsh);
  command(completion, "fish", "roostctl completion fish | source", completion_fish);
}

void Tree::add_config() {
  Options& o = line_.options;
  CLI::App* config = group("config", "The servers that roostctl knows by name", {});
  command(config, "list", "All of them", config_list)->alias("ls");
  CLI::App* leaf = command(config, "set", "Make or change one, with --url, --key-file, --key-env, --ca-file", config_set);
  needs(leaf, "NAME", o.id, "Its name");
  leaf->add_option("--key-env", o.text, "The environment variable that holds its key")->type_name("NAME");
  leaf = command(config, "use", "The one to talk to from now on", config_use);
  needs(leaf, "NAME", o.id, "Its name");
  leaf = command(config, "delete", "Forget one", config_delete)->alias("rm");
  needs(leaf, "NAME", o.id, "Its name");
}

std::string message_of(const CLI::ParseError& error) {
  return "roostctl: " + printable(error.what()) + "\nroostctl --help, and --help after each command, say more.\n";
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  Tree tree(line);
  try {
    tree.app().parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    line.command = nullptr;
    line.text = tree.app().help();
  } catch (const CLI::CallForAllHelp&) {
    line.command = nullptr;
    line.text = tree.app().help("", CLI::AppFormatMode::All);
  } catch (const CLI::CallForVersion& version) {
    line.command = nullptr;
    line.text = std::string(version.what()) + "\n";
  } catch (const CLI::ParseError& error) {
    line.command = nullptr;
    line.exit = Exit::usage;
    line.text = message_of(error);
  }
  return line;
}

namespace {

// The option that such a word is, of the command or of one around it; null where there is none.
const CLI::Option* option_of(const CLI::App* app, const std::string& word) {
  for (; app; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      if (option->check_name(word)) return option;
    }
  }
  return nullptr;
}

bool takes_value(const CLI::Option* option) { return option && option->get_items_expected_max() > 0; }

struct Candidates {
  std::string prefix, text;
  void add(const std::string& word, std::string what) {
    if (!word.starts_with(prefix)) return;
    std::replace(what.begin(), what.end(), '\n', ' ');
    text += word + (what.empty() ? "" : "\t" + what) + "\n";
  }
};

void add_options(Candidates& to, const CLI::App* app) {
  for (; app; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) to.add("--" + name, option->get_description());
    }
  }
}

void add_values(Candidates& to, const std::string& option, const Contexts& contexts) {
  if (option == "--context") {
    for (const auto& [name, entry] : contexts.entries) to.add(name, entry.url);
  } else if (option == "-o" || option == "--output") {
    for (const auto& [name, form] : kForms) to.add(name, "");
  } else if (option == "--key-file" || option == "--ca-file" || option == "--to") {
    to.text = ":files\n";
  }
}

void add_arguments(Candidates& to, const CLI::App* app, const Contexts& contexts, int have) {
  const std::string path = (app->get_parent() ? app->get_parent()->get_name() + " " : "") + app->get_name();
  if ((path == "config use" || path == "config set" || path == "config delete") && have == 0) {
    for (const auto& [name, entry] : contexts.entries) to.add(name, entry.url);
  } else if (path == "session scale" && have == 1) {
    to.add("up", "");
    to.add("down", "");
  }
}

}  // namespace

std::string complete(const std::vector<std::string>& words, const Contexts& contexts) {
  CommandLine line;
  Tree tree(line);
  const CLI::App* app = &tree.app();
  int arguments = 0;
  std::string value_of;  // the option whose value comes next
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const std::string& word = words[i];
    if (!value_of.empty()) {
      value_of.clear();
    } else if (word.starts_with('-')) {
      if (takes_value(option_of(app, word))) value_of = word;
    } else {
      const auto commands = app->get_subcommands([](const CLI::App*) { return true; });
      const auto found = std::find_if(commands.begin(), commands.end(), [&](const CLI::App* c) { return c->check_name(word); });
      if (found != commands.end())
        app = *found;
      else
        ++arguments;
    }
  }
  Candidates candidates{words.empty() ? "" : words.back(), ""};
  if (!value_of.empty()) {
    add_values(candidates, value_of, contexts);
  } else if (candidates.prefix.starts_with('-')) {
    add_options(candidates, app);
  } else {
    for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
      candidates.add(command->get_name(), command->get_description());
    }
    add_arguments(candidates, app, contexts, arguments);
  }
  return candidates.text;
}

}  // namespace roost::cli
