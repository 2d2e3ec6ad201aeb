// ComputeAdapter: the engine's Compute over a loaded compute plugin. A task is started with what the backup plugin says that it
// needs, so that every compute works with every backup. Thread safety: as the port's; completions are posted to the scheduler.
#pragma once

#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "host/plugin_slot.hpp"
#include "host/timeouts.hpp"

namespace roost {

class ComputeAdapter : public Compute {
 public:
  // Slots and scheduler outlive it.
  ComputeAdapter(const PluginSlot& compute, const PluginSlot& backup, Scheduler& scheduler, CallTimeouts timeouts)
      : compute_(compute), backup_(backup), scheduler_(scheduler), timeouts_(timeouts) {}

  void apply(WorkspaceSpec spec, Done<Workspace> done) override;
  void observe(std::string id, bool live, Done<Workspace> done) override;
  void list(std::string after, std::uint32_t limit, Done<std::vector<Workspace>> done) override;
  void watch(std::string resume, Done<Watched> done) override;
  void remove_workload(std::string id, std::string incarnation, Done<void> done) override;
  void remove_volume(std::string id, Volume volume, Done<void> done) override;
  void task_start(TaskSpec spec, Done<Task> done) override;
  void task_observe(std::string id, std::string operation, std::int64_t attempt, Done<Task> done) override;
  void task_remove(std::string id, std::string operation, std::int64_t attempt, Done<void> done) override;

 private:
  void remove(Json request, std::int64_t timeout_ms, Done<void> done);

  const PluginSlot& compute_;
  const PluginSlot& backup_;
  Scheduler& scheduler_;
  const CallTimeouts timeouts_;
};

}  // namespace roost
