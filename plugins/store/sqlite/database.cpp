#include "store/sqlite/database.hpp"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "store/shared/threads.hpp"
#include "store/sqlite/statements.hpp"

namespace roost::store_sqlite {
namespace {

constexpr std::size_t kGroupMax = 256;
constexpr std::size_t kQueueMax = 8'192;
constexpr std::size_t kReadersMax = 8;
constexpr std::int64_t kPurgeAtOnce = 256;
constexpr std::int64_t kPurgeAgainMs = 50;
constexpr int kCheckpointPages = 1'000;       // 4 MiB of log: copied back after the group was answered
constexpr int kWaitForReadersPages = 16'000;  // 64 MiB: readers hold it back, so they are waited for

using Registry = std::map<std::pair<dev_t, ino_t>, std::weak_ptr<Database>>;
std::mutex registry_mutex;  // also held while a database opens or closes: both happen at a reload only
Registry& registry() {
  static Registry* const made = new Registry;
  return *made;
}

std::optional<std::pair<dev_t, ino_t>> identity(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return std::pair(info.st_dev, info.st_ino);
}

// Of a COMMIT that failed: whether its last frame was not written, without which none of it counts. Where what comes after that
// failed, the fsync or the log's index, all of it may be in the log: who opens the file after a crash then finds it done.
bool is_not_logged(int result, const sdk::Failure& failure) {
  return (result & 0xFF) == SQLITE_FULL || (result == SQLITE_IOERR_WRITE && failure.code() == ROOST_EXHAUSTED);
}

sdk::Failure moved(const std::string& path) {
  return {ROOST_DATA_LOSS, "store-sqlite: " + path + " was moved or removed while it was in use: stop roostd and put it back"};
}

}  // namespace

struct Database::Request {
  explicit Request(Part p) : part(std::move(p)), done_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (done_fd < 0) throw sdk::Failure(ROOST_EXHAUSTED, "store-sqlite: eventfd failed: too many open files?", 1'000);
  }
  ~Request() { ::close(done_fd); }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  enum class State { waiting, taken, abandoned, answered };
  const Part part;
  const int done_fd;
  std::atomic<State> state{State::waiting};
  bool in_doubt = false;  // the writer's: a COMMIT with it failed that the log may hold
  Outcome outcome;        // written before the state is `answered`, and that before done_fd turns readable
};

std::shared_ptr<Database> Database::open(const Options& options, const sdk::Log& log) {
  const std::lock_guard lock(registry_mutex);
  if (const auto id = identity(options.path)) {
    const auto found = registry().find(*id);
    if (found != registry().end()) {
      if (auto open = found->second.lock()) {
        open->max_bytes_ = options.max_bytes;
        open->purge_interval_ms_ = options.purge_interval_ms;
        return open;
      }
    }
  }
  std::shared_ptr<Database> made(new Database(options, log));
  if (const auto id = identity(options.path)) registry()[*id] = made;
  return made;
}

void Database::close(std::shared_ptr<Database>& database) {
  const std::lock_guard lock(registry_mutex);  // a new instance must not meet one that is half closed
  database.reset();
}

Database::Database(const Options& options, const sdk::Log& log)
    : path_(options.path),
      max_bytes_(options.max_bytes),
      purge_interval_ms_(options.purge_interval_ms),
      log_(log),
      lock_((make_directory_of(options.path), options.path)) {
  make_file(path_);
  writer_ = std::make_unique<WriterStatements>(path_);
  next_purge_ms_ = clock_.now_ms() + purge_interval_ms_;
  sqlite3_wal_hook(
      writer_->connection.raw(),
      [](void* context, sqlite3*, const char*, int pages) {
        static_cast<Database*>(context)->wal_pages_ = pages;
        static_cast<Database*>(context)->in_doubt_ = false;
        return SQLITE_OK;
      },
      this);
  thread_ = store::start_thread("store-sqlite", [this] { run(); });
}

Database::~Database() {
  {
    const std::lock_guard lock(queue_mutex_);
    closing_ = true;
  }
  queue_filled_.notify_all();
  thread_.join();
  free_readers_.clear();
  const int result = sqlite3_wal_checkpoint_v2(writer_->connection.raw(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
  if (result != SQLITE_OK) log_.warn("store-sqlite: the write-ahead log stays until the next start");
  writer_.reset();
}

Outcome Database::write(const sdk::Call& call, Part part) {
  call.check();
  const auto request = std::make_shared<Request>(std::move(part));
  {
    const std::lock_guard lock(queue_mutex_);
    if (queue_.size() >= kQueueMax) throw sdk::Failure(ROOST_EXHAUSTED, "store-sqlite: too many commits are waiting", 100);
    queue_.push_back(request);
  }
  queue_filled_.notify_one();
  if (call.wait(request->done_fd, POLLIN) == 0) {
    auto expected = Request::State::waiting;
    if (request->state.compare_exchange_strong(expected, Request::State::abandoned)) {
      call.check();
      throw sdk::Failure(ROOST_CANCELLED, "the call was cancelled");
    }
    // The writer has it. A cancelled call waits for the outcome, which is near, but not past its deadline.
    pollfd done{request->done_fd, POLLIN, 0};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(call.remaining()).count();
    (void)::poll(&done, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000)));
    if (request->state.load(std::memory_order_acquire) != Request::State::answered) {
      throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "store-sqlite: the call ended while its commit was on its way to the disk");
    }
  }
  // A descriptor that is readable is no memory barrier.
  if (request->state.load(std::memory_order_acquire) != Request::State::answered) {
    throw sdk::Failure(ROOST_INTERNAL, "store-sqlite: a commit ended without an answer");
  }
  return std::move(request->outcome);
}

void Database::read(const sdk::Call& call, const std::function<void(ReaderStatements&)>& use) {
  std::unique_ptr<ReaderStatements> reader;
  {
    std::unique_lock lock(readers_mutex_);
    while (free_readers_.empty() && readers_ >= kReadersMax) {
      reader_free_.wait_for(lock, std::chrono::milliseconds(20));
      call.check();
    }
    if (free_readers_.empty()) {
      ++readers_;
    } else {
      reader = std::move(free_readers_.back());
      free_readers_.pop_back();
    }
  }
  // A reader that failed is thrown away: the next one opens the file anew.
  struct Return {
    Database& database;
    std::unique_ptr<ReaderStatements>& reader;
    bool good = false;
    ~Return() {
      {
        const std::lock_guard lock(database.readers_mutex_);
        if (good)
          database.free_readers_.push_back(std::move(reader));
        else
          --database.readers_;
      }
      database.reader_free_.notify_one();
    }
  } back{*this, reader};
  if (!reader) reader = std::make_unique<ReaderStatements>(path_);
  try {
    const Interruptible interruptible(reader->connection, call);
    use(*reader);
  } catch (const sdk::Failure& failure) {
    back.good = failure.code() == ROOST_CANCELLED || failure.code() == ROOST_DEADLINE || failure.code() == ROOST_NOT_FOUND;
    if (failure.code() == ROOST_CANCELLED) call.check();  // DEADLINE, where that is why
    throw;
  }
  back.good = true;
}

std::size_t Database::waiting() const {
  const std::lock_guard lock(queue_mutex_);
  return queue_.size();
}

void Database::run() {
  for (;;) {
    const Group group = next_group();
    if (group.empty() && closing_) return;
    busy_ = !group.empty();
    if (!group.empty()) commit_group(group);
    busy_ = false;
    after_group();
  }
}

Database::Group Database::next_group() {
  std::unique_lock lock(queue_mutex_);
  const auto wait = std::chrono::milliseconds(std::clamp<std::int64_t>(next_purge_ms_ - clock_.now_ms(), 0, 60'000));
  queue_filled_.wait_for(lock, wait, [&] { return closing_ || !queue_.empty(); });
  Group group;
  while (!queue_.empty() && group.size() < kGroupMax) {
    std::shared_ptr<Request> request = std::move(queue_.front());
    queue_.pop_front();
    auto expected = Request::State::waiting;
    if (request->state.compare_exchange_strong(expected, Request::State::taken)) group.push_back(std::move(request));
  }
  return group;
}

void Database::answer(Request& request, Outcome outcome) {
  if (outcome.failure && request.in_doubt && in_doubt_ && outcome.failure->code() != ROOST_DATA_LOSS)
    outcome = {{}, sdk::Failure(ROOST_OUTCOME_UNKNOWN, outcome.failure->what()), {}};
  request.outcome = std::move(outcome);
  request.state.store(Request::State::answered, std::memory_order_release);
  const std::uint64_t one = 1;
  (void)!::write(request.done_fd, &one, sizeof one);
}

// Runs every part in one open transaction. Throws where the transaction as a whole is lost.
void Database::run_parts(const Group& group, std::vector<Outcome>& outcomes) {
  WriterStatements& w = *writer_;
  for (const auto& request : group) {
    Use(w.savepoint)->run();
    Outcome outcome;
    try {
      outcome = request->part(w);
    } catch (const sdk::Failure& failure) {
      // A full disk or an I/O error may have rolled everything back: then it is the group's failure.
      if (!w.connection.in_transaction() || failure.code() == ROOST_EXHAUSTED || failure.code() == ROOST_UNAVAILABLE ||
          failure.code() == ROOST_DATA_LOSS) {
        throw;
      }
      outcome.failure = failure;
    }
    if (outcome.failure) {
      outcome.changes.clear();
      Use(w.undo)->run();
    }
    Use(w.release)->run();
    outcomes.push_back(std::move(outcome));
  }
  if (w.last_revision != w.saved_revision) {
    Use save(w.save_revision);
    save->integer(1, static_cast<std::int64_t>(w.last_revision));
    save->run();
  }
}

void Database::commit_group(const Group& group) {
  WriterStatements& w = *writer_;
  std::vector<Outcome> outcomes;
  std::optional<sdk::Failure> failure;
  bool committing = false;
  try {
    if (w.connection.moved()) throw moved(path_);
    apply_max_bytes();
    Use(w.begin)->run();
    run_parts(group, outcomes);
    committing = true;
    Use(w.commit)->run();
    w.saved_revision = w.last_revision;
    ++groups_;
  } catch (const sdk::Failure& f) {
    failure = f;
    if (committing && !is_not_logged(sqlite3_extended_errcode(w.connection.raw()), f)) {
      in_doubt_ = true;
      for (const auto& request : group) request->in_doubt = true;
    }
  } catch (const std::exception& e) {
    failure = sdk::Failure(ROOST_INTERNAL, std::string("store-sqlite: ") + e.what());
  }
  if (!failure) {
    std::vector<Changed> changes;
    for (Outcome& outcome : outcomes) std::move(outcome.changes.begin(), outcome.changes.end(), std::back_inserter(changes));
    changes_.publish(std::move(changes));  // first, so that who reads its own answer's token finds the change
    for (std::size_t i = 0; i < group.size(); ++i) answer(*group[i], std::move(outcomes[i]));
    return;
  }
  if (w.connection.in_transaction()) sqlite3_exec(w.connection.raw(), "ROLLBACK", nullptr, nullptr, nullptr);
  if (group.size() > 1) {
    // Each alone: one that is too large must not take the others with it.
    for (const auto& request : group) commit_group({request});
    return;
  }
  for (const auto& request : group) {
    Outcome outcome;  // with a text of its own: copies of an exception share theirs
    outcome.failure = sdk::Failure(failure->code(), std::string(failure->what()), failure->retry_after_ms());
    answer(*request, std::move(outcome));
  }
}

// A reload may have changed it.
void Database::apply_max_bytes() {
  const std::int64_t wanted = max_bytes_;
  if (wanted == applied_max_bytes_) return;
  constexpr std::int64_t kNoLimit = 4'294'967'294;  // SQLite's own
  const std::int64_t pages = wanted == 0 ? kNoLimit : std::max<std::int64_t>(wanted / writer_->page_bytes, 16);
  writer_->connection.execute(("PRAGMA max_page_count=" + std::to_string(pages)).c_str());
  applied_max_bytes_ = wanted;
}

// What is not a caller's: it runs after the callers have their answers.
void Database::after_group() {
  try {
    if (wal_pages_ >= kCheckpointPages) checkpoint();
    if (clock_.now_ms() >= next_purge_ms_) purge();
  } catch (const std::exception& problem) {
    if (writer_->connection.in_transaction()) sqlite3_exec(writer_->connection.raw(), "ROLLBACK", nullptr, nullptr, nullptr);
    log_.warn(std::string("expired documents could not be removed; it is tried again: ") + problem.what());
    next_purge_ms_ = clock_.now_ms() + purge_interval_ms_;
  }
}

void Database::checkpoint() {
  const bool wait_for_readers = wal_pages_ >= kWaitForReadersPages;
  int left = 0, copied = 0;
  const int result =
      sqlite3_wal_checkpoint_v2(writer_->connection.raw(), nullptr,
                                wait_for_readers ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, &left, &copied);
  if (result == SQLITE_OK && (wait_for_readers || left == copied)) wal_pages_ = 0;
  const bool failed = result != SQLITE_OK && (result & 0xFF) != SQLITE_BUSY;
  // Once, until one succeeds: with a full disk every commit tries again.
  if (failed && !checkpoint_failed_)
    log_.warn(std::string("a checkpoint failed; the write-ahead log grows meanwhile: ") +
              writer_->connection.failure(result).what());
  checkpoint_failed_ = failed;
}

void Database::purge() {
  WriterStatements& w = *writer_;
  std::vector<std::pair<std::string, std::string>> expired;
  {
    Use find(w.expired);
    find->integer(1, clock_.now_ms());
    find->integer(2, kPurgeAtOnce);
    while (find->step()) expired.emplace_back(find->bytes(0), find->bytes(1));
  }
  const bool more = expired.size() == static_cast<std::size_t>(kPurgeAtOnce);
  next_purge_ms_ = clock_.now_ms() + (more ? kPurgeAgainMs : purge_interval_ms_.load());
  if (expired.empty()) return;
  std::vector<Changed> changes;
  Use(w.begin)->run();
  for (const auto& [partition, key] : expired) {
    Use remove(w.remove);
    remove->blob(1, partition);
    remove->text(2, key);
    remove->run();
    changes.push_back({partition + "\n" + key, 0});
  }
  Use(w.commit)->run();
  changes_.publish(std::move(changes));
}

}  // namespace roost::store_sqlite
