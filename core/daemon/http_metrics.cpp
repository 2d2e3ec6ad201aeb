#include "daemon/http_metrics.hpp"

#include <atomic>
#include <string>
#include <unordered_map>

namespace roost::daemon {
namespace {

struct Key {
  std::uint64_t owner;
  const char* route;  // patterns live as long as the router: their address is their name
  unsigned method;
  int status;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    return (reinterpret_cast<std::uintptr_t>(key.route) >> 3) * 31 + key.method * 1009 + static_cast<unsigned>(key.status) +
           key.owner * 7919;
  }
};

struct Series {
  telemetry::Counter requests;
  telemetry::Histogram seconds;
};

constexpr std::string_view kMethods[] = {"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"};

unsigned method_index(std::string_view method) {
  unsigned index = 0;
  for (const std::string_view known : kMethods) {
    if (known == method) return index;
    ++index;
  }
  return index;  // "other"
}

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

HttpMetrics::HttpMetrics(telemetry::Metrics& metrics) : metrics_(metrics), id_(next_id()) {}

void HttpMetrics::record(std::string_view method, std::string_view route, int status, std::chrono::nanoseconds took) {
  thread_local std::unordered_map<Key, Series, KeyHash> known;
  const unsigned index = method_index(method);
  const Key key{id_, route.empty() ? nullptr : route.data(), index, status};
  auto found = known.find(key);
  if (found == known.end()) {
    const std::string pattern(route.empty() ? std::string_view("none") : route);
    const std::string name(index < std::size(kMethods) ? kMethods[index] : std::string_view("other"));
    const telemetry::Labels labels{{"route", pattern}, {"method", name}};
    telemetry::Labels with_status = labels;
    with_status.emplace("status", std::to_string(status));
    found = known
                .emplace(key, Series{metrics_.counter("roost_http_requests_total", "Answered requests", with_status),
                                     metrics_.histogram("roost_http_request_duration_seconds",
                                                        "From the whole request to its answer, waiting included", labels)})
                .first;
  }
  found->second.requests.add();
  found->second.seconds.observe(std::chrono::duration<double>(took).count());
}

}  // namespace roost::daemon
