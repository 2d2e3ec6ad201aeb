// How a supervisor of the agent (serve, task) begins: arguments, detachment, its lock, and the word to its caller.
// Thread safety: main thread, at the start.
#pragma once

#include <functional>
#include <string>

#include "agent/serve_posix.hpp"

namespace roost::agent {

struct HandOver {
  std::string spec;                         // the file
  std::function<void()> ready;              // tells the caller that all is well; from then on nobody waits for it
  std::function<int(const Error&)> refuse;  // tells the caller why not; answers the exit code
};

// Parses `--spec FILE [--foreground]`, closes every inherited descriptor, detaches unless in the foreground, and runs body in the
// process that stays. Exit codes: 0 ready (or ended well, in the foreground), 2 usage, 3 the lock is held by another, 1 else.
int hand_over(int argc, char** argv, const std::function<int(const HandOver&)>& body);

// CONFLICT: another process holds it. Its content becomes "PID START_TIME". It is held until this process has ended and not a
// moment less: whoever finds it free may rely on nothing of the process being left, its last steps at exit included.
// `run`: where this process's status.json is, the third word.
[[nodiscard]] Status take_lock(const std::string& path, const std::string& run);

}  // namespace roost::agent
