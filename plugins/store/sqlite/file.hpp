// The file on disk: made with mode 0600, durable in its directory, locked against other processes, and of the schema's present
// version. Thread safety: pure functions; a Lock is owned by one thread.
#pragma once

#include <string>
#include <vector>

#include "store/sqlite/connection.hpp"

namespace roost::store_sqlite {

// Held while the process uses the file: flock(2) on PATH.lock, which SQLite's own locks do not touch and a crash releases.
class Lock {
 public:
  explicit Lock(const std::string& path);  // throws CONFLICT naming the file and the process that holds it
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int fd_ = -1;
};

// Make what is missing, the directories with mode 0700, the file with 0600; what they made is durable.
void make_directory_of(const std::string& path);
void make_file(const std::string& path);

// One step of the schema; steps[n] leads from version n to n+1. Each runs in a transaction of its own.
using Migration = const char*;
[[nodiscard]] const std::vector<Migration>& migrations();
// Brings the file to the version of `steps`. INVALID: not a store of Roost; UNSUPPORTED: made by a newer Roost; DATA_LOSS:
// damaged.
void migrate(Connection& connection, const std::vector<Migration>& steps);

}  // namespace roost::store_sqlite
