#include "engine/planner.hpp"

#include <algorithm>

#include "engine/operations.hpp"

namespace roost {

namespace {

constexpr std::int64_t kFailuresToShow = 3;  // fewer are a hiccup, not a phase
constexpr std::int64_t kLostPollMs = 15'000;

bool never_made(const Session& session) { return session.volume.uid.empty(); }

bool is_ready(const Workspace& w) { return w.workload_state == WorkloadState::running && w.observed.ready; }

// Reasons that usually go away by themselves: they show as `deleting` with a reason until they have lasted.
bool is_passing(const std::string& reason) {
  static constexpr const char* kPassing[] = {
      reason::kOutcomeUnknown, reason::kTaskLimit, reason::kStartLimit, "Conflict", "Unavailable",
      "DeadlineExceeded",      "Cancelled",        "Internal",          "Killed"};
  return std::any_of(std::begin(kPassing), std::end(kPassing), [&](const char* passing) { return reason == passing; });
}

// An answer of the platform that a failed workload came with, else the state itself.
std::string failure_reason(const Workspace& w) { return w.observed.reason.empty() ? "WorkloadFailed" : w.observed.reason; }

bool just_applied(const Session& session, const Knowledge& known) {
  return known.applied_generation >= session.spec_generation && !known.apply_due;
}

// As wanted: what went wrong on the way is forgotten.
Step settle(const Session& session) {
  if (session.failures == 0 && session.next_attempt_at_us == 0) return step::Settled{};
  Session next = session;
  next.failures = 0;
  next.next_attempt_at_us = 0;
  next.reason.clear();
  next.message.clear();
  return step::Update{std::move(next)};
}

Step plan_asleep(const Session& session, const Knowledge& known, const PlanOptions& options) {
  const Workspace& w = *known.workspace;
  switch (w.workload_state) {
    case WorkloadState::none:
      // An apply whose answer was lost made it: until its uid is recorded, it would be made anew should it vanish.
      if (never_made(session) && volume_state(session, w) == VolumeState::present && !operations::is_own_discarded(session))
        break;
      return settle(session);
    case WorkloadState::stopping: return step::Wait{options.poll_ms};
    case WorkloadState::failed:
    case WorkloadState::starting:
    case WorkloadState::running: break;
  }
  const bool applied = known.applied_generation >= session.spec_generation;
  if (applied && w.workload_state == WorkloadState::failed) return settle(session);  // its remains; no process of it
  if (just_applied(session, known)) return step::Wait{options.poll_ms};
  return step::Apply{false, never_made(session)};
}

// It runs or is about to. A lower generation means that the platform has not heard of the latest wish.
Step plan_up(const Session& session, const Knowledge& known, const PlanOptions& options) {
  const Workspace& w = *known.workspace;
  const bool told = known.applied_generation >= session.spec_generation || w.generation >= session.spec_generation;
  if (never_made(session) && just_applied(session, known)) return step::Wait{options.poll_ms};
  if (!told || never_made(session)) return step::Apply{true, never_made(session)};
  if (session.next_attempt_at_us != 0) {  // that attempt was made: another failure counts anew
    Session next = session;
    next.next_attempt_at_us = 0;
    return step::Update{std::move(next)};
  }
  if (!is_ready(w)) return step::Wait{options.poll_ms};
  if (session.failures > 0 && known.ready_ms < options.settle_ms) return step::Wait{options.settle_ms - known.ready_ms};
  return settle(session);
}

Step plan_running(const Session& session, const Knowledge& known, const PlanOptions& options) {
  const Workspace& w = *known.workspace;
  switch (w.workload_state) {
    case WorkloadState::stopping: return step::Wait{options.poll_ms};  // never two: the old one ends first
    case WorkloadState::starting:
    case WorkloadState::running: return plan_up(session, known, options);
    case WorkloadState::none:
      if (just_applied(session, known)) return step::Wait{options.poll_ms};
      return step::Apply{true, never_made(session)};
    case WorkloadState::failed: break;
  }
  // A failure is counted once; the executor waits for the backoff (on the monotonic clock) before the next start.
  if (session.next_attempt_at_us == 0) {
    Session next = session;
    next.reason = failure_reason(w);
    next.message = w.observed.message.empty() ? "the workload ended or did not come up; it is started again" : w.observed.message;
    return step::Fail{std::move(next)};
  }
  if (just_applied(session, known)) return step::Wait{options.poll_ms};
  return step::Apply{true, never_made(session)};
}

Step plan_workload(const Session& session, const Knowledge& known, const PlanOptions& options) {
  if (session.wanted == Wanted::asleep) return plan_asleep(session, known, options);
  Step chosen = plan_running(session, known, options);
  // A start begins with a look at the platform itself: a cached view may hide a workload that is still ending.
  const bool first = never_made(session) && session.phase == Phase::pending;
  if (std::holds_alternative<step::Apply>(chosen) && !known.live && !known.adopted && !first) return step::Observe{true};
  return chosen;
}

}  // namespace

bool no_workload(const Workspace& w) { return w.workload_state == WorkloadState::none; }

bool is_fenced(const Session& session, const Knowledge& known) {
  return std::max(known.workspace->generation, known.applied_generation) >= session.spec_generation;
}

namespace {

const SeenVolume* named(const Workspace& w, const std::string& name) {
  if (!w.volumes) return nullptr;
  const auto found =
      std::find_if(w.volumes->begin(), w.volumes->end(), [&](const SeenVolume& seen) { return seen.name == name; });
  return found == w.volumes->end() ? nullptr : &*found;
}

const std::string& volume_uid(const Session& session, const Workspace& w) {
  const SeenVolume* seen = named(w, session.volume.name);
  return seen ? seen->uid : w.volume_uid;
}

}  // namespace

const SeenVolume* find_volume(const Workspace& w, const Volume& volume) {
  const SeenVolume* seen = named(w, volume.name);
  return seen && seen->token == volume.token ? seen : nullptr;
}

VolumeState volume_state(const Session& session, const Workspace& w) {
  if (!w.volumes) return w.volume_state;
  if (!named(w, session.volume.name)) return VolumeState::missing;
  return find_volume(w, session.volume) ? VolumeState::present : VolumeState::foreign;
}

VolumeVerdict judge_volume(const Session& session, const Workspace& w) {
  const VolumeState state = volume_state(session, w);
  if (state == VolumeState::foreign) return VolumeVerdict::foreign;
  if (never_made(session)) return VolumeVerdict::never_made;
  if (state == VolumeState::missing) return VolumeVerdict::lost;
  return volume_uid(session, w) == session.volume.uid ? VolumeVerdict::ours : VolumeVerdict::foreign;
}

Phase phase_of(const Session& session, const Workspace* workspace) {
  if (session.wanted == Wanted::deleted) {
    const std::string why = session.operation ? session.operation->reason : std::string();
    const bool blocked = !why.empty() && why != reason::kNothingToSave && why != reason::kBackupSkipped &&
                         (!is_passing(why) || session.failures >= kFailuresToShow);
    return blocked ? Phase::delete_blocked : Phase::deleting;
  }
  if (!workspace) return session.phase;
  const VolumeVerdict volume = judge_volume(session, *workspace);
  if (volume == VolumeVerdict::lost || volume == VolumeVerdict::foreign) return Phase::volume_lost;
  if (awaits_restore(session)) return is_operating(session) ? Phase::pending : Phase::failed;
  const bool failed = workspace->workload_state == WorkloadState::failed;
  if (session.wanted == Wanted::asleep) {
    const bool gone = no_workload(*workspace) || (failed && workspace->generation >= session.spec_generation);
    return gone ? Phase::asleep : Phase::stopping;
  }
  if (is_ready(*workspace)) return Phase::running;
  if (failed || session.failures >= kFailuresToShow) return Phase::failed;
  if (volume == VolumeVerdict::never_made && no_workload(*workspace)) return Phase::pending;
  return Phase::starting;
}

Session reflect(const Session& session, const Knowledge& known) {
  const Workspace& w = *known.workspace;
  Session next = session;
  // Of a session that is to be filled from a backup an apply makes none: what bears its token there is half filled.
  const bool adopts =
      next.volume.uid.empty() && known.adopted && !awaits_restore(session) && !operations::is_own_discarded(session);
  if (adopts && volume_state(session, w) == VolumeState::present) next.volume.uid = volume_uid(session, w);
  // A document older than the platform (a store that was restored): its wishes must not be taken for stale ones.
  if (w.generation > next.spec_generation) next.spec_generation = w.generation + 1;
  next.observed = w.observed;
  if (no_workload(w))
    next.observed = Observed{.size = session.observed.size, .reason = w.observed.reason, .message = w.observed.message};
  next.phase = phase_of(next, &w);
  const bool unrestored = next.wanted != Wanted::deleted && awaits_restore(next) && !is_operating(next);
  if (unrestored && next.discarded_volumes.empty()) operations::explain_failed_restore(next);
  if (next.phase == Phase::volume_lost) {
    const bool foreign = judge_volume(next, w) == VolumeVerdict::foreign;
    next.reason = foreign ? reason::kVolumeForeign : reason::kVolumeLost;
    next.message = foreign
                       ? "a volume of this name is there that is not this session's; nothing is started and nothing is removed"
                       : "the volume of this session is not there; nothing is started, and none is made in its place";
  } else if (session.phase == Phase::volume_lost || (next.phase == Phase::asleep && next.failures == 0) ||
             (next.reason == reason::kStartLimit && !no_workload(w))) {
    next.reason.clear();
    next.message.clear();
  }
  return next;
}

Step plan(const Session& session, const Knowledge& known, std::int64_t now_us, const PlanOptions& options) {
  const bool removes = session.wanted == Wanted::deleted && session.operation && session.operation->kind == OperationKind::remove;
  if (operations::to_remove(session)) return step::RemoveRetired{};
  if (removes && session.operation->step == OperationStep::done) {
    return known.reservation_freed ? Step(step::Bury{}) : Step(step::FreeReservation{});
  }
  if (!known.workspace) return step::Observe{};
  // A cached view from before our last apply says nothing about now.
  const bool old =
      !known.live && !known.adopted && known.workspace->generation != 0 && known.workspace->generation < known.applied_generation;
  if (old) return known.apply_due ? Step(step::Observe{true}) : Step(step::Wait{options.poll_ms});
  const VolumeVerdict volume = judge_volume(session, *known.workspace);
  const bool lost = volume == VolumeVerdict::lost || volume == VolumeVerdict::foreign;
  if (lost && !known.live && session.phase != Phase::volume_lost) return step::Observe{true};  // a cached view does not condemn
  if (is_operating(session) && session.wanted != Wanted::deleted) {
    if (auto instead = plan_disturbed(session, known, now_us)) return *std::move(instead);
  }
  Session next = reflect(session, known);
  if (next != session) return step::Update{std::move(next)};
  if (session.wanted == Wanted::deleted) return plan_delete(session, known, now_us, options);
  Step chosen = lost                      ? Step(step::Wait{kLostPollMs})
                : awaits_restore(session) ? Step(step::Settled{})
                                          : plan_workload(session, known, options);
  if (lost || std::holds_alternative<step::Settled>(chosen)) {
    if (auto instead = plan_discarded_volumes(session, known, true)) return *std::move(instead);
  }
  if (is_operating(session)) return plan_beside(session, known, std::move(chosen), now_us, options);
  if (std::holds_alternative<step::Settled>(chosen)) {
    if (auto instead = plan_kept_volumes(session, known, now_us, false)) return *std::move(instead);
  }
  return chosen;
}

const char* name_of(const Step& step) {
  static constexpr const char* kNames[] = {"observe",       "apply",           "start_task",    "observe_task",
                                           "remove_tasks",  "remove_retired",  "record_backup", "record_verified",
                                           "check_archive", "remove_workload", "remove_volume", "free_reservation",
                                           "bury",          "update",          "fail",          "wait",
                                           "settled"};
  static_assert(std::size(kNames) == std::variant_size_v<Step>);
  return kNames[step.index()];
}

bool retries_verify(const std::string& why) {
  return why == "Killed" || why == "Cancelled" || why == "Unavailable" || why == "DeadlineExceeded" || why == "NoSpace";
}

bool is_mutating(const Step& step) {
  return !std::holds_alternative<step::Observe>(step) && !std::holds_alternative<step::ObserveTask>(step) &&
         !std::holds_alternative<step::Update>(step) && !std::holds_alternative<step::Wait>(step) &&
         !std::holds_alternative<step::Settled>(step);
}

}  // namespace roost
