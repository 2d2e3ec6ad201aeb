// What the reconciler does about tasks, and about what they prove.
#include <algorithm>

#include "engine/documents.hpp"
#include "engine/operations.hpp"
#include "engine/reconciler.hpp"

namespace roost {

namespace {

constexpr std::int64_t kTaskPlaceMs = 3'600'000;

// How what verify read differs from what the backup wrote; empty: not at all.
std::string compare(const Operation& operation, const Session& session, const Receipt& written, const Receipt& read) {
  auto other = [](const std::string& said, const std::string& expected) { return !said.empty() && said != expected; };
  if (written.archive != operation.archive || read.archive != operation.archive) return "the receipts are of another archive";
  if (written.operation_id != operation.id || other(read.operation_id, operation.id))
    return "the receipts are of another operation";
  if (written.session_id != session.id || other(read.session_id, session.id)) return "the receipts are of another session";
  if (written.volume_uid != session.volume.uid || other(read.volume_uid, session.volume.uid))
    return "the receipts are of another volume";
  if (written.archive_sha256.empty() || written.archive_sha256 != read.archive_sha256)
    return "the archive as read differs from the archive as written";
  if (written.tree_hash != read.tree_hash) return "the archive's manifest differs from the one that was written";
  if (written.files != read.files || written.bytes != read.bytes) return "the archive holds other files than were written";
  if (written.archive_bytes != read.archive_bytes) return "the archive has another size than was written";
  if (read.verified_at_us <= 0) return "the archive was not read back";
  return {};
}

// One receipt out of both: what the backup saw of the volume, and that the archive was read back.
Receipt merge(const Receipt& written, const Receipt& read) {
  Receipt merged = written;
  merged.verified_at_us = read.verified_at_us;
  merged.live |= read.live;
  merged.exclusions |= read.exclusions;
  if (merged.skipped.empty()) merged.skipped = read.skipped;
  return merged;
}

}  // namespace

// ---- tasks --------------------------------------------------------------------------------------------------------------

void Reconciler::start_task(Work& work, const Session& session, TaskKind kind) {
  if (!take_place(tasks_, work.id, kTaskPlaceMs)) {
    return park(work, context_.reads.find(work.id), tasks_, reason::kTaskLimit);
  }
  work.waits_for = nullptr;
  const Operation& operation = *session.operation;
  TaskSpec spec;
  spec.id = session.id;
  spec.operation = operation.id;
  spec.attempt = operation.attempt;
  spec.kind = kind;
  if (kind == TaskKind::backup) spec.volume = session.volume;
  spec.live = kind == TaskKind::backup && operation.live;
  spec.exclusions = kind == TaskKind::backup && is_scheduled(operation);
  spec.archive = operation.archive;
  spec.backup_id = operation.backup_id;
  spec.user_id = session.user_id;
  if (kind == TaskKind::restore) {
    spec.volume = *operation.target;
    spec.archive = operation.source->archive;
    spec.backup_id = operation.source->backup_id;
    spec.generation = session.spec_generation;
    spec.bytes = operation.source->bytes;
  }
  context_.ports.compute->task_start(std::move(spec), call_done<Task>(work, [this](Work& w, Result<Task> started) {
                                       if (!started) {
                                         give_place(tasks_, w.id);
                                         return operation_failed(w, "start the task", started.error());
                                       }
                                       w.misses = w.operation_misses = 0;
                                       w.known.live = false;
                                       if (started->state == TaskState::none)
                                         started->state = TaskState::running;  // not to be seen yet
                                       note_task(w, *std::move(started));
                                     }));
}

void Reconciler::observe_task(Work& work, const Session& session) {
  const Operation& operation = *session.operation;
  context_.ports.compute->task_observe(session.id, operation.id, operation.attempt,
                                       call_done<Task>(work, [this](Work& w, Result<Task> seen) {
                                         if (!seen) return look_failed(w, "observe the task", seen.error());
                                         w.look_misses = 0;
                                         note_task(w, *std::move(seen));
                                         if (w.last_task.state == TaskState::running)
                                           tasks_.taken[w.id] = context_.mono_ms() + kTaskPlaceMs;
                                         if (w.last_task.state != TaskState::running) give_place(tasks_, w.id);
                                       }));
}

void Reconciler::note_task(Work& work, Task seen) {
  const bool moved = seen.progress_bytes != work.last_task.progress_bytes || seen.progress_files != work.last_task.progress_files;
  if (seen.state != TaskState::running) work.progress_ms = 0;
  if (seen.state == TaskState::running && (moved || work.progress_ms == 0)) work.progress_ms = context_.mono_ms();
  work.last_task = seen;
  work.known.task = std::move(seen);
}

Json Reconciler::progress_of(const Json& operation) const {
  const auto found = works_.find(operation["session_id"].as_string());
  if (found == works_.end() || found->second.last_task.state != TaskState::running) return {};
  const Work& work = found->second;
  const Task& task = work.last_task;
  std::int64_t total_bytes = task.total_bytes;
  std::int64_t total_files = task.total_files;
  if (task.progress_bytes <= 0 && task.progress_files <= 0 && total_bytes < 0 && total_files < 0) return {};
  // What reads an archive knows the number of its entries; what they hold was counted when they were saved.
  const std::string& step = operation["step"].as_string();
  if (step == to_string(OperationStep::fill)) {
    total_bytes = operation["source"]["bytes"].as_int(-1);
    total_files = operation["source"]["files"].as_int(-1);
  }
  const bool saved_it = operation["id"].as_string() == work.saved_by;
  if (step == to_string(OperationStep::verify) && total_bytes < 0 && saved_it) total_bytes = work.saved_bytes;
  Json progress = Json::object({{"bytes", task.progress_bytes}, {"files", task.progress_files}});
  if (total_bytes >= 0) progress.set("total_bytes", total_bytes);
  if (total_files >= 0) progress.set("total_files", total_files);
  return progress;
}

// `then` hears how it went: the caller says what a failure means.
void Reconciler::remove_tasks(Work& work, const std::string& operation, std::int64_t first, std::int64_t last,
                              std::function<void(Work&, Status)> then) {
  if (first > last) {
    then(work, {});
    return enqueue(work.id);
  }
  context_.ports.compute->task_remove(work.id, operation, first,
                                      call_done<void>(work, [this, operation, first, last, then](Work& w, Status removed) {
                                        if (!removed) return then(w, removed.error());
                                        if (first < last) return remove_tasks(w, operation, first + 1, last, then);
                                        w.known.live = false;
                                        give_place(tasks_, w.id);
                                        then(w, {});
                                      }));
}

// ---- receipts -----------------------------------------------------------------------------------------------------------

void Reconciler::record_backup(Work& work, const Session& session) {
  BackupRecord record;
  record.id = session.operation->backup_id;
  record.session_id = session.id;
  record.user_id = session.user_id;
  record.archive = session.operation->archive;
  record.created_at_us = context_.wall_us();
  record.trigger = session.operation->trigger;
  record.state = "started";
  record.receipt = *work.known.task->receipt;
  record.receipt.live |= session.operation->live;
  work.saved_by = session.operation->id;
  work.saved_bytes = record.receipt.bytes;
  const std::string partition = documents::backup_partition(session.id);
  Commit put;
  put.partition = partition;
  put.conditions.push_back({Condition::Kind::absent, documents::backup_key(record.id), 0});
  put.operations.push_back({StoreOperation::Kind::put, documents::backup_key(record.id), to_json(record).dump(), 0});
  context_.commit(std::move(put), step_done<CommitResult>(work, [this, partition, record](Work& w, Result<CommitResult> result) {
                    if (result) {
                      w.known.recorded = true;
                      return;
                    }
                    if (result.error().code == Code::conflict)
                      return replace_record(w, partition, record);  // of an earlier start, before a crash
                    operation_failed(w, "record the backup", result.error());
                  }));
}

void Reconciler::replace_record(Work& work, const std::string& partition, const BackupRecord& record) {
  context_.get(partition, documents::backup_key(record.id),
               step_done<Document>(work, [this, partition, record](Work& w, Result<Document> found) {
                 if (!found) return operation_failed(w, "record the backup", found.error());
                 auto present = documents::decode_backup(*found);
                 if (present && (present->state == "verified" || present->receipt == record.receipt)) {
                   w.known.recorded = true;
                   return;
                 }
                 Commit put;
                 put.partition = partition;
                 put.conditions.push_back({Condition::Kind::revision, found->key, found->revision});
                 put.operations.push_back({StoreOperation::Kind::put, found->key, to_json(record).dump(), 0});
                 context_.commit(std::move(put), step_done<CommitResult>(w, [this](Work& again, Result<CommitResult> result) {
                                   if (!result) return operation_failed(again, "record the backup", result.error());
                                   again.known.recorded = true;
                                 }));
               }));
}

void Reconciler::record_verified(Work& work, const Session& session) {
  const Operation operation = *session.operation;
  const Receipt read = *work.known.task->receipt;
  const std::string partition = documents::backup_partition(session.id);
  context_.get(partition, documents::backup_key(operation.backup_id),
               step_done<Document>(work, [=, this](Work& w, Result<Document> found) {
                 if (!found && found.error().code == Code::not_found) {
                   w.known.mismatch = "the catalogue does not know what the backup wrote";
                   return;
                 }
                 if (!found) return operation_failed(w, "record the receipt", found.error());
                 auto record = documents::decode_backup(*found);
                 SessionView view = context_.reads.find(w.id);
                 if (!record || !view) {
                   w.known.mismatch = record ? "" : record.error().message;
                   return;
                 }
                 w.known.mismatch = compare(operation, view->session, record->receipt, read);
                 if (!w.known.mismatch.empty()) return;
                 const Receipt merged = merge(record->receipt, read);
                 record->receipt = merged;
                 record->state = "verified";
                 Commit put;
                 put.partition = partition;
                 put.conditions.push_back({Condition::Kind::revision, found->key, found->revision});
                 put.operations.push_back({StoreOperation::Kind::put, found->key, to_json(*record).dump(), 0});
                 context_.commit(std::move(put),
                                 step_done<CommitResult>(w, [this, merged](Work& again, Result<CommitResult> result) {
                                   if (!result) return operation_failed(again, "record the receipt", result.error());
                                   again.known.verified = merged;
                                 }));
               }));
}

void Reconciler::check_archive(Work& work, const Receipt& receipt) {
  auto checked = step_done<BackupStorage::Object>(work, [this, receipt](Work& w, Result<BackupStorage::Object> object) {
    if (!object && object.error().code != Code::not_found) return operation_failed(w, "look for the archive", object.error());
    const bool right = object.ok() && object->size == receipt.archive_bytes;
    w.known.archive = right ? Knowledge::Archive::right : Knowledge::Archive::wrong;
    w.known.archive_name = receipt.archive;
  });
  context_.ports.backup->stat(receipt.archive, context_.counted<BackupStorage::Object>(context_.backup_ok, std::move(checked)));
}

}  // namespace roost
