// roostctl: everything that the API does, for people and scripts. See docs/roostctl.md.
#include <sys/stat.h>

#include <cstdlib>
#include <cstring>

#include "cli/command_line.hpp"
#include "cli/interrupt.hpp"

namespace {

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::optional<std::string>(value) : std::nullopt;
}

// What the completion scripts ask; a configuration that cannot be read completes nothing.
int complete(int count, char** words) {
  const auto file = roost::cli::read_contexts(roost::cli::contexts_path(environment));
  roost::cli::Terminal terminal;
  const auto found = roost::cli::complete({words, words + count}, file.ok() ? file->contexts : roost::cli::Contexts{});
  terminal.out(found.text);
  terminal.out(roost::cli::complete_ids(found, environment));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace roost::cli;
  if (argc > 1 && std::strcmp(argv[1], "__complete") == 0) return complete(argc - 2, argv + 2);
  if (argc > 1 && std::strcmp(argv[1], "__manual") == 0) {  // what the build installs
    Terminal().out(manual());
    return 0;
  }
  CommandLine line = parse_command_line(argc, argv);
  Terminal terminal = Terminal::find();
  if (!line.command) {
    if (line.exit == Exit::ok)
      terminal.out(line.text);
    else
      terminal.err(line.text);
    return static_cast<int>(line.exit);
  }
  catch_interrupts();
  Run run(line.options, environment, terminal);
  return static_cast<int>(run.finish(line.command(run)));
}
