// The baseline of "create is accepted": two durable commits of a bare SQLite, as create makes two. One thread, one connection,
// WAL and synchronous=FULL, each transaction one row of 1 KiB. Prints one line of JSON.
// bench_sqlite_commit FILE [PAIRS]: FILE is made anew and removed; it must be on the disk that is to be measured.
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

[[noreturn]] void fail(const char* what, sqlite3* db) {
  std::fprintf(stderr, "bench_sqlite_commit: %s: %s\n", what, db ? sqlite3_errmsg(db) : "");
  std::exit(1);
}

void execute(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) fail(sql, db);
}

void commit_one(sqlite3* db, sqlite3_stmt* insert, int n, const std::string& value) {
  sqlite3_bind_int(insert, 1, n);
  sqlite3_bind_blob(insert, 2, value.data(), static_cast<int>(value.size()), SQLITE_STATIC);
  execute(db, "BEGIN IMMEDIATE");
  if (sqlite3_step(insert) != SQLITE_DONE) fail("insert", db);
  sqlite3_reset(insert);
  execute(db, "COMMIT");
}

double at(const std::vector<double>& sorted, double quantile) {
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(quantile * static_cast<double>(sorted.size())))];
}

}  // namespace

int main(int argc, char** argv) {
  const int pairs = argc == 3 ? std::atoi(argv[2]) : 200;
  if (argc < 2 || argc > 3 || pairs < 1) fail("usage: bench_sqlite_commit FILE [PAIRS]", nullptr);
  const std::string file = argv[1];
  const auto remove_file = [&] {
    for (const char* suffix : {"", "-wal", "-shm"}) (void)::unlink((file + suffix).c_str());
  };
  remove_file();
  sqlite3* db = nullptr;
  if (sqlite3_open(file.c_str(), &db) != SQLITE_OK) fail("open", db);
  execute(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(id INTEGER PRIMARY KEY, value BLOB)");
  sqlite3_stmt* insert = nullptr;
  if (sqlite3_prepare_v2(db, "INSERT INTO t VALUES(?1, ?2)", -1, &insert, nullptr) != SQLITE_OK) fail("prepare", db);

  const std::string value(1024, 'x');
  std::vector<double> microseconds;
  for (int i = 0; i < pairs; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    commit_one(db, insert, 2 * i, value);
    commit_one(db, insert, 2 * i + 1, value);
    microseconds.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count());
  }
  sqlite3_finalize(insert);
  sqlite3_close(db);
  remove_file();

  std::sort(microseconds.begin(), microseconds.end());
  std::printf("{\"pairs\":%d,\"median_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f}\n", pairs, at(microseconds, 0.5),
              at(microseconds, 0.9), at(microseconds, 0.99));
}
