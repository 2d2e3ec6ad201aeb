#include "engine/retention.hpp"

#include <algorithm>

#include "base/clock.hpp"

namespace roost {

namespace {

std::string days(std::int64_t us) { return std::to_string((us + kDayUs / 2) / kDayUs) + " days"; }

}  // namespace

bool is_held(const BackupRecord& record, std::int64_t now_us) {
  return record.hold && (record.hold->until_us == 0 || record.hold->until_us > now_us);
}

bool is_good(const BackupRecord& record) { return record.state == "verified"; }

const BackupRecord* stand_in(const BackupRecord& record, std::span<const BackupRecord> session) {
  const auto found = std::find_if(session.begin(), session.end(), [&](const BackupRecord& other) {
    const bool as_consistent = record.receipt.live || !other.receipt.live;
    const bool as_complete = record.receipt.exclusions || !other.receipt.exclusions;
    return other.id > record.id && is_good(other) && as_consistent && as_complete;
  });
  return found == session.end() ? nullptr : &*found;
}

bool is_superseded(const BackupRecord& record, std::span<const BackupRecord> session) {
  return stand_in(record, session) != nullptr;
}

std::vector<std::string> used_backups(const Session& session) {
  std::vector<std::string> ids;
  if (session.operation && session.operation->step != OperationStep::done) {
    ids.push_back(session.operation->backup_id);
    if (session.operation->receipt) ids.push_back(session.operation->receipt->backup_id);
    if (session.operation->source) ids.push_back(session.operation->source->backup_id);
  }
  // What a restore replaced is released only against its receipt, and with its archive looked at.
  for (const KeptVolume& kept : session.kept_volumes) ids.push_back(kept.receipt.backup_id);
  std::erase(ids, std::string());
  return ids;
}

BackupJudgement judge_backup(const BackupRecord& record, const BackupFacts& facts, std::int64_t now_us,
                             const RetentionPolicy& policy) {
  if (record.state == "deleted") return {};
  if (record.state == "deleting") return {true, record.note ? record.note->reason : "", 0};
  const bool missing = record.state == "missing", started = record.state == "started";
  const bool last_of_living = facts.session_exists && !facts.superseded && !missing && !started;
  if (last_of_living) return {};  // for as long as its session lives
  BackupJudgement judged;
  std::int64_t from_us = record.created_at_us, kept_us = policy.kept_us;
  std::string reason = "kept for " + days(kept_us);
  if (missing && record.note) {
    from_us = record.note->at_us;
    reason = "its archive is missing for " + days(kept_us);
  } else if (started && facts.superseded) {
    kept_us = policy.leftover_us;
    reason = "left behind by an attempt that came to nothing";
  } else if (record.trigger == "schedule" && facts.superseded) {
    kept_us = policy.scheduled_us;
    reason = "of the schedule, kept for " + days(kept_us) + ", and a later one stands in for it";
  } else if (!facts.session_exists && !facts.superseded) {
    from_us = std::max(from_us, record.session_deleted_at_us);
    reason += " from the deletion of its session";
  }
  judged.protected_until_us = from_us + kept_us;
  judged.remove = now_us >= judged.protected_until_us && !is_held(record, now_us);
  if (judged.remove) judged.reason = reason;
  return judged;
}

}  // namespace roost
