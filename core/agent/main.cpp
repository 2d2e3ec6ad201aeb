// roost-agent: one small program inside every workspace and every task. See commands.hpp.
#include <cstdio>
#include <cstring>

#include "agent/commands.hpp"

namespace {

constexpr const char* kUsage =
    "usage: roost-agent serve --spec FILE [--foreground]\n"
    "       roost-agent serve --pod DIRECTORY [--run DIRECTORY] [--listen HOST:PORT] [-- COMMAND...]\n"
    "       roost-agent task --spec FILE [--foreground]\n"
    "       roost-agent backup|verify|restore --spec FILE --result FILE --progress FILE [--print-progress SECONDS]\n"
    "       roost-agent chat [--once] [--visibility SECONDS] -- COMMAND\n"
    "       roost-agent --version\n";

}  // namespace

int main(int argc, char** argv) {
  using roost::agent::TaskKind;
  const char* command = argc > 1 ? argv[1] : "";
  const int rest = argc > 2 ? argc - 2 : 0;
  char** arguments = argv + 2;
  const bool in_pod = rest > 0 && std::strcmp(arguments[0], "--pod") == 0;
  if (std::strcmp(command, "serve") == 0 && in_pod) return roost::agent::serve_pod(rest, arguments);
  if (std::strcmp(command, "serve") == 0) return roost::agent::serve(rest, arguments);
  if (std::strcmp(command, "task") == 0) return roost::agent::supervise_task(rest, arguments);
  if (std::strcmp(command, "chat") == 0) return roost::agent::chat(rest, arguments);
#ifdef ROOST_AGENT_TASKS
  if (std::strcmp(command, "backup") == 0) return roost::agent::run_task(TaskKind::backup, rest, arguments);
  if (std::strcmp(command, "verify") == 0) return roost::agent::run_task(TaskKind::verify, rest, arguments);
  if (std::strcmp(command, "restore") == 0) return roost::agent::run_task(TaskKind::restore, rest, arguments);
#endif
  if (std::strcmp(command, "--version") == 0) {
    std::puts("roost-agent " ROOST_VERSION);
    return 0;
  }
  std::fputs(kUsage, stderr);
  return 2;
}
