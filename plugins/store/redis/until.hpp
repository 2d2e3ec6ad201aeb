// Until: how long a piece of work may wait: an absolute deadline, and a descriptor that turns readable when it should stop.
// Invariant: once keep_waiting() was called, a stop no longer ends the wait at once, only within kGrace: what has left for the
// server is worth waiting for. Thread safety: one thread; it lives within the call it was made from.
#pragma once

#include <chrono>
#include <optional>

#include "roost/plugin.hpp"

namespace roost::store_redis {

class Until {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kGrace{1'000};

  explicit Until(const sdk::Call& call);
  Until(int stop_fd, std::chrono::nanoseconds time);  // of a thread of our own

  void keep_waiting() { keep_waiting_ = true; }
  // An earlier deadline, for a part of the work.
  [[nodiscard]] Until at_most(std::chrono::nanoseconds time) const;

  // Waits until `fd` has one of `events` and returns what it has; 0 where the time is over.
  short wait(int fd, short events) const;
  void pause(std::chrono::milliseconds time) const { at_most(time).wait(-1, 0); }

  [[nodiscard]] bool over() const;
  [[nodiscard]] bool stopped() const;  // as against: the deadline passed
  [[nodiscard]] std::chrono::milliseconds remaining() const;
  [[nodiscard]] Clock::time_point deadline() const { return deadline_; }
  // Throws DEADLINE or CANCELLED where the time is over: for the moment before anything was done.
  void check() const;

 private:
  const sdk::Call* call_ = nullptr;
  int stop_fd_ = -1;
  Clock::time_point deadline_;
  bool keep_waiting_ = false;
  mutable std::optional<Clock::time_point> stopped_at_;
};

}  // namespace roost::store_redis
