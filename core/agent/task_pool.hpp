// WorkPool: the threads that read and compress. A job belongs to whoever submitted it, who also waits for it.
// Thread safety: submit, submit_urgent and wait from any thread; one waiter a job.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "agent/archive_encode.hpp"
#include "agent/task_thread.hpp"
#include "base/result.hpp"

namespace roost::agent {

// What each thread has to itself.
struct Workbench {
  EntryEncoder encoder;
  std::vector<char> buffer;
};

class WorkPool {
 public:
  class Job {
   public:
    virtual ~Job() = default;
    virtual void run(Workbench& bench) = 0;

   private:
    friend class WorkPool;
    bool done_ = false;
  };

  static Result<std::unique_ptr<WorkPool>> start(unsigned threads);
  ~WorkPool();  // REQUIRES: every job was waited for
  WorkPool(const WorkPool&) = delete;
  WorkPool& operator=(const WorkPool&) = delete;

  [[nodiscard]] unsigned threads() const { return static_cast<unsigned>(threads_.size()); }
  void submit(Job& job);         // REQUIRES: it lives until wait() has answered true
  void submit_urgent(Job& job);  // before all others that have not begun
  [[nodiscard]] bool wait(Job& job, std::chrono::milliseconds most);
  void wait(Job& job);

 private:
  WorkPool() = default;
  void queue(std::deque<Job*>& queue, Job& job);
  void work();

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  std::deque<Job*> urgent_;
  std::deque<Job*> jobs_;
  bool ended_ = false;
  std::vector<std::unique_ptr<TaskThread>> threads_;
};

}  // namespace roost::agent
