#include "plugins/store/driver.hpp"

#include <stdlib.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "base/clock.hpp"
#include "host/plugin_call.hpp"

namespace roost::store_suite {
namespace {

HostApi& host() {
  static auto* const made =
      new HostApi([](int, std::string_view, std::string_view) {},
                  [](std::string_view plugin, std::string_view what) {
                    std::fprintf(stderr, "plugin_misbehaving: %.*s: %.*s\n", static_cast<int>(plugin.size()), plugin.data(),
                                 static_cast<int>(what.size()), what.data());
                    std::abort();
                  });
  return *made;
}

std::int64_t deadline(int timeout_ms) { return system_clock().monotonic_ns() + std::int64_t{timeout_ms} * 1'000'000; }

struct Receiver {
  Documents documents;
  std::size_t stop_after;
  bool stopped = false;

  static std::int32_t emit(const roost_sink* sink, const roost_record* record) {
    auto* self = static_cast<Receiver*>(sink->context);
    if (self->stopped) std::abort();  // the plugin emits nothing more after STOP
    self->documents.push_back({std::string(record->key.data ? record->key.data : "", record->key.size),
                               std::string(record->value.data ? record->value.data : "", record->value.size), record->revision,
                               record->flags});
    self->stopped = self->documents.size() >= self->stop_after;
    return self->stopped ? 1 : 0;
  }
};

// What a host of a later version passes: items with more members than this plugin knows.
template <class T>
struct Grown {
  T item{};
  std::uint64_t unknown = 0xDEADBEEF;
};

template <class T>
roost_array as_array(const std::vector<Grown<T>>& items) {
  return {items.data(), static_cast<std::uint32_t>(items.size()), sizeof(Grown<T>)};
}

}  // namespace

StoreDriver::StoreDriver(const std::string& plugin, const Json& config, const Secrets& secrets) {
  auto manifest = find_manifest({ROOST_PLUGIN_DIR}, plugin);
  if (!manifest.ok()) {
    opened_ = manifest.error();
    return;
  }
  auto loaded = load_plugin(*manifest, PluginKind::store, host());
  if (!loaded.ok()) {
    opened_ = loaded.error();
    return;
  }
  auto opened = Instance::open(*loaded, "test", config, secrets, deadline(20'000));
  if (opened.ok())
    instance_ = *opened;
  else
    opened_ = opened.error();
}

Result<Documents> StoreDriver::call(
    const CallOptions& options, const std::function<std::int32_t(const roost_call*, const roost_sink*, roost_error*)>& function,
    Documents* on_failure) {
  Receiver receiver{{}, options.stop_after};
  roost_sink sink{};
  sink.size = sizeof sink;
  sink.context = &receiver;
  sink.emit = &Receiver::emit;
  PluginCall plugin_call(instance_->plugin(), deadline(options.timeout_ms), {}, options.cancel_fd);
  const Status status = plugin_call.run([&] { return function(plugin_call.raw(), &sink, plugin_call.error()); });
  if (on_failure) *on_failure = receiver.documents;
  if (!status.ok()) return status.error();
  return std::move(receiver.documents);
}

Result<Document> StoreDriver::get(std::string_view partition, std::string_view key, CallOptions options) {
  auto documents = call(options, [&](auto* c, auto* sink, auto* error) {
    return table().get(instance_->get(), c, to_bytes(partition), to_bytes(key), sink, error);
  });
  if (!documents.ok()) return documents.error();
  if (documents->size() != 1) return Error{Code::internal, "a get answered " + std::to_string(documents->size()) + " records", 0};
  return documents->front();
}

Result<Documents> StoreDriver::scan(std::string_view partition, std::string_view prefix, std::string_view after,
                                    std::uint32_t limit, CallOptions options) {
  return call(options, [&](auto* c, auto* sink, auto* error) {
    return table().scan(instance_->get(), c, to_bytes(partition), to_bytes(prefix), to_bytes(after), limit, sink, error);
  });
}

Result<Documents> StoreDriver::commit(std::string_view partition, const std::vector<Condition>& conditions,
                                      const std::vector<Operation>& operations, CallOptions options) {
  std::vector<Grown<roost_condition>> raw_conditions;
  for (const Condition& condition : conditions) {
    raw_conditions.push_back({{sizeof(Grown<roost_condition>), condition.kind, to_bytes(condition.key), condition.revision}});
  }
  std::vector<Grown<roost_operation>> raw_operations;
  for (const Operation& operation : operations) {
    raw_operations.push_back(
        {{sizeof(Grown<roost_operation>), operation.kind, to_bytes(operation.key), to_bytes(operation.value), operation.ttl_ms}});
  }
  return call(options, [&](auto* c, auto* sink, auto* error) {
    return table().commit(instance_->get(), c, to_bytes(partition), as_array(raw_conditions), as_array(raw_operations), sink,
                          error);
  });
}

Result<std::uint64_t> StoreDriver::count(std::string_view partition, std::string_view prefix, CallOptions options) {
  std::uint64_t answer = 0;
  const auto done = call(options, [&](auto* c, auto*, auto* error) {
    return table().count(instance_->get(), c, to_bytes(partition), to_bytes(prefix), &answer, error);
  });
  if (!done.ok()) return done.error();
  return answer;
}

LeaseAnswer StoreDriver::lease(std::string_view name, std::string_view holder, int action, std::uint64_t ttl_ms,
                               CallOptions options) {
  Documents records;
  const auto done = call(
      options,
      [&](auto* c, auto* sink, auto* error) {
        return table().lease(instance_->get(), c, to_bytes(name), to_bytes(holder), action, ttl_ms, sink, error);
      },
      &records);
  LeaseAnswer answer;
  if (!done.ok()) answer.status = done.error();
  if (records.size() == 1) {
    const auto state = Json::parse(records[0].value);
    if (!state.ok()) return {Error{Code::internal, "the lease's record is not JSON: " + records[0].value, 0}, {}, 0, 0};
    answer.holder = records[0].key;
    answer.epoch = (*state)["epoch"].as_int(-1);
    answer.remaining_ms = (*state)["remaining_ms"].as_int(-1);
  }
  return answer;
}

Result<Documents> StoreDriver::watch(std::string_view resume, CallOptions options) {
  return call(options, [&](auto* c, auto* sink, auto* error) {
    return table().watch(instance_->get(), c, to_bytes(resume), sink, error);
  });
}

TestDirectory::TestDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "roost-store-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}
TestDirectory::~TestDirectory() { std::filesystem::remove_all(path_); }

bool eventually(const std::function<bool()>& condition, int timeout_ms) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace roost::store_suite
