// What a task's keys may do, as a document of IAM: one archive's object, to be written and looked at, or only read.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "backup/s3/settings.hpp"

namespace roost::backup_s3 {

// A task, as the host describes it to `describe`.
struct TaskWork {
  std::string kind;  // backup, verify or restore
  std::string archive;

  // Throws INVALID where the text names no task of these kinds and no archive.
  static TaskWork parse(std::string_view request);
};

// The policy for a role's session. Backup: PutObject (in parts, too), AbortMultipartUpload, GetObject, which is also what a HEAD
// needs, and what the settings add: tags, a lock. Verify and restore: GetObject. At AWS the bucket's KMS key besides, by way of
// S3 only. No listing, no deletion, no other object. REQUIRES: bucket, prefix and archive hold no `*`, `?` or `$` (they are
// checked).
[[nodiscard]] std::string task_policy(const Settings& settings, const TaskWork& work);

// The name of the role's session, for the service's audit log.
[[nodiscard]] std::string task_session_name(const TaskWork& work);

}  // namespace roost::backup_s3
