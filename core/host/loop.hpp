// Loop: the engine's thread: posted work in order, and timers on CLOCK_MONOTONIC. The real Scheduler.
// Thread safety: everything may be called from any thread; work runs on the loop's own thread, one piece at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/ports.hpp"

namespace roost {

class Loop : public Scheduler {
 public:
  Loop() = default;
  ~Loop() override { stop(); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void start();
  // Finishes the piece of work at hand and ends the thread; the rest is dropped. Not to be called from the loop's own thread.
  void stop();

  void post(std::function<void()> work) override;  // dropped after stop()
  TimerId after(std::int64_t delay_ns, std::function<void()> work) override;
  void cancel(TimerId timer) override;

 private:
  using Key = std::pair<std::int64_t, TimerId>;  // when, then in the order of their making
  void run();
  void run_due(std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> posted_;
  std::map<Key, std::function<void()>> timers_;
  std::unordered_map<TimerId, std::int64_t> when_;
  TimerId last_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace roost
