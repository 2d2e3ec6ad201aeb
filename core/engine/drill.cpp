#include "engine/drill.hpp"

#include <algorithm>

#include "engine/planner.hpp"

namespace roost {

namespace {

constexpr std::size_t kDueMax = 1'000;
constexpr std::int64_t kAttempts = 2;       // readings before it counts as damaged
constexpr std::int64_t kAgainMs = 600'000;  // after one that could not be done
constexpr std::int64_t kSeenMs = 120'000;   // a list of the platform may be so old
constexpr std::int64_t kGapMinMs = 1'000, kGapMaxMs = 3'600'000;

bool reads_back(const BackupRecord& record, const Receipt& read, std::string& why) {
  const Receipt& made = record.receipt;
  if (read.session_id != record.session_id || read.archive != record.archive) why = "it is another backup's archive";
  if (!made.archive_sha256.empty() && made.archive_sha256 != read.archive_sha256)
    why = "its archive is sound, but not the one that was stored";
  if (!made.tree_hash.empty() && made.tree_hash != read.tree_hash)
    why = "its archive is sound, but holds other files than were saved";
  return why.empty();
}

Json drill_data(const BackupRecord& record, const std::string& detail) {
  return Json::object({{"uuid", record.session_id}, {"backup_id", record.id}, {"archive", record.archive}, {"detail", detail}});
}

}  // namespace

bool Drill::session_is_busy(const std::string& session_id) const {
  const SessionView view = context_.reads.find(session_id);
  return view && view->session.operation && view->session.operation->step != OperationStep::done;
}

bool Drill::reads_for(const std::string& session_id) const {
  if (running_ && running_->record.session_id == session_id) return true;
  return last_session_ == session_id && context_.mono_ms() - last_ended_ms_ < kSeenMs;
}

bool Drill::may_begin_late(const std::string& operation) {
  std::erase_if(late_, [now_ms = context_.mono_ms()](const auto& entry) { return entry.second <= now_ms; });
  return late_.count(operation) != 0;
}

void Drill::offer(const BackupRecord& record, std::int64_t of) {
  of_ = of;
  const std::int64_t proven_us = last_proven_us(record);
  const bool asked = record.verify_asked_at_us != 0;
  const bool due = context_.wall_us() - proven_us >= context_.options.backup_drill_ms * 1000;
  if ((!asked && !(due && is_good(record))) || is_running(record.id)) return;
  const bool urgent = asked || proven_us == 0;  // one that recovery found was never read
  due_[{urgent ? 0 : 1, asked ? record.verify_asked_at_us : proven_us, record.id}] = record;
  if (due_.size() > kDueMax) due_.erase(std::prev(due_.end()));  // the walk offers it again
  start_next();
}

void Drill::start_next() {
  if (running_ || due_.empty() || context_.stopping || !leader_.valid()) return;
  const bool urgent = std::get<0>(due_.begin()->first) == 0;
  const std::int64_t wait_ms = urgent ? 0 : not_before_ms_ - context_.mono_ms();
  if (wait_ms > 0) {
    if (timer_ == 0) {
      timer_ = context_.after_ms(wait_ms, [this] {
        timer_ = 0;
        start_next();
      });
    }
    return;
  }
  const BackupRecord record = due_.begin()->second;
  due_.erase(due_.begin());
  if (session_is_busy(record.session_id)) return context_.post([this] { start_next(); });  // the next walk offers it again
  start(record);
}

void Drill::start(const BackupRecord& record) {
  auto running = std::make_shared<Running>();
  running->record = record;
  running->operation = context_.ports.random->hex(4);
  running->moved_ms = context_.mono_ms();
  running_ = running;
  const auto change = [operation = running->operation](BackupRecord& now) -> std::optional<Error> {
    const bool readable = now.state != "deleting" && now.state != "deleted";
    if (!readable) return Error{Code::conflict, "it is being removed", 0};
    if (!now.drill.empty()) return Error{Code::conflict, "an earlier reading is not cleared up yet", 0};
    now.drill = operation;
    return std::nullopt;
  };
  catalogue_.update(record.id, change, [this, running](Result<BackupRecord> written) {
    if (written && leader_.valid()) {
      running->record = *std::move(written);
      return start_task(running);
    }
    running_.reset();
    context_.post([this] { start_next(); });
  });
}

void Drill::start_task(const RunningPointer& running) {
  TaskSpec spec;
  spec.id = running->record.session_id;
  spec.operation = running->operation;
  spec.attempt = running->attempt;
  spec.kind = TaskKind::verify;
  spec.archive = running->record.archive;
  spec.backup_id = running->record.id;
  spec.user_id = running->record.user_id;
  context_.ports.compute->task_start(
      std::move(spec), context_.counted<Task>(context_.compute_ok, [this, running](const Result<Task>& started) {
        const bool unknown = !started && started.error().code == Code::outcome_unknown;  // it is observed whether it began
        if (unknown) late_[running->operation] = context_.mono_ms() + Leader::kStragglersMs;
        if (!started && !unknown) return finish(running, {Outcome::Kind::postponed, started.error().message, std::nullopt});
        poll(running);
      }));
}

void Drill::poll(const RunningPointer& running) {
  context_.after_ms(context_.options.poll_ms, [this, running] {
    if (context_.stopping || !leader_.valid()) {  // whoever leads next clears it up
      running_.reset();
      return;
    }
    if (session_is_busy(running->record.session_id))
      return finish(running, {Outcome::Kind::postponed, "its session has other work", std::nullopt});
    context_.ports.compute->task_observe(running->record.session_id, running->operation, running->attempt,
                                         context_.counted<Task>(context_.compute_ok, [this, running](const Result<Task>& task) {
                                           if (!task) return poll(running);
                                           observed(running, *task);
                                         }));
  });
}

void Drill::observed(const RunningPointer& running, const Task& task) {
  const std::int64_t now_ms = context_.mono_ms();
  const bool stalled = now_ms - running->moved_ms > context_.options.task_stall_ms;
  switch (task.state) {
    case TaskState::running:
      if (task.progress_bytes != running->bytes) {
        running->bytes = task.progress_bytes;
        running->moved_ms = now_ms;
      }
      if (stalled) return finish(running, {Outcome::Kind::postponed, "the reading does not move", std::nullopt});
      return poll(running);
    case TaskState::none:
      if (may_begin_late(running->operation)) return poll(running);
      return finish(running, {Outcome::Kind::postponed, "its task is gone", std::nullopt});
    case TaskState::failed: return failed(running, task);
    case TaskState::succeeded: break;
  }
  std::string why = task.receipt ? "" : "the reading left no receipt";
  if (task.receipt && reads_back(running->record, *task.receipt, why))
    return finish(running, {Outcome::Kind::proven, "", task.receipt});
  if (!task.receipt) return finish(running, {Outcome::Kind::postponed, why, std::nullopt});
  Task other = task;
  other.reason = "Corrupt";
  other.message = why;
  failed(running, other);
}

void Drill::failed(const RunningPointer& running, const Task& task) {
  // A task's keys may be of the kind that is not told whether something is absent or out of bounds.
  if (task.reason == "NotFound" || task.reason == "Unreadable") return confirm_missing(running, task);
  if (task.reason != "Corrupt")
    return finish(running, {Outcome::Kind::postponed, task.reason + ": " + task.message, std::nullopt});
  if (running->attempt >= kAttempts) return finish(running, {Outcome::Kind::damaged, task.message, std::nullopt});
  context_.log(2, "a backup does not read back; it is read once more", drill_data(running->record, task.message));
  ++running->attempt;
  running->bytes = -1;
  running->moved_ms = context_.mono_ms();
  start_task(running);
}

void Drill::confirm_missing(const RunningPointer& running, const Task& task) {
  context_.ports.backup->stat(
      running->record.archive,
      context_.counted<BackupStorage::Object>(context_.backup_ok, [this, running, why = task.reason + ": " + task.message](
                                                                      const Result<BackupStorage::Object>& object) {
        const bool gone = !object && object.error().code == Code::not_found;
        if (gone) return finish(running, {Outcome::Kind::missing, "the archive is not in the storage", std::nullopt});
        finish(running, {Outcome::Kind::postponed, why, std::nullopt});
      }));
}

// The record as it is now, which somebody may have changed meanwhile.
std::optional<Error> Drill::write_down(BackupRecord& record, const Outcome& outcome) const {
  if (record.state == "deleting" || record.state == "deleted") return std::nullopt;
  if (outcome.kind == Outcome::Kind::postponed) return std::nullopt;
  record.verify_asked_at_us = 0;
  const std::int64_t now_us = context_.wall_us();
  if (outcome.kind == Outcome::Kind::proven) {
    record.last_proven_us = now_us;
    record.state = "verified";
    record.note.reset();
    if (record.receipt.archive_sha256.empty()) record.receipt.archive_sha256 = outcome.receipt->archive_sha256;
    if (record.receipt.verified_at_us == 0) record.receipt.verified_at_us = now_us;
    return std::nullopt;
  }
  const char* state = outcome.kind == Outcome::Kind::damaged ? "damaged" : "missing";
  if (record.state != state) record.note = BackupNote{outcome.detail, "drill", now_us};
  record.state = state;
  return std::nullopt;
}

// A task that could not be removed stays named in the record, and is removed by the keeper's next visit.
void Drill::finish(const RunningPointer& running, Outcome outcome) {
  remove_tasks(running->record.session_id, running->operation, running->attempt, [this, running, outcome](bool removed) {
    const auto change = [this, outcome, removed, operation = running->operation](BackupRecord& record) {
      if (removed && !may_begin_late(operation) && record.drill == operation) record.drill.clear();
      return write_down(record, outcome);
    };
    catalogue_.update(running->record.id, change,
                      [this, running, outcome](const Result<BackupRecord>& written) { ended(running, outcome, written); });
  });
}

void Drill::ended(const RunningPointer& running, const Outcome& outcome, const Result<BackupRecord>& written) {
  const BackupRecord& before = running->record;
  const bool judged =
      outcome.kind != Outcome::Kind::postponed && written && written->state != "deleting" && written->state != "deleted";
  const bool changed = judged && written->state != before.state;
  std::int64_t wait_ms =
      std::clamp(context_.options.backup_drill_ms / (2 * std::max<std::int64_t>(1, of_)), kGapMinMs, kGapMaxMs);
  switch (outcome.kind) {
    case Outcome::Kind::proven: ++counters.proven; break;
    case Outcome::Kind::damaged: ++counters.damaged; break;
    case Outcome::Kind::missing: ++counters.missing; break;
    case Outcome::Kind::postponed:
      ++counters.failed;
      wait_ms = kAgainMs;
      context_.log(2, "a backup could not be read again; it is tried later", drill_data(before, outcome.detail));
      break;
  }
  if (!written) context_.log(2, "the catalogue did not take what a drill found", drill_data(before, written.error().message));
  if (changed) {
    const bool bad = written->state != "verified";
    context_.log(bad ? 3 : 1, bad ? "a backup is no longer good" : "a backup is good again",
                 drill_data(*written, outcome.detail));
    context_.emit({written->session_id, written->user_id, "backup." + written->state, context_.wall_us(),
                   drill_data(*written, outcome.detail)});
  }
  last_session_ = before.session_id;
  last_ended_ms_ = context_.mono_ms();
  not_before_ms_ = context_.mono_ms() + context_.jitter(wait_ms);
  if (running_ == running) running_.reset();
  start_next();
}

void Drill::remove_tasks(const std::string& session_id, const std::string& operation, std::int64_t attempt,
                         std::function<void(bool removed)> then) {
  auto answered = [this, session_id, operation, attempt, then = std::move(then)](const Status& removed) {
    if (!removed.ok()) return then(false);
    if (attempt > 1) return remove_tasks(session_id, operation, attempt - 1, then);
    then(true);
  };
  context_.ports.compute->task_remove(session_id, operation, attempt,
                                      context_.counted<void>(context_.compute_ok, std::move(answered)));
}

void Drill::clear_left(const BackupRecord& record, std::function<void()> done) {
  if (may_begin_late(record.drill)) return done();
  remove_tasks(record.session_id, record.drill, kAttempts, [this, record, done = std::move(done)](bool removed) {
    if (!removed) return done();
    const auto change = [operation = record.drill](BackupRecord& now) -> std::optional<Error> {
      if (now.drill == operation) now.drill.clear();
      return std::nullopt;
    };
    catalogue_.update(record.id, change, [done](const Result<BackupRecord>&) { done(); });
  });
}

}  // namespace roost
