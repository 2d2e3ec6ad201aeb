// The planner: what to do next about a session. It is a pure function of the session's document, of what this replica knows of
// the world (lost in a crash and learnt again) and of the time, so that every decision is a row of a table test.
// Thread safety: pure functions.
// Invariants: a workload is started only where the volume is known to be ours, or was never made; a volume is released only
// against a receipt for which release_blocker() has nothing to say, or by an admin's decision that the document records.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "engine/ports.hpp"
#include "model/session.hpp"

namespace roost {

// What this replica learnt since it began with the session. Every mutating call empties what it may have changed.
struct Knowledge {
  enum class Archive { unknown, right, wrong };

  std::optional<Workspace> workspace;   // none: not observed since
  bool live = false;                    // it was read from the platform itself, a moment ago
  bool adopted = false;                 // it is the answer of an apply: a volume in it bears our token
  std::int64_t applied_generation = 0;  // highest that an apply of ours was accepted for
  bool apply_due = false;               // the last apply had time to show an effect: it may be repeated
  std::int64_t ready_ms = 0;            // for how long the workload has been seen ready

  std::optional<Task> task;            // of the operation's present attempt; none: not observed since
  bool task_stalled = false;           // it runs and has not moved for too long
  bool previous_task_removed = false;  // the attempt before the present one is forgotten by the platform
  bool tasks_removed = false;          // so are all of the operation
  std::int64_t operation_wait_ms = 0;  // the operation's last attempt failed: the next one waits so long
  bool recorded = false;               // the present task's outcome stands in the catalogue
  std::optional<Receipt> verified;     // what verify proved, once compared with what the backup wrote
  std::string mismatch;                // or how they differ
  Archive archive = Archive::unknown;  // is the object there, with the size that its receipt says?
  std::string archive_name;            // which
  bool workload_released = false;
  bool reservation_freed = false;
};

namespace step {

struct Observe {
  bool live = false;
};
struct Apply {
  bool running = false;
  bool create_volume = false;
};
struct StartTask {
  TaskKind kind = TaskKind::backup;
};
struct ObserveTask {};
struct RemoveTasks {
  bool all = false;
};                         // else the attempt before the present one only
struct RemoveRetired {};   // of an operation that is over: operations::to_remove
struct RecordBackup {};    // the catalogue learns what the backup task wrote
struct RecordVerified {};  // compares it with what verify read, then the catalogue says verified
struct CheckArchive {
  Receipt receipt;
};
struct RemoveWorkload {
  std::string incarnation;
};
struct RemoveVolume {
  Volume volume;
};
struct FreeReservation {};
struct Bury {};  // removes the session's documents and leaves a tombstone
struct Update {
  Session next;
};  // the document learns something
struct Fail {
  Session next;
  bool operation = false;
};  // the same, and it is counted: failures, backoff (the executor adds both); of the session or of its operation alone
struct Wait {
  std::int64_t ms = 0;
  bool task = false;
};                  // then look again, at the task or at the workspace
struct Settled {};  // as wanted: nothing until something changes

}  // namespace step

using Step = std::variant<step::Observe, step::Apply, step::StartTask, step::ObserveTask, step::RemoveTasks, step::RemoveRetired,
                          step::RecordBackup, step::RecordVerified, step::CheckArchive, step::RemoveWorkload, step::RemoveVolume,
                          step::FreeReservation, step::Bury, step::Update, step::Fail, step::Wait, step::Settled>;

struct PlanOptions {
  std::int64_t poll_ms = 500;
  std::int64_t settle_ms = 30'000;                            // ready for so long: earlier failures are forgotten
  std::int64_t kept_volume_us = 7LL * 24 * 3600 * 1'000'000;  // how long what a restore replaced is kept
};

[[nodiscard]] Step plan(const Session&, const Knowledge&, std::int64_t now_us, const PlanOptions&);

// The phase that a session is in, by its document and what is known. `workspace` null: not observed.
[[nodiscard]] Phase phase_of(const Session&, const Workspace* workspace);

[[nodiscard]] const char* name_of(const Step&);
// It changes the platform, or documents beside the session's: it waits for the backoff and needs the lease.
[[nodiscard]] bool is_mutating(const Step&);

// The volume as this session may use it.
enum class VolumeVerdict { ours, never_made, lost, foreign };
[[nodiscard]] VolumeVerdict judge_volume(const Session&, const Workspace&);
[[nodiscard]] VolumeState volume_state(const Session&, const Workspace&);  // of the one that the session names
// That volume of the session, by name and token; null: it is not there.
[[nodiscard]] const SeenVolume* find_volume(const Workspace&, const Volume&);
[[nodiscard]] bool no_workload(const Workspace&);
// The platform has heard of the session's generation, so that a start which is still on its way is refused.
[[nodiscard]] bool is_fenced(const Session&, const Knowledge&);

// Whether an archive may be read once more after a reading that failed so; anything else makes a new one.
[[nodiscard]] bool retries_verify(const std::string& why);
inline constexpr const char* kStalled = "the task makes no progress; it is stopped and tried again";

// Reasons, as they appear in the API.
namespace reason {
inline constexpr const char* kVolumeLost = "VolumeLost";
inline constexpr const char* kVolumeForeign = "VolumeForeign";
inline constexpr const char* kFilesSkipped = "FilesSkipped";
inline constexpr const char* kReceiptUnfit = "ReceiptUnfit";
inline constexpr const char* kReceiptMismatch = "ReceiptMismatch";
inline constexpr const char* kArchiveMissing = "ArchiveMissing";
inline constexpr const char* kNoReceipt = "NoReceipt";
inline constexpr const char* kNothingToSave = "NothingToSave";
inline constexpr const char* kBackupSkipped = "BackupSkipped";
inline constexpr const char* kOutcomeUnknown = "OutcomeUnknown";
inline constexpr const char* kStartLimit = "StartLimit";
inline constexpr const char* kTaskLimit = "TaskLimit";
inline constexpr const char* kTaskStalled = "TaskStalled";
inline constexpr const char* kWorkloadShowedUp = "WorkloadShowedUp";
inline constexpr const char* kUnsupported = "Unsupported";
}  // namespace reason

// The machine of an operation that removes its session (planner_delete.cpp). REQUIRES: knowledge.workspace.
[[nodiscard]] Step plan_delete(const Session&, const Knowledge&, std::int64_t now_us, const PlanOptions&);
// What the session's other operations do beside `chosen`, what its workload needs next (planner_operation.cpp). REQUIRES:
// knowledge.workspace, is_operating(session).
[[nodiscard]] Step plan_beside(const Session&, const Knowledge&, Step chosen, std::int64_t now_us, const PlanOptions&);
// A workload that shows up during a copy at rest makes that worthless; nothing otherwise.
[[nodiscard]] std::optional<Step> plan_disturbed(const Session&, const Knowledge&, std::int64_t now_us);
// The release of volumes beside the session's own (planner_volumes.cpp); nothing where there is none to release now. `all`: a
// delete, for which every kept one goes.
[[nodiscard]] std::optional<Step> plan_kept_volumes(const Session&, const Knowledge&, std::int64_t now_us, bool all);
[[nodiscard]] std::optional<Step> plan_discarded_volumes(const Session&, const Knowledge&, bool fence);
// The document with what the observation tells; shared by both machines.
[[nodiscard]] Session reflect(const Session&, const Knowledge&);

}  // namespace roost
