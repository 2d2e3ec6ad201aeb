#include "store/sqlite/file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace roost::store_sqlite {
namespace {

constexpr std::int64_t kApplicationId = 0x526f7374;  // "Rost"
constexpr std::int64_t kCheckedPages = 65'536;       // a file of up to 256 MiB is checked whole when it is opened

sdk::Failure io_failure(const std::string& path, const std::string& what) {
  const int number = errno;
  const roost_code code = number == ENOSPC || number == EDQUOT                     ? ROOST_EXHAUSTED
                          : number == EACCES || number == EPERM || number == EROFS ? ROOST_DENIED
                          : number == EISDIR || number == ENOTDIR || number == ELOOP || number == ENAMETOOLONG
                              ? ROOST_INVALID
                              : ROOST_UNAVAILABLE;
  return {code, "store-sqlite: " + path + ": " + what + ": " + std::strerror(number)};
}

std::string parent(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

void sync_directory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw io_failure(directory, "open");
  const int result = ::fsync(fd);
  const sdk::Failure error = io_failure(directory, "fsync");
  ::close(fd);
  if (result != 0) throw error;
}

void make_directories(const std::string& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return;
    throw sdk::Failure(ROOST_INVALID, "store-sqlite: " + directory + " is not a directory");
  }
  make_directories(parent(directory));
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) throw io_failure(directory, "mkdir");
  sync_directory(parent(directory));
}

void check_integrity(Connection& connection) {
  if (connection.integer("PRAGMA page_count") > kCheckedPages) return;
  const std::string answer = connection.text("PRAGMA quick_check(1)");
  if (answer != "ok") {
    throw sdk::Failure(
        ROOST_DATA_LOSS,
        "store-sqlite: " + connection.path() + " is damaged (" + answer.substr(0, 200) +
            "): stop roostd, copy the file with its -wal, then restore it from a backup or try `sqlite3 FILE .recover`");
  }
}

}  // namespace

Lock::Lock(const std::string& path) {
  const std::string file = path + ".lock";
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) throw io_failure(file, "open");
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) {
    const std::string pid = std::to_string(::getpid()) + "\n";
    if (::ftruncate(fd_, 0) == 0) (void)!::pwrite(fd_, pid.data(), pid.size(), 0);
    return;
  }
  const bool taken = errno == EWOULDBLOCK;
  const sdk::Failure error = io_failure(file, "flock");
  char holder[32] = {};
  const ssize_t got = ::pread(fd_, holder, sizeof holder - 1, 0);
  ::close(fd_);
  if (!taken) throw error;
  std::string pid = got > 0 ? std::string(holder) : "unknown";
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  throw sdk::Failure(ROOST_CONFLICT, "store-sqlite: " + path + " is in use by process " + pid +
                                         ": one roostd at a time may use it; stop the other one or choose another path");
}

Lock::~Lock() {
  if (fd_ >= 0) ::close(fd_);
}

void make_directory_of(const std::string& path) { make_directories(parent(path)); }

void make_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) throw io_failure(path, "open");
  // The file's -wal and -shm take over its mode.
  const bool done = ::fchmod(fd, 0600) == 0 && ::fsync(fd) == 0;
  const sdk::Failure error = io_failure(path, "chmod or fsync");
  ::close(fd);
  if (!done) throw error;
  sync_directory(parent(path));
}

const std::vector<Migration>& migrations() {
  static const std::vector<Migration> steps{
      // Version 1. Times are milliseconds since 1970, NULL: forever. Keys compare as bytes.
      "CREATE TABLE documents(partition BLOB NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, expires_ms INTEGER,"
      "  value BLOB NOT NULL, PRIMARY KEY(partition, key)) WITHOUT ROWID;"
      "CREATE INDEX documents_expiry ON documents(expires_ms) WHERE expires_ms IS NOT NULL;"
      "CREATE TABLE sequences(partition BLOB NOT NULL, prefix TEXT NOT NULL, last INTEGER NOT NULL,"
      "  PRIMARY KEY(partition, prefix)) WITHOUT ROWID;"
      "CREATE TABLE leases(name BLOB PRIMARY KEY, holder BLOB NOT NULL, epoch INTEGER NOT NULL, expires_ms INTEGER NOT NULL) "
      "WITHOUT ROWID;"
      "CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
      "INSERT INTO counters VALUES('revision', 0);"};
  return steps;
}

void migrate(Connection& connection, const std::vector<Migration>& steps) {
  const std::string& path = connection.path();
  check_integrity(connection);
  const std::int64_t application = connection.integer("PRAGMA application_id");
  const std::int64_t version = connection.integer("PRAGMA user_version");
  const auto newest = static_cast<std::int64_t>(steps.size());
  const bool empty = connection.integer("SELECT count(*) FROM sqlite_schema") == 0;
  if (application != kApplicationId && !(empty && application == 0 && version == 0)) {
    throw sdk::Failure(ROOST_INVALID, "store-sqlite: " + path + " is an SQLite file, but not one of Roost: choose another path");
  }
  if (version > newest) {
    throw sdk::Failure(ROOST_UNSUPPORTED, "store-sqlite: " + path + " has schema version " + std::to_string(version) +
                                              ", this plugin knows up to " + std::to_string(newest) +
                                              ": install the newer Roost again, or restore an older copy");
  }
  for (std::int64_t at = version; at < newest; ++at) {
    const std::string step = "BEGIN IMMEDIATE;" + std::string(steps[static_cast<std::size_t>(at)]) +
                             ";PRAGMA application_id=" + std::to_string(kApplicationId) +
                             ";PRAGMA user_version=" + std::to_string(at + 1) + ";COMMIT";
    try {
      connection.execute(step.c_str());
    } catch (const sdk::Failure&) {
      if (connection.in_transaction()) connection.execute("ROLLBACK");
      throw;
    }
  }
}

}  // namespace roost::store_sqlite
