// What the reconciler does for each kind of step.
#include <algorithm>

#include "engine/documents.hpp"
#include "engine/operations.hpp"
#include "engine/reconciler.hpp"

namespace roost {

namespace {

constexpr std::int64_t kStartPlaceMs = 120'000;
constexpr std::int64_t kUnderWayMs = 300'000;  // so long the platform may take over what it was asked for; then it is a failure
constexpr std::int64_t kLooksToShow = 3;       // fewer failed looks in a row are a hiccup
constexpr std::uint32_t kPurgePage = 100;

// The code as a reason, in the API's CamelCase.
const char* reason_of(Code code) {
  switch (code) {
    case Code::invalid: return "Invalid";
    case Code::not_found: return "NotFound";
    case Code::exists: return "Exists";
    case Code::conflict: return "Conflict";
    case Code::denied: return "Denied";
    case Code::exhausted: return "Exhausted";
    case Code::unavailable: return "Unavailable";
    case Code::deadline: return "DeadlineExceeded";
    case Code::cancelled: return "Cancelled";
    case Code::expired: return "Expired";
    case Code::outcome_unknown: return reason::kOutcomeUnknown;
    case Code::unsupported: return "Unsupported";
    case Code::data_loss: return "DataLoss";
    case Code::internal: break;
  }
  return "Internal";
}

// As its user wants it: a look that fails is then the daemon's trouble, not the session's.
bool is_at_rest(const Session& session) {
  return (session.wanted == Wanted::running && session.phase == Phase::running) ||
         (session.wanted == Wanted::asleep && session.phase == Phase::asleep);
}

// No attempt can do better: the request itself is refused.
bool is_final(Code code, OperationKind kind) {
  return code == Code::unsupported || code == Code::invalid || (code == Code::exhausted && kind == OperationKind::restore);
}

// An operation that ends by itself: what goes wrong with it is not the session's trouble.
bool operates_apart(const Session& session) { return is_operating(session) && session.operation->kind != OperationKind::remove; }

bool disputed(Code code) { return code == Code::conflict || code == Code::outcome_unknown; }

void set_reason(Session& session, std::string why, std::string message) {
  if (session.wanted == Wanted::deleted && session.operation) {
    session.operation->reason = std::move(why);
    session.operation->message = std::move(message);
    session.phase = phase_of(session, nullptr);
    return;
  }
  session.reason = std::move(why);
  session.message = std::move(message);
}

}  // namespace

void Reconciler::perform(Work& work, const SessionView& view, Step next) {
  const Session& session = view->session;
  if (is_mutating(next)) ++context_.counters.steps;
  struct Visitor {
    Reconciler& self;
    Work& work;
    const SessionView& view;
    const Session& session;
    void operator()(step::Observe& s) const { self.observe(work, s.live || work.needs_live); }
    void operator()(step::Apply& s) const { self.apply(work, session, s); }
    void operator()(step::StartTask& s) const { self.start_task(work, session, s.kind); }
    void operator()(step::ObserveTask&) const { self.observe_task(work, session); }
    void operator()(step::RemoveTasks& s) const {
      const std::int64_t attempt = session.operation->attempt;
      self.remove_tasks(work, session.operation->id, std::max<std::int64_t>(1, attempt - 1), s.all ? attempt : attempt - 1,
                        [this_ = &self, all = s.all](Work& w, Status status) {
                          if (!status) return this_->operation_failed(w, "remove a task", status.error());
                          (all ? w.known.tasks_removed : w.known.previous_task_removed) = true;
                        });
    }
    void operator()(step::RemoveRetired&) const { self.remove_retired(work, session); }
    void operator()(step::RecordBackup&) const { self.record_backup(work, session); }
    void operator()(step::RecordVerified&) const { self.record_verified(work, session); }
    void operator()(step::CheckArchive& s) const { self.check_archive(work, s.receipt); }
    void operator()(step::RemoveWorkload& s) const { self.remove_workload(work, session, s.incarnation); }
    void operator()(step::RemoveVolume& s) const { self.remove_volume(work, view, s.volume); }
    void operator()(step::FreeReservation&) const { self.free_reservation(work, session); }
    void operator()(step::Bury&) const { self.bury(work, session, documents::message_prefix(session.id)); }
    void operator()(step::Update& s) const { self.commit(work, view->revision, std::move(s.next)); }
    void operator()(step::Fail& s) const { self.fail(work, view, std::move(s)); }
    void operator()(step::Wait& s) const {
      self.arm(work, s.ms, [task = s.task](Work& w) {
        w.known.task.reset();
        w.known.archive = Knowledge::Archive::unknown;
        if (!task) w.known.workspace.reset();
      });
    }
    void operator()(step::Settled&) const { self.forget(std::string(work.id)); }
  };
  std::visit(Visitor{*this, work, view, session}, next);
}

// ---- the document -------------------------------------------------------------------------------------------------------

void Reconciler::commit(Work& work, std::uint64_t revision, Session next) {
  auto prepare = [revision, next = std::move(next)](const SessionView& latest, const Writer::Decide& decide) {
    if (latest->revision != revision) return decide(Edit::refuse({Code::conflict, "the session changed meanwhile", 0}));
    decide(Edit::write(next));
  };
  writer_.mutate(work.id, std::move(prepare), step_done<Written>(work, [this](Work& w, Result<Written> written) {
                   if (written || written.error().code == Code::conflict || written.error().code == Code::not_found)
                     return;  // planned anew at once
                   look_failed(w, "commit", written.error());
                 }));
}

void Reconciler::fail(Work& work, const SessionView& view, step::Fail what) {
  if (what.operation) return fail_operation(work, view, std::move(what.next));
  Session next = std::move(what.next);
  next.failures = view->session.failures + 1;
  const std::int64_t delay_ms = context_.backoff_ms(next.failures);
  next.next_attempt_at_us = context_.wall_us() + delay_ms * 1000;
  next.phase = phase_of(next, next.wanted == Wanted::deleted || !work.known.workspace ? nullptr : &*work.known.workspace);
  work.not_before_ms = context_.mono_ms() + delay_ms;
  work.under_way = false;
  work.applied_ms = context_.mono_ms() - kStartPlaceMs;  // what was applied is over: the next attempt applies again
  give_place(starts_, work.id);
  ++context_.counters.failures;
  const Operation* operation = next.wanted == Wanted::deleted && next.operation ? &*next.operation : nullptr;
  context_.log(2, "a session failed and is tried again",
               Json::object({{"id", work.id},
                             {"reason", operation ? operation->reason : next.reason},
                             {"detail", operation ? operation->message : next.message},
                             {"retry_ms", delay_ms}}));
  commit(work, view->revision, std::move(next));
}

void Reconciler::fail_operation(Work& work, const SessionView& view, Session next) {
  const Operation& operation = *next.operation;
  const bool over = operation.step == OperationStep::done;
  const std::int64_t delay_ms = over ? 0 : context_.backoff_ms(operation.failures);
  work.operation_not_before_ms = context_.mono_ms() + delay_ms;
  give_place(tasks_, work.id);
  ++context_.counters.failures;
  context_.log(2, over ? "an operation failed" : "an operation failed and is tried again",
               Json::object({{"id", work.id},
                             {"operation", operation.id},
                             {"kind", to_string(operation.kind)},
                             {"reason", operation.reason},
                             {"detail", operation.message},
                             {"retry_ms", delay_ms}}));
  commit(work, view->revision, std::move(next));
}

// A call for the operation did not succeed. A delete waits with its session; the others by themselves, and not for ever.
void Reconciler::operation_failed(Work& work, const char* what, const Error& error) {
  SessionView view = context_.reads.find(work.id);
  if (!view || !operates_apart(view->session)) return call_failed(work, what, error);
  ++context_.counters.failures;
  ++work.operation_misses;
  work.known.workspace.reset();
  work.known.task.reset();
  work.known.live = false;
  if (disputed(error.code)) work.needs_live = true;
  work.operation_not_before_ms = context_.mono_ms() + std::max(error.retry_after_ms, context_.backoff_ms(work.operation_misses));
  if (is_under_way(error) || (disputed(error.code) && work.operation_misses < 2)) return;  // a look first: it may be no failure
  Session next = view->session;
  const bool no_room = error.code == Code::exhausted && next.operation->kind == OperationKind::restore;
  const std::string why = no_room ? "NoSpace" : reason_of(error.code);
  const std::string message = std::string(what) + ": " + error.message;
  next.operation->failures += 1;
  next.operation->reason = why;
  next.operation->message = message;
  if (is_final(error.code, next.operation->kind) || next.operation->failures >= operations::tries(*next.operation))
    operations::finish(next, OperationOutcome::failed, why, message);
  context_.log(2, message, Json::object({{"id", work.id}, {"operation", next.operation->id}, {"reason", why}}));
  commit(work, view->revision, std::move(next));
}

// A call that may have changed something did not succeed.
void Reconciler::call_failed(Work& work, const char* what, const Error& error) {
  ++context_.counters.failures;
  ++work.misses;
  work.known.workspace.reset();
  work.known.task.reset();
  work.known.live = false;
  if (disputed(error.code)) work.needs_live = true;
  const std::int64_t delay_ms = std::max(error.retry_after_ms, context_.backoff_ms(work.misses));
  work.not_before_ms = context_.mono_ms() + delay_ms;
  work.under_way = is_under_way(error);
  if (!work.under_way) work.under_way_since_ms = 0;
  if (work.under_way && work.under_way_since_ms == 0) work.under_way_since_ms = context_.mono_ms();
  const bool in_time = work.under_way && context_.mono_ms() - work.under_way_since_ms < kUnderWayMs;
  context_.log(
      2, std::string(what) + " failed and is tried again",
      Json::object({{"id", work.id}, {"reason", reason_of(error.code)}, {"detail", error.message}, {"retry_ms", delay_ms}}));
  SessionView view = context_.reads.find(work.id);
  if (!view || (disputed(error.code) && work.misses < 2)) return;  // a look first: it may be no failure at all
  Session next = view->session;
  next.failures += in_time ? 0 : 1;
  next.next_attempt_at_us = context_.wall_us() + delay_ms * 1000;
  set_reason(next, reason_of(error.code), std::string(what) + ": " + error.message);
  commit(work, view->revision, std::move(next));
}

// A call that changes nothing did not succeed. A session that is as wanted does not show it: the daemon's readiness does.
void Reconciler::look_failed(Work& work, const char* what, const Error& error) {
  ++work.look_misses;
  const std::int64_t delay_ms = std::max(error.retry_after_ms, context_.backoff_ms(work.look_misses));
  work.hold_ms = context_.mono_ms() + delay_ms;
  context_.log(
      work.look_misses < kLooksToShow ? 1 : 2, std::string(what) + " failed and is tried again",
      Json::object({{"id", work.id}, {"reason", reason_of(error.code)}, {"detail", error.message}, {"retry_ms", delay_ms}}));
  SessionView view = context_.reads.find(work.id);
  if (work.look_misses != kLooksToShow || !view || is_at_rest(view->session)) return;
  Session next = view->session;
  next.failures += 1;  // so that coming to rest clears the reason
  set_reason(next, reason_of(error.code), std::string(what) + ": " + error.message);
  commit(work, view->revision, std::move(next));
}

// ---- the workspace ------------------------------------------------------------------------------------------------------

void Reconciler::observe(Work& work, bool live) {
  context_.ports.compute->observe(work.id, live, call_done<Workspace>(work, [this, live](Work& w, Result<Workspace> seen) {
                                    if (!seen) {
                                      w.known.workspace.reset();
                                      return look_failed(w, "observe", seen.error());
                                    }
                                    w.look_misses = 0;
                                    if (live) w.needs_live = false;
                                    w.known.workspace = *std::move(seen);
                                    w.known.adopted = false;
                                    w.known.live = live;
                                    w.live_ms = context_.mono_ms();
                                  }));
}

void Reconciler::apply(Work& work, const Session& session, const step::Apply& wish) {
  const bool starts =
      wish.running && (no_workload(*work.known.workspace) || work.known.workspace->workload_state == WorkloadState::failed);
  if (starts && !take_place(starts_, work.id, kStartPlaceMs)) {
    return park(work, context_.reads.find(work.id), starts_, reason::kStartLimit);
  }
  work.waits_for = nullptr;
  const EngineOptions& options = context_.options;
  WorkspaceSpec spec;
  spec.id = session.id;
  spec.user_id = session.user_id;
  spec.generation = session.spec_generation;
  spec.running = wish.running;
  spec.size = session.wanted_size;
  spec.volume = session.volume;
  spec.create_volume = wish.create_volume;
  if (options.login_secret) spec.login_secret = options.login_secret(session);
  if (options.workspace_token) spec.token = options.workspace_token(session);
  if (options.workspace_url) spec.url = options.workspace_url(session.id);
  const std::int64_t generation = spec.generation;
  context_.ports.compute->apply(std::move(spec),
                                call_done<Workspace>(work, [this, generation](Work& w, Result<Workspace> applied) {
                                  if (!applied) return call_failed(w, "apply", applied.error());
                                  w.misses = 0;
                                  w.needs_live = false;
                                  w.known.workspace = *std::move(applied);
                                  w.known.adopted = true;
                                  w.known.live = false;
                                  w.known.applied_generation = std::max(w.known.applied_generation, generation);
                                  w.applied_ms = context_.mono_ms();
                                }));
}

void Reconciler::park(Work& work, const SessionView& view, Places& places, const char* why) {
  const bool copied = view->session.operation && view->session.operation->step == OperationStep::verify;
  const bool comes = std::exchange(work.waits_for, &places) != &places;
  if (comes) (copied ? places.begun : places.queue).push_back(work.id);
  if (&places == &tasks_ && !is_of_schedule(work.id)) take_from_schedule();
  arm(work, kParkedMs, [](Work& w) { w.known.live = false; });
  const Session& session = view->session;
  const bool apart = &places == &tasks_ && operates_apart(session);
  const bool said = session.reason == why || (session.operation && session.operation->reason == why);
  if (said || (apart ? session.operation->failures : session.failures) > 0) return;
  Session next = session;
  constexpr const char* kTurn = "waits for its turn: as many as are allowed at a time are under way";
  if (!apart) set_reason(next, why, kTurn);
  if (apart) {
    next.operation->reason = why;
    next.operation->message = kTurn;
  }
  commit(work, view->revision, std::move(next));
}

void Reconciler::remove_workload(Work& work, const Session& session, const std::string& incarnation) {
  context_.ports.compute->remove_workload(session.id, incarnation, call_done<void>(work, [this](Work& w, Status removed) {
                                            if (!removed) return call_failed(w, "remove the workload", removed.error());
                                            w.misses = 0;
                                            w.known.workload_released = true;
                                            w.known.workspace.reset();
                                            w.known.live = false;
                                          }));
}

// The one call that cannot be taken back: what the store says now permits it, not what a replica that has just come to lead
// remembers.
void Reconciler::remove_volume(Work& work, const SessionView& view, const Volume& volume) {
  auto read = [this, volume, revision = view->revision](Work& w, Result<Document> found) {
    if (!found && found.error().code != Code::not_found) return look_failed(w, "read the session", found.error());
    SessionView latest = context_.reads.find(w.id);
    const bool same = found.ok() && latest && latest->revision == revision && found->revision == revision;
    if (same && leader_.valid()) return release_volume(w, volume);
    w.known.live = false;
    writer_.refresh(w.id, step_done<SessionView>(w, [this](Work& again, Result<SessionView> refreshed) {
                      if (!refreshed) look_failed(again, "read the session", refreshed.error());
                    }));
  };
  context_.get(documents::partition(work.id), documents::session_key(work.id), step_done<Document>(work, std::move(read)));
}

void Reconciler::release_volume(Work& work, const Volume& volume) {
  context_.ports.compute->remove_volume(
      work.id, volume, call_done<void>(work, [this, name = volume.name](Work& w, Status removed) {
        w.known.workspace.reset();
        w.known.live = false;
        w.known.archive = Knowledge::Archive::unknown;
        if (removed) {
          w.misses = 0;
          w.not_before_ms = context_.mono_ms() + context_.options.poll_ms;  // should it be seen all the same
          return context_.log(1, "released a volume", Json::object({{"id", w.id}, {"volume", name}}));
        }
        const Error error = removed.error();
        SessionView view = context_.reads.find(w.id);
        if (error.code != Code::conflict || !view) return call_failed(w, "remove the volume", error);
        // Something still uses it: a task that a replica started late, perhaps.
        std::vector<RetiredTasks> tasks = view->session.retired;
        if (const auto& operation = view->session.operation) tasks.push_back({operation->id, operation->attempt});
        remove_all_tasks(w, std::move(tasks), [this, error](Work& again) { call_failed(again, "remove the volume", error); });
      }));
}

void Reconciler::remove_retired(Work& work, const Session& session) {
  const RetiredTasks tasks = *operations::to_remove(session);
  remove_tasks(work, tasks.operation, std::max<std::int64_t>(1, tasks.attempt - operations::kAttemptsBack), tasks.attempt,
               [this, tasks](Work& w, Status removed) {
                 if (!removed) return call_failed(w, "remove a task", removed.error());
                 SessionView view = context_.reads.find(w.id);
                 if (!view) return;
                 Session next = view->session;
                 operations::removed(next, tasks);
                 commit(w, view->revision, std::move(next));
               });
}

// Whatever may be left of any operation that the document knows.
void Reconciler::remove_all_tasks(Work& work, std::vector<RetiredTasks> tasks, std::function<void(Work&)> then) {
  if (tasks.empty()) return then(work);
  const RetiredTasks last = tasks.back();
  tasks.pop_back();
  remove_tasks(work, last.operation, std::max<std::int64_t>(1, last.attempt - operations::kAttemptsBack), last.attempt,
               [this, tasks = std::move(tasks), then = std::move(then)](Work& w, Status) { remove_all_tasks(w, tasks, then); });
}

// ---- the end ------------------------------------------------------------------------------------------------------------

void Reconciler::free_reservation(Work& work, const Session& session) {
  creator_.release(session.user_id, session.id, step_done<void>(work, [this](Work& w, Status freed) {
                     if (!freed) return call_failed(w, "free the reservation", freed.error());
                     w.known.reservation_freed = true;
                   }));
}

// The messages go first, a page at a time, then their history, then the session.
void Reconciler::bury(Work& work, const Session& session, const std::string& prefix) {
  const std::string id = session.id;
  context_.scan(documents::partition(id), prefix, "", kPurgePage,
                step_done<std::vector<Document>>(work, [this, id, prefix](Work& w, Result<std::vector<Document>> page) {
                  if (!page) return call_failed(w, "remove the messages", page.error());
                  SessionView view = context_.reads.find(id);
                  if (!view) return;
                  if (page->empty()) {
                    const std::string history = documents::history_prefix(id);
                    return prefix == history ? leave_tombstone(w) : bury(w, view->session, history);
                  }
                  Commit purge;
                  purge.partition = documents::partition(id);
                  for (const Document& document : *page)
                    purge.operations.push_back({StoreOperation::Kind::remove, document.key, "", 0});
                  context_.commit(std::move(purge),
                                  step_done<CommitResult>(w, [this, id, prefix](Work& again, Result<CommitResult> result) {
                                    if (!result) return call_failed(again, "remove the messages", result.error());
                                    SessionView latest = context_.reads.find(id);
                                    if (latest) bury(again, latest->session, prefix);
                                  }));
                }));
}

void Reconciler::leave_tombstone(Work& work) {
  auto prepare = [this](const SessionView& view, const Writer::Decide& decide) {
    const Session& session = view->session;
    if (session.wanted != Wanted::deleted || !session.operation || session.operation->step != OperationStep::done) {
      return decide(Edit::refuse({Code::conflict, "the session is not released yet", 0}));
    }
    const Tombstone tombstone{session.id, session.user_id, context_.wall_us(), *session.operation};
    Edit edit = Edit::write({});
    edit.erase = true;
    edit.operations.push_back({StoreOperation::Kind::put, documents::tombstone_key(session.id), to_json(tombstone).dump(),
                               context_.options.tombstone_ms});
    decide(std::move(edit));
  };
  writer_.mutate(work.id, std::move(prepare), step_done<Written>(work, [this](Work& w, Result<Written> written) {
                   if (!written && written.error().code != Code::not_found)
                     call_failed(w, "leave the tombstone", written.error());
                 }));
}

}  // namespace roost
