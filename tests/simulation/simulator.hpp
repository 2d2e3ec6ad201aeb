// Simulator: virtual time, chance and an event queue, all out of one seed: the same seed gives the same run, event for event.
// Thread safety: one thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace roost::simulation {

class Simulator : public Clock {
 public:
  explicit Simulator(std::uint64_t seed) : random_(seed) {}

  [[nodiscard]] std::int64_t monotonic_ns() const override { return now_ns_; }
  [[nodiscard]] std::int64_t wall_us() const override { return kEpochUs + now_ns_ / 1000 + jump_us_; }
  [[nodiscard]] std::int64_t now_ms() const { return now_ns_ / 1'000'000; }
  void jump_us(std::int64_t by) {
    jump_us_ += by;
    jumped_ = true;
  }
  [[nodiscard]] bool has_jumped() const { return jumped_; }

  std::uint64_t after_ns(std::int64_t delay_ns, std::function<void()> work) {
    const Key key{now_ns_ + std::max<std::int64_t>(0, delay_ns), random_(), ++last_};
    keys_[last_] = key;
    events_[key] = std::move(work);
    return last_;
  }
  void cancel(std::uint64_t id) {
    auto it = keys_.find(id);
    if (it == keys_.end()) return;
    events_.erase(it->second);
    keys_.erase(it);
  }
  // Runs the next event; false where there is none up to `until_ns`.
  bool step(std::int64_t until_ns) {
    if (events_.empty() || std::get<0>(events_.begin()->first) > until_ns) {
      now_ns_ = std::max(now_ns_.load(), until_ns);
      return false;
    }
    auto node = events_.extract(events_.begin());
    now_ns_ = std::get<0>(node.key());
    keys_.erase(std::get<2>(node.key()));
    ++steps_;
    node.mapped()();
    return true;
  }
  [[nodiscard]] std::uint64_t steps() const { return steps_; }

  // ---- chance ----
  [[nodiscard]] std::uint64_t number() { return random_(); }
  // As a generator of the standard library.
  using result_type = std::mt19937_64::result_type;
  static constexpr result_type min() { return std::mt19937_64::min(); }
  static constexpr result_type max() { return std::mt19937_64::max(); }
  result_type operator()() { return random_(); }
  [[nodiscard]] std::int64_t between(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(high - low + 1));
  }
  [[nodiscard]] bool chance(double probability) { return static_cast<double>(random_() >> 11) * 0x1.0p-53 < probability; }

 private:
  static constexpr std::int64_t kEpochUs = 1'763'000'000'000'000;
  using Key = std::tuple<std::int64_t, std::uint64_t, std::uint64_t>;  // when, by lot among the simultaneous, number
  std::mt19937_64 random_;
  std::atomic<std::int64_t> now_ns_{0};  // other threads may ask for the time
  std::atomic<std::int64_t> jump_us_{0};
  bool jumped_ = false;
  std::uint64_t last_ = 0;
  std::uint64_t steps_ = 0;
  std::map<Key, std::function<void()>> events_;
  std::map<std::uint64_t, Key> keys_;
};

class SimulatedRandom : public Random {
 public:
  explicit SimulatedRandom(Simulator& simulator) : simulator_(simulator) {}
  void fill(std::span<unsigned char> bytes) override {
    for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(simulator_.number());
  }

 private:
  Simulator& simulator_;
};

}  // namespace roost::simulation
