// Operations: how one begins, gives way and ends, as pure functions of the session's document. Its steps are the planner's.
// Thread safety: pure functions.
// Invariant: an operation that ends or is replaced leaves its tasks in `session.retired`, so that they are removed before
// anything else is done for the session.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "model/session.hpp"

namespace roost::operations {

// So many failures, and it ends as failed. A delete never does; one of the schedule is tried again by the schedule.
[[nodiscard]] std::int64_t tries(const Operation& operation);
// So many attempts of an operation are looked through for tasks that may have begun late.
inline constexpr std::int64_t kAttemptsBack = 16;
// Of so many tasks at a time, how many may be the schedule's: the others are for what somebody asked for.
[[nodiscard]] std::int64_t scheduled_places(std::int64_t tasks);

// CONFLICT, saying why, where no other operation can begin on the session now. A backup of the schedule gives way.
[[nodiscard]] Status refuse_another(const Session& session);

// Begins a backup of a session that is asleep or running. CONFLICT says why it cannot be. `id`: 8 hex digits.
[[nodiscard]] Status begin_backup(Session& session, const std::string& id, const std::string& trigger, std::int64_t now_us);

// CONFLICT, saying why, where nothing can be restored from that backup.
[[nodiscard]] Status refuse_source(const BackupRecord& backup);
[[nodiscard]] Receipt source_of(const BackupRecord& backup);
// Begins to fill a new volume of the session from that verified backup; `token`: the new volume's mark, 32 hex digits. For a
// session that is asleep, whose volume is lost, or that was made from a backup and has none yet. CONFLICT says why it cannot be.
[[nodiscard]] Status begin_restore(Session& session, const std::string& id, const Receipt& source, const std::string& token,
                                   std::int64_t now_us);
// The same for a session that is being made: its first volume is filled instead of made empty.
void begin_restored(Session& session, const std::string& id, const Receipt& source, std::int64_t now_us);

// How what a restore read differs from the backup's record; empty: not at all.
[[nodiscard]] std::string difference(const Receipt& source, const Receipt& read);

// Names the archive of the operation's next attempt: each writes one of its own, so that what an earlier one left behind is not
// taken for this one's.
void name_archive(const Session& session, Operation& operation, std::int64_t now_us);

// Says why a session that was to be made out of a backup is not started.
void explain_failed_restore(Session& session);
// Whether the session's own name and token are those of a volume that is to be removed: it was never the session's.
[[nodiscard]] bool is_own_discarded(const Session& session);

// The first of session.retired whose tasks are not removed yet; null: none.
[[nodiscard]] const RetiredTasks* to_remove(const Session& session);
// They are.
void removed(Session& session, const RetiredTasks& tasks);

// The operation under way, if any, is over. A delete never ends this way.
void finish(Session& session, OperationOutcome outcome, std::string reason, std::string message);
// Another one takes its place, or the session is woken.
void cancel(Session& session, std::string message);

}  // namespace roost::operations
