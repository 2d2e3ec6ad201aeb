// Volumes beside the session's own: what restores replaced, which holds a user's files and goes as a delete's volume does, and
// what restores that came to nothing began to fill, which holds a copy only.
#include <algorithm>

#include "base/clock.hpp"
#include "engine/planner.hpp"

namespace roost {

namespace {

constexpr std::int64_t kBlockedPollMs = 15'000;

bool is_held(const Session& session, const std::string& uid) {
  return session.volume.uid == uid || std::any_of(session.kept_volumes.begin(), session.kept_volumes.end(),
                                                  [&](const KeptVolume& kept) { return kept.volume.uid == uid; });
}

Step forget_kept(Session next, const KeptVolume& kept) {
  std::erase(next.kept_volumes, kept);
  return step::Update{std::move(next)};
}

// It cannot go now: a delete waits and says why, otherwise it is kept for another day.
Step keep_longer(const Session& session, const KeptVolume& kept, std::int64_t now_us, bool all, std::string why) {
  Session next = session;
  if (all) {
    next.operation->reason = reason::kArchiveMissing;
    next.operation->message = "volume " + kept.volume.name + ", which a restore replaced, cannot be released: " + why +
                              "; bring it back, or delete without a backup";
    next.phase = phase_of(next, nullptr);
    if (next == session) return step::Wait{kBlockedPollMs};
    return step::Update{std::move(next)};
  }
  for (KeptVolume& entry : next.kept_volumes) {
    if (entry == kept) entry.until_us = now_us + kDayUs;
  }
  return step::Update{std::move(next)};
}

std::optional<Step> plan_kept(const Session& session, const Knowledge& known, const KeptVolume& kept, std::int64_t now_us,
                              bool all) {
  const bool given_up = all && session.operation->skip_backup;
  const std::string blocker = release_blocker(kept.receipt, kept.receipt.operation_id, kept.volume.uid, false);
  if (!given_up && !blocker.empty()) return keep_longer(session, kept, now_us, all, blocker);
  const bool checked = known.archive != Knowledge::Archive::unknown && known.archive_name == kept.receipt.archive;
  if (!given_up && !checked) return step::CheckArchive{kept.receipt};
  if (!known.live) return step::Observe{true};
  if (!known.workspace->volumes) return keep_longer(session, kept, now_us, all, "this compute plugin does not tell of it");
  const SeenVolume* seen = find_volume(*known.workspace, kept.volume);
  if (!seen || seen->uid != kept.volume.uid) return forget_kept(session, kept);  // gone; another of its name is left alone
  if (!given_up && known.archive == Knowledge::Archive::wrong)
    return keep_longer(session, kept, now_us, all, "its archive " + kept.receipt.archive + " is not in the backup storage");
  return step::RemoveVolume{kept.volume};
}

}  // namespace

std::optional<Step> plan_kept_volumes(const Session& session, const Knowledge& known, std::int64_t now_us, bool all) {
  for (const KeptVolume& kept : session.kept_volumes) {
    if (all || kept.until_us <= now_us) return plan_kept(session, known, kept, now_us, all);
  }
  return std::nullopt;
}

std::optional<Step> plan_discarded_volumes(const Session& session, const Knowledge& known, bool fence) {
  if (session.discarded_volumes.empty() || !known.workspace->volumes) return std::nullopt;
  if (!known.live) return step::Observe{true};
  if (fence && !is_fenced(session, known)) {
    const bool running = session.wanted == Wanted::running && judge_volume(session, *known.workspace) == VolumeVerdict::ours;
    return step::Apply{running, false};
  }
  Volume discarded = session.discarded_volumes.front();
  const SeenVolume* seen = find_volume(*known.workspace, discarded);
  if (!seen || is_held(session, seen->uid)) {
    Session next = session;
    next.discarded_volumes.erase(next.discarded_volumes.begin());
    return step::Update{std::move(next)};
  }
  const bool own = discarded.name == session.volume.name && discarded.token == session.volume.token;
  if (own && !no_workload(*known.workspace))  // somebody started one on what is half filled: the volume cannot go before it
    return step::RemoveWorkload{known.workspace->observed.incarnation};
  discarded.uid = seen->uid;
  return step::RemoveVolume{std::move(discarded)};
}

}  // namespace roost
