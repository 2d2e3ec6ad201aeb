// store-sqlite: the store of one machine in one SQLite file. See plugin.h for the contract and docs/configuration.md for its
// keys.
#include <Poco/JSON/Object.h>
#include <Poco/JSON/Parser.h>

#include "roost/plugin.hpp"
#include "store/shared/limits.hpp"
#include "store/sqlite/database.hpp"
#include "store/sqlite/parts.hpp"
#include "store/sqlite/statements.hpp"

namespace roost::store_sqlite {
namespace {

constexpr int kRowsBetweenChecks = 64;

Options parse_options(std::string_view config) {
  try {
    Poco::JSON::Parser parser;
    const auto object = parser.parse(std::string(config)).extract<Poco::JSON::Object::Ptr>();
    Options options;
    options.path = object->getValue<std::string>("path");
    options.max_bytes = object->optValue<Poco::Int64>("max_bytes", options.max_bytes);
    options.purge_interval_ms = object->optValue<Poco::Int64>("purge_interval_ms", options.purge_interval_ms);
    if (options.path.empty() || options.path[0] != '/') throw sdk::Failure(ROOST_INVALID, "store-sqlite: path must be absolute");
    return options;
  } catch (const Poco::Exception& e) {
    throw sdk::Failure(ROOST_INVALID, "store-sqlite: configuration: " + e.displayText());
  }
}

// The first key that no key with this prefix reaches: keys are at most 0x7E.
std::string upper_bound(std::string_view prefix) {
  std::string bound(prefix);
  if (bound.empty()) return "\x7F";
  ++bound.back();
  return bound;
}

class SqliteStore : public sdk::StorePlugin {
 public:
  // Most of a commit is waiting for the disk, and the more wait together the fewer waits there are.
  static constexpr std::uint32_t max_concurrency = 16;

  SqliteStore(const sdk::Call& call, const sdk::OpenArgs& args) {
    call.check();
    database_ = Database::open(parse_options(args.config), args.log);
  }
  ~SqliteStore() override { Database::close(database_); }

  void get(const sdk::Call& call, std::string_view partition, std::string_view key, sdk::Sink& sink) override {
    store::check_partition(partition);
    store::check_key(key, "a key", false);
    database_->read(call, [&](ReaderStatements& r) {
      Use get(r.get);
      get->blob(1, partition);
      get->text(2, key);
      get->integer(3, database_->clock().now_ms());
      if (!get->step()) throw sdk::Failure(ROOST_NOT_FOUND, "store-sqlite: no document " + std::string(key));
      sink.emit(key, get->bytes(0), static_cast<std::uint64_t>(get->integer(1)));
    });
  }

  void scan(const sdk::Call& call, std::string_view partition, std::string_view prefix, std::string_view after,
            std::uint32_t limit, sdk::Sink& sink) override {
    store::check_partition(partition);
    store::check_key(prefix, "a prefix", true);
    store::check_key(after, "a cursor", true);
    database_->read(call, [&](ReaderStatements& r) {
      const std::string below = upper_bound(prefix);
      Use scan(r.scan);
      scan->blob(1, partition);
      scan->text(2, std::max(prefix, after));
      scan->text(3, below);
      scan->text(4, after);
      scan->integer(5, database_->clock().now_ms());
      scan->integer(6, limit);
      for (int row = 1; scan->step(); ++row) {
        if (row % kRowsBetweenChecks == 0) call.check();
        if (!sink.emit(scan->bytes(0), scan->bytes(1), static_cast<std::uint64_t>(scan->integer(2)))) return;
      }
    });
  }

  void commit(const sdk::Call& call, std::string_view partition, const std::vector<sdk::Condition>& conditions,
              const std::vector<sdk::Operation>& operations, sdk::Sink& sink) override {
    emit(database_->write(call, make_commit(database_->clock(), partition, conditions, operations)), sink);
  }

  std::uint64_t count(const sdk::Call& call, std::string_view partition, std::string_view prefix) override {
    store::check_partition(partition);
    store::check_key(prefix, "a prefix", true);
    std::uint64_t answer = 0;
    database_->read(call, [&](ReaderStatements& r) {
      const std::string below = upper_bound(prefix);
      Use count(r.count);
      count->blob(1, partition);
      count->text(2, prefix);
      count->text(3, below);
      count->integer(4, database_->clock().now_ms());
      if (count->step()) answer = static_cast<std::uint64_t>(count->integer(0));
    });
    return answer;
  }

  void lease(const sdk::Call& call, std::string_view name, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms,
             sdk::Sink& sink) override {
    emit(database_->write(call, make_lease(database_->clock(), name, holder, action, ttl_ms)), sink);
  }

  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) override {
    database_->changes().watch(call, resume, sink);
  }

 private:
  static void emit(const Outcome& outcome, sdk::Sink& sink) {
    for (const Outcome::Record& record : outcome.records) {
      if (!sink.emit(record.key, record.value, record.revision)) break;
    }
    if (outcome.failure) throw *outcome.failure;
  }

  std::shared_ptr<Database> database_;
};

}  // namespace
}  // namespace roost::store_sqlite

ROOST_STORE_PLUGIN(roost::store_sqlite::SqliteStore, "store-sqlite", ROOST_PLUGIN_VERSION)
