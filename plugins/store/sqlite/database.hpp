// Database: one file, shared by every instance of this process that names it: its lock, its writer, its readers, its change log.
// One writer thread takes what concurrent callers want and does it in one transaction, each caller's part in a savepoint; a
// caller is answered after the group's COMMIT has reached the disk. Reads have connections of their own and never wait for the
// writer. Thread safety: every public function, from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "store/shared/changes.hpp"
#include "store/sqlite/clock.hpp"
#include "store/sqlite/connection.hpp"
#include "store/sqlite/file.hpp"

namespace roost::store_sqlite {

using store::Changed;
using store::ChangeLog;

struct Options {
  std::string path;
  std::int64_t max_bytes = 0;               // 0: as the disk allows
  std::int64_t purge_interval_ms = 30'000;  // how often what has expired is removed
};

// What a caller's part answered.
struct Outcome {
  struct Record {
    std::string key, value;
    std::uint64_t revision = 0;
  };
  std::vector<Record> records;
  std::optional<sdk::Failure> failure;  // the part was undone; the records are emitted all the same (a lease's holder)
  std::vector<Changed> changes;
};

class ReaderStatements;
class WriterStatements;
// A caller's part: runs on the writer's thread, inside a savepoint. It owns what it uses: it may run after its caller has gone.
using Part = std::function<Outcome(WriterStatements&)>;

class Database {
 public:
  // The database of that file: the one that is open already, which takes over the new options, or a new one.
  static std::shared_ptr<Database> open(const Options& options, const sdk::Log& log);
  // Gives up a share of it; the last one closes it, with its thread ended.
  static void close(std::shared_ptr<Database>& database);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Answers once the part is on the disk. DEADLINE, CANCELLED: nothing was done. OUTCOME_UNKNOWN: the call had to end first, or
  // its COMMIT failed so late that a crash before the next one would find it done.
  Outcome write(const sdk::Call& call, Part part);
  // Calls `use` with a connection for reading; long SQL ends with the call.
  void read(const sdk::Call& call, const std::function<void(ReaderStatements&)>& use);

  [[nodiscard]] ChangeLog& changes() { return changes_; }
  [[nodiscard]] const StoreClock& clock() const { return clock_; }

  // For tests: transactions so far; requests that wait; whether the writer is at work on some.
  [[nodiscard]] std::uint64_t groups() const { return groups_; }
  [[nodiscard]] std::size_t waiting() const;
  [[nodiscard]] bool busy() const { return busy_; }

 private:
  struct Request;
  using Group = std::vector<std::shared_ptr<Request>>;

  Database(const Options& options, const sdk::Log& log);
  void run();
  [[nodiscard]] Group next_group();
  void commit_group(const Group& group);
  void run_parts(const Group& group, std::vector<Outcome>& outcomes);
  void answer(Request& request, Outcome outcome);
  void apply_max_bytes();
  void after_group();
  void checkpoint();
  void purge();

  const std::string path_;
  std::atomic<std::int64_t> max_bytes_;
  std::atomic<std::int64_t> purge_interval_ms_;
  const sdk::Log log_;
  const StoreClock clock_;
  ChangeLog changes_;
  const Lock lock_;
  std::unique_ptr<WriterStatements> writer_;  // the writer thread's
  std::int64_t applied_max_bytes_ = 0;        // likewise
  int wal_pages_ = 0;                         // likewise
  bool checkpoint_failed_ = false;            // likewise
  bool in_doubt_ = false;                     // likewise: the log may end with a COMMIT that failed; the next one takes its place
  std::int64_t next_purge_ms_ = 0;            // likewise
  std::atomic<std::uint64_t> groups_{0};

  std::atomic<bool> busy_{false};

  mutable std::mutex queue_mutex_;
  std::condition_variable queue_filled_;
  std::deque<std::shared_ptr<Request>> queue_;
  std::atomic<bool> closing_{false};

  std::mutex readers_mutex_;
  std::condition_variable reader_free_;
  std::vector<std::unique_ptr<ReaderStatements>> free_readers_;
  std::size_t readers_ = 0;

  std::thread thread_;
};

}  // namespace roost::store_sqlite
