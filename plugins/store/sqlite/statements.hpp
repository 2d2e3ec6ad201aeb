// The SQL of the store, prepared once for each connection. Thread safety: one thread at a time.
#pragma once

#include <cstdint>
#include <string_view>

#include "store/sqlite/connection.hpp"

namespace roost::store_sqlite {

class ReaderStatements {
 public:
  explicit ReaderStatements(const std::string& path);
  Connection connection;
  Statement get;    // ?1 partition ?2 key ?3 now -> value, revision
  Statement scan;   // ?1 partition ?2 from ?3 below ?4 after ?5 now ?6 limit -> key, value, revision
  Statement count;  // ?1 partition ?2 from ?3 below ?4 now -> n
};

class WriterStatements {
 public:
  explicit WriterStatements(const std::string& path);
  Connection connection;
  Statement begin, commit, rollback, savepoint, release, undo;
  Statement revision;       // ?1 partition ?2 key ?3 now -> revision
  Statement put;            // ?1 partition ?2 key ?3 revision ?4 expires ?5 value
  Statement remove;         // ?1 partition ?2 key
  Statement next_sequence;  // ?1 partition ?2 prefix -> last
  Statement get_lease;      // ?1 name -> holder, epoch, expires
  Statement put_lease;      // ?1 name ?2 holder ?3 epoch ?4 expires
  Statement expired;        // ?1 now ?2 limit -> partition, key
  Statement save_revision;  // ?1 value
  std::int64_t page_bytes = 0;
  std::uint64_t last_revision = 0;   // handed out; a number that was rolled back is not used again
  std::uint64_t saved_revision = 0;  // in the transaction
};

}  // namespace roost::store_sqlite
