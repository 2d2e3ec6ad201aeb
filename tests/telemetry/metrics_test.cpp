#include "telemetry/metrics.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

namespace roost::telemetry {
namespace {

TEST(Metrics, Text_shows_every_type_with_its_labels) {
  Metrics metrics;
  metrics.counter("roost_requests_total", "Requests.", {{"code", "200"}}).add(2);
  metrics.gauge("roost_sessions", "Sessions.").set(7);
  metrics.histogram("roost_seconds", "Time.", {}, {0.1, 1}).observe(0.5);
  const std::string text = metrics.text();
  EXPECT_NE(text.find("roost_requests_total{code=\"200\"} 2"), std::string::npos) << text;
  EXPECT_NE(text.find("roost_sessions 7"), std::string::npos) << text;
  EXPECT_NE(text.find("roost_seconds_bucket{le=\"1\"} 1"), std::string::npos) << text;
  EXPECT_NE(text.find("# TYPE roost_seconds histogram"), std::string::npos) << text;
}

TEST(Metrics, The_same_name_and_labels_are_one_series_of_one_family) {
  Metrics metrics;
  metrics.counter("roost_a_total", "A.", {{"x", "1"}}).add();
  metrics.counter("roost_a_total", "A.", {{"x", "1"}}).add();
  metrics.counter("roost_a_total", "A.", {{"x", "2"}}).add();
  const std::string text = metrics.text();
  EXPECT_NE(text.find("roost_a_total{x=\"1\"} 2"), std::string::npos) << text;
  EXPECT_EQ(text.find("# TYPE roost_a_total"), text.rfind("# TYPE roost_a_total")) << text;
}

TEST(Metrics, Labels_of_users_and_sessions_and_foreign_names_are_refused) {
  Metrics metrics;
  for (const char* label : {"user", "user_id", "session", "session_id", "uuid"}) {
    EXPECT_THROW((void)metrics.counter("roost_b_total", "B.", {{label, "x"}}), std::invalid_argument) << label;
  }
  EXPECT_THROW((void)metrics.gauge("other", "B."), std::invalid_argument);
  (void)metrics.counter("roost_c_total", "C.");
  EXPECT_THROW((void)metrics.gauge("roost_c_total", "C."), std::invalid_argument);
}

TEST(Metrics, Counting_from_many_threads_loses_nothing) {
  Metrics metrics;
  const Counter counter = metrics.counter("roost_d_total", "D.");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) counter.add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.value(), 40'000);
}

TEST(Metrics, Collectors_run_before_each_text) {
  Metrics metrics;
  const Gauge gauge = metrics.gauge("roost_e", "E.");
  int n = 0;
  metrics.on_collect([&] { gauge.set(++n); });
  (void)metrics.text();
  EXPECT_NE(metrics.text().find("roost_e 2"), std::string::npos);
}

}  // namespace
}  // namespace roost::telemetry
