// The operations that leave their session as it is wanted, beside what its workload does: a backup on demand or by schedule; a
// restore, which saves what is there, fills a new volume, and puts it in the place of the old one by one commit. What fails is
// tried again a few times with a backoff of its own, then the operation ends; the session is never held up by it.
#include <algorithm>

#include "engine/operations.hpp"
#include "engine/planner.hpp"

namespace roost {

namespace {

// A task of the schedule that has no place to run gives its turn to others after so long.
constexpr std::int64_t kPatienceUs = 1'800'000'000;

Step continue_at(Session next, OperationStep where) {
  next.operation->step = where;
  next.operation->reason.clear();
  next.operation->message.clear();
  return step::Update{std::move(next)};
}

// The next attempt, or after too many failures the end.
Step again(Session next, std::string why, std::string message) {
  Operation& operation = *next.operation;
  operation.failures += 1;
  if (operation.failures >= operations::tries(operation)) {
    operations::finish(next, OperationOutcome::failed, std::move(why), std::move(message));
    return step::Fail{std::move(next), true};
  }
  operation.attempt += 1;
  operation.reason = std::move(why);
  operation.message = std::move(message);
  return step::Fail{std::move(next), true};
}

// A copy from the beginning, into a new archive.
Step copy_again(Session next, std::string why, std::string message, std::int64_t now_us) {
  next.operation->step = OperationStep::backup;
  next.operation->receipt.reset();
  operations::name_archive(next, *next.operation, now_us);
  return again(std::move(next), std::move(why), std::move(message));
}

Step give_up(Session next, std::string why, std::string message) {
  operations::finish(next, OperationOutcome::failed, std::move(why), std::move(message));
  return step::Fail{std::move(next), true};
}

// A task that runs and says what it waits for (a place on a node, an image) shows it; once it goes on, that is over.
Step wait_for_task(const Session& session, const Task& task, std::int64_t now_us, const PlanOptions& options) {
  const Operation& operation = *session.operation;
  const bool waits = !task.reason.empty() && now_us - operation.started_at_us > kPatienceUs;
  if (waits && is_scheduled(operation)) return give_up(session, task.reason, task.message);
  if (operation.reason == task.reason || operation.failures > 0) return step::Wait{options.poll_ms, true};
  Session next = session;
  next.operation->reason = task.reason;
  next.operation->message = task.message;
  return step::Update{std::move(next)};
}

Step plan_copy(const Session& session, const Knowledge& known, bool settled, std::int64_t now_us, const PlanOptions& options) {
  const Operation& operation = *session.operation;
  const Workspace& w = *known.workspace;
  if (!known.task) return step::ObserveTask{};
  const Task& task = *known.task;
  switch (task.state) {
    case TaskState::running: {
      if (known.task_stalled) return copy_again(session, reason::kTaskStalled, kStalled, now_us);
      // It was to run beside a workload that is not there any more.
      const bool left_alone = operation.live && no_workload(w) && !task.reason.empty();
      if (left_alone) return copy_again(session, task.reason, task.message, now_us);
      return wait_for_task(session, task, now_us, options);
    }
    case TaskState::succeeded: {
      if (!task.receipt) return copy_again(session, reason::kNoReceipt, "the backup task ended well but left no receipt", now_us);
      if (!known.recorded) return step::RecordBackup{};
      Session next = session;
      next.operation->attempt += 1;
      return continue_at(std::move(next), OperationStep::verify);
    }
    case TaskState::failed: {
      const std::string why = task.reason.empty() ? "BackupFailed" : task.reason;
      return copy_again(session, why, "the backup failed: " + task.message, now_us);
    }
    case TaskState::none: break;
  }
  if (!settled) return step::Wait{options.poll_ms};  // the workload is on its way up or down
  if (!known.live) return step::Observe{true};
  if (operation.attempt > 1 && !known.previous_task_removed) return step::RemoveTasks{};
  if (operation.kind == OperationKind::restore) {  // its receipt is to permit a release: at rest, and nothing may start
    if (!no_workload(w)) return step::RemoveWorkload{w.observed.incarnation};
    if (!is_fenced(session, known)) return step::Apply{false, false};
  }
  if (operation.live == no_workload(w)) {  // put to sleep since it was asked for
    Session next = session;
    next.operation->live = !operation.live;
    return step::Update{std::move(next)};
  }
  return step::StartTask{TaskKind::backup};
}

Step plan_reading(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  if (!known.task) return step::ObserveTask{};
  const Task& task = *known.task;
  switch (task.state) {
    case TaskState::none:
      return known.previous_task_removed ? Step(step::StartTask{TaskKind::verify}) : Step(step::RemoveTasks{});
    case TaskState::running:
      if (known.task_stalled) return again(session, reason::kTaskStalled, kStalled);
      return wait_for_task(session, task, now_us, options);
    case TaskState::failed: {
      const std::string why = task.reason.empty() ? "VerifyFailed" : task.reason;
      const std::string message = "reading the archive back failed: " + task.message;
      return retries_verify(why) ? again(session, why, message) : copy_again(session, why, message, now_us);
    }
    case TaskState::succeeded: break;
  }
  if (!task.receipt) return copy_again(session, reason::kNoReceipt, "the verify task ended well but left no receipt", now_us);
  if (!known.mismatch.empty()) return copy_again(session, reason::kReceiptMismatch, known.mismatch, now_us);
  if (!known.verified) return step::RecordVerified{};
  Session next = session;
  next.operation->receipt = known.verified;
  if (session.operation->kind == OperationKind::restore) {
    const std::string blocker = release_blocker(*known.verified, session.operation->id, session.volume.uid, false);
    if (!blocker.empty()) {
      return give_up(
          session, known.verified->skipped.empty() ? reason::kReceiptUnfit : reason::kFilesSkipped,
          "what is there now cannot be saved whole, so it is not replaced: " + blocker + "; restore the backup as a new session");
    }
    next.operation->attempt += 1;
    return continue_at(std::move(next), OperationStep::fill);
  }
  next.last_backup = {known.verified->backup_id.empty() ? session.operation->backup_id : known.verified->backup_id,
                      session.operation->started_at_us, session.operation->live, session.wake_count};
  operations::finish(next, OperationOutcome::succeeded, "", "");
  return step::Update{std::move(next)};
}

// The archive or the place for it is no good: another attempt cannot be better.
bool is_hopeless(const std::string& why) {
  for (const char* reason : {"Corrupt", "NotFound", "Exists", "NoSpace", "InvalidTask", "Unsupported"}) {
    if (why == reason) return true;
  }
  return false;
}

Step plan_filled(const Session& session, const Knowledge& known) {
  const Operation& operation = *session.operation;
  if (!known.task->receipt) return again(session, reason::kNoReceipt, "the restore task ended well but left no receipt");
  if (std::string differs = operations::difference(*operation.source, *known.task->receipt); !differs.empty())
    return give_up(session, reason::kReceiptMismatch, std::move(differs));
  if (!known.live) return step::Observe{true};
  const SeenVolume* filled = find_volume(*known.workspace, *operation.target);
  if (!filled) return again(session, reason::kVolumeLost, "the volume that was filled is not there");
  Session next = session;
  next.operation->target->uid = filled->uid;
  next.operation->source->not_restored = known.task->receipt->not_restored;
  return continue_at(std::move(next), OperationStep::swap);
}

// A workload that is still there is on its way down; but nobody stops one whose volume is lost, and an apply cannot: it may not
// touch what is there instead.
Step plan_no_workload(const Session& session, const Knowledge& known, const PlanOptions& options) {
  const Workspace& w = *known.workspace;
  const VolumeVerdict volume = judge_volume(session, w);
  const bool stays =
      w.workload_state != WorkloadState::stopping && (volume == VolumeVerdict::lost || volume == VolumeVerdict::foreign);
  if (!stays) return step::Wait{options.poll_ms};
  return known.live ? Step(step::RemoveWorkload{w.observed.incarnation}) : Step(step::Observe{true});
}

Step plan_fill(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  if (!known.task) return step::ObserveTask{};
  const Task& task = *known.task;
  switch (task.state) {
    case TaskState::running:
      return known.task_stalled ? again(session, reason::kTaskStalled, kStalled) : wait_for_task(session, task, now_us, options);
    case TaskState::failed: {
      const std::string why = task.reason.empty() ? "RestoreFailed" : task.reason;
      const std::string message = "the backup could not be restored: " + task.message;
      return is_hopeless(why) ? give_up(session, why, message) : again(session, why, message);
    }
    case TaskState::succeeded: return plan_filled(session, known);
    case TaskState::none: break;
  }
  if (!no_workload(*known.workspace)) return plan_no_workload(session, known, options);
  if (!known.live) return step::Observe{true};
  if (!known.workspace->volumes)
    return give_up(session, reason::kUnsupported, "the compute plugin cannot hold several volumes of a session");
  if (session.operation->attempt > 1 && !known.previous_task_removed) return step::RemoveTasks{};
  return step::StartTask{TaskKind::restore};
}

// The filled volume takes the place of the old one, which is kept with the receipt that was taken of it.
Session swapped(Session next, bool keep, std::int64_t now_us, const PlanOptions& options) {
  const Operation& operation = *next.operation;
  if (keep) next.kept_volumes.push_back({next.volume, *operation.receipt, now_us + options.kept_volume_us});
  next.volume = *operation.target;
  next.spec_generation += 1;
  next.last_backup = {operation.source->backup_id, now_us, operation.source->live};
  next.reason.clear();
  next.message.clear();
  operations::finish(next, OperationOutcome::succeeded, "", "");
  return next;
}

Step plan_swap(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  const Operation& operation = *session.operation;
  const Workspace& w = *known.workspace;
  if (!known.tasks_removed) return step::RemoveTasks{true};
  if (!known.live) return step::Observe{true};
  if (!no_workload(w)) return plan_no_workload(session, known, options);
  const SeenVolume* filled = find_volume(w, *operation.target);
  if (!filled || filled->uid != operation.target->uid) {
    Session next = session;
    next.operation->step = OperationStep::fill;
    return again(std::move(next), reason::kVolumeLost, "the volume that was filled is not there any more");
  }
  if (judge_volume(session, w) != VolumeVerdict::ours) return step::Update{swapped(session, false, now_us, options)};
  if (!operation.receipt)  // a lost volume that came back: it may hold what nobody has saved
    return copy_again(session, reason::kNoReceipt, "the volume of this session is there again and is saved first", now_us);
  const std::string blocker = release_blocker(*operation.receipt, operation.id, session.volume.uid, false);
  if (!blocker.empty()) return copy_again(session, reason::kReceiptUnfit, blocker + "; a new backup is made", now_us);
  if (!is_fenced(session, known)) return step::Apply{false, false};
  return step::Update{swapped(session, true, now_us, options)};
}

}  // namespace

std::optional<Step> plan_disturbed(const Session& session, const Knowledge& known, std::int64_t now_us) {
  const Operation& operation = *session.operation;
  if (operation.live || no_workload(*known.workspace)) return std::nullopt;
  constexpr const char* kCame = "a workload came while the files were at rest";
  const bool copied = operation.kind == OperationKind::restore && (operation.receipt || operation.step == OperationStep::verify);
  if (copied) {  // it may have written since
    if (!known.live) return step::Observe{true};
    return copy_again(session, reason::kWorkloadShowedUp, kCame, now_us);
  }
  if (operation.step != OperationStep::backup) return std::nullopt;
  if (!known.task) return step::ObserveTask{};
  if (known.task->state == TaskState::none) return std::nullopt;  // nothing was copied yet
  if (!known.live) return step::Observe{true};
  return copy_again(session, reason::kWorkloadShowedUp, kCame, now_us);
}

Step plan_beside(const Session& session, const Knowledge& known, Step chosen, std::int64_t now_us, const PlanOptions& options) {
  const bool settled = std::holds_alternative<step::Settled>(chosen);
  const auto* waits = std::get_if<step::Wait>(&chosen);
  if (!settled && !waits) return chosen;
  const OperationStep where = session.operation->step;
  const bool saves = where == OperationStep::backup || where == OperationStep::verify;
  if (saves && judge_volume(session, *known.workspace) != VolumeVerdict::ours)
    return give_up(session, reason::kVolumeLost, "the volume of this session is not there");
  if (known.operation_wait_ms > 0) {
    return waits ? Step(step::Wait{std::min(waits->ms, known.operation_wait_ms)})
                 : Step(step::Wait{known.operation_wait_ms, true});
  }
  Step next = where == OperationStep::backup   ? plan_copy(session, known, settled, now_us, options)
              : where == OperationStep::verify ? plan_reading(session, known, now_us, options)
              : where == OperationStep::fill   ? plan_fill(session, known, now_us, options)
                                               : plan_swap(session, known, now_us, options);
  if (auto* both = std::get_if<step::Wait>(&next); both && waits) *both = step::Wait{std::min(waits->ms, both->ms)};
  return next;
}

}  // namespace roost
