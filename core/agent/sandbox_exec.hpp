// What a forked child does on its way to another program. Thread safety: for the child of a process with one thread.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace roost::agent {

// "/usr/bin/NAME" or wherever the system keeps it; "" where it is not installed. Never by the caller's PATH.
[[nodiscard]] std::string find_program(const std::string& name);

// Asks the kernel to kill this process when `parent` dies; false where that has happened. It is lost by a change of user.
[[nodiscard]] bool die_with(pid_t parent);

// Replaces this process: a session of its own, default signals, no inherited descriptor beyond those that lost their
// close-on-exec mark. Returns only on failure, with the message.
[[nodiscard]] std::string execute(const std::vector<std::string>& arguments, const std::vector<std::string>& environment);

}  // namespace roost::agent
