// StoreDriver: a store plugin as a test calls it: loaded by the host's loader, called through its C table, each call with a
// deadline and, where wanted, a cancel descriptor. Quirks: what a plugin needs to be tested, and where it may differ.
// Thread safety: any thread, as the plugin itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "host/loader.hpp"
#include "roost/plugin.h"

namespace roost::store_suite {

struct Quirks {
  std::string plugin;                                                  // "store-sqlite"
  std::function<Json(const std::filesystem::path& directory)> config;  // of a store of the test's own
  int crash_rounds = 4;
};
const std::vector<Quirks>& all_stores();  // stores.cpp
const Quirks* find_store(std::string_view plugin);

struct Document {
  std::string key;
  std::string value;
  std::uint64_t revision = 0;
  std::uint32_t flags = 0;
  bool operator==(const Document&) const = default;
};
using Documents = std::vector<Document>;

struct Condition {
  int kind = ROOST_IF_ABSENT;
  std::string key;
  std::uint64_t revision = 0;
};

struct Operation {
  int kind = ROOST_PUT;
  std::string key;
  std::string value;
  std::uint64_t ttl_ms = 0;
};

inline Operation put(std::string key, std::string value, std::uint64_t ttl_ms = 0) {
  return {ROOST_PUT, std::move(key), std::move(value), ttl_ms};
}
inline Operation remove(std::string key) { return {ROOST_DELETE, std::move(key), {}, 0}; }
inline Operation append(std::string prefix, std::string value) { return {ROOST_APPEND, std::move(prefix), std::move(value), 0}; }
inline Condition if_absent(std::string key) { return {ROOST_IF_ABSENT, std::move(key), 0}; }
inline Condition if_exists(std::string key) { return {ROOST_IF_EXISTS, std::move(key), 0}; }
inline Condition if_revision(std::string key, std::uint64_t revision) { return {ROOST_IF_REVISION, std::move(key), revision}; }

struct CallOptions {
  int timeout_ms = 20'000;  // may be negative: the deadline has passed
  int cancel_fd = -1;
  std::size_t stop_after = SIZE_MAX;  // the sink says STOP with this record
};

struct LeaseAnswer {
  Status status;
  std::string holder;
  std::int64_t epoch = 0;
  std::int64_t remaining_ms = 0;
};

class StoreDriver {
 public:
  // Loads the plugin and opens an instance. On failure opened() says why.
  StoreDriver(const std::string& plugin, const Json& config, const Secrets& secrets = {});
  explicit StoreDriver(const Quirks& quirks, const std::filesystem::path& directory)
      : StoreDriver(quirks.plugin, quirks.config(directory)) {}
  [[nodiscard]] const Status& opened() const { return opened_; }

  Result<Document> get(std::string_view partition, std::string_view key, CallOptions = {});
  Result<Documents> scan(std::string_view partition, std::string_view prefix, std::string_view after, std::uint32_t limit,
                         CallOptions = {});
  Result<Documents> commit(std::string_view partition, const std::vector<Condition>& conditions,
                           const std::vector<Operation>& operations, CallOptions = {});
  Result<std::uint64_t> count(std::string_view partition, std::string_view prefix, CallOptions = {});
  LeaseAnswer lease(std::string_view name, std::string_view holder, int action, std::uint64_t ttl_ms, CallOptions = {});
  Result<Documents> watch(std::string_view resume, CallOptions = {});  // the last record has the token

 private:
  Result<Documents> call(const CallOptions& options,
                         const std::function<std::int32_t(const roost_call*, const roost_sink*, roost_error*)>& function,
                         Documents* on_failure = nullptr);
  const roost_store& table() const { return instance_->plugin().store; }

  std::shared_ptr<Instance> instance_;
  Status opened_;
};

// A directory of the test's own.
class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Waits until `condition` holds; false after the time.
bool eventually(const std::function<bool()>& condition, int timeout_ms = 20'000);

}  // namespace roost::store_suite
