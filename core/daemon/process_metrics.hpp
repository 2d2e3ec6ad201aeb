// Gauges of the engine, the server, the backends and this process, set whenever /metrics is read.
// Thread safety: collect() as telemetry::Metrics calls it, one at a time.
#pragma once

#include <functional>

#include "engine/engine.hpp"
#include "host/backends.hpp"
#include "http/server.hpp"
#include "telemetry/metrics.hpp"

namespace roost::daemon {

struct MetricSources {
  const Engine* engine = nullptr;
  const http::Server* server = nullptr;
  const Backends* backends = nullptr;
  std::function<std::size_t()> event_streams;
  std::string version;
};

// The sources outlive the metrics' last text().
void register_process_metrics(telemetry::Metrics& metrics, MetricSources sources);

}  // namespace roost::daemon
