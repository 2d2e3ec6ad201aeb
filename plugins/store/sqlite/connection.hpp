// Connection and Statement: SQLite's C API with errors as sdk::Failure (what happened, in which file, what to do) and with
// clean-up. Thread safety: one thread at a time for a connection and its statements; they may move between threads.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "roost/plugin.hpp"

namespace roost::store_sqlite {

class Connection {
 public:
  // Opens an existing file. Throws Failure.
  explicit Connection(const std::string& path);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void execute(const char* sql);                        // without rows
  [[nodiscard]] std::int64_t integer(const char* sql);  // the first column of the first row; 0 where there is none
  [[nodiscard]] std::string text(const char* sql);
  [[nodiscard]] sqlite3* raw() const { return db_; }
  [[nodiscard]] const std::string& path() const { return path_; }

  [[nodiscard]] bool in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }
  // True where the file is not at its path any more.
  [[nodiscard]] bool moved() const;

  // The Failure for a result code of this connection.
  [[nodiscard]] sdk::Failure failure(int result) const;

 private:
  std::string path_;
  sqlite3* db_ = nullptr;
};

class Statement {
 public:
  Statement(Connection& connection, const char* sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // Parameters count from 1. Bytes are borrowed until the end of the use.
  void text(int parameter, std::string_view value);
  void blob(int parameter, std::string_view value);
  void integer(int parameter, std::int64_t value);
  void null(int parameter);
  [[nodiscard]] bool step();                               // true: a row; false: done
  void run();                                              // to its end, whatever rows it has
  [[nodiscard]] std::string_view bytes(int column) const;  // valid until the next step
  [[nodiscard]] std::int64_t integer(int column) const;
  void reset();

 private:
  void check(int result) const;
  Connection& connection_;
  sqlite3_stmt* statement_ = nullptr;
};

// One use of a statement: it is reset at the end, whatever happens, so that it holds no snapshot.
class Use {
 public:
  explicit Use(Statement& statement) : statement_(statement) {}
  ~Use() { statement_.reset(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  Statement* operator->() { return &statement_; }

 private:
  Statement& statement_;
};

// While it lives, long-running SQL on the connection stops when the call is cancelled or past its deadline.
class Interruptible {
 public:
  Interruptible(Connection& connection, const sdk::Call& call);
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;

 private:
  Connection& connection_;
};

}  // namespace roost::store_sqlite
