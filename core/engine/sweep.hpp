// Sweep: looks at every session again now and then, follows the watch of compute, and reports what the platform holds of no
// session. It removes nothing but what is left of a deleted session's own tasks.
// Thread safety: the engine's thread only.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>

#include "engine/drill.hpp"
#include "engine/reconciler.hpp"

namespace roost {

class Sweep {
 public:
  Sweep(Context& context, Writer& writer, Reconciler& reconciler, Leader& leader, const Drill& drill)
      : context_(context), writer_(writer), reconciler_(reconciler), leader_(leader), drill_(drill) {}

  void watch();
  void resync();  // once more now; and then every resync_ms

 private:
  void watch_compute(const std::string& resume);
  struct Pass;
  void list(const std::shared_ptr<Pass>& pass);
  void listed(const std::shared_ptr<Pass>& pass, std::vector<Workspace> page);
  void compare(const std::shared_ptr<Pass>& pass);
  void check_orphan(const std::string& id);
  void clear_grave(const std::string& id);
  void report(const std::string& id);
  void finish(const std::shared_ptr<Pass>& pass);

  Context& context_;
  Writer& writer_;
  Reconciler& reconciler_;
  Leader& leader_;
  const Drill& drill_;
  bool sweeping_ = false;
  bool again_ = false;
  Scheduler::TimerId timer_ = 0;
  std::int64_t list_failures_ = 0, compute_failures_ = 0;
  std::unordered_set<std::string> orphans_, seen_orphans_;
  std::unordered_set<std::string> cleared_;  // deleted sessions whose late tasks were removed once
};

}  // namespace roost
