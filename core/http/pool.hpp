// Pool: a bounded queue and a few threads for handlers that may block briefly.
// Thread safety: every function from any thread; stop() not from a pool thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace roost::http {

class Pool {
 public:
  Pool(int threads, int queue_max);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  void start();
  // False: the queue is full, or the pool stopped; `work` is left as it was.
  [[nodiscard]] bool submit(std::function<void()>&& work);
  void stop();  // drops what waits, then waits for what runs

 private:
  void run();

  const int threads_max_;
  const std::size_t queue_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  bool running_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace roost::http
