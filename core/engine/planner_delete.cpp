// The delete machine: stop, backup, verify, release the workload, release the volume, done. Each step can be repeated after a
// crash at any point; a step goes on only when what it needs is known now, and goes back to `stop` where a workload shows up.
#include <algorithm>

#include "engine/operations.hpp"
#include "engine/planner.hpp"

namespace roost {

namespace {

constexpr const char* kNoIncarnation = "none";  // no workload bears it: one that came since the look is a conflict

void clear_reason(Session& session) {
  session.failures = 0;
  session.next_attempt_at_us = 0;
  session.operation->reason.clear();
  session.operation->message.clear();
}

void give_reason(Session& session, std::string reason, std::string message) {
  session.operation->reason = std::move(reason);
  session.operation->message = std::move(message);
  session.phase = phase_of(session, nullptr);
}

Step go_to(Session next, OperationStep where) {
  clear_reason(next);
  next.operation->step = where;
  next.phase = phase_of(next, nullptr);
  return step::Update{std::move(next)};
}

// With the receipt goes what an admin accepted of it: the next one may name other losses.
void forget_receipt(Operation& operation) {
  operation.receipt.reset();
  operation.override_losses = false;
}

// A backup from the beginning, with a new attempt and a new archive.
Session begin_backup(Session next, std::int64_t now_us) {
  next.operation->step = OperationStep::backup;
  next.operation->attempt += 1;
  forget_receipt(*next.operation);
  operations::name_archive(next, *next.operation, now_us);
  return next;
}

Step fail(Session next, std::string why, std::string message) {
  give_reason(next, std::move(why), std::move(message));
  return step::Fail{std::move(next)};
}

// A state that only a human changes: said once, then looked at now and then.
Step block(const Session& session, const char* why, std::string message) {
  if (session.operation->reason == why && session.operation->message == message) return step::Wait{15'000};
  Session next = session;
  give_reason(next, why, std::move(message));
  return step::Update{std::move(next)};
}

Step block_volume(const Session& session, VolumeVerdict volume) {
  if (volume == VolumeVerdict::foreign) {
    return block(session, reason::kVolumeForeign,
                 "a volume of this session's name is there that is not its own; it is not touched");
  }
  return block(session, reason::kVolumeLost,
               "the volume is not there and no verified backup of it exists; bring it back, or delete without a backup");
}

// Somebody started a workload after the stop: what was saved may be out of date.
Step back_to_stop(const Session& session) {
  Session next = session;
  forget_receipt(*next.operation);
  next.operation->attempt += 1;
  return go_to(std::move(next), OperationStep::stop);
}

bool skips(const Session& session) { return session.operation->skip_backup; }

Step plan_stop(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  const Workspace& w = *known.workspace;
  const VolumeVerdict volume = judge_volume(session, w);
  if (volume == VolumeVerdict::lost || volume == VolumeVerdict::foreign) {
    if (!known.live) return step::Observe{true};
    if (!skips(session)) return block_volume(session, volume);
    if (no_workload(w)) return go_to(session, OperationStep::release_workload);
    return step::RemoveWorkload{w.observed.incarnation};  // an apply cannot stop it: it may not touch this volume;
  }
  if (volume == VolumeVerdict::never_made) {
    if (operations::is_own_discarded(session)) {  // what a restore began to fill, and no empty one in its place
      if (auto instead = plan_discarded_volumes(session, known, true)) return *std::move(instead);
    }
    if (!known.live) return step::Observe{true};
    if (volume_state(session, w) == VolumeState::missing && no_workload(w))
      return go_to(session, OperationStep::release_workload);
    if (known.applied_generation >= session.spec_generation && !known.apply_due) return step::Wait{options.poll_ms};
    return step::Apply{false, true};  // finds it by our token; then it is an ordinary one
  }
  if (no_workload(w) && is_fenced(session, known)) {
    if (!known.live) return step::Observe{true};
    if (skips(session)) return go_to(session, OperationStep::release_workload);
    Session next = session;
    clear_reason(next);
    next.phase = phase_of(next, nullptr);
    next.operation->step = OperationStep::backup;
    operations::name_archive(next, *next.operation, now_us);
    return step::Update{std::move(next)};
  }
  if (known.applied_generation >= session.spec_generation && !known.apply_due) return step::Wait{options.poll_ms};
  return step::Apply{false, false};
}

// A task that runs and says what it waits for (a place on a node, an image) shows it; once it goes on, that is over.
Step wait_for_task(const Session& session, const Task& task, const PlanOptions& options) {
  const std::string& shown = session.operation->reason;
  const bool over = task.reason.empty() && !shown.empty() && session.failures == 0;
  if (!over && (task.reason.empty() || task.reason == shown)) return step::Wait{options.poll_ms, true};
  Session next = session;
  give_reason(next, task.reason, task.message);
  return step::Update{std::move(next)};
}

// Nothing where no workload is seen, else what to do: one that came and may have written makes a copy worthless.
std::optional<Step> workload_gate(const Session& session, const Knowledge& known) {
  if (no_workload(*known.workspace)) return std::nullopt;
  return known.live ? back_to_stop(session) : Step(step::Observe{true});
}

Step plan_backup(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  if (skips(session)) return go_to(session, OperationStep::release_workload);
  if (auto instead = workload_gate(session, known)) return *std::move(instead);
  const Workspace& w = *known.workspace;
  if (!known.task) return step::ObserveTask{};
  switch (known.task->state) {
    case TaskState::running:
      if (known.task_stalled) return fail(begin_backup(session, now_us), reason::kTaskStalled, kStalled);
      return wait_for_task(session, *known.task, options);
    case TaskState::succeeded: {
      if (!known.task->receipt) {
        return fail(begin_backup(session, now_us), reason::kNoReceipt, "the backup task ended well but left no receipt");
      }
      if (!known.recorded) return step::RecordBackup{};
      Session next = session;
      next.operation->attempt += 1;
      return go_to(std::move(next), OperationStep::verify);
    }
    case TaskState::failed: {
      const std::string why = known.task->reason.empty() ? "BackupFailed" : known.task->reason;
      return fail(begin_backup(session, now_us), why, "the backup failed and is tried again: " + known.task->message);
    }
    case TaskState::none: break;
  }
  if (!known.live) return step::Observe{true};
  if (judge_volume(session, w) != VolumeVerdict::ours) return block_volume(session, judge_volume(session, w));
  if (session.operation->attempt > 1 && !known.previous_task_removed) return step::RemoveTasks{};
  return step::StartTask{TaskKind::backup};
}

Step plan_verify(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  if (skips(session)) return go_to(session, OperationStep::release_workload);
  if (auto instead = workload_gate(session, known)) return *std::move(instead);
  if (!known.task) return step::ObserveTask{};
  const Task& task = *known.task;
  switch (task.state) {
    case TaskState::none:
      return known.previous_task_removed ? Step(step::StartTask{TaskKind::verify}) : Step(step::RemoveTasks{});
    case TaskState::running: {
      if (!known.task_stalled) return wait_for_task(session, task, options);
      Session next = session;
      next.operation->attempt += 1;
      return fail(std::move(next), reason::kTaskStalled, kStalled);
    }
    case TaskState::failed: {
      const std::string why = task.reason.empty() ? "VerifyFailed" : task.reason;
      const std::string message = "reading the archive back failed: " + task.message;
      if (!retries_verify(why)) return fail(begin_backup(session, now_us), why, message + "; a new backup is made");
      Session next = session;
      next.operation->attempt += 1;
      return fail(std::move(next), why, message + "; it is read again");
    }
    case TaskState::succeeded: break;
  }
  if (!task.receipt)
    return fail(begin_backup(session, now_us), reason::kNoReceipt, "the verify task ended well but left no receipt");
  if (!known.mismatch.empty()) return fail(begin_backup(session, now_us), reason::kReceiptMismatch, known.mismatch);
  if (!known.verified) return step::RecordVerified{};
  Session next = session;
  next.operation->receipt = known.verified;
  return go_to(std::move(next), OperationStep::release_workload);
}

// Nothing where the receipt permits the release, else what to do instead.
std::optional<Step> receipt_gate(const Session& session, std::int64_t now_us) {
  const Operation& operation = *session.operation;
  if (operation.skip_backup || session.volume.uid.empty()) return std::nullopt;
  if (!operation.receipt)
    return fail(begin_backup(session, now_us), reason::kNoReceipt, "no receipt stands in the operation; a new backup is made");
  const std::string blocker = release_blocker(*operation.receipt, operation.id, session.volume.uid, operation.override_losses);
  if (blocker.empty()) return std::nullopt;
  if (!release_blocker(*operation.receipt, operation.id, session.volume.uid, true).empty()) {
    return fail(begin_backup(session, now_us), reason::kReceiptUnfit, blocker + "; a new backup is made");
  }
  return block(session, reason::kFilesSkipped, blocker + "; an admin may accept the loss");
}

// What a live look at the volume means for its release.
enum class Release { go, gone, foreign, stop };
Release judge_release(const Session& session, const Workspace& w) {
  if (!no_workload(w)) return Release::stop;
  switch (judge_volume(session, w)) {
    case VolumeVerdict::ours: return Release::go;
    case VolumeVerdict::lost: return Release::gone;
    case VolumeVerdict::foreign: return Release::foreign;
    case VolumeVerdict::never_made: break;
  }
  return volume_state(session, w) == VolumeState::missing ? Release::gone
                                                          : Release::stop;  // one was made meanwhile: it is dealt with as ours
}

Step plan_release_workload(const Session& session, const Knowledge& known, std::int64_t now_us) {
  if (auto instead = receipt_gate(session, now_us)) return *std::move(instead);
  if (!known.tasks_removed) return step::RemoveTasks{true};
  if (known.workload_released) return go_to(session, OperationStep::release_volume);
  if (!known.live) return step::Observe{true};
  const Workspace& w = *known.workspace;
  switch (judge_release(session, w)) {
    case Release::stop: return back_to_stop(session);
    case Release::foreign:
      if (!skips(session)) return block_volume(session, VolumeVerdict::foreign);
      break;
    case Release::go:
    case Release::gone: break;
  }
  return step::RemoveWorkload{kNoIncarnation};
}

Step plan_release_volume(const Session& session, const Knowledge& known, std::int64_t now_us) {
  if (auto instead = receipt_gate(session, now_us)) return *std::move(instead);
  if (auto instead = plan_kept_volumes(session, known, now_us, true)) return *std::move(instead);
  if (auto instead = plan_discarded_volumes(session, known, false)) return *std::move(instead);
  const bool needs_archive = !skips(session) && !session.volume.uid.empty();
  const Operation& operation = *session.operation;
  const bool checked = operation.receipt && known.archive_name == operation.receipt->archive;
  if (needs_archive && (known.archive == Knowledge::Archive::unknown || !checked)) return step::CheckArchive{*operation.receipt};
  if (!known.live) return step::Observe{true};
  Session next = session;
  switch (judge_release(session, *known.workspace)) {
    case Release::stop: return back_to_stop(session);
    case Release::foreign:
      if (!skips(session)) return block_volume(session, VolumeVerdict::foreign);
      break;  // not ours: left alone
    case Release::gone: break;
    case Release::go:
      if (needs_archive && known.archive == Knowledge::Archive::wrong) {
        return fail(begin_backup(session, now_us), reason::kArchiveMissing,
                    "the verified archive is not in the backup storage any more; a new backup is made");
      }
      return step::RemoveVolume{session.volume};
  }
  clear_reason(next);
  next.operation->step = OperationStep::done;
  next.operation->outcome = OperationOutcome::succeeded;
  if (skips(session)) give_reason(next, reason::kBackupSkipped, "deleted without a backup, as an admin asked");
  if (session.volume.uid.empty())
    give_reason(next, reason::kNothingToSave, "the session never had a volume: there was nothing to save");
  next.phase = phase_of(next, nullptr);
  return step::Update{std::move(next)};
}

}  // namespace

Step plan_delete(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  if (!session.operation || session.operation->kind != OperationKind::remove) {  // somebody edited it: it must not hang
    Session next = session;
    operations::cancel(next, "the session is deleted");
    next.operation.emplace();
    next.operation->id = session.id;
    next.operation->started_at_us = now_us;
    return step::Update{std::move(next)};
  }
  switch (session.operation->step) {
    case OperationStep::stop: return plan_stop(session, known, now_us, options);
    case OperationStep::backup: return plan_backup(session, known, now_us, options);
    case OperationStep::verify: return plan_verify(session, known, now_us, options);
    case OperationStep::release_workload: return plan_release_workload(session, known, now_us);
    case OperationStep::release_volume: return plan_release_volume(session, known, now_us);
    case OperationStep::fill:
    case OperationStep::swap: return back_to_stop(session);  // a delete has no such step: somebody edited it
    case OperationStep::done: break;
  }
  return known.reservation_freed ? Step(step::Bury{}) : Step(step::FreeReservation{});
}

}  // namespace roost
