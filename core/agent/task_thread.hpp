// TaskThread: a thread with a small stack, because a task's memory is counted, stacks included. Thread safety: one owner.
#pragma once

#include <pthread.h>

#include <functional>

#include "base/result.hpp"

namespace roost::agent {

class TaskThread {
 public:
  TaskThread() = default;
  ~TaskThread() { join(); }
  TaskThread(const TaskThread&) = delete;
  TaskThread& operator=(const TaskThread&) = delete;

  Status start(std::function<void()> body);  // REQUIRES: once. UNAVAILABLE where the system gives no more threads
  void join();                               // nothing where it was not started

 private:
  std::function<void()> body_;
  pthread_t thread_{};
  bool started_ = false;
};

// How many threads may compute at once: the processors that this process may run on, or its container's share of them where that
// is less. 1 to 4: more would need more memory than a task is to have.
[[nodiscard]] unsigned task_threads();

}  // namespace roost::agent
