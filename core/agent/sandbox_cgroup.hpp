// Cgroup: the control group of one workload: its limits, and the certainty that nothing of it is left. cgroup v2 (a delegated
// subtree, or the root's) and v1 (memory, cpu, pids, freezer hierarchies); where neither can be written, there is none.
// Thread safety: none. Invariant: only processes of the workload are ever in it, never the supervisor.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/serve_posix.hpp"
#include "base/result.hpp"

namespace roost::agent {

struct Limits {
  std::int64_t cpu_millis = 0;    // 1000 is one core; 0: unlimited
  std::int64_t memory_bytes = 0;  // 0: unlimited
  std::int64_t pids = 0;          // 0: unlimited
  bool operator==(const Limits&) const = default;
};

class Cgroup {
 public:
  // Makes (or finds again, emptied) the group NAME. UNSUPPORTED: no hierarchy can be written here; the message says why.
  [[nodiscard]] static Result<Cgroup> create(const std::string& name);
  // One that an earlier supervisor left, by its directories.
  [[nodiscard]] static Cgroup adopt(std::vector<std::string> directories);

  // In a forked child: moves the calling process in.
  [[nodiscard]] bool enter() const;
  // Puts limits in force, also for what runs already. EXHAUSTED: more memory is in use than the new limit allows.
  [[nodiscard]] Status limit(const Limits& limits);
  void kill_all();
  [[nodiscard]] bool empty() const;
  void remove();  // REQUIRES: empty

  [[nodiscard]] const std::vector<std::string>& directories() const { return directories_; }
  [[nodiscard]] std::string describe() const;  // "cgroup v2: cpu, memory, pids"

 private:
  [[nodiscard]] std::string with(const std::string& controller) const;  // its directory; "" where there is none
  [[nodiscard]] Status limit_memory(std::int64_t bytes);
  std::vector<std::string> directories_;  // v2: one; v1: one a hierarchy
  bool unified_ = false;
};

}  // namespace roost::agent
