#include "agent/task_pool.hpp"

namespace roost::agent {

Result<std::unique_ptr<WorkPool>> WorkPool::start(unsigned threads) {
  std::unique_ptr<WorkPool> pool(new WorkPool());
  for (unsigned i = 0; i < threads; ++i) {
    auto thread = std::make_unique<TaskThread>();
    ROOST_CHECK(thread->start([self = pool.get()] { self->work(); }));
    pool->threads_.push_back(std::move(thread));
  }
  return pool;
}

WorkPool::~WorkPool() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  work_.notify_all();
  for (const auto& thread : threads_) thread->join();
}

void WorkPool::queue(std::deque<Job*>& queue, Job& job) {
  {
    const std::lock_guard lock(mutex_);
    job.done_ = false;
    queue.push_back(&job);
  }
  work_.notify_one();
}

void WorkPool::submit(Job& job) { queue(jobs_, job); }
void WorkPool::submit_urgent(Job& job) { queue(urgent_, job); }

bool WorkPool::wait(Job& job, std::chrono::milliseconds most) {
  std::unique_lock lock(mutex_);
  return done_.wait_for(lock, most, [&job] { return job.done_; });
}

void WorkPool::wait(Job& job) {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&job] { return job.done_; });
}

void WorkPool::work() {
  Workbench bench;
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return ended_ || !urgent_.empty() || !jobs_.empty(); });
    if (ended_) return;
    std::deque<Job*>& next = urgent_.empty() ? jobs_ : urgent_;
    Job& job = *next.front();
    next.pop_front();
    lock.unlock();
    job.run(bench);
    lock.lock();
    job.done_ = true;
    done_.notify_all();
  }
}

}  // namespace roost::agent
