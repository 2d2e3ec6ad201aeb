// verify: proves a stored archive by reading it again, without the volume. Thread safety: the main thread.
#pragma once

#include "agent/task.hpp"
#include "agent/task_storage.hpp"
#include "archive/source.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"

namespace roost::agent {

// Reads all of it and checks everything that archive_reader.hpp promises. The receipt's verified_at_us is 0 still.
[[nodiscard]] Result<Receipt> read_archive(ArchiveSource& source, TaskMonitor& monitor);

// The task: the receipt with verified_at_us. DATA_LOSS for a damaged archive; INVALID for one of another session or name.
[[nodiscard]] Result<Receipt> verify_archive(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor);

}  // namespace roost::agent
