#include "host/lanes.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.hpp"

namespace roost {
namespace {

constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMillisecond_ns = 1'000'000;
// A sink is used again only after so many calls, so that a plugin that calls an old one is caught.
constexpr std::size_t kSinksPerWorker = 16;

std::int64_t now_ns() { return system_clock().monotonic_ns(); }

std::chrono::steady_clock::time_point at(std::int64_t monotonic_ns) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(monotonic_ns));
}

Error never_began(Code code, const std::string& what, const std::string& why) {
  return Error{code, what + ": " + why + "; nothing was done", code == Code::exhausted ? 200 : 0};
}

}  // namespace

Status WorkerCall::invoke(const CollectorLimits& limits, const Function& function) {
  const Status status =
      call_.run(collector_, limits, [&] { return function(instance_.get(), call_.raw(), collector_.sink(), call_.error()); });
  if (now_ns() > call_.deadline_ns() + grace_ms_ * kMillisecond_ns) {
    return Error{Code::outcome_unknown, "plugin \"" + plugin_.manifest.name + "\" returned after the deadline", 0};
  }
  return status;
}

struct Lanes::State {
  struct Worker {
    explicit Worker(const LoadedPlugin& plugin) : cancel_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
      for (auto& sink : sinks) sink = std::make_unique<Collector>(plugin);
    }
    ~Worker() {
      if (cancel_fd >= 0) ::close(cancel_fd);
    }
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    const int cancel_fd;
    std::array<std::unique_ptr<Collector>, kSinksPerWorker> sinks;
    std::size_t calls = 0;
    // Guarded by State::mutex.
    bool busy = false;
    bool cancelled = false;
    bool overdue = false;
    std::int64_t deadline_ns = 0;
    std::string what;
  };
  struct Lane {
    std::condition_variable wake;
    std::deque<Job> queue;
    std::vector<std::unique_ptr<Worker>> workers;
    std::size_t idle = 0;
    LaneLimits limits;
  };

  State(std::shared_ptr<Instance> opened, const LanesOptions& chosen)
      : instance(std::move(opened)), grace_ns(chosen.grace_ms * kMillisecond_ns) {
    const LoadedPlugin& plugin = instance->plugin();
    const std::uint32_t most =
        std::max({plugin.store.max_concurrency, plugin.compute.max_concurrency, plugin.backup.max_concurrency});
    lanes[0].limits = chosen.brief;
    lanes[1].limits = chosen.bulk;
    lanes[2].limits = chosen.watch;
    for (Lane& lane : lanes)
      lane.limits.threads = std::max(1u, most == 0 ? lane.limits.threads : std::min(most, lane.limits.threads));
  }

  // REQUIRES: mutex held. Its worker clears the descriptor before the next call.
  static void cancel(Worker& worker) {
    const std::uint64_t one = 1;
    worker.cancelled = true;
    [[maybe_unused]] const auto written = ::write(worker.cancel_fd, &one, sizeof one);
  }
  std::size_t running() const {
    std::size_t count = 0;
    for (const Lane& lane : lanes) {
      for (const auto& worker : lane.workers) count += worker->busy ? 1 : 0;
    }
    return count;
  }

  const std::shared_ptr<Instance> instance;
  const std::int64_t grace_ns;
  mutable std::mutex mutex;
  std::condition_variable quiet;     // a call ended
  std::condition_variable deadline;  // the watchdog has to look again
  std::int64_t next_look_ns = kNever;
  std::array<Lane, 3> lanes;
  std::vector<std::thread> threads;
  bool stopping = false;
  std::uint64_t overdue_total = 0;
  std::uint64_t refused_total = 0;
};

Lanes::Lanes(std::shared_ptr<Instance> instance, LanesOptions options)
    : state_(std::make_shared<State>(std::move(instance), options)) {
  state_->threads.emplace_back(&Lanes::watch_deadlines, state_);
}

void Lanes::submit(LaneKind kind, Job job) {
  State& state = *state_;
  State::Lane& lane = state.lanes[static_cast<std::size_t>(kind)];
  std::unique_lock lock(state.mutex);
  if (state.stopping || lane.queue.size() >= lane.limits.queue) {
    const Error error = state.stopping ? never_began(Code::cancelled, job.what, "the plugin is being closed")
                                       : never_began(Code::exhausted, job.what, "too many calls are waiting for the plugin");
    ++state.refused_total;
    lock.unlock();
    job.refuse(error);
    return;
  }
  if (job.deadline_ns < state.next_look_ns) state.deadline.notify_one();
  lane.queue.push_back(std::move(job));
  // An idle worker takes one call; it may not have woken for the call before.
  if (lane.queue.size() > lane.idle && lane.workers.size() < lane.limits.threads) {
    lane.workers.push_back(std::make_unique<State::Worker>(state.instance->plugin()));
    state.threads.emplace_back(&Lanes::work, state_, static_cast<std::size_t>(kind), lane.workers.size() - 1);
  }
  lane.wake.notify_one();
}

// A worker's thread. It holds the state, and with it the instance, for as long as its call takes.
void Lanes::work(std::shared_ptr<State> state, std::size_t lane_index, std::size_t worker_index) {
  State::Lane& lane = state->lanes[lane_index];
  std::unique_lock lock(state->mutex);
  State::Worker& worker = *lane.workers[worker_index];
  while (true) {
    ++lane.idle;
    lane.wake.wait(lock, [&] { return state->stopping || !lane.queue.empty(); });
    --lane.idle;
    if (lane.queue.empty()) return;  // stopping
    Job job = std::move(lane.queue.front());
    lane.queue.pop_front();
    if (job.deadline_ns <= now_ns()) {
      ++state->refused_total;
      lock.unlock();
      job.refuse(never_began(Code::deadline, job.what, "the deadline passed in the queue"));
      job = Job();
      lock.lock();
      continue;
    }
    std::uint64_t old = 0;
    [[maybe_unused]] const auto cleared = ::read(worker.cancel_fd, &old, sizeof old);
    worker.busy = true;
    worker.cancelled = false;
    worker.overdue = false;
    worker.deadline_ns = job.deadline_ns;
    worker.what = job.what;
    lock.unlock();
    {
      Collector& sink = *worker.sinks[worker.calls++ % kSinksPerWorker];
      const std::string trace_id = system_random().hex(16);
      WorkerCall call(*state->instance, sink, job.deadline_ns, trace_id, worker.cancel_fd, state->grace_ns / kMillisecond_ns);
      job.run(call);
      job = Job();  // what it captured ends here, without the lock
      sink.records() = {};
    }
    lock.lock();
    worker.busy = false;
    state->quiet.notify_all();
    if (state->stopping) state->deadline.notify_one();  // the watchdog ends after the last call
  }
}

// The watchdog: cancels calls at their deadlines, counts those that do not return, refuses what waited too long.
void Lanes::watch_deadlines(std::shared_ptr<State> state) {
  std::unique_lock lock(state->mutex);
  while (!state->stopping || state->running() != 0) {
    const std::int64_t now = now_ns();
    std::int64_t next = kNever;
    std::vector<Job> late;
    std::vector<std::string> stuck;
    for (State::Lane& lane : state->lanes) {
      for (const auto& worker : lane.workers) {
        if (!worker->busy || worker->overdue) continue;
        if (!worker->cancelled && worker->deadline_ns <= now) State::cancel(*worker);
        if (worker->deadline_ns + state->grace_ns <= now) {
          worker->overdue = true;
          ++state->overdue_total;
          stuck.push_back(worker->what);
        } else {
          next = std::min(next, worker->cancelled ? worker->deadline_ns + state->grace_ns : worker->deadline_ns);
        }
      }
      const auto expired =
          std::stable_partition(lane.queue.begin(), lane.queue.end(), [now](const Job& job) { return job.deadline_ns > now; });
      std::move(expired, lane.queue.end(), std::back_inserter(late));
      lane.queue.erase(expired, lane.queue.end());
      for (const Job& job : lane.queue) next = std::min(next, job.deadline_ns);
    }
    if (!late.empty() || !stuck.empty()) {
      state->refused_total += late.size();
      lock.unlock();
      const LoadedPlugin& plugin = state->instance->plugin();
      for (const Job& job : late) job.refuse(never_began(Code::deadline, job.what, "the deadline passed in the queue"));
      for (const std::string& what : stuck)
        plugin.host->misbehaving(plugin.manifest.name, "does not return from " + what + " after its deadline");
      late.clear();
      lock.lock();
      continue;
    }
    state->next_look_ns = next;
    if (next == kNever) {
      state->deadline.wait(lock);
    } else {
      state->deadline.wait_until(lock, at(next));
    }
    state->next_look_ns = 0;
  }
}

bool Lanes::drain(std::int64_t deadline_ns) {
  State& state = *state_;
  std::vector<Job> dropped;
  std::unique_lock lock(state.mutex);
  state.stopping = true;
  for (State::Lane& lane : state.lanes) {
    std::move(lane.queue.begin(), lane.queue.end(), std::back_inserter(dropped));
    lane.queue.clear();
    lane.wake.notify_all();
  }
  for (const auto& worker : state.lanes[static_cast<std::size_t>(LaneKind::watch)].workers) {
    if (worker->busy) State::cancel(*worker);
  }
  state.refused_total += dropped.size();
  state.deadline.notify_all();
  lock.unlock();
  for (const Job& job : dropped) job.refuse(never_began(Code::cancelled, job.what, "the plugin is being closed"));
  lock.lock();
  const auto quiet = [&] { return state.running() == 0; };
  if (!state.quiet.wait_until(lock, at(deadline_ns), quiet)) {
    for (State::Lane& lane : state.lanes) {
      for (const auto& worker : lane.workers) {
        if (worker->busy && !worker->cancelled) State::cancel(*worker);
      }
    }
    state.quiet.wait_until(lock, at(std::max(deadline_ns, now_ns()) + state.grace_ns), quiet);
  }
  state.deadline.notify_all();
  return quiet();
}

Lanes::~Lanes() {
  const bool drained = drain(now_ns());
  for (std::thread& thread : state_->threads) {
    if (drained) {
      thread.join();
    } else {
      thread.detach();  // it holds the state until its call returns
    }
  }
}

Lanes::Statistics Lanes::statistics() const {
  const std::scoped_lock lock(state_->mutex);
  Statistics now;
  now.overdue_total = state_->overdue_total;
  now.refused_total = state_->refused_total;
  now.running = state_->running();
  for (const State::Lane& lane : state_->lanes) {
    now.queued += lane.queue.size();
    for (const auto& worker : lane.workers) now.overdue += worker->busy && worker->overdue ? 1 : 0;
  }
  return now;
}

}  // namespace roost
