// backup: saves a volume into an archive: walk -> archive -> the backup plugin, one stream in constant memory. The archive is
// visible only when it is whole. Thread safety: the main thread.
#pragma once

#include <string>

#include "agent/task.hpp"
#include "agent/task_storage.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"

namespace roost::agent {

// Answers the receipt, not verified yet. An archive of that name that this very operation made before (and whose answer was lost)
// is read and answered instead; one that it made with losses, or that was damaged, is made again; anybody else's is EXISTS.
[[nodiscard]] Result<Receipt> backup_volume(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor,
                                            const std::string& spool_directory);

}  // namespace roost::agent
