// The operations that leave their session as it is wanted, beside what its workload does: a backup on demand or by schedule.
// What fails is tried again a few times with a backoff of its own, then the operation ends; the session is never held up by it.
#include <algorithm>

#include "engine/operations.hpp"
#include "engine/planner.hpp"

namespace roost {

namespace {

constexpr const char* kStalled = "the task makes no progress; it is stopped and tried again";

Step go_to(Session next, OperationStep where) {
  next.operation->step = where;
  next.operation->reason.clear();
  next.operation->message.clear();
  return step::Update{std::move(next)};
}

// The next attempt, or after too many failures the end.
Step again(Session next, std::string why, std::string message) {
  Operation& operation = *next.operation;
  operation.failures += 1;
  if (operation.failures >= operations::kTries) {
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
  operations::name_archive(next, *next.operation, now_us);
  return again(std::move(next), std::move(why), std::move(message));
}

Step give_up(Session next, std::string why, std::string message) {
  operations::finish(next, OperationOutcome::failed, std::move(why), std::move(message));
  return step::Fail{std::move(next), true};
}

// A task that runs and says what it waits for (a place on a node, an image) shows it; once it goes on, that is over.
Step wait_for_task(const Session& session, const Task& task, const PlanOptions& options) {
  const Operation& operation = *session.operation;
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
      return wait_for_task(session, task, options);
    }
    case TaskState::succeeded: {
      if (!task.receipt) return copy_again(session, reason::kNoReceipt, "the backup task ended well but left no receipt", now_us);
      if (!known.recorded) return step::RecordBackup{};
      Session next = session;
      next.operation->attempt += 1;
      return go_to(std::move(next), OperationStep::verify);
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
  if (operation.live == no_workload(w)) {  // put to sleep since it was asked for
    Session next = session;
    next.operation->live = !operation.live;
    return step::Update{std::move(next)};
  }
  return step::StartTask{TaskKind::backup};
}

// Whether the same archive may be read again; anything else makes a new one.
bool retries_verify(const std::string& why) {
  return why == "Killed" || why == "Unavailable" || why == "DeadlineExceeded" || why == "NoSpace";
}

Step plan_reading(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  if (!known.task) return step::ObserveTask{};
  const Task& task = *known.task;
  switch (task.state) {
    case TaskState::none:
      return known.previous_task_removed ? Step(step::StartTask{TaskKind::verify}) : Step(step::RemoveTasks{});
    case TaskState::running:
      if (known.task_stalled) return again(session, reason::kTaskStalled, kStalled);
      return wait_for_task(session, task, options);
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
  next.last_backup = {known.verified->backup_id.empty() ? session.operation->backup_id : known.verified->backup_id,
                      session.operation->started_at_us, session.operation->live};
  operations::finish(next, OperationOutcome::succeeded, "", "");
  return step::Update{std::move(next)};
}

}  // namespace

std::optional<Step> plan_disturbed(const Session& session, const Knowledge& known, std::int64_t now_us) {
  const Operation& operation = *session.operation;
  if (operation.live || operation.step != OperationStep::backup || no_workload(*known.workspace)) return std::nullopt;
  if (!known.task) return step::ObserveTask{};
  if (known.task->state == TaskState::none) return std::nullopt;  // nothing was copied yet
  if (!known.live) return step::Observe{true};
  return copy_again(session, reason::kWorkloadShowedUp, "a workload came while the files were copied at rest", now_us);
}

Step plan_beside(const Session& session, const Knowledge& known, Step chosen, std::int64_t now_us, const PlanOptions& options) {
  const bool settled = std::holds_alternative<step::Settled>(chosen);
  const auto* waits = std::get_if<step::Wait>(&chosen);
  if (!settled && !waits) return chosen;
  const VolumeVerdict volume = judge_volume(session, *known.workspace);
  if (volume != VolumeVerdict::ours) return give_up(session, reason::kVolumeLost, "the volume of this session is not there");
  if (known.operation_wait_ms > 0) {
    return waits ? Step(step::Wait{std::min(waits->ms, known.operation_wait_ms)})
                 : Step(step::Wait{known.operation_wait_ms, true});
  }
  Step next = session.operation->step == OperationStep::verify ? plan_reading(session, known, now_us, options)
                                                               : plan_copy(session, known, settled, now_us, options);
  if (auto* both = std::get_if<step::Wait>(&next); both && waits) *both = step::Wait{std::min(waits->ms, both->ms)};
  return next;
}

}  // namespace roost
