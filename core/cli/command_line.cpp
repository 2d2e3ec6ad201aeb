#include "cli/command_line.hpp"

#include "cli/command_tree.hpp"
#include "cli/text.hpp"

namespace roost::cli {
namespace {

std::string message_of(const CLI::ParseError& error) {
  return "roostctl: " + printable(error.what()) + "\nroostctl --help, and --help after each command, say more.\n";
}

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CommandLine line;
  CommandTree tree(line);
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

}  // namespace roost::cli
