// The command line of roostctl: its words, over CLI11, and what completes them. Thread safety: one thread.
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

// What may stand for the last of the words (which may be empty), one a line: "word" or "word<TAB>what it is"; the one line
// ":files" says that a file's name is wanted. The words do not hold the program's name.
[[nodiscard]] std::string complete(const std::vector<std::string>& words, const Contexts& contexts);

}  // namespace roost::cli
