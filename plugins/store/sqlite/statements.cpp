#include "store/sqlite/statements.hpp"

#include <algorithm>

#include "store/sqlite/file.hpp"

namespace roost::store_sqlite {
namespace {

constexpr const char* kLive = " AND (expires_ms IS NULL OR expires_ms > ";

std::string live(const char* sql, const char* now) { return std::string(sql) + kLive + now + ")"; }

// Brings the file into its present shape before the first statement is prepared.
const std::string& prepared(const std::string& path) {
  Connection connection(path);
  connection.execute("PRAGMA synchronous=FULL");
  if (connection.text("PRAGMA journal_mode=WAL") != "wal") {
    throw sdk::Failure(ROOST_UNSUPPORTED, "store-sqlite: " + path +
                                              ": this file system cannot hold a write-ahead log (is it a network file system?)");
  }
  migrate(connection, migrations());
  return path;
}

}  // namespace

ReaderStatements::ReaderStatements(const std::string& path)
    : connection(path),
      get(connection, live("SELECT value, revision FROM documents WHERE partition=?1 AND key=?2", "?3").c_str()),
      scan(connection,
           (live("SELECT key, value, revision FROM documents WHERE partition=?1 AND key>=?2 AND key<?3 AND key>?4", "?5") +
            " ORDER BY key LIMIT ?6")
               .c_str()),
      count(connection, live("SELECT count(*) FROM documents WHERE partition=?1 AND key>=?2 AND key<?3", "?4").c_str()) {
  connection.execute("PRAGMA query_only=ON; PRAGMA cache_size=-512");
}

WriterStatements::WriterStatements(const std::string& path)
    : connection(prepared(path)),
      begin(connection, "BEGIN IMMEDIATE"),
      commit(connection, "COMMIT"),
      rollback(connection, "ROLLBACK"),
      savepoint(connection, "SAVEPOINT part"),
      release(connection, "RELEASE part"),
      undo(connection, "ROLLBACK TO part"),
      revision(connection, live("SELECT revision FROM documents WHERE partition=?1 AND key=?2", "?3").c_str()),
      put(connection,
          "INSERT INTO documents(partition, key, revision, expires_ms, value) VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT(partition, "
          "key) "
          "DO UPDATE SET revision=excluded.revision, expires_ms=excluded.expires_ms, value=excluded.value"),
      remove(connection, "DELETE FROM documents WHERE partition=?1 AND key=?2"),
      next_sequence(
          connection,
          "INSERT INTO sequences VALUES(?1, ?2, 1) ON CONFLICT(partition, prefix) DO UPDATE SET last=last+1 RETURNING last"),
      get_lease(connection, "SELECT holder, epoch, expires_ms FROM leases WHERE name=?1"),
      put_lease(connection,
                "INSERT INTO leases VALUES(?1, ?2, ?3, ?4) ON CONFLICT(name) DO UPDATE SET holder=excluded.holder, "
                "epoch=excluded.epoch, expires_ms=excluded.expires_ms"),
      expired(connection, "SELECT partition, key FROM documents WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2"),
      save_revision(connection, "UPDATE counters SET value=?1 WHERE name='revision'") {
  connection.execute(
      "PRAGMA synchronous=FULL; PRAGMA cache_size=-2048; PRAGMA journal_size_limit=67108864; PRAGMA wal_autocheckpoint=0");
  page_bytes = connection.integer("PRAGMA page_size");
  last_revision = saved_revision =
      static_cast<std::uint64_t>(connection.integer("SELECT value FROM counters WHERE name='revision'"));
}

}  // namespace roost::store_sqlite
