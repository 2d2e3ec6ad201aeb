// The chat consumer's local API (local_api.hpp) of a pod's workspace. The daemon is known by a Service's name there, and looking
// a name up blocks: so it has a process of its own, whose memory, with the session's token, the workload cannot read. Thread
// safety: run_pod_api is called in a process of its own, with one thread.
#pragma once

#include <string>

#include "agent/local_api.hpp"
#include "base/result.hpp"

namespace roost::agent {

struct PodApiSpec {
  std::string socket;  // empty: there is no API
  LocalApiSpec api;
};

// Until it is killed. INTERNAL and the like where it cannot listen.
[[nodiscard]] Status run_pod_api(PodApiSpec spec);

}  // namespace roost::agent
