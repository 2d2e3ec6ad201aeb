// Agent: runs roost-agent's supervisors and talks to them. A supervisor is nobody's child: it outlives this process.
// Thread safety: functions are independent. It inherits nothing but what is named here: no descriptor, no variable of the daemon.
#pragma once

#include <string>
#include <vector>

#include "compute/process/files.hpp"

namespace roost::compute_process {

// Runs `PROGRAM COMMAND --spec FILE` until it has handed over. CONFLICT: the lock is held by another. INTERNAL with its message
// for any other refusal; OUTCOME_UNKNOWN where the call ends first.
void start_supervisor(const sdk::Call& call, const std::string& program, const std::string& command, const std::string& spec);

// One question over a control socket and its answer; null where nobody answers.
Object::Ptr ask_supervisor(const sdk::Call& call, const std::string& socket, const Object& question);

// The variables that a program of ours may inherit: sanitizers' options.
std::vector<std::string> agent_environment();

}  // namespace roost::compute_process
