// What is store-sqlite's own: its file, its groups, its schema, its refusals.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <future>
#include <iterator>
#include <mutex>
#include <thread>

#include "plugins/store/driver.hpp"
#include "store/sqlite/database.hpp"
#include "store/sqlite/file.hpp"
#include "store/sqlite/parts.hpp"
#include "store/sqlite/statements.hpp"

namespace roost::store_sqlite {
namespace {

using store_suite::append;
using store_suite::eventually;
using store_suite::put;
using store_suite::StoreDriver;
using store_suite::TestDirectory;

class SqliteTest : public testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return (directory_.path() / "store.db").string(); }
  [[nodiscard]] Json config() const { return Json::object({{"path", path()}}); }

  // SQL as somebody with the sqlite3 shell would run it.
  void sql(const std::string& text) const {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path().c_str(), &db), SQLITE_OK);
    char* message = nullptr;
    EXPECT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, &message), SQLITE_OK) << (message ? message : "");
    sqlite3_close(db);
  }
  // The keys that who opens the files as they are now finds.
  [[nodiscard]] std::string found_after_a_crash() const {
    const TestDirectory copy;
    const std::string copied = (copy.path() / "store.db").string();
    for (const char* end : {"", "-wal"}) std::filesystem::copy_file(path() + end, copied + end);
    StoreDriver store("store-sqlite", Json::object({{"path", copied}}));
    const auto found = store.scan("p", "", "", 100);
    if (!found.ok()) return found.error().message;
    std::string keys;
    for (const store_suite::Document& document : *found) keys += document.key + " ";
    return keys;
  }
  [[nodiscard]] mode_t mode(const std::string& file) const {
    struct stat info {};
    return ::stat(file.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
  }

  TestDirectory directory_;
};

struct RawCall {
  explicit RawCall(int timeout_ms = 20'000) {
    raw.size = sizeof raw;
    raw.cancel_fd = -1;
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    raw.deadline_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec) +
                      static_cast<std::uint64_t>(timeout_ms) * 1'000'000u;
  }
  roost_call raw{};
};

TEST_F(SqliteTest, The_file_and_what_is_beside_it_belong_to_one_user_only) {
  const std::string nested = (directory_.path() / "a/b/store.db").string();
  const mode_t before = ::umask(0);
  {
    StoreDriver store("store-sqlite", Json::object({{"path", nested}}));
    ASSERT_TRUE(store.opened().ok()) << store.opened().error().message;
    ASSERT_TRUE(store.commit("p", {}, {put("a", "x")}).ok());
    for (const char* suffix : {"", "-wal", "-shm", ".lock"}) EXPECT_EQ(mode(nested + suffix), 0600u) << suffix;
    EXPECT_EQ(mode((directory_.path() / "a/b").string()), 0700u);
  }
  ::umask(before);
}

// A writer that is held up: its first part waits until it is let go, so that what comes meanwhile must wait.
class HeldUp {
 public:
  explicit HeldUp(Database& database) : database_(database) {
    thread_ = std::thread([this] {
      const RawCall raw(120'000);
      std::shared_future<void> go = go_.get_future().share();
      const Outcome outcome = database_.write(sdk::Call(&raw.raw), [go](WriterStatements&) {
        go.wait();
        return Outcome{};
      });
      EXPECT_FALSE(outcome.failure);
    });
    EXPECT_TRUE(eventually([&] { return database_.busy(); }));
  }
  ~HeldUp() { let_go(); }
  void let_go() {
    if (!thread_.joinable()) return;
    go_.set_value();
    thread_.join();
  }

 private:
  Database& database_;
  std::promise<void> go_;
  std::thread thread_;
};

// SQLite's own way to the disk, but that its write-ahead log is met by a full one as the test says. Outlives every database.
class FullLog {
 public:
  FullLog() : vfs_(*real()) {
    vfs_.zName = "full-log";
    vfs_.xOpen = &open;
    sqlite3_vfs_register(&vfs_, 1);
  }
  ~FullLog() {
    sqlite3_vfs_unregister(&vfs_);
    sync_fails = write_fails = false;
  }
  FullLog(const FullLog&) = delete;
  FullLog& operator=(const FullLog&) = delete;

  static inline std::atomic<bool> sync_fails{false};   // once
  static inline std::atomic<bool> write_fails{false};  // until it is taken back; `then`: from the sync that failed on
  static inline std::atomic<bool> then_write_fails{false};

 private:
  static sqlite3_vfs* real() {
    static sqlite3_vfs* const found = sqlite3_vfs_find("unix");
    return found;
  }
  static int open(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out_flags) {
    const int result = real()->xOpen(real(), name, file, flags, out_flags);
    if (result != SQLITE_OK || (flags & SQLITE_OPEN_WAL) == 0) return result;
    static std::once_flag once;
    std::call_once(once, [&] {
      before_ = file->pMethods;
      methods_ = *before_;
      methods_.xSync = [](sqlite3_file* log, int how) {
        if (!sync_fails.exchange(false)) return before_->xSync(log, how);
        write_fails = then_write_fails.exchange(false);
        errno = ENOSPC;
        return SQLITE_IOERR_FSYNC;
      };
      methods_.xWrite = [](sqlite3_file* log, const void* data, int size, sqlite3_int64 offset) {
        if (!write_fails) return before_->xWrite(log, data, size, offset);
        errno = ENOSPC;
        return SQLITE_FULL;
      };
    });
    file->pMethods = &methods_;
    return result;
  }
  static inline const sqlite3_io_methods* before_ = nullptr;
  static inline sqlite3_io_methods methods_{};
  sqlite3_vfs vfs_;
};

// Puts one document; the code.
roost_code write(Database& database, const std::string& key, int timeout_ms) {
  const RawCall raw(timeout_ms);
  try {
    const Outcome outcome =
        database.write(sdk::Call(&raw.raw), make_commit(database.clock(), "p", {}, {{ROOST_PUT, key, "x", 0}}));
    return outcome.failure ? outcome.failure->code() : ROOST_OK;
  } catch (const sdk::Failure& failure) {
    return failure.code();
  }
}

// What survives a power cut cannot be tried here; that every commit is followed by fsync is SQLite's promise for this setting.
TEST_F(SqliteTest, The_writer_waits_for_the_disk_at_every_commit) {
  make_file(path());
  WriterStatements writer(path());
  EXPECT_EQ(writer.connection.text("PRAGMA journal_mode"), "wal");
  EXPECT_EQ(writer.connection.integer("PRAGMA synchronous"), 2);  // FULL
}

TEST_F(SqliteTest, Commits_that_wait_together_share_one_transaction) {
  auto database = Database::open({path(), 0, 60'000}, sdk::Log());
  const std::uint64_t before = database->groups();
  std::atomic<int> ok{0};
  std::vector<std::thread> threads;
  {
    HeldUp held(*database);
    for (int i = 0; i < 32; ++i) {
      threads.emplace_back([&, i] { ok += write(*database, "k" + std::to_string(i), 120'000) == ROOST_OK ? 1 : 0; });
    }
    EXPECT_TRUE(eventually([&] { return database->waiting() == 32; }));
    held.let_go();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ok, 32);
  EXPECT_EQ(database->groups() - before, 2u);  // the one that was held up, and all the others
  Database::close(database);
}

TEST_F(SqliteTest, A_commit_that_may_be_in_the_log_is_not_called_undone_and_one_that_had_no_room_there_is) {
  const FullLog full;
  auto database = Database::open({path(), 0, 60'000}, sdk::Log());
  ASSERT_EQ(write(*database, "before", 20'000), ROOST_OK);
  FullLog::sync_fails = true;
  EXPECT_EQ(write(*database, "doubtful", 20'000), ROOST_OUTCOME_UNKNOWN);
  EXPECT_EQ(found_after_a_crash(), "before doubtful ");
  FullLog::write_fails = true;
  EXPECT_EQ(write(*database, "undone", 20'000), ROOST_EXHAUSTED);
  FullLog::write_fails = false;
  EXPECT_EQ(write(*database, "after", 20'000), ROOST_OK);
  EXPECT_EQ(found_after_a_crash(), "after before ");
  Database::close(database);
}

TEST_F(SqliteTest, Commits_that_may_be_in_the_log_together_are_not_called_undone_as_each_alone_has_no_room) {
  const FullLog full;
  auto database = Database::open({path(), 0, 60'000}, sdk::Log());
  ASSERT_EQ(write(*database, "before", 20'000), ROOST_OK);
  std::atomic<int> unknown{0};
  std::vector<std::thread> threads;
  {
    HeldUp held(*database);
    for (const char* key : {"a", "b"}) {
      threads.emplace_back([&, key] { unknown += write(*database, key, 120'000) == ROOST_OUTCOME_UNKNOWN ? 1 : 0; });
    }
    EXPECT_TRUE(eventually([&] { return database->waiting() == 2; }));
    FullLog::then_write_fails = true;
    FullLog::sync_fails = true;
    held.let_go();
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(unknown, 2);
  EXPECT_EQ(found_after_a_crash(), "a b before ");
  FullLog::write_fails = false;
  EXPECT_EQ(write(*database, "after", 20'000), ROOST_OK);
  EXPECT_EQ(found_after_a_crash(), "after before ");
  Database::close(database);
}

TEST_F(SqliteTest, A_commit_whose_deadline_passes_while_it_waits_was_not_done) {
  auto database = Database::open({path(), 0, 60'000}, sdk::Log());
  {
    HeldUp held(*database);
    EXPECT_EQ(write(*database, "waiting", 30), ROOST_DEADLINE);
    held.let_go();
  }
  EXPECT_EQ(write(*database, "after", 20'000), ROOST_OK);
  Database::close(database);
  StoreDriver store("store-sqlite", config());
  EXPECT_TRUE(store.get("p", "after").ok());
  EXPECT_FALSE(store.get("p", "waiting").ok());
}

TEST_F(SqliteTest, A_commit_whose_deadline_passes_on_its_way_to_the_disk_is_not_called_undone) {
  auto database = Database::open({path(), 0, 60'000}, sdk::Log());
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  const RawCall raw(200);
  try {
    (void)database->write(sdk::Call(&raw.raw), [gone](WriterStatements&) {
      gone.wait();
      return Outcome{};
    });
    ADD_FAILURE() << "it returned although its part still runs";
  } catch (const sdk::Failure& failure) {
    EXPECT_EQ(failure.code(), ROOST_OUTCOME_UNKNOWN);
  }
  go.set_value();
  EXPECT_EQ(write(*database, "after", 20'000), ROOST_OK);
  Database::close(database);
}

TEST_F(SqliteTest, Another_process_is_refused_by_name_and_let_in_afterwards) {
  int ready[2], finish[2];
  ASSERT_EQ(::pipe(ready), 0);
  ASSERT_EQ(::pipe(finish), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(finish[1]);  // the test's end lets go of the lock, however it ends
    const Lock lock(path());
    char byte = 'r';
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(finish[0], &byte, 1);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const Status refused = StoreDriver("store-sqlite", config()).opened();
  ::close(finish[1]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message.find("process " + std::to_string(child)), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find(path()), std::string::npos);
  StoreDriver store("store-sqlite", config());
  EXPECT_TRUE(store.opened().ok()) << store.opened().error().message;
}

TEST_F(SqliteTest, Documents_that_expired_leave_the_file) {
  Json often = config();
  often.set("purge_interval_ms", 10);
  StoreDriver store("store-sqlite", often);
  std::vector<store_suite::Operation> operations;
  for (int i = 0; i < 600; ++i) operations.push_back(put("k" + std::to_string(i), "x", 1));
  operations.push_back(put("kept", "x", 3'600'000));
  ASSERT_TRUE(store.commit("p", {}, operations).ok());
  EXPECT_TRUE(eventually([&] {
    sqlite3* db = nullptr;
    sqlite3_open_v2(path().c_str(), &db, SQLITE_OPEN_READONLY, nullptr);
    int rows = -1;
    sqlite3_exec(
        db, "SELECT count(*) FROM documents",
        [](void* out, int, char** values, char**) {
          *static_cast<int*>(out) = std::atoi(values[0]);
          return 0;
        },
        &rows, nullptr);
    sqlite3_close(db);
    return rows == 1;
  }));
}

TEST_F(SqliteTest, The_write_ahead_log_does_not_grow_without_end) {
  StoreDriver store("store-sqlite", config());
  for (int i = 0; i < 400; ++i) {
    const std::string value(64 << 10, static_cast<char>(i));  // SQLite does not write what stays the same
    ASSERT_TRUE(store.commit("p", {}, {put("k" + std::to_string(i % 10), value)}).ok());
  }
  EXPECT_LT(std::filesystem::file_size(path() + "-wal"), 12u << 20);  // 25 MiB were written
}

TEST_F(SqliteTest, Migrations_run_once_each_forwards_and_keep_what_is_there) {
  make_file(path());
  const std::vector<Migration> old{"CREATE TABLE t(a); INSERT INTO t VALUES(1)"};
  const std::vector<Migration> now{old[0], "ALTER TABLE t ADD COLUMN b DEFAULT 7", "UPDATE t SET b = b + 1"};
  {
    Connection connection(path());
    migrate(connection, old);
    EXPECT_EQ(connection.integer("PRAGMA user_version"), 1);
    migrate(connection, now);
    migrate(connection, now);
    EXPECT_EQ(connection.integer("PRAGMA user_version"), 3);
    EXPECT_EQ(connection.integer("SELECT b FROM t WHERE a = 1"), 8);
  }
  Connection connection(path());
  try {
    migrate(connection, old);
    FAIL() << "a newer file was accepted";
  } catch (const sdk::Failure& failure) {
    EXPECT_EQ(failure.code(), ROOST_UNSUPPORTED);
    EXPECT_NE(std::string(failure.what()).find("version 3"), std::string::npos) << failure.what();
  }
}

TEST_F(SqliteTest, A_migration_that_fails_leaves_the_file_as_it_was) {
  make_file(path());
  Connection connection(path());
  migrate(connection, {"CREATE TABLE t(a)"});
  EXPECT_THROW(migrate(connection, {"CREATE TABLE t(a)", "INSERT INTO t VALUES(1); INSERT INTO missing VALUES(1)"}),
               sdk::Failure);
  EXPECT_EQ(connection.integer("PRAGMA user_version"), 1);
  EXPECT_EQ(connection.integer("SELECT count(*) FROM t"), 0);
}

TEST_F(SqliteTest, A_file_of_a_newer_roost_and_a_foreign_one_are_refused_untouched) {
  { StoreDriver store("store-sqlite", config()); }
  sql("PRAGMA user_version=99");
  StoreDriver newer("store-sqlite", config());
  ASSERT_FALSE(newer.opened().ok());
  EXPECT_EQ(newer.opened().error().code, Code::unsupported);
  std::filesystem::remove(path());
  sql("CREATE TABLE photos(x)");
  StoreDriver foreign("store-sqlite", config());
  ASSERT_FALSE(foreign.opened().ok());
  EXPECT_EQ(foreign.opened().error().code, Code::invalid);
  EXPECT_NE(foreign.opened().error().message.find("not one of Roost"), std::string::npos);
}

TEST_F(SqliteTest, A_damaged_file_is_data_loss_with_advice) {
  {
    StoreDriver store("store-sqlite", config());
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(store.commit("p", {}, {put("k" + std::to_string(i), std::string(8'000, 'x'))}).ok());
  }
  const auto size = std::filesystem::file_size(path());
  const auto expect_refused = [&](const char* how) {
    StoreDriver store("store-sqlite", config());
    ASSERT_FALSE(store.opened().ok()) << how;
    EXPECT_EQ(store.opened().error().code, Code::data_loss) << how << ": " << store.opened().error().message;
    EXPECT_NE(store.opened().error().message.find(path()), std::string::npos);
    EXPECT_NE(store.opened().error().message.find(".recover"), std::string::npos) << store.opened().error().message;
  };
  const auto good = directory_.path() / "good.db";
  std::filesystem::copy_file(path(), good);
  const auto restore = [&] { std::filesystem::copy_file(good, path(), std::filesystem::copy_options::overwrite_existing); };

  std::filesystem::resize_file(path(), size / 2);
  expect_refused("cut");
  restore();
  std::fstream(path(), std::ios::in | std::ios::out).write("not a database at all", 21);
  expect_refused("header");
  restore();
  {
    std::fstream file(path(), std::ios::in | std::ios::out | std::ios::binary);
    for (std::size_t page = 2; page * 4096 < size; page += 2) {
      file.seekp(static_cast<std::streamoff>(page * 4096));
      file.write(std::string(64, '\xA5').c_str(), 64);
    }
  }
  expect_refused("pages");
  restore();
  StoreDriver store("store-sqlite", config());
  EXPECT_TRUE(store.opened().ok());
}

TEST_F(SqliteTest, A_file_that_is_taken_away_in_use_is_noticed_before_a_commit_is_acknowledged) {
  StoreDriver store("store-sqlite", config());
  ASSERT_TRUE(store.commit("p", {}, {put("a", "x")}).ok());
  std::filesystem::rename(path(), path() + ".away");
  const auto lost = store.commit("p", {}, {put("b", "x")});
  ASSERT_FALSE(lost.ok());
  EXPECT_EQ(lost.error().code, Code::data_loss) << lost.error().message;
  std::filesystem::rename(path() + ".away", path());
  EXPECT_TRUE(store.commit("p", {}, {put("b", "x")}).ok());
}

TEST_F(SqliteTest, A_place_where_no_file_can_be_is_refused_clearly) {
  std::ofstream(directory_.path() / "plain") << "x";
  for (const std::string& bad :
       {(directory_.path() / "plain/store.db").string(), directory_.path().string(), std::string("/proc/none/store.db")}) {
    StoreDriver store("store-sqlite", Json::object({{"path", bad}}));
    ASSERT_FALSE(store.opened().ok()) << bad;
    EXPECT_NE(store.opened().error().message.find("store-sqlite: /"), std::string::npos) << store.opened().error().message;
    EXPECT_NE(store.opened().error().code, Code::internal) << store.opened().error().message;
  }
}

TEST_F(SqliteTest, A_copy_made_with_the_shell_while_it_runs_is_whole) {
  StoreDriver store("store-sqlite", config());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(store.commit("p", {}, {put("k" + std::to_string(i), "x")}).ok());
  const std::string copy = (directory_.path() / "copy.db").string();
  sql("VACUUM INTO '" + copy + "'");
  StoreDriver second("store-sqlite", Json::object({{"path", copy}}));
  ASSERT_TRUE(second.opened().ok()) << second.opened().error().message;
  EXPECT_EQ(second.count("p", "").value_or(0), 20u);
}

}  // namespace
}  // namespace roost::store_sqlite
