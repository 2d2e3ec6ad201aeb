// restore: fills an empty directory from an archive and proves every file on the way. Names never leave the directory, whatever
// the archive says. While it works, and after a failure, a marker file ".roost-restore-OPERATION.incomplete" lies in the
// directory; a further attempt of the same operation clears the directory and begins again. Thread safety: the main thread.
#pragma once

#include "agent/task.hpp"
#include "agent/task_storage.hpp"
#include "archive/source.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"

namespace roost::agent {

// Extracts into the open directory `root`, which is trusted to be the right one. Everything gets that directory's owner where
// this process may give it; setuid and setgid of files are dropped where that owner is root. What did not get all its
// permissions is counted in the receipt's `not_restored`. DATA_LOSS as soon as something does not agree.
[[nodiscard]] Result<Receipt> extract_archive(ArchiveSource& source, int root, const std::string& operation,
                                              TaskMonitor& monitor);

// The task: extract_archive into spec.volume_path, and everything durable. EXISTS where the directory is not empty.
[[nodiscard]] Result<Receipt> restore_archive(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor);

}  // namespace roost::agent
