// Drill: reads backups again, one at a time, the one longest unproven first, and writes down what came of it. A task of compute
// does the reading, as after a backup; what does not read back is read a second time before it counts as damaged.
// Thread safety: the engine's thread only. Invariant: the record names the task's operation before the task begins, so that a
// crash leaves none behind.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>

#include "engine/catalogue.hpp"
#include "engine/leader.hpp"

namespace roost {

class Drill {
 public:
  Drill(Context& context, Catalogue& catalogue, Leader& leader) : context_(context), catalogue_(catalogue), leader_(leader) {}

  // It may be due. `of`: how many backups there are to be read within the interval; sets the pace.
  void offer(const BackupRecord& record, std::int64_t of);
  // The record names a drill that is not under way here: its task is removed, the record cleared. Only once it cannot begin any
  // more.
  void clear_left(const BackupRecord& record, std::function<void()> done);
  [[nodiscard]] bool is_running(const std::string& id) const { return running_ && running_->record.id == id; }
  // Whether a task of a reading may be seen among what the platform holds of that session.
  [[nodiscard]] bool reads_for(const std::string& session_id) const;

  struct Counters {
    std::atomic<std::int64_t> proven{0}, damaged{0}, missing{0}, failed{0};
  } counters;  // [any thread]

 private:
  struct Running {
    BackupRecord record;
    std::string operation;
    std::int64_t attempt = 1;
    std::int64_t moved_ms = 0, bytes = -1;
  };
  using RunningPointer = std::shared_ptr<Running>;
  struct Outcome {
    enum class Kind { proven, damaged, missing, postponed } kind = Kind::postponed;
    std::string detail;
    std::optional<Receipt> receipt;
  };

  void start_next();
  void start(const BackupRecord& record);
  void start_task(const RunningPointer& running);
  void poll(const RunningPointer& running);
  void observed(const RunningPointer& running, const Task& task);
  void failed(const RunningPointer& running, const Task& task);
  void confirm_missing(const RunningPointer& running, const Task& task);
  void finish(const RunningPointer& running, Outcome outcome);
  std::optional<Error> write_down(BackupRecord& record, const Outcome& outcome) const;
  void ended(const RunningPointer& running, const Outcome& outcome, const Result<BackupRecord>& written);
  void remove_tasks(const std::string& session_id, const std::string& operation, std::int64_t attempt,
                    std::function<void(bool removed)> then);
  [[nodiscard]] bool is_stalled(const Running& running) const;  // nothing was seen to move for too long
  [[nodiscard]] bool may_begin_late(const std::string& operation);
  [[nodiscard]] bool session_is_busy(const std::string& session_id) const;

  Context& context_;
  Catalogue& catalogue_;
  Leader& leader_;
  // By urgency: asked for or never read (0) or not (1), when it was proven last, id.
  std::map<std::tuple<int, std::int64_t, std::string>, BackupRecord> due_;
  RunningPointer running_;
  std::int64_t of_ = 0;
  std::int64_t not_before_ms_ = 0;
  Scheduler::TimerId timer_ = 0;
  std::map<std::string, std::int64_t> late_;  // operations whose start was not answered: until when it may come to pass
  std::string last_session_;                  // of the last reading that ended
  std::int64_t last_ended_ms_ = 0;
};

}  // namespace roost
