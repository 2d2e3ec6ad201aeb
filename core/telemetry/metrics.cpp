#include "telemetry/metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <sstream>
#include <stdexcept>

namespace roost::telemetry {
namespace {

enum class Type { counter, gauge, histogram };

void check_labels(const std::string& name, const Labels& labels) {
  for (const auto& [label, value] : labels) {
    for (const char* forbidden : {"user", "user_id", "session", "session_id", "uuid", "id"}) {
      if (label == forbidden)
        throw std::invalid_argument(name + ": the label " + label + " would make a series for each of them");
    }
  }
}

}  // namespace

class Metrics::Impl {
 public:
  void check(const std::string& name, const Labels& labels, Type type) {
    if (name.rfind("roost_", 0) != 0) throw std::invalid_argument(name + ": a metric's name begins with roost_");
    check_labels(name, labels);
    if (const auto [at, fresh] = types.emplace(name, type); !fresh && at->second != type) {
      throw std::invalid_argument(name + ": this name is already a metric of another type");
    }
  }

  // prometheus-cpp answers the same series for the same labels, but a second family for the same name: families are kept here.
  template <class T, class Builder>
  prometheus::Family<T>& family(std::map<std::string, prometheus::Family<T>*>& known, Builder builder, const std::string& name,
                                const std::string& help) {
    auto& slot = known[name];
    if (slot == nullptr) slot = &builder.Name(name).Help(help).Register(registry);
    return *slot;
  }

  std::mutex mutex;  // guards everything but what the handles point to
  prometheus::Registry registry;
  std::map<std::string, Type> types;
  std::map<std::string, prometheus::Family<prometheus::Counter>*> counters;
  std::map<std::string, prometheus::Family<prometheus::Gauge>*> gauges;
  std::map<std::string, prometheus::Family<prometheus::Histogram>*> histograms;
  std::mutex collect_mutex;
  std::vector<std::function<void()>> collectors;
};

void Counter::add(double n) const { static_cast<prometheus::Counter*>(p_)->Increment(n); }
double Counter::value() const { return static_cast<prometheus::Counter*>(p_)->Value(); }
void Gauge::set(double value) const { static_cast<prometheus::Gauge*>(p_)->Set(value); }
void Gauge::add(double n) const { static_cast<prometheus::Gauge*>(p_)->Increment(n); }
double Gauge::value() const { return static_cast<prometheus::Gauge*>(p_)->Value(); }
void Histogram::observe(double value) const { static_cast<prometheus::Histogram*>(p_)->Observe(value); }

const std::vector<double>& latency_buckets() {
  static const std::vector<double> buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                           0.25,   0.5,   1,      2.5,   5,    10,    30,   60};
  return buckets;
}

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter Metrics::counter(const std::string& name, const std::string& help, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check(name, labels, Type::counter);
  return Counter(&impl_->family(impl_->counters, prometheus::BuildCounter(), name, help).Add({labels.begin(), labels.end()}));
}

Gauge Metrics::gauge(const std::string& name, const std::string& help, const Labels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check(name, labels, Type::gauge);
  return Gauge(&impl_->family(impl_->gauges, prometheus::BuildGauge(), name, help).Add({labels.begin(), labels.end()}));
}

Histogram Metrics::histogram(const std::string& name, const std::string& help, const Labels& labels,
                             const std::vector<double>& buckets) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check(name, labels, Type::histogram);
  return Histogram(
      &impl_->family(impl_->histograms, prometheus::BuildHistogram(), name, help).Add({labels.begin(), labels.end()}, buckets));
}

void Metrics::on_collect(std::function<void()> collect) {
  const std::lock_guard lock(impl_->collect_mutex);
  impl_->collectors.push_back(std::move(collect));
}

std::string Metrics::text() const {
  const std::lock_guard lock(impl_->collect_mutex);
  for (const auto& collect : impl_->collectors) collect();
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace roost::telemetry
