// What the gateway's tests put around it: a clock that is moved by hand, and sessions in a map.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "base/clock.hpp"
#include "gateway/gateway.hpp"

namespace roost::gateway {

class TestClock : public Clock {
 public:
  [[nodiscard]] std::int64_t monotonic_ns() const override { return now_ns_; }
  [[nodiscard]] std::int64_t wall_us() const override { return 1'700'000'000'000'000 + now_ns_ / 1000; }
  void advance_s(std::int64_t seconds) { now_ns_ += seconds * 1'000'000'000; }

 private:
  std::int64_t now_ns_ = 1'000'000'000;
};

class TestSessions {
 public:
  void set(const std::string& id, Workspace workspace) {
    const std::lock_guard lock(mutex_);
    sessions_[id] = std::move(workspace);
  }
  [[nodiscard]] int woken(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return woken_[id];
  }
  [[nodiscard]] int touched(const std::string& id) {
    const std::lock_guard lock(mutex_);
    return touched_[id];
  }
  [[nodiscard]] Workspaces port() {
    return {[this](const std::string& id) -> std::optional<Workspace> {
              const std::lock_guard lock(mutex_);
              const auto found = sessions_.find(id);
              return found == sessions_.end() ? std::nullopt : std::optional(found->second);
            },
            [this](const std::string& id) {
              const std::lock_guard lock(mutex_);
              ++woken_[id];
            },
            [this](const std::string& id) {
              const std::lock_guard lock(mutex_);
              ++touched_[id];
            }};
  }

 private:
  std::mutex mutex_;
  std::map<std::string, Workspace> sessions_;
  std::map<std::string, int> woken_, touched_;
};

}  // namespace roost::gateway
