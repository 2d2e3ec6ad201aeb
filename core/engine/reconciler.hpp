// Reconciler: asks the planner what to do about each session that is not as wanted, does that one step, and asks again. One thing
// at a time for a session; sessions take turns; what fails is repeated with backoff, and the reason is in the document.
// Thread safety: the engine's thread only.
// Invariant: without the lease no mutating call begins.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "engine/creator.hpp"
#include "engine/leader.hpp"
#include "engine/planner.hpp"
#include "engine/writer.hpp"

namespace roost {

class Reconciler {
 public:
  Reconciler(Context& context, Writer& writer, Creator& creator, Leader& leader);

  void enqueue(const std::string& id);  // look at it, soon
  void hint(const std::string& id);     // the platform says that something of it changed
  void reset();                         // this replica leads from now on: nothing learnt before counts
  // Whether an observation alone shows that there is something to do.
  [[nodiscard]] bool is_settled(const SessionSnapshot& snapshot, const Workspace& workspace) const;
  // What the running task of an operation has done, as last seen, and of how much; null: none runs, or it does not tell.
  // `operation`: its document, with `session_id`.
  [[nodiscard]] Json progress_of(const Json& operation) const;
  [[nodiscard]] std::size_t depth() const { return works_.size(); }
  // Once no step is under way. With the lease gone none begins.
  void when_idle(std::function<void()> idle);

 private:
  struct Places {                                         // of a limited kind of work
    std::unordered_map<std::string, std::int64_t> taken;  // id to when it is given up on (monotonic)
    std::deque<std::string> queue, begun;                 // who waits for one; `begun`: the second half of what had one before
  };
  struct Work {
    std::string id;
    Knowledge known;
    std::string operation_mark;  // step and attempt that `known` belongs to
    bool queued = false;
    bool busy = false;            // one thing at a time
    bool stale = false;           // a hint came while busy
    bool needs_live = false;      // a call's outcome is unknown, or the platform disagreed
    bool under_way = false;       // the platform does what was asked of it: a hint says when it pays to ask again
    Places* waits_for = nullptr;  // a place among the starts or tasks
    std::int64_t applied_ms = 0, live_ms = 0, ready_since_ms = 0;
    std::int64_t not_before_ms = 0;            // for what changes the world
    std::int64_t operation_not_before_ms = 0;  // for the next attempt of an operation that is none of removal
    std::int64_t hold_ms = 0;                  // for anything: a backend is away
    std::int64_t under_way_since_ms = 0;       // 0: nothing
    std::int64_t misses = 0;       // calls that change something and failed in a row; a look that succeeds proves nothing of them
    std::int64_t look_misses = 0;  // looks that failed in a row
    std::int64_t operation_misses = 0;  // calls for such an operation that failed in a row
    std::int64_t progress_ms = 0;       // when the running task was last seen to have moved; 0: none runs
    std::string saved_by;               // the operation whose backup was recorded last, and how much it saved
    std::int64_t saved_bytes = 0;
    Scheduler::TimerId timer = 0;
    Task last_task;
  };

  static constexpr std::int64_t kParkedMs = 5'000;  // how often what waits for a place looks for one

  void changed(const SessionView& before, const SessionView& after);
  void go_on(const std::string& id);
  void schedule_drain();
  void drain();
  std::string take_next();
  void process(Work& work);
  void bring_up_to_date(Work& work, const Session& session);
  void perform(Work& work, const SessionView& view, Step step);
  void arm(Work& work, std::int64_t ms, std::function<void(Work&)> then);
  void forget(const std::string& id);
  Work* find(const std::string& id);
  // Wraps the completion of a step: the work is free again, then `then` hears of it and the session is looked at once more.
  template <class T>
  Done<T> step_done(Work& work, std::function<void(Work&, Result<T>)> then) {
    ++busy_;
    work.busy = true;
    return context_.guard([this, id = work.id, then = std::move(then)](Result<T> result) {
      if (--busy_ == 0 && idle_) context_.post(std::exchange(idle_, nullptr));
      Work* found = find(id);
      if (!found) return;
      found->busy = false;
      then(*found, std::move(result));
      if (find(id)) go_on(id);
    });
  }
  // The same for a call of compute or backup, which is counted.
  template <class T>
  Done<T> call_done(Work& work, std::function<void(Work&, Result<T>)> then) {
    return context_.counted<T>(context_.compute_ok, step_done<T>(work, std::move(then)));
  }

  // Steps (reconciler_steps.cpp, reconciler_tasks.cpp).
  void observe(Work& work, bool live);
  void apply(Work& work, const Session& session, const step::Apply& step);
  void start_task(Work& work, const Session& session, TaskKind kind);
  void observe_task(Work& work, const Session& session);
  void note_task(Work& work, Task seen);
  void remove_tasks(Work& work, const std::string& operation, std::int64_t first, std::int64_t last,
                    std::function<void(Work&, Status)> then);
  void remove_retired(Work& work, const Session& session);
  void remove_all_tasks(Work& work, std::vector<RetiredTasks> tasks, std::function<void(Work&)> then);
  void record_backup(Work& work, const Session& session);
  void replace_record(Work& work, const std::string& partition, const BackupRecord& record);
  void record_verified(Work& work, const Session& session);
  void check_archive(Work& work, const Receipt& receipt);
  void remove_workload(Work& work, const Session& session, const std::string& incarnation);
  void remove_volume(Work& work, const SessionView& view, const Volume& volume);
  void release_volume(Work& work, const Volume& volume);
  void free_reservation(Work& work, const Session& session);
  void bury(Work& work, const Session& session, const std::string& prefix);
  void leave_tombstone(Work& work);
  void fail(Work& work, const SessionView& view, step::Fail what);
  void fail_operation(Work& work, const SessionView& view, Session next);
  void park(Work& work, const SessionView& view, Places& places, const char* why);

  void call_failed(Work& work, const char* what, const Error& error);
  void operation_failed(Work& work, const char* what, const Error& error);
  void look_failed(Work& work, const char* what, const Error& error);
  void commit(Work& work, std::uint64_t revision, Session next);
  [[nodiscard]] bool is_of_schedule(const std::string& id) const;
  [[nodiscard]] std::int64_t limit_of(const Places& places, const std::string& id) const;
  bool has_place(Places& places, const std::string& id);
  bool take_place(Places& places, const std::string& id, std::int64_t for_ms);
  void give_place(Places& places, const std::string& id);
  void take_from_schedule();
  [[nodiscard]] std::string take_first_of(Places& places);

  Context& context_;
  Writer& writer_;
  Creator& creator_;
  Leader& leader_;
  std::unordered_map<std::string, Work> works_;
  std::deque<std::string> queue_;
  std::deque<std::string> begun_;  // whose last step has just ended: they come before the queue
  bool draining_ = false;
  std::int64_t busy_ = 0;
  std::function<void()> idle_;
  Places starts_, tasks_;
};

}  // namespace roost
