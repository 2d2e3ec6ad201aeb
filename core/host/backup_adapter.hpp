// BackupAdapter: the engine's BackupStorage over a loaded backup plugin, and reading of archives by chunks for downloads.
// Thread safety: the port as ports.hpp says; read from any thread.
#pragma once

#include <cstdint>
#include <string>

#include "engine/ports.hpp"
#include "host/plugin_slot.hpp"
#include "host/timeouts.hpp"

namespace roost {

inline constexpr std::int64_t kChunkMax = 8 << 20;

class BackupAdapter : public BackupStorage {
 public:
  // Slot and scheduler outlive it.
  BackupAdapter(const PluginSlot& slot, Scheduler& scheduler, CallTimeouts timeouts)
      : slot_(slot), scheduler_(scheduler), timeouts_(timeouts) {}

  void stat(std::string name, Done<Object> done) override;
  void list(std::string after, std::uint32_t limit, Done<std::vector<Object>> done) override;
  void remove(std::string name, Done<void> done) override;

  // The bytes [offset, offset + length) of an archive, fewer only at its end. length: 1 .. kChunkMax. `done` runs on a thread of
  // the bulk lane, or on the caller's where the call is refused.
  void read(const std::string& name, std::int64_t offset, std::int64_t length, Done<std::string> done) const;
  // The same, and it blocks: from any thread but the scheduler's.
  [[nodiscard]] Result<std::string> read(const std::string& name, std::int64_t offset, std::int64_t length) const;

 private:
  const PluginSlot& slot_;
  Scheduler& scheduler_;
  const CallTimeouts timeouts_;
};

}  // namespace roost
