#include "agent/task_storage.hpp"

#include <poll.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "agent/walk_beneath.hpp"
#include "archive/manifest.hpp"
#include "base/clock.hpp"
#include "host/plugin_call.hpp"

namespace roost::agent {

namespace {

// No single call takes this long on storage that works; the task as a whole is bounded by whoever started it.
constexpr std::int64_t kCallNs = 600'000'000'000;
constexpr int kTries = 5;

const HostApi& task_host() {
  static const HostApi* const host = new HostApi(
      [](int level, std::string_view message, std::string_view) {
        if (level >= ROOST_LOG_WARN) std::fprintf(stderr, "roost-agent: %s\n", escape_path(message, 500).c_str());
      },
      [](std::string_view plugin, std::string_view what) {
        std::fprintf(stderr, "roost-agent: plugin_misbehaving %s: %s\n", escape_path(plugin).c_str(),
                     escape_path(what, 500).c_str());
      });
  return *host;
}

std::int64_t deadline() { return system_clock().monotonic_ns() + kCallNs; }

}  // namespace

class TaskStorage::Source final : public ArchiveSource {
 public:
  Source(TaskStorage& storage, std::string name, std::uint64_t size) : storage_(storage), name_(std::move(name)), size_(size) {}
  std::uint64_t size() const override { return size_; }
  Result<std::string> read(std::uint64_t offset, std::size_t length) override { return storage_.read(name_, offset, length); }

 private:
  TaskStorage& storage_;
  std::string name_;
  std::uint64_t size_;
};

Result<std::unique_ptr<TaskStorage>> TaskStorage::open(const TaskSpec& spec, int cancel_fd) {
  auto plugin = load_plugin(spec.plugin_manifest, PluginKind::backup, task_host());
  // A plugin that cannot be loaded is no fault of the archive's.
  if (!plugin.ok()) return Error{Code::invalid, plugin.error().message, 0};
  Secrets secrets;
  for (const auto& [name, value] : spec.plugin_secrets.members()) secrets.emplace_back(name, value.as_string());
  ROOST_TRY(auto instance, Instance::open(*std::move(plugin), "task", spec.plugin_config, secrets, deadline()));
  return std::unique_ptr<TaskStorage>(new TaskStorage(std::move(instance), cancel_fd));
}

TaskStorage::TaskStorage(std::shared_ptr<Instance> instance, int cancel_fd)
    : instance_(std::move(instance)), table_(instance_->plugin().backup), cancel_fd_(cancel_fd) {}

TaskStorage::~TaskStorage() { put_abort(); }

// function(call, error) calls the plugin and answers its code; or, with a collector of its own, a Status.
template <class Function>
Status TaskStorage::call(Function function) {
  for (int tried = 1;; ++tried) {
    PluginCall plugin_call(instance_->plugin(), deadline(), {}, cancel_fd_);
    Status status = function(plugin_call);
    const bool again = !status.ok() && (status.error().code == Code::unavailable || status.error().code == Code::deadline);
    if (!again || tried == kTries) return status;
    pollfd cancel{cancel_fd_, POLLIN, 0};
    if (::poll(&cancel, 1, 100 << (2 * tried)) > 0) return {Code::cancelled, "the task was told to stop"};
  }
}

Status TaskStorage::put_begin(const std::string& name) {
  return call([&](PluginCall& c) {
    return c.run([&] { return table_.put_begin(instance_->get(), c.raw(), to_bytes(name), &put_, c.error()); });
  });
}

Status TaskStorage::put_part(std::string_view data) {
  return call([&](PluginCall& c) {
    return c.run([&] { return table_.put_part(instance_->get(), c.raw(), put_, to_bytes(data), c.error()); });
  });
}

Status TaskStorage::put_commit() {
  PluginCall c(instance_->plugin(), deadline(), {}, cancel_fd_);
  Collector collector(instance_->plugin());
  roost_put* const put = std::exchange(put_, nullptr);
  return c.run(collector, CollectorLimits{},
               [&] { return table_.put_commit(instance_->get(), c.raw(), put, collector.sink(), c.error()); });
}

void TaskStorage::put_abort() {
  if (put_ != nullptr) table_.put_abort(instance_->get(), std::exchange(put_, nullptr));
}

Result<std::uint64_t> TaskStorage::size_of(const std::string& name) {
  Collector collector(instance_->plugin());
  ROOST_CHECK(call([&](PluginCall& c) {
    return c.run(collector, CollectorLimits{},
                 [&] { return table_.stat(instance_->get(), c.raw(), to_bytes(name), collector.sink(), c.error()); });
  }));
  if (collector.records().empty()) return {Code::internal, "the backup plugin's stat answered nothing"};
  ROOST_TRY(const Json document, Json::parse(collector.records().front().value));
  ROOST_TRY(const std::int64_t size, document.get_int("size"));
  if (size < 0) return {Code::internal, "the backup plugin's stat answered a negative size"};
  return static_cast<std::uint64_t>(size);
}

Result<std::unique_ptr<ArchiveSource>> TaskStorage::source(const std::string& name) {
  ROOST_TRY(const std::uint64_t size, size_of(name));
  return std::unique_ptr<ArchiveSource>(std::make_unique<Source>(*this, name, size));
}

Result<std::string> TaskStorage::read(const std::string& name, std::uint64_t offset, std::size_t length) {
  if (length == 0) return std::string();
  std::unique_lock alone(one_read_, std::defer_lock);
  if (table_.max_concurrency == 1) alone.lock();
  Collector collector(instance_->plugin());
  const CollectorLimits limits{4096, 1024, length, length};
  ROOST_CHECK(call([&](PluginCall& c) {
    return c.run(collector, limits, [&] {
      return table_.read(instance_->get(), c.raw(), to_bytes(name), offset, length, collector.sink(), c.error());
    });
  }));
  std::string out;
  for (Record& record : collector.records()) {
    if (out.empty()) {
      out = std::move(record.value);
    } else {
      out += record.value;
    }
  }
  if (out.size() != length) return {Code::data_loss, "the archive is damaged: the storage gives fewer bytes than it has"};
  return out;
}

Status TaskStorage::remove(const std::string& name) {
  return call(
      [&](PluginCall& c) { return c.run([&] { return table_.remove(instance_->get(), c.raw(), to_bytes(name), c.error()); }); });
}

}  // namespace roost::agent
