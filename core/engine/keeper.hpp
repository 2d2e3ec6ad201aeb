// Keeper: on the leader, walks the catalogue and the backup storage, a partition at a time: removes what retention says, notes
// what is missing, reports archives that no record names, and gives the drill what is due. A removal is recorded before it is
// done, and the record stays behind for a while. Thread safety: the engine's thread only, but for statistics(). Invariants:
// nothing is removed whose record does not say "deleting"; a stranger is never removed; nothing counts as missing before the
// storage was asked for it by name.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "engine/catalogue.hpp"
#include "engine/drill.hpp"
#include "engine/leader.hpp"

namespace roost {

class Keeper {
 public:
  Keeper(Context& context, Catalogue& catalogue, Drill& drill, Leader& leader);

  void start();
  void hint(const std::string& backup_id);                    // somebody changed it: look at its session soon
  [[nodiscard]] Engine::BackupStatistics statistics() const;  // [any thread]
  std::function<void(const BackupRecord&)> not_good;          // told at each visit of each record that stands for no good backup

 private:
  struct Visit;
  using VisitPointer = std::shared_ptr<Visit>;

  void next_partition();
  void visit(int partition, bool counts, std::function<void()> done);
  void list_storage(const VisitPointer& visit, const std::string& after);
  void take_page(const VisitPointer& visit, std::vector<BackupStorage::Object> page);
  void listed(const VisitPointer& visit, bool whole);
  void scan_records(const VisitPointer& visit, const std::string& after);
  void compare(const VisitPointer& visit);
  void report_strangers(const VisitPointer& visit, const std::vector<BackupStorage::Object>& strangers);
  void check_next(const VisitPointer& visit);
  void check(const VisitPointer& visit, BackupRecord& record);
  void confirm_missing(const VisitPointer& visit, BackupRecord& record);
  void judge_next(const VisitPointer& visit);
  void judge(const VisitPointer& visit, const BackupRecord& found, std::int64_t deleted_at_us);
  void judge_again(const VisitPointer& visit, const BackupRecord& found, const BackupRecord& record);
  void begin_removal(const VisitPointer& visit, const BackupRecord& record, const std::string& reason,
                     const std::string& rests_on);
  void erase(const VisitPointer& visit, const BackupRecord& record);
  void erased(const VisitPointer& visit, const std::string& id);
  void count(const BackupRecord& record);
  void walked();
  void look_at_hints();
  void emit(const BackupRecord& record, const char* type);
  void look_later(const std::string& id);
  [[nodiscard]] std::int64_t step_ms();

  Context& context_;
  Catalogue& catalogue_;
  Drill& drill_;
  Leader& leader_;
  int partition_ = 0;
  int visited_ = 0;  // in this walk
  bool first_walk_ = true;
  bool visiting_ = false;
  std::set<int> hints_;                           // partitions
  std::map<std::string, std::int64_t> removals_;  // when their records were first seen to say "deleting" (monotonic, ms)
  std::set<std::string> candidates_;              // archives without a record, seen once
  std::array<std::int64_t, 256> strangers_{};
  std::array<bool, 256> unlisted_{};  // when they were last visited
  std::int64_t verified_ = 0;         // in the last whole walk
  std::atomic<std::int64_t> removed_{0};
  Engine::BackupStatistics counting_;
  mutable std::mutex mutex_;
  Engine::BackupStatistics counted_;  // guarded by mutex_
};

}  // namespace roost
