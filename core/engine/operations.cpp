#include "engine/operations.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "base/clock.hpp"
#include "engine/planner.hpp"

namespace roost::operations {

namespace {

constexpr std::int64_t kSecondUs = 1'000'000;
constexpr std::size_t kRemembered = 4;  // operations whose tasks are removed
constexpr const char* kGaveWay = "somebody asked for another operation";
constexpr std::int64_t kTries = 10, kScheduledTries = 3;
// What restores replaced and what failed ones left, each. All stand in the session's document, which may have 1 MiB, and a volume
// that is kept with a receipt of up to 4 KiB.
constexpr std::size_t kVolumesMax = 100;

// The time in a backup's id, "{session}-{time}"; 0 where there is none.
std::int64_t time_of(const std::string& backup_id) {
  const std::string text = backup_id.substr(backup_id.rfind('-') + 1);
  std::tm tm{};
  if (std::sscanf(text.c_str(), "%4d%2d%2dT%2d%2d%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min,
                  &tm.tm_sec) != 6)
    return 0;
  tm.tm_year -= 1900;
  tm.tm_mon -= 1;
  return static_cast<std::int64_t>(timegm(&tm)) * kSecondUs;
}

// A session as it must be for its files to be copied: at rest, or up.
Status refuse_phase(const Session& session, const std::string& what) {
  if (session.phase == Phase::running || session.phase == Phase::asleep) return {};
  return Error{
      Code::conflict,
      "session " + session.id + " is " + std::string(to_string(session.phase)) + "; " + what + " when it is running or asleep",
      0};
}

// As large as the old one, or larger where the files need that: a file system takes its share.
std::int64_t room_for(const Receipt& source, std::int64_t size_bytes) {
  constexpr std::int64_t kMiB = std::int64_t{1} << 20, kGiB = std::int64_t{1} << 30, kPage = 4096;
  const std::int64_t needed = source.bytes + source.bytes / 8 + source.files * kPage + 64 * kMiB;
  return std::max(size_bytes, (needed + kGiB - 1) / kGiB * kGiB);
}

Operation restore_operation(const std::string& id, const Receipt& source, std::int64_t now_us) {
  Operation operation;
  operation.id = id;
  operation.kind = OperationKind::restore;
  operation.step = OperationStep::fill;
  operation.trigger = "restore";
  operation.source = source;
  operation.started_at_us = now_us;
  return operation;
}

Status refuse_restore(const Session& session) {
  ROOST_CHECK(refuse_another(session));
  const bool lost = session.phase == Phase::volume_lost;
  if (lost || awaits_restore(session)) return {};
  if (session.phase == Phase::asleep && !session.volume.uid.empty()) return {};
  return Error{Code::conflict,
               "session " + session.id + " is " + std::string(to_string(session.phase)) +
                   "; a backup is restored into a session that is asleep: put it to sleep first, or restore it as a new session",
               0};
}

// Nothing is released before its time to make room: it waits.
Status refuse_more_volumes(const Session& session, std::int64_t now_us) {
  const std::string of = "session " + session.id + " has " + std::to_string(kVolumesMax) + " volumes ";
  const std::string instead = "restore the backup as a new session, or into this one ";
  if (session.phase == Phase::asleep && session.kept_volumes.size() >= kVolumesMax) {
    const auto next = std::min_element(session.kept_volumes.begin(), session.kept_volumes.end(),
                                       [](const KeptVolume& a, const KeptVolume& b) { return a.until_us < b.until_us; });
    return Error{
        Code::exhausted,
        of + "that earlier restores replaced and that are still kept; " + instead + "after " + format_time(next->until_us),
        std::max<std::int64_t>(0, (next->until_us - now_us) / 1000)};
  }
  if (session.discarded_volumes.size() >= kVolumesMax)
    return Error{Code::exhausted,
                 of + "left by restores that came to nothing, which the platform has not removed yet; " + instead + "when it has",
                 0};
  return {};
}

// What the schedule is to know of a backup that is over.
void note_for_schedule(Session& session) {
  const Operation& operation = *session.operation;
  if (operation.kind != OperationKind::backup) return;
  ScheduledBackups& scheduled = session.scheduled;
  if (operation.outcome == OperationOutcome::succeeded) scheduled = {};
  if (!is_scheduled(operation) || operation.outcome == OperationOutcome::succeeded) return;
  const bool failed = operation.outcome == OperationOutcome::failed;
  if (failed && operation.live && operation.reason == reason::kUnsupported) {
    scheduled.awaits_sleep = true;
    return;
  }
  scheduled.tried_at_us = operation.started_at_us;
  if (failed) scheduled.failures += 1;
}

}  // namespace

std::int64_t tries(const Operation& operation) { return is_scheduled(operation) ? kScheduledTries : kTries; }

std::int64_t scheduled_places(std::int64_t tasks) { return std::max<std::int64_t>(1, tasks / 2); }

Status refuse_another(const Session& session) {
  if (session.wanted == Wanted::deleted) return Error{Code::conflict, "session " + session.id + " is being deleted", 0};
  if (!is_operating(session) || is_scheduled(*session.operation)) return {};
  return Error{Code::conflict,
               "a " + std::string(to_string(session.operation->kind)) + " of session " + session.id +
                   " is under way: operation " + session.operation->id,
               0};
}

Status begin_backup(Session& session, const std::string& id, const std::string& trigger, std::int64_t now_us) {
  ROOST_CHECK(refuse_another(session));
  ROOST_CHECK(refuse_phase(session, "it can be backed up"));
  if (session.volume.uid.empty())
    return Error{Code::conflict, "session " + session.id + " never had a volume: there is nothing to back up", 0};
  Operation operation;
  operation.id = id;
  operation.kind = OperationKind::backup;
  operation.step = OperationStep::backup;
  operation.trigger = trigger;
  operation.live = session.phase == Phase::running;
  operation.started_at_us = now_us;
  if (is_scheduled(operation) && is_operating(session))
    return Error{Code::conflict, "a backup of session " + session.id + " is under way", 0};
  cancel(session, kGaveWay);
  name_archive(session, operation, now_us);
  session.operation = std::move(operation);
  return {};
}

Status refuse_source(const BackupRecord& backup) {
  if (backup.state == "verified" && backup.receipt.verified_at_us > 0) return {};
  return Error{Code::conflict, "backup " + backup.id + " is " + backup.state + ": only a verified one is restored", 0};
}

Receipt source_of(const BackupRecord& backup) {
  Receipt source = backup.receipt;
  source.backup_id = backup.id;
  return source;
}

Status begin_restore(Session& session, const std::string& id, const Receipt& source, const std::string& token,
                     std::int64_t now_us) {
  ROOST_CHECK(refuse_restore(session));
  ROOST_CHECK(refuse_more_volumes(session, now_us));
  cancel(session, kGaveWay);
  Operation operation = restore_operation(id, source, now_us);
  Volume target = session.volume;
  session.volume_generation = std::max(session.volume_generation, session.volume.generation) + 1;
  target.generation = session.volume_generation;
  target.name = "pvc-" + session.id + "-g" + std::to_string(target.generation);
  target.token = token;
  target.uid.clear();
  target.size_bytes = room_for(source, target.size_bytes);
  operation.target = std::move(target);
  if (session.phase == Phase::asleep) {  // what is there is saved first
    operation.step = OperationStep::backup;
    name_archive(session, operation, now_us);
  }
  if (awaits_restore(session)) {
    session.reason.clear();
    session.message.clear();
  }
  session.operation = std::move(operation);
  return {};
}

void begin_restored(Session& session, const std::string& id, const Receipt& source, std::int64_t now_us) {
  session.volume.size_bytes = room_for(source, session.volume.size_bytes);
  session.operation = restore_operation(id, source, now_us);
  session.operation->target = session.volume;
}

std::string difference(const Receipt& source, const Receipt& read) {
  if (read.archive != source.archive) return "another archive was read than the one that was asked for";
  if (read.archive_sha256 != source.archive_sha256 || read.archive_bytes != source.archive_bytes)
    return "the archive is not the one that was verified";
  if (read.tree_hash != source.tree_hash) return "the archive's files are not those that were backed up";
  if (read.files != source.files || read.bytes != source.bytes) return "other files were restored than were backed up";
  if (read.verified_at_us <= 0) return "what was restored was not compared with the archive";
  return {};
}

void name_archive(const Session& session, Operation& operation, std::int64_t now_us) {
  std::int64_t time_us = now_us;
  const std::string* earlier[] = {&operation.backup_id, &session.last_backup.id,
                                  session.operation ? &session.operation->backup_id : &session.last_backup.id};
  for (const std::string* id : earlier) {
    if (!id->empty()) time_us = std::max(time_us, time_of(*id) + kSecondUs);
  }
  const std::string time = format_compact_time(time_us);
  operation.archive = "workspace-" + session.id + "-" + time + ".zip";
  operation.backup_id = session.id + "-" + time;
}

const RetiredTasks* to_remove(const Session& session) {
  const auto found =
      std::find_if(session.retired.begin(), session.retired.end(), [](const RetiredTasks& tasks) { return !tasks.removed; });
  return found == session.retired.end() ? nullptr : &*found;
}

void removed(Session& session, const RetiredTasks& tasks) {
  for (RetiredTasks& entry : session.retired) {
    if (entry == tasks) entry.removed = true;
  }
  while (session.retired.size() > kRemembered && session.retired.front().removed) session.retired.erase(session.retired.begin());
}

void explain_failed_restore(Session& session) {
  session.failures = session.next_attempt_at_us = 0;
  session.reason = "RestoreFailed";
  session.message =
      "the backup could not be restored, so the session has no files and is not started: " + session.operation->message;
}

bool is_own_discarded(const Session& session) {
  return std::any_of(session.discarded_volumes.begin(), session.discarded_volumes.end(), [&](const Volume& volume) {
    return volume.name == session.volume.name && volume.token == session.volume.token;
  });
}

void finish(Session& session, OperationOutcome outcome, std::string reason, std::string message) {
  Operation& operation = *session.operation;
  if (operation.target && outcome != OperationOutcome::succeeded) {
    session.discarded_volumes.push_back(*operation.target);
    session.spec_generation += 1;  // a start of its task that is still on its way is refused once this was applied
  }
  session.retired.push_back({operation.id, operation.attempt});
  operation.step = OperationStep::done;
  operation.outcome = outcome;
  operation.failures = 0;
  operation.reason = std::move(reason);
  operation.message = std::move(message);
  note_for_schedule(session);
  if (awaits_restore(session)) explain_failed_restore(session);
}

void cancel(Session& session, std::string message) {
  if (is_operating(session)) finish(session, OperationOutcome::cancelled, "Cancelled", std::move(message));
}

}  // namespace roost::operations
