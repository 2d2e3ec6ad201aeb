// StoreAdapter: the engine's Store over a loaded store plugin. Checks what goes in against the ABI's limits and what comes out
// against the contract of each function. Thread safety: as the port's; completions are posted to the scheduler.
#pragma once

#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "host/plugin_slot.hpp"
#include "host/timeouts.hpp"

namespace roost {

class StoreAdapter : public Store {
 public:
  // Slot and scheduler outlive it.
  StoreAdapter(const PluginSlot& slot, Scheduler& scheduler, CallTimeouts timeouts)
      : slot_(slot), scheduler_(scheduler), timeouts_(timeouts) {}

  void get(std::string partition, std::string key, Done<Document> done) override;
  void scan(std::string partition, std::string prefix, std::string after, std::uint32_t limit,
            Done<std::vector<Document>> done) override;
  void commit(Commit commit, Done<CommitResult> done) override;
  void lease(std::string name, std::string holder, int action, std::int64_t ttl_ms, Done<Lease> done) override;
  void watch(std::string resume, Done<Watched> done) override;

 private:
  const PluginSlot& slot_;
  Scheduler& scheduler_;
  const CallTimeouts timeouts_;
};

// What a watch emitted, of a store (keys "partition\nkey") or of compute (keys are ids).
[[nodiscard]] Result<Watched> watched_from_records(WorkerCall& call, const std::string& resume, bool partitioned);
inline constexpr std::size_t kHintsMax = 65'536;

}  // namespace roost
