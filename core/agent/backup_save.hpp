// save_tree: puts what a tree holds into an archive, in the walk's order: small files are read and encoded by the pool's threads,
// large ones deflated there in parts. The bytes do not depend on how many threads there are. Thread safety: one thread.
#pragma once

#include "agent/archive_writer.hpp"
#include "agent/task.hpp"
#include "agent/task_pool.hpp"
#include "agent/walk.hpp"
#include "base/result.hpp"

namespace roost::agent {

// After an error the archive is worthless.
[[nodiscard]] Status save_tree(int root, const WalkOptions& options, WorkPool& pool, ArchiveWriter& writer, TaskMonitor& monitor);

}  // namespace roost::agent
