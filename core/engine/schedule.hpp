// Schedule: on the leader, begins a backup of each session whose files may have changed since its last good one: a few at a
// time, the one that waits longest first. Whether one is due stands in the session's document alone, so that a crash or another
// leader changes nothing. Thread safety: the engine's thread only, but for statistics(); the free functions are pure.
// Invariants: a session that is busy with something else is not begun with; at most half the places of tasks are used.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "engine/leader.hpp"
#include "engine/writer.hpp"

namespace roost {

// Since when no good backup is known to hold what is on the session's volume: the beginning of the last one, or the session's.
// None: the last one holds it, or there is no volume to save.
[[nodiscard]] std::optional<std::int64_t> unsaved_since_us(const Session&);

// When a backup of the session is to begin, where each is to be made at least every `every_us` (above 0); it may be in the past.
// None: nothing is to be saved, or it cannot be now, in this phase or beside what is under way.
[[nodiscard]] std::optional<std::int64_t> backup_due_us(const Session&, std::int64_t now_us, std::int64_t every_us);

class Schedule {
 public:
  Schedule(Context& context, Writer& writer, Leader& leader);

  void start();  // from then on, for as long as the options say how often; again after each change of them
  // The record is not that of a good backup: a session that counts on it is backed up anew.
  void forget_backup(const BackupRecord& record);
  [[nodiscard]] Engine::ScheduleStatistics statistics() const;  // [any thread]

 private:
  using Due = std::set<std::pair<std::int64_t, std::string>>;  // by when, then the id
  void wait();
  void look(const std::string& after);
  void looked();
  void start_next();
  void begin(const std::string& id);
  void changed(const SessionView& before, const SessionView& after);
  void ended(const Session& session, const Operation& operation);

  Context& context_;
  Writer& writer_;
  Leader& leader_;
  Due due_, seen_;                   // of the last look, and of the one under way
  std::set<std::string> operating_;  // sessions with a backup of the schedule under way
  std::set<std::string> beginning_;
  bool waiting_ = false;
  std::int64_t oldest_us_ = 0;  // of the look under way
  std::atomic<std::int64_t> started_{0}, succeeded_{0}, failed_{0}, postponed_{0}, cancelled_{0};
  std::atomic<std::int64_t> unsaved_since_us_{0};
};

}  // namespace roost
