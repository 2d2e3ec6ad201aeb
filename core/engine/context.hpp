// Context: what the parts of the engine share: the ports with their calls counted, the options, the read model, events and log.
// Thread safety: the engine's thread only, but for what is atomic and for `reads`.
// Invariant: a completion or timer that comes after the engine's end does nothing (guard).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.hpp"

namespace roost {

inline constexpr std::size_t kListed = 500;    // sessions of the read model that one turn of the thread takes
inline constexpr std::int64_t kQuietMs = 100;  // the least time between two watches that bring nothing

// A plugin that says when to ask again did answer: the platform has taken on what was asked, and takes its time.
[[nodiscard]] inline bool is_under_way(const Error& error) {
  return error.code == Code::outcome_unknown && error.retry_after_ms > 0;
}

class Context {
 public:
  Context(Ports the_ports, EngineOptions the_options)
      : ports(the_ports), replicated(the_options.replicated), options(std::move(the_options)) {}

  Ports ports;
  const bool replicated;  // other replicas write to the store too
  EngineOptions options;
  ReadModel reads;
  std::function<void(const Event&)> listener;
  bool stopping = false;
  bool loaded = false;

  struct Counters {
    std::atomic<std::int64_t> steps{0}, failures{0}, conflicts{0}, orphans{0}, overdue{0}, queue_depth{0}, in_flight{0};
  } counters;
  std::atomic<bool> store_ok{false}, compute_ok{false}, backup_ok{true};
  // With other replicas: until when the read model is known to follow the store (monotonic). See follower.hpp.
  std::atomic<std::int64_t> follows_until_ms{0};
  [[nodiscard]] bool is_current() const { return !replicated || mono_ms() < follows_until_ms.load(); }

  // Told of every change of the read model: the session before (null: new) and after (null: gone).
  std::vector<std::function<void(const SessionView& before, const SessionView& after)>> observers;

  [[nodiscard]] std::int64_t wall_us() const { return ports.clock->wall_us(); }
  [[nodiscard]] std::int64_t mono_ms() const { return ports.clock->monotonic_ns() / 1'000'000; }
  [[nodiscard]] std::string mark() { return ports.random->hex(4); }

  // `work`, unless the engine is gone by then.
  template <class F>
  auto guard(F work) {
    return [alive = std::weak_ptr<int>(alive_), work = std::move(work)](auto&&... arguments) mutable {
      if (alive.lock()) work(std::forward<decltype(arguments)>(arguments)...);
    };
  }
  void end() { alive_.reset(); }

  void post(std::function<void()> work) { ports.scheduler->post(guard(std::move(work))); }
  Scheduler::TimerId after_ms(std::int64_t ms, std::function<void()> work) {
    return ports.scheduler->after(ms * 1'000'000, guard(std::move(work)));
  }
  // A delay around `ms`, so that what failed together does not come back together.
  [[nodiscard]] std::int64_t jitter(std::int64_t ms) {
    return static_cast<std::int64_t>(static_cast<double>(ms) * (0.5 + ports.random->uniform()));
  }
  // Of the n-th failure in a row (from 1), with jitter, within the options' bounds.
  [[nodiscard]] std::int64_t backoff_ms(std::int64_t failures);

  // ---- the store, counted ----
  void get(std::string partition, std::string key, Done<Document> done);
  void scan(std::string partition, std::string prefix, std::string after, std::uint32_t limit, Done<std::vector<Document>> done);
  void commit(Commit commit, Done<CommitResult> done);

  // [any thread] What the store answered when it was last out of reach; meaningful while store_ok is false.
  [[nodiscard]] std::string store_problem() const;

  // Counts a call and notes what its answer tells of the backend's health.
  template <class T>
  Done<T> counted(std::atomic<bool>& health, Done<T> done) {
    ++counters.in_flight;
    return guard([this, &health, done = std::move(done)](Result<T> result) mutable {
      note(health, result.ok() ? nullptr : &result.error());
      done(std::move(result));
      if (--counters.in_flight == 0 && stopping && idle) idle();
    });
  }
  std::function<void()> idle;  // called while stopping, when no call is under way

  // ---- what happened ----
  // Puts (or, with null, erases) the session in the read model and says what changed. `actor`: who made it, where that is known.
  void publish(const std::string& id, SessionView after, const std::string& actor = {});
  // Puts a session that was there before this process: it is no event.
  void load(const SessionView& view);
  void emit(Event event);
  void log(int level, const std::string& message, Json fields = Json::object());

 private:
  void note(std::atomic<bool>& health, const Error* error);
  mutable std::mutex store_problem_mutex_;
  std::string store_problem_;
  std::shared_ptr<int> alive_ = std::make_shared<int>(0);
};

}  // namespace roost
