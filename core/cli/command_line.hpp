// The command line of roostctl: its words, what completes them, and their manual. Thread safety: one thread.
#pragma once

#include <string>
#include <vector>

#include "cli/options.hpp"
#include "cli/run.hpp"

namespace roost::cli {

using Command = Status (*)(Run& run);

struct CommandLine {
  Options options;
  Command command = nullptr;  // null: there is nothing to run, `text` is to be shown
  Exit exit = Exit::ok;       // of showing it
  std::string text;           // help, the version, or what is wrong
};

[[nodiscard]] CommandLine parse_command_line(int argc, const char* const* argv);

// What may stand for the last of the words (which may be empty).
struct Completion {
  std::string text;  // one a line: "word" or "word<TAB>what it is"; the one line ":files" says that a file's name is wanted
  enum class Ids { none, sessions, backups } ids = Ids::none;  // which of the server's would do too
  std::string prefix;                                          // how they begin
  Options options;                                             // which server, as far as the words say
};
// The words do not hold the program's name.
[[nodiscard]] Completion complete(const std::vector<std::string>& words, const Contexts& contexts);
// Asks the server, for a second at most; in the form of `text`. Nothing where it does not answer with all of them.
[[nodiscard]] std::string complete_ids(const Completion& completion, const Environment& environment);

// The manual page, for man(1).
[[nodiscard]] std::string manual();

}  // namespace roost::cli
