// Metrics: counters, gauges and histograms (prometheus-cpp behind), served as text at /metrics. Handles are resolved once and are
// then cheap to use: an atomic addition, no lock, no look-up. They are small values and live no longer than their Metrics.
// Thread safety: every function, from any thread. Invariants: names begin with "roost_"; no label names a user or a session.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace roost::telemetry {

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  void add(double n = 1) const;  // n >= 0
  [[nodiscard]] double value() const;

 private:
  friend class Metrics;
  explicit Counter(void* p) : p_(p) {}
  void* p_;
};

class Gauge {
 public:
  void set(double value) const;
  void add(double n) const;  // may be negative
  [[nodiscard]] double value() const;

 private:
  friend class Metrics;
  explicit Gauge(void* p) : p_(p) {}
  void* p_;
};

class Histogram {
 public:
  void observe(double value) const;

 private:
  friend class Metrics;
  explicit Histogram(void* p) : p_(p) {}
  void* p_;
};

// Bounds for seconds: 0.5 ms to 60 s.
[[nodiscard]] const std::vector<double>& latency_buckets();

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // The same name and labels answer the same series. std::invalid_argument for a name without "roost_", a name used for another
  // type, or a label such as user, user_id, session, session_id, uuid: a defect of the caller.
  [[nodiscard]] Counter counter(const std::string& name, const std::string& help, const Labels& labels = {});
  [[nodiscard]] Gauge gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  [[nodiscard]] Histogram histogram(const std::string& name, const std::string& help, const Labels& labels = {},
                                    const std::vector<double>& buckets = latency_buckets());

  // Called before each text(), one at a time: sets gauges from what others count. Before the first text().
  void on_collect(std::function<void()> collect);
  // The exposition format, version 0.0.4 ("text/plain; version=0.0.4").
  [[nodiscard]] std::string text() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost::telemetry
