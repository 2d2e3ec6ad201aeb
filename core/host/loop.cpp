#include "host/loop.hpp"

#include <chrono>
#include <limits>

#include "base/clock.hpp"

namespace roost {

void Loop::start() {
  thread_ = std::thread([this] { run(); });
}

void Loop::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Loop::post(std::function<void()> work) {
  {
    const std::scoped_lock lock(mutex_);
    if (stopping_) return;
    posted_.push_back(std::move(work));
  }
  wake_.notify_one();
}

Scheduler::TimerId Loop::after(std::int64_t delay_ns, std::function<void()> work) {
  const std::int64_t now = system_clock().monotonic_ns();
  const std::int64_t most = std::numeric_limits<std::int64_t>::max() - now;
  const std::int64_t when = now + std::clamp<std::int64_t>(delay_ns, 0, most);
  TimerId id = 0;
  {
    const std::scoped_lock lock(mutex_);
    id = ++last_;
    timers_.emplace(Key{when, id}, std::move(work));
    when_.emplace(id, when);
  }
  wake_.notify_one();
  return id;
}

void Loop::cancel(TimerId timer) {
  std::function<void()> dropped;  // destroyed without the lock
  const std::scoped_lock lock(mutex_);
  const auto found = when_.find(timer);
  if (found == when_.end()) return;
  const auto entry = timers_.find(Key{found->second, timer});
  dropped = std::move(entry->second);
  timers_.erase(entry);
  when_.erase(found);
}

void Loop::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (!posted_.empty()) {
      std::vector<std::function<void()>> batch;
      batch.swap(posted_);
      lock.unlock();
      for (auto& work : batch) {
        work();
        work = nullptr;
      }
      lock.lock();
    }
    run_due(lock);
    if (stopping_ || !posted_.empty()) continue;
    if (timers_.empty()) {
      wake_.wait(lock);
    } else {
      wake_.wait_until(lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(timers_.begin()->first.first)));
    }
  }
}

// Timers that are due now. One that a timer makes for "at once" comes after posted work, so that neither starves the other.
void Loop::run_due(std::unique_lock<std::mutex>& lock) {
  const std::int64_t now = system_clock().monotonic_ns();
  while (!stopping_ && !timers_.empty() && timers_.begin()->first.first <= now) {
    auto entry = timers_.extract(timers_.begin());
    when_.erase(entry.key().second);
    lock.unlock();
    entry.mapped()();
    entry.mapped() = nullptr;
    lock.lock();
  }
}

}  // namespace roost
