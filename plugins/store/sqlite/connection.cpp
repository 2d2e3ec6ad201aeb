#include "store/sqlite/connection.hpp"

#include <cerrno>
#include <cstring>

namespace roost::store_sqlite {
namespace {

constexpr int kBusyMs = 2'000;  // against a person with the sqlite3 shell; our own writer is alone
constexpr int kStepsBetweenChecks = 4'000;
constexpr std::uint64_t kRetryFullMs = 5'000;

bool no_room(int number) { return number == ENOSPC || number == EDQUOT || number == EFBIG; }

}  // namespace

Connection::Connection(const std::string& path) : path_(path) {
  const int result =
      sqlite3_open_v2(path.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  if (result != SQLITE_OK) {
    sdk::Failure error = failure(result);
    sqlite3_close(db_);
    db_ = nullptr;
    throw error;
  }
  sqlite3_busy_timeout(db_, kBusyMs);
  // A crafted file must not run anything: no functions of its own in views or triggers, no extensions.
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
}

Connection::~Connection() { sqlite3_close_v2(db_); }

void Connection::execute(const char* sql) {
  errno = 0;
  const int result = sqlite3_exec(db_, sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) throw failure(result);
}

std::int64_t Connection::integer(const char* sql) {
  Statement statement(*this, sql);
  return statement.step() ? statement.integer(0) : 0;
}

std::string Connection::text(const char* sql) {
  Statement statement(*this, sql);
  return statement.step() ? std::string(statement.bytes(0)) : std::string();
}

bool Connection::moved() const {
  int answer = 0;
  return sqlite3_file_control(db_, "main", SQLITE_FCNTL_HAS_MOVED, &answer) == SQLITE_OK && answer != 0;
}

sdk::Failure Connection::failure(int result) const {
  // SQLite does not note the system's error of a COMMIT; what errno holds then is still the failed call's.
  const int basic = result & 0xFF;
  int number = db_ ? sqlite3_system_errno(db_) : 0;
  if (number == 0 && (basic == SQLITE_IOERR || basic == SQLITE_CANTOPEN || basic == SQLITE_FULL)) number = errno;
  std::string message = "store-sqlite: " + path_ + ": " + (db_ ? sqlite3_errmsg(db_) : sqlite3_errstr(result));
  if (number != 0) message += std::string(" (") + std::strerror(number) + ")";
  const std::string damaged =
      message +
      ". The file is damaged: stop roostd, copy the file with its -wal, then restore it from a backup or try "
      "`sqlite3 FILE .recover`";
  switch (basic) {
    case SQLITE_FULL: return {ROOST_EXHAUSTED, message + ". Make room on its disk, or raise max_bytes", kRetryFullMs};
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return {ROOST_DATA_LOSS, damaged};
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return {ROOST_UNAVAILABLE, message + ". Another program is using it", 200};
    case SQLITE_READONLY:
      if (result == SQLITE_READONLY_DBMOVED)
        return {ROOST_DATA_LOSS, message + ". The file was moved or removed while it was in use"};
      return {ROOST_DENIED, message};
    case SQLITE_PERM:
    case SQLITE_AUTH: return {ROOST_DENIED, message};
    case SQLITE_CANTOPEN:
      if (no_room(number)) return {ROOST_EXHAUSTED, message, kRetryFullMs};
      return {number == EACCES || number == EPERM ? ROOST_DENIED : ROOST_UNAVAILABLE, message};
    case SQLITE_NOMEM: return {ROOST_EXHAUSTED, message, kRetryFullMs};
    case SQLITE_TOOBIG: return {ROOST_INVALID, message};
    case SQLITE_INTERRUPT: return {ROOST_CANCELLED, "store-sqlite: the call was cancelled"};
    case SQLITE_IOERR:
      if (no_room(number)) return {ROOST_EXHAUSTED, message + ". Make room on its disk", kRetryFullMs};
      if (result == SQLITE_IOERR_SHORT_READ || result == SQLITE_IOERR_CORRUPTFS || result == SQLITE_IOERR_DATA) {
        return {ROOST_DATA_LOSS, damaged};
      }
      return {ROOST_UNAVAILABLE, message, 1'000};
    default: return {ROOST_INTERNAL, message};
  }
}

Statement::Statement(Connection& connection, const char* sql) : connection_(connection) {
  const int result = sqlite3_prepare_v3(connection.raw(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  if (result != SQLITE_OK) throw connection.failure(result);
}

Statement::~Statement() { sqlite3_finalize(statement_); }

void Statement::check(int result) const {
  if (result != SQLITE_OK) throw connection_.failure(result);
}

void Statement::text(int parameter, std::string_view value) {
  const char* data = value.data() == nullptr ? "" : value.data();
  check(sqlite3_bind_text64(statement_, parameter, data, value.size(), SQLITE_STATIC, SQLITE_UTF8));
}

void Statement::blob(int parameter, std::string_view value) {
  const char* data = value.data() == nullptr ? "" : value.data();  // a null pointer would bind NULL
  check(sqlite3_bind_blob64(statement_, parameter, data, value.size(), SQLITE_STATIC));
}

void Statement::integer(int parameter, std::int64_t value) { check(sqlite3_bind_int64(statement_, parameter, value)); }
void Statement::null(int parameter) { check(sqlite3_bind_null(statement_, parameter)); }

bool Statement::step() {
  errno = 0;
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  throw connection_.failure(result);
}

void Statement::run() {
  while (step()) {
  }
}

std::string_view Statement::bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  return data == nullptr ? std::string_view() : std::string_view(static_cast<const char*>(data), static_cast<std::size_t>(size));
}

std::int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }

void Statement::reset() {
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Interruptible::Interruptible(Connection& connection, const sdk::Call& call) : connection_(connection) {
  sqlite3_progress_handler(
      connection.raw(), kStepsBetweenChecks,
      [](void* context) { return static_cast<const sdk::Call*>(context)->cancelled() ? 1 : 0; },
      const_cast<void*>(static_cast<const void*>(&call)));
}

Interruptible::~Interruptible() { sqlite3_progress_handler(connection_.raw(), 0, nullptr, nullptr); }

}  // namespace roost::store_sqlite
