// BackupPlugin: a backup plugin as a test calls it, through the C ABI and the host's loader; and TempDir.
// Thread safety: calls may come from several threads; everything else from one.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "host/loader.hpp"
#include "host/plugin_call.hpp"

namespace roost::backup_test {

class TempDir {
 public:
  TempDir() {
    std::string name = std::filesystem::temp_directory_path() / "roost-backup-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// What plugins have logged in this process, line by line.
class TestLog {
 public:
  void add(std::string_view line) {
    const std::lock_guard<std::mutex> lock(mutex_);
    lines_.emplace_back(line);
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return lines_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

inline TestLog& test_log() {
  static TestLog log;
  return log;
}

inline const HostApi& test_host() {
  static const HostApi* const host =
      new HostApi([](int, std::string_view message, std::string_view) { test_log().add(message); },
                  [](std::string_view plugin, std::string_view what) { ADD_FAILURE() << plugin << " misbehaves: " << what; });
  return *host;
}

struct Listed {
  std::string name;
  std::int64_t size = 0;
  std::int64_t modified = 0;
};

// Where `cancel_fd` is readable every call is a cancelled one; `deadline_ns` < 0 means a minute from now.
struct Circumstances {
  int cancel_fd = -1;
  std::int64_t deadline_ns = -1;
};

class BackupPlugin {
 public:
  static Result<std::unique_ptr<BackupPlugin>> open(const std::string& name, const Json& config, const Secrets& secrets = {}) {
    ROOST_TRY(PluginHandle plugin,
              load_plugin(std::filesystem::path(ROOST_PLUGIN_DIR) / (name + ".roost.json"), PluginKind::backup, test_host()));
    ROOST_TRY(auto instance, Instance::open(std::move(plugin), "test", config, secrets, minute()));
    auto opened = std::unique_ptr<BackupPlugin>(new BackupPlugin);
    opened->instance_ = std::move(instance);
    return opened;
  }

  Result<roost_put*> put_begin(std::string_view name, Circumstances how = {}) {
    PluginCall call = make_call(how);
    roost_put* put = nullptr;
    ROOST_CHECK(call.run([&] { return table().put_begin(get(), call.raw(), to_bytes(name), &put, call.error()); }));
    return put;
  }
  Status put_part(roost_put* put, std::string_view data, Circumstances how = {}) {
    PluginCall call = make_call(how);
    return call.run([&] { return table().put_part(get(), call.raw(), put, to_bytes(data), call.error()); });
  }
  Result<Json> put_commit(roost_put* put, Circumstances how = {}) {
    return one(
        [&](PluginCall& call, const roost_sink* sink) { return table().put_commit(get(), call.raw(), put, sink, call.error()); },
        how);
  }
  void put_abort(roost_put* put) { table().put_abort(get(), put); }
  // All of it.
  Status put(std::string_view name, std::string_view data) {
    ROOST_TRY(roost_put* const put, put_begin(name));
    constexpr std::size_t kPart = 1u << 20;
    for (std::size_t at = 0; at < data.size(); at += kPart) {
      const Status status = put_part(put, data.substr(at, kPart));
      if (status.ok()) continue;
      put_abort(put);
      return status;
    }
    ROOST_CHECK(put_commit(put));
    return {};
  }

  Result<std::vector<Listed>> list(std::string_view prefix = {}, std::string_view after = {}, std::uint32_t limit = 1000) {
    PluginCall call = make_call({});
    Collector collector(instance_->plugin());
    ROOST_CHECK(call.run(collector, CollectorLimits{limit, 1024, 1 << 20, 64 << 20}, [&] {
      return table().list(get(), call.raw(), to_bytes(prefix), to_bytes(after), limit, collector.sink(), call.error());
    }));
    std::vector<Listed> all;
    for (const Record& record : collector.records()) {
      ROOST_TRY(const Json value, Json::parse(record.value));
      all.push_back({record.key, value["size"].as_int(-1), value["modified"].as_int(-1)});
    }
    return all;
  }
  Result<Json> stat(std::string_view name) {
    return one([&](PluginCall& call, const roost_sink* sink) {
      return table().stat(get(), call.raw(), to_bytes(name), sink, call.error());
    });
  }
  Result<Json> describe(std::string_view request = "{}") {
    return one([&](PluginCall& call, const roost_sink* sink) {
      return table().describe(get(), call.raw(), to_bytes(request), sink, call.error());
    });
  }
  Result<std::string> read(std::string_view name, std::uint64_t offset, std::uint64_t length, Circumstances how = {}) {
    PluginCall call = make_call(how);
    Collector collector(instance_->plugin());
    ROOST_CHECK(call.run(collector, CollectorLimits{4096, 1024, 16 << 20, 64 << 20}, [&] {
      return table().read(get(), call.raw(), to_bytes(name), offset, length, collector.sink(), call.error());
    }));
    std::string bytes;
    for (const Record& record : collector.records()) bytes += record.value;
    return bytes;
  }
  Status remove(std::string_view name) {
    PluginCall call = make_call({});
    return call.run([&] { return table().remove(get(), call.raw(), to_bytes(name), call.error()); });
  }

  [[nodiscard]] const roost_backup& table() const { return instance_->plugin().backup; }
  [[nodiscard]] roost_instance* get() const { return instance_->get(); }
  [[nodiscard]] PluginCall make_call(Circumstances how) const {
    return PluginCall(instance_->plugin(), how.deadline_ns < 0 ? minute() : how.deadline_ns, {}, how.cancel_fd);
  }

 private:
  static std::int64_t minute() { return system_clock().monotonic_ns() + 60'000'000'000; }
  template <class Function>
  Result<Json> one(Function function, Circumstances how = {}) {
    PluginCall call = make_call(how);
    Collector collector(instance_->plugin());
    ROOST_CHECK(call.run(collector, CollectorLimits{}, [&] { return function(call, collector.sink()); }));
    if (collector.records().size() != 1) return Error{Code::internal, "not one record", 0};
    return Json::parse(collector.records().front().value);
  }

  std::shared_ptr<Instance> instance_;
};

// Bytes that do not repeat themselves, the same for the same seed.
inline std::string noise(std::size_t size, std::uint64_t seed = 1) {
  std::string out(size, '\0');
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
  for (char& c : out) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    c = static_cast<char>(state >> 56);
  }
  return out;
}

inline Code code_of(const Status& status) { return status.ok() ? Code{} : status.error().code; }
template <class T>
Code code_of(const Result<T>& result) {
  return result.ok() ? Code{} : result.error().code;
}

}  // namespace roost::backup_test
