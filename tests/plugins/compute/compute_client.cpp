#include "plugins/compute/compute_client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "base/clock.hpp"
#include "host/plugin_call.hpp"

namespace roost::test {
namespace {

const HostApi& host() {
  static const HostApi* api =
      new HostApi([](int, std::string_view, std::string_view) {},
                  [](std::string_view plugin, std::string_view what) {
                    std::fprintf(stderr, "plugin_misbehaving: %.*s: %.*s\n", static_cast<int>(plugin.size()), plugin.data(),
                                 static_cast<int>(what.size()), what.data());
                    std::abort();
                  });
  return *api;
}

std::int64_t in_ms(std::int64_t ms) { return system_clock().monotonic_ns() + ms * 1'000'000; }

}  // namespace

Result<std::unique_ptr<ComputeClient>> ComputeClient::open(const std::string& manifest, const Json& config) {
  ROOST_TRY(PluginHandle plugin, load_plugin(manifest, PluginKind::compute, host()));
  ROOST_TRY(std::shared_ptr<Instance> instance, Instance::open(plugin, "test", config, {}, in_ms(30'000)));
  return std::unique_ptr<ComputeClient>(new ComputeClient(std::move(instance)));
}

template <class Function>
Result<Json> ComputeClient::document(const Function& function) {
  Collector collector(instance_->plugin());
  PluginCall call(instance_->plugin(), in_ms(60'000));
  ROOST_CHECK(call.run(collector, {}, [&] { return function(instance_->plugin().compute, call, collector); }));
  if (collector.records().size() != 1) return Error{Code::internal, "not one record", 0};
  return Json::parse(collector.records()[0].value);
}

Result<Json> ComputeClient::apply(const Json& spec) {
  const std::string text = spec.dump();
  return document([&](const roost_compute& table, PluginCall& call, Collector& sink) {
    return table.apply(instance_->get(), call.raw(), to_bytes(text), sink.sink(), call.error());
  });
}

Result<Json> ComputeClient::observe(const std::string& id) {
  return document([&](const roost_compute& table, PluginCall& call, Collector& sink) {
    return table.observe(instance_->get(), call.raw(), to_bytes(id), ROOST_OBSERVE_LIVE, sink.sink(), call.error());
  });
}

Result<std::vector<std::pair<std::string, Json>>> ComputeClient::list(const std::string& after, std::uint32_t limit) {
  Collector collector(instance_->plugin());
  PluginCall call(instance_->plugin(), in_ms(30'000));
  CollectorLimits limits;
  limits.records = limit;
  ROOST_CHECK(call.run(collector, limits, [&] {
    return instance_->plugin().compute.list(instance_->get(), call.raw(), to_bytes(after), limit, collector.sink(), call.error());
  }));
  std::vector<std::pair<std::string, Json>> found;
  for (const Record& record : collector.records()) {
    ROOST_TRY(Json json, Json::parse(record.value));
    found.emplace_back(record.key, std::move(json));
  }
  return found;
}

Result<std::pair<std::vector<std::string>, std::string>> ComputeClient::watch(const std::string& resume,
                                                                              std::int64_t timeout_ms) {
  Collector collector(instance_->plugin());
  PluginCall call(instance_->plugin(), in_ms(timeout_ms));
  CollectorLimits limits;
  limits.records = 10'000;
  ROOST_CHECK(call.run(collector, limits, [&] {
    return instance_->plugin().compute.watch(instance_->get(), call.raw(), to_bytes(resume), collector.sink(), call.error());
  }));
  std::pair<std::vector<std::string>, std::string> seen;
  for (const Record& record : collector.records()) {
    if ((record.flags & ROOST_RECORD_RESUME) != 0) {
      seen.second = record.value;
    } else {
      seen.first.push_back(record.key);
    }
  }
  return seen;
}

Status ComputeClient::remove(const Json& request, std::int64_t timeout_ms) {
  Collector collector(instance_->plugin());
  PluginCall call(instance_->plugin(), in_ms(timeout_ms));
  const std::string text = request.dump();
  return call.run(collector, {}, [&] {
    return instance_->plugin().compute.remove(instance_->get(), call.raw(), to_bytes(text), collector.sink(), call.error());
  });
}

Result<Json> ComputeClient::task_start(const Json& spec) {
  const std::string text = spec.dump();
  return document([&](const roost_compute& table, PluginCall& call, Collector& sink) {
    return table.task_start(instance_->get(), call.raw(), to_bytes(text), sink.sink(), call.error());
  });
}

Result<Json> ComputeClient::task_observe(const Json& request) {
  const std::string text = request.dump();
  return document([&](const roost_compute& table, PluginCall& call, Collector& sink) {
    return table.task_observe(instance_->get(), call.raw(), to_bytes(text), sink.sink(), call.error());
  });
}

Status ComputeClient::task_remove(const Json& request) {
  Collector collector(instance_->plugin());
  PluginCall call(instance_->plugin(), in_ms(60'000));
  const std::string text = request.dump();
  return call.run(collector, {}, [&] {
    return instance_->plugin().compute.task_remove(instance_->get(), call.raw(), to_bytes(text), collector.sink(), call.error());
  });
}

Result<Json> ComputeClient::activity(const std::string& id) {
  return document([&](const roost_compute& table, PluginCall& call, Collector& sink) {
    return table.activity(instance_->get(), call.raw(), to_bytes(id), sink.sink(), call.error());
  });
}

bool eventually(const std::function<bool()>& condition, std::int64_t timeout_ms) {
  const std::int64_t deadline = in_ms(timeout_ms);
  while (!condition()) {
    if (system_clock().monotonic_ns() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

HttpAnswer http(const std::string& endpoint, const std::string& method, const std::string& target, const std::string& body) {
  HttpAnswer answer;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!endpoint.starts_with("unix:") || endpoint.size() - 5 >= sizeof address.sun_path) return answer;
  std::memcpy(address.sun_path, endpoint.data() + 5, endpoint.size() - 5);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::string received;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    const std::string request = method + " " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " +
                                std::to_string(body.size()) + "\r\n\r\n" + body;
    (void)!::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
    char buffer[16 * 1024];
    for (pollfd entry{fd, POLLIN, 0}; ::poll(&entry, 1, 60'000) > 0;) {
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      received.append(buffer, static_cast<std::size_t>(n));
    }
  }
  ::close(fd);
  if (received.size() > 12) answer.status = std::atoi(received.c_str() + 9);
  if (const std::size_t end = received.find("\r\n\r\n"); end != std::string::npos) answer.body = received.substr(end + 4);
  return answer;
}

TestDirectory::TestDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "rc-XXXXXX").string();  // short: sockets live below it
  path_ = ::mkdtemp(pattern.data());
}

TestDirectory::~TestDirectory() {
  std::error_code error;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(path_, std::filesystem::directory_options::skip_permission_denied, error)) {
    if (entry.is_directory(error) && !entry.is_symlink(error)) {
      std::filesystem::permissions(entry.path(), std::filesystem::perms::owner_all, std::filesystem::perm_options::add, error);
    }
  }
  std::filesystem::remove_all(path_, error);
}

std::string read_text(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  char buffer[4096];
  // A file of /proc fails in the middle where its process ends.
  for (ssize_t n = 0; fd >= 0 && (n = ::read(fd, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  if (fd >= 0) ::close(fd);
  return text;
}

}  // namespace roost::test
