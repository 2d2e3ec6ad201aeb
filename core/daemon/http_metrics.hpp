// HttpMetrics: counts answered requests by route, method and status, and how long they took. Its labels are bounded: routes are
// patterns, methods are the known ones. Thread safety: record() from any thread, without a lock once a thread knows the series.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "telemetry/metrics.hpp"

namespace roost::daemon {

class HttpMetrics {
 public:
  explicit HttpMetrics(telemetry::Metrics& metrics);
  // `route` is a pattern that lives as long as this, or empty: what no route of the API answered.
  void record(std::string_view method, std::string_view route, int status, std::chrono::nanoseconds took);

 private:
  telemetry::Metrics& metrics_;
  const std::uint64_t id_;  // tells instances apart in the threads' caches
};

}  // namespace roost::daemon
