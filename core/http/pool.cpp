#include "http/pool.hpp"

#include <pthread.h>

#include <algorithm>

namespace roost::http {

Pool::Pool(int threads, int queue_max)
    : threads_max_(std::max(1, threads)), queue_max_(static_cast<std::size_t>(std::max(0, queue_max))) {}

Pool::~Pool() { stop(); }

void Pool::start() {
  const std::lock_guard lock(mutex_);
  running_ = true;
  for (int i = 0; i < threads_max_; ++i) threads_.emplace_back([this] { run(); });
}

bool Pool::submit(std::function<void()>&& work) {
  {
    const std::lock_guard lock(mutex_);
    if (!running_ || queue_.size() >= queue_max_) return false;
    queue_.push_back(std::move(work));
  }
  changed_.notify_one();
  return true;
}

void Pool::stop() {
  std::deque<std::function<void()>> dropped;
  {
    const std::lock_guard lock(mutex_);
    running_ = false;
    dropped.swap(queue_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Pool::run() {
  pthread_setname_np(pthread_self(), "http-pool");
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return !running_ || !queue_.empty(); });
    if (!running_) return;
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;  // what it held is let go outside the lock
    lock.lock();
  }
}

}  // namespace roost::http
