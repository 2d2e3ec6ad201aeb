// Retention: how long a backup is kept. A pure function of the record, of what is known about its session and of the time, so
// that every rule is a row of a table test. Whether a backup is in use is asked when it is removed, not here. Thread safety: pure
// functions. Invariants: what is held is never removed; of a session that lives the newest good backup is kept, of one that is
// deleted for its full time from the deletion.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/receipt.hpp"
#include "model/session.hpp"

namespace roost {

struct RetentionPolicy {
  std::int64_t kept_us = 30LL * 24 * 3600 * 1'000'000;
  std::int64_t scheduled_us = 7LL * 24 * 3600 * 1'000'000;  // of the schedule, where a later one stands in for it
  std::int64_t leftover_us = 7LL * 24 * 3600 * 1'000'000;   // of an attempt that came to nothing, where a good one followed
};

// What the record itself does not say.
struct BackupFacts {
  bool session_exists = false;
  bool superseded = false;  // a later backup of its session is good, no less consistent and no less complete
};

struct BackupJudgement {
  bool remove = false;
  std::string reason;                   // why it is removed
  std::int64_t protected_until_us = 0;  // when it may go; 0: not foreseeable
};

[[nodiscard]] BackupJudgement judge_backup(const BackupRecord&, const BackupFacts&, std::int64_t now_us, const RetentionPolicy&);

// Whether the hold is in force.
[[nodiscard]] bool is_held(const BackupRecord&, std::int64_t now_us);
// Verified, and nothing is known to be wrong with it.
[[nodiscard]] bool is_good(const BackupRecord&);
// One of `session`, all backups of one session, that stands in for `record`; null: there is none.
[[nodiscard]] const BackupRecord* stand_in(const BackupRecord& record, std::span<const BackupRecord> session);
[[nodiscard]] bool is_superseded(const BackupRecord& record, std::span<const BackupRecord> session);
// The ids of the backups that a session's document rests on.
[[nodiscard]] std::vector<std::string> used_backups(const Session&);

}  // namespace roost
