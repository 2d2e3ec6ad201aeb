#include "engine/reconciler.hpp"

#include <algorithm>

#include "engine/operations.hpp"

namespace roost {

namespace {

constexpr std::int64_t kBusyLimit = 128;         // sessions with a call or commit under way
constexpr int kAtOnce = 64;                      // sessions looked at before others get the thread
constexpr std::int64_t kLiveMs = 10'000;         // how long a live observation counts as one
constexpr std::int64_t kApplyEffectMs = 15'000;  // an apply without effect is repeated after that
constexpr std::int64_t kHandOverMs = 30'000;     // how long a place that was handed over is kept for what it is for

std::string mark_of(const Session& session) {
  if (!session.operation) return {};
  return session.operation->id + "/" + std::to_string(static_cast<int>(session.operation->step)) + "/" +
         std::to_string(session.operation->attempt);
}

}  // namespace

Reconciler::Reconciler(Context& context, Writer& writer, Creator& creator, Leader& leader)
    : context_(context), writer_(writer), creator_(creator), leader_(leader) {
  context_.observers.push_back([this](const SessionView& before, const SessionView& after) { changed(before, after); });
}

void Reconciler::changed(const SessionView& before, const SessionView& after) {
  if (!after) {
    Work* work = find(before->session.id);
    if (work && !work->busy) forget(before->session.id);
    return;
  }
  if (!leader_.valid()) return;
  // A wish of a person ends the backoff: the commands set next_attempt_at_us to 0 with it.
  const auto begun = [&] {
    const auto& now = after->session.operation;
    return now && (!before->session.operation || before->session.operation->id != now->id);
  };
  const bool wish = !before || begun() || before->session.spec_generation != after->session.spec_generation ||
                    (after->session.next_attempt_at_us == 0 && before->session.next_attempt_at_us != 0);
  if (wish) {
    Work& work = works_[after->session.id];
    work.not_before_ms = 0;
    work.misses = 0;
    work.operation_not_before_ms = 0;
    work.waits_for = nullptr;
  }
  if (wish || find(after->session.id)) enqueue(after->session.id);
}

Reconciler::Work* Reconciler::find(const std::string& id) {
  auto it = works_.find(id);
  return it == works_.end() ? nullptr : &it->second;
}

void Reconciler::enqueue(const std::string& id) {
  Work& work = works_[id];
  work.id = id;
  if (context_.stopping) return;
  if (!work.queued) queue_.push_back(id);
  work.queued = true;
  context_.counters.queue_depth = static_cast<std::int64_t>(works_.size());
  schedule_drain();
}

// What a step has just shown is for the next step to use: behind a long queue a live observation would be too old when its turn
// comes, and be made again, for ever.
void Reconciler::go_on(const std::string& id) {
  if (context_.stopping) return;
  begun_.push_back(id);
  schedule_drain();
}

void Reconciler::schedule_drain() {
  if (std::exchange(draining_, true)) return;
  context_.post([this] { drain(); });
}

void Reconciler::hint(const std::string& id) {
  if (!leader_.valid() || !context_.reads.find(id)) return;
  Work& work = works_[id];
  work.stale = true;
  if (std::exchange(work.under_way, false)) {
    work.not_before_ms = std::min(work.not_before_ms, context_.mono_ms() + context_.options.poll_ms);
  }
  enqueue(id);
}

void Reconciler::when_idle(std::function<void()> idle) {
  if (busy_ == 0) return context_.post(std::move(idle));
  idle_ = std::move(idle);
}

void Reconciler::reset() {
  for (auto it = works_.begin(); it != works_.end();) {
    Work& work = it->second;
    work.known = {};
    work.stale = true;
    if (work.busy || work.queued) {
      ++it;
      continue;
    }
    if (work.timer) context_.ports.scheduler->cancel(work.timer);
    it = works_.erase(it);
  }
  for (auto& [id, work] : works_) work.waits_for = nullptr;
  starts_ = {};
  tasks_ = {};
}

void Reconciler::forget(const std::string& id) {
  auto it = works_.find(id);
  if (it == works_.end()) return;
  if (it->second.timer) context_.ports.scheduler->cancel(it->second.timer);
  works_.erase(it);
  give_place(starts_, id);
  give_place(tasks_, id);
  context_.counters.queue_depth = static_cast<std::int64_t>(works_.size());
}

std::string Reconciler::take_next() {
  std::deque<std::string>& from = begun_.empty() ? queue_ : begun_;
  std::string id = std::move(from.front());
  from.pop_front();
  Work* work = find(id);
  if (work && &from == &queue_) work->queued = false;
  return id;
}

void Reconciler::drain() {
  draining_ = false;
  const auto more = [this] { return (!begun_.empty() || !queue_.empty()) && busy_ < kBusyLimit; };
  for (int i = 0; i < kAtOnce && more(); ++i) {
    Work* work = find(take_next());
    if (work && !work->busy) process(*work);
  }
  if (more()) schedule_drain();
}

bool Reconciler::is_settled(const SessionSnapshot& snapshot, const Workspace& workspace) const {
  Knowledge known;
  known.workspace = workspace;
  return std::holds_alternative<step::Settled>(plan(snapshot.session, known, context_.wall_us(), {}));
}

// What time and the document's own progress make of the knowledge.
void Reconciler::bring_up_to_date(Work& work, const Session& session) {
  const std::int64_t now = context_.mono_ms();
  Knowledge& known = work.known;
  // An apply's answer that names a new volume is recorded before a hint makes it old: the platform always hints at what an apply
  // did, and a volume whose uid was never recorded would be taken for one that was never made.
  const bool unrecorded =
      known.adopted && known.workspace && known.workspace->volume_state == VolumeState::present && session.volume.uid.empty();
  if (!unrecorded && std::exchange(work.stale, false)) {
    known.workspace.reset();
    known.task.reset();
  }
  if (std::string mark = mark_of(session); mark != work.operation_mark) {
    const std::int64_t applied = known.applied_generation;
    std::optional<Workspace> workspace = std::move(known.workspace);
    known = {};
    known.applied_generation = applied;
    known.workspace = std::move(workspace);
    work.operation_mark = std::move(mark);
    work.last_task = {};
    work.progress_ms = 0;
    work.misses = work.operation_misses = 0;  // what was tried has led somewhere
    work.under_way_since_ms = 0;
    work.waits_for = nullptr;
  }
  if (!known.workspace || now - work.live_ms > kLiveMs) known.live = false;
  known.operation_wait_ms = std::max<std::int64_t>(0, work.operation_not_before_ms - now);
  known.apply_due = now - work.applied_ms >= kApplyEffectMs;
  known.task_stalled = work.progress_ms != 0 && now - work.progress_ms >= context_.options.task_stall_ms;
  const bool ready =
      known.workspace && known.workspace->workload_state == WorkloadState::running && known.workspace->observed.ready;
  if (!known.workspace) return;
  if (!ready) work.ready_since_ms = 0;
  if (ready && work.ready_since_ms == 0) work.ready_since_ms = std::max<std::int64_t>(1, now);
  known.ready_ms = ready ? now - work.ready_since_ms : 0;
  const bool starting = session.wanted == Wanted::running && !ready;  // a start that failed gave its place up (fail)
  if (!starting) give_place(starts_, work.id);
}

void Reconciler::process(Work& work) {
  if (context_.stopping) return;
  SessionView view = context_.reads.find(work.id);
  if (!view || !leader_.valid()) return forget(std::string(work.id));
  if (work.timer) context_.ports.scheduler->cancel(std::exchange(work.timer, 0));
  const bool first = work.operation_mark.empty() && !work.known.workspace && work.not_before_ms == 0;
  const std::int64_t now = context_.mono_ms();
  if (first && view->session.next_attempt_at_us > 0) {  // a backoff that a restart interrupted; the wall clock may have jumped
    const std::int64_t left = (view->session.next_attempt_at_us - context_.wall_us()) / 1000;
    work.not_before_ms = now + std::clamp<std::int64_t>(left, 0, context_.options.backoff_max_ms);
  }
  if (work.hold_ms > now) return arm(work, work.hold_ms - now, [](Work&) {});
  bring_up_to_date(work, view->session);
  PlanOptions options;
  options.poll_ms = context_.options.poll_ms;
  options.kept_volume_us = context_.options.kept_volume_ms * 1000;
  Step next = plan(view->session, work.known, context_.wall_us(), options);
  if (work.needs_live && !std::holds_alternative<step::Observe>(next)) {
    if (is_mutating(next)) next = step::Observe{true};
  }
  // Nobody looks at the platform for what has no place to be done in.
  const auto* look = std::get_if<step::Observe>(&next);
  if (look && look->live && work.waits_for && !has_place(*work.waits_for, work.id)) return arm(work, kParkedMs, [](Work&) {});
  if (is_mutating(next) && work.not_before_ms > now) {
    return arm(work, work.not_before_ms - now, [](Work& w) {
      w.known.workspace.reset();
      w.known.task.reset();
    });
  }
  perform(work, view, std::move(next));
}

void Reconciler::arm(Work& work, std::int64_t ms, std::function<void(Work&)> then) {
  if (work.timer) context_.ports.scheduler->cancel(work.timer);
  const std::string id = work.id;
  work.timer = context_.after_ms(std::max<std::int64_t>(1, ms), [this, id, then = std::move(then)] {
    Work* found = find(id);
    if (!found) return;
    found->timer = 0;
    if (!found->busy) then(*found);
    enqueue(id);
  });
}

bool Reconciler::is_of_schedule(const std::string& id) const {
  const SessionView view = context_.reads.find(id);
  return view && view->session.operation && is_scheduled(*view->session.operation);
}

// How many of a kind may be under way for the next to begin.
std::int64_t Reconciler::limit_of(const Places& places, const std::string& id) const {
  if (&places == &starts_) return context_.options.concurrent_starts;
  const std::int64_t all = context_.options.concurrent_tasks;
  return is_of_schedule(id) ? operations::scheduled_places(all) : all;
}

// Whether it has one, or could take one.
bool Reconciler::has_place(Places& places, const std::string& id) {
  const auto full = [&] { return static_cast<std::int64_t>(places.taken.size()) >= limit_of(places, id); };
  if (places.taken.count(id) || !full()) return true;
  std::erase_if(places.taken, [now = context_.mono_ms()](const auto& entry) { return entry.second <= now; });
  return !full();
}

bool Reconciler::take_place(Places& places, const std::string& id, std::int64_t for_ms) {
  if (!has_place(places, id)) return false;
  places.taken[id] = context_.mono_ms() + for_ms;
  return true;
}

// Where there is one place only, a backup of the schedule gives it up to whatever a person waits for: it comes again later.
void Reconciler::take_from_schedule() {
  if (context_.options.concurrent_tasks > 1) return;
  for (const auto& [id, until_ms] : tasks_.taken) {
    if (!is_of_schedule(id)) continue;
    writer_.mutate(
        id,
        [](const SessionView& latest, const Writer::Decide& decide) {
          Session next = latest->session;
          if (!is_operating(next) || !is_scheduled(*next.operation)) return decide(Edit::none());
          operations::cancel(next, "somebody waits for its place");
          decide(Edit::write(std::move(next)));
        },
        [](const Result<Written>&) {});  // whoever waits asks again
  }
}

// Whose turn it is: what is half done first, so that of many deletes the early ones end early; then a person's wish before the
// schedule's. Empty: nobody waits.
std::string Reconciler::take_first_of(Places& places) {
  const auto waits = [&](const std::string& id) {
    const Work* work = find(id);
    return work && work->waits_for == &places;
  };
  const auto asked_for = [&](const std::string& id) { return waits(id) && !is_of_schedule(id); };
  for (std::deque<std::string>* line : {&places.begun, &places.queue}) {
    while (!line->empty() && !waits(line->front())) line->pop_front();
  }
  for (const bool any : {false, true}) {
    for (std::deque<std::string>* line : {&places.begun, &places.queue}) {
      const auto chosen = any ? line->begin() : std::find_if(line->begin(), line->end(), asked_for);
      if (chosen == line->end()) continue;
      std::string first = *chosen;
      line->erase(chosen);
      return first;
    }
  }
  return {};
}

// Who comes next gets it, so that nobody takes it from under its look at the platform.
void Reconciler::give_place(Places& places, const std::string& id) {
  if (!places.taken.erase(id)) return;
  const std::string next = take_first_of(places);
  if (next.empty()) return;
  if (!has_place(places, next)) return places.queue.push_front(next);
  find(next)->waits_for = nullptr;
  places.taken[next] = context_.mono_ms() + kHandOverMs;
  go_on(next);
}

}  // namespace roost
