// Lanes: the worker threads of one plugin instance. Plugin calls block, so they run here and nowhere else: short calls, bulk and
// watch have threads and queues of their own, and a stuck call takes one worker, never a lane of another plugin.
// A call is cancelled at its deadline, but is answered only when it really returns; one that never began is refused instead.
// Thread safety: everything may be called from any thread. `run` and `refuse` of a job are called exactly once between them, on a
// thread of the lanes (refuse also on the submitting one).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "host/loader.hpp"
#include "host/plugin_call.hpp"

namespace roost {

enum class LaneKind { brief, bulk, watch };

struct LaneLimits {
  unsigned threads = 8;      // at most; the plugin's max_concurrency may lower it
  std::size_t queue = 4096;  // waiting calls; one more is refused with EXHAUSTED
};

struct LanesOptions {
  LaneLimits brief{8, 8192};
  LaneLimits bulk{4, 2048};
  LaneLimits watch{1, 8};
  std::int64_t grace_ms = 1000;  // a call that returns later than this after its deadline has overrun it
};

// One call on a worker.
class WorkerCall {
 public:
  using Function = std::function<std::int32_t(roost_instance*, const roost_call*, const roost_sink*, roost_error*)>;

  // Calls the plugin. OUTCOME_UNKNOWN for a call that overran, whatever the plugin answered; INTERNAL for one that broke a rule.
  [[nodiscard]] Status invoke(const CollectorLimits& limits, const Function& function);
  [[nodiscard]] std::vector<Record>& records() { return collector_.records(); }  // of the last invoke
  // Reports that the plugin broke a rule, and answers the error that the call fails with.
  [[nodiscard]] Error misbehaved(const std::string& what) { return call_.misbehaved(what); }
  [[nodiscard]] const LoadedPlugin& plugin() const { return plugin_; }

 private:
  friend class Lanes;
  WorkerCall(Instance& instance, Collector& collector, std::int64_t deadline_ns, std::string_view trace_id, int cancel_fd,
             std::int64_t grace_ms)
      : plugin_(instance.plugin()),
        instance_(instance),
        collector_(collector),
        call_(plugin_, deadline_ns, trace_id, cancel_fd),
        grace_ms_(grace_ms) {}

  const LoadedPlugin& plugin_;
  Instance& instance_;
  Collector& collector_;
  PluginCall call_;
  std::int64_t grace_ms_;
};

class Lanes {
 public:
  struct Job {
    std::int64_t deadline_ns = 0;          // CLOCK_MONOTONIC; counts the time in the queue too
    std::string what;                      // for the log, e.g. "commit"
    std::function<void(WorkerCall&)> run;  // must not throw
    std::function<void(Error)> refuse;     // instead of run: nothing was done
  };
  struct Statistics {
    std::size_t queued = 0;
    std::size_t running = 0;
    std::size_t overdue = 0;          // running now, past deadline and grace
    std::uint64_t overdue_total = 0;  // ever
    std::uint64_t refused_total = 0;
  };

  Lanes(std::shared_ptr<Instance> instance, LanesOptions options);
  ~Lanes();  // as drain(now): a call that is stuck keeps its thread and the instance, which is closed when it returns
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  void submit(LaneKind lane, Job job);

  // Takes no more calls, refuses what is queued, ends the watch, and waits for the rest: until the deadline in peace, then
  // cancelled, for the grace. false: a call is stuck; the process should then end by _exit.
  bool drain(std::int64_t deadline_ns);
  [[nodiscard]] Statistics statistics() const;

 private:
  struct State;
  static void work(std::shared_ptr<State> state, std::size_t lane, std::size_t worker);
  static void watch_deadlines(std::shared_ptr<State> state);

  std::shared_ptr<State> state_;
};

}  // namespace roost
