// BackupAdapter: the engine's BackupStorage over a loaded backup plugin, and reading of archives by chunks for downloads.
// Thread safety: stat as the port's; read from any thread but the scheduler's, for it blocks.
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

  // The bytes [offset, offset + length) of an archive, fewer only at its end; blocks. length: 1 .. kChunkMax.
  [[nodiscard]] Result<std::string> read(const std::string& name, std::int64_t offset, std::int64_t length) const;

 private:
  const PluginSlot& slot_;
  Scheduler& scheduler_;
  const CallTimeouts timeouts_;
};

}  // namespace roost
