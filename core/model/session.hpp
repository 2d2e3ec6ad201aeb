// Session: one user's workspace as the store keeps it: what is wanted, what was observed, the operation in progress, and the
// identity of its volume. The planner decides from it alone. Thread safety: plain values, compared by value.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"

namespace roost {

enum class Wanted { running, asleep, deleted };

enum class Phase {
  pending,         // recorded; nothing made yet
  starting,        // the workload is being made or is not ready yet
  running,         // ready
  stopping,        // on its way to asleep
  asleep,          // no workload, the volume kept
  deleting,        // the delete machine is at work
  delete_blocked,  // the delete cannot release the volume; `operation.reason` says why; the data stays
  volume_lost,     // the volume is missing or is not ours: nothing is started, recreated or deleted
  failed,          // the workload does not come up; retried with backoff
};

// What the guide shows as session.status.
enum class ContractStatus { created, sleeping, waking, terminating };

struct Size {
  std::int64_t cpu_millis = 1000;
  std::int64_t memory_bytes = std::int64_t{1} << 30;
  bool operator==(const Size&) const = default;
};

// A volume's identity. `token` is ours and known before the volume is made; `uid` is the platform's, known after.
struct Volume {
  std::string name;   // "pvc-{uuid}"; later generations "pvc-{uuid}-g{n}"
  std::string token;  // 32 hex digits
  std::string uid;    // empty until it was made
  std::int64_t generation = 0;
  std::int64_t size_bytes = 5 * (std::int64_t{1} << 30);
  bool operator==(const Volume&) const = default;
};

// The last observation worth keeping; a fuller one is in the read model only.
struct Observed {
  int replicas = 0;  // workloads that are not ending: 0 or 1
  bool ready = false;
  std::string incarnation;  // of the workload; empty: none
  Size size;                // in force; meaningless while replicas is 0
  std::string endpoint;     // "unix:PATH" or "tcp:HOST:PORT"; empty: none
  std::string reason;       // CamelCase, e.g. "CrashLoop"; empty: nothing to say
  std::string message;
  Json isolation;  // what isolation and limits are in force, for the document of the session
  bool operator==(const Observed&) const = default;
};

enum class OperationKind { remove, backup, restore };
enum class OperationStep { stop, backup, verify, fill, swap, release_workload, release_volume, done };

enum class OperationOutcome { none, succeeded, failed, cancelled };  // none: it goes on

// Work in progress on a session that outlives a crash. One at a time; a finished one (step done) stays until the next begins.
struct Operation {
  std::string id;  // 8 hex digits
  OperationKind kind = OperationKind::remove;
  OperationStep step = OperationStep::stop;
  OperationOutcome outcome = OperationOutcome::none;
  std::string trigger = "delete";  // why its backup is made: "delete", "request", "schedule", "restore"
  std::int64_t attempt = 1;        // of the present step's task
  std::int64_t failures = 0;       // so far; a delete's are the session's
  bool live = false;               // a workload may write while its backup is taken
  bool skip_backup = false;        // asked for by an admin
  bool override_losses = false;    // an admin accepted what the backup had to skip
  std::string archive;             // the archive's name, chosen before its task starts
  std::string backup_id;           // of the catalogue record
  std::optional<Receipt> receipt;  // set by verify only
  std::optional<Receipt> source;   // of the backup that is restored
  std::optional<Volume> target;    // which a restore fills; its uid is known once it is filled
  std::int64_t started_at_us = 0;
  std::string reason;  // why it waits or failed last; CamelCase; empty: it goes on
  std::string message;
  bool operator==(const Operation&) const = default;
};

// Tasks of an operation that is over or was replaced: removed before anything else is done for the session. The last few are
// remembered after that: a start that was still on its way may have come late.
struct RetiredTasks {
  std::string operation;
  std::int64_t attempt = 1;  // the last; earlier ones may be left too
  bool removed = false;
  bool operator==(const RetiredTasks&) const = default;
};

// The newest verified backup that an operation of this session made.
struct LastBackup {
  std::string id;  // empty: none
  std::int64_t at_us = 0;
  bool live = false;             // a workload could write meanwhile
  std::int64_t wake_count = -1;  // of the session then; -1: the volume may have held something else ever since
  bool operator==(const LastBackup&) const = default;
};

// What came of the schedule's last tries, as far as it says when to try again. A backup that succeeds ends all of it.
struct ScheduledBackups {
  std::int64_t tried_at_us = 0;  // when the last one that came to nothing was begun; 0: none
  std::int64_t failures = 0;     // in a row
  bool awaits_sleep = false;     // the platform cannot make one while the workload runs
  bool operator==(const ScheduledBackups&) const = default;
};

// What a restore replaced: released after a while, and only against the receipt that was taken of it before.
struct KeptVolume {
  Volume volume;
  Receipt receipt;
  std::int64_t until_us = 0;
  bool operator==(const KeptVolume&) const = default;
};

struct Session {
  std::string id;  // 8 lower-case hex digits; "uuid" in the API
  std::string user_id;
  std::int64_t created_at_us = 0;
  std::int64_t last_activity_us = 0;

  Wanted wanted = Wanted::running;
  Size wanted_size;
  std::int64_t spec_generation = 1;  // grows with each change of what is wanted; fences stale calls
  std::string secret_nonce;          // 16 hex digits; secrets of the session are derived from it, none is stored
  std::int64_t wake_count = 0;

  Volume volume;
  std::int64_t volume_generation = 0;  // the highest that a volume of it was ever named with
  std::vector<KeptVolume> kept_volumes;
  std::vector<Volume> discarded_volumes;  // a restore that came to nothing began to fill them: they hold copies only
  Phase phase = Phase::pending;
  std::string reason;  // why the phase is what it is, where that needs saying
  std::string message;
  Observed observed;
  std::optional<Operation> operation;
  std::vector<RetiredTasks> retired;
  LastBackup last_backup;
  ScheduledBackups scheduled;

  std::int64_t queue_length = 0;  // chat messages that are not acknowledged
  std::int64_t failures = 0;      // consecutive; drives the backoff
  std::int64_t next_attempt_at_us = 0;

  bool operator==(const Session&) const = default;
};

// What remains of a deleted session while its tombstone lives (30 days).
struct Tombstone {
  std::string id;
  std::string user_id;
  std::int64_t deleted_at_us = 0;
  Operation operation;
  bool operator==(const Tombstone&) const = default;
};

[[nodiscard]] std::string_view to_string(Wanted);
[[nodiscard]] std::string_view to_string(Phase);
[[nodiscard]] std::string_view to_string(OperationKind);
[[nodiscard]] std::string_view to_string(OperationStep);
[[nodiscard]] std::string_view to_string(OperationOutcome);
[[nodiscard]] std::string_view to_string(ContractStatus);
[[nodiscard]] ContractStatus contract_status(const Session&);
// Whether an operation of the session is not done yet.
[[nodiscard]] bool is_operating(const Session&);
// Whether it is a backup that nobody asked for.
[[nodiscard]] bool is_scheduled(const Operation&);
// Whether it was made from a backup and has no volume yet: nothing is started, and no empty one is made for it.
[[nodiscard]] bool awaits_restore(const Session&);

// Documents as stored. from_json: DATA_LOSS naming what is wrong; unknown members are ignored.
[[nodiscard]] Json to_json(const Session&);
[[nodiscard]] Result<Session> session_from_json(const Json&);
[[nodiscard]] Json to_json(const Operation&);
[[nodiscard]] Result<Operation> operation_from_json(const Json&);
[[nodiscard]] Json to_json(const Tombstone&);
[[nodiscard]] Result<Tombstone> tombstone_from_json(const Json&);
[[nodiscard]] Json to_json(const Size&);

// 8 lower-case hex digits.
[[nodiscard]] bool valid_session_id(std::string_view);
// 1 to 254 bytes of UTF-8 without control characters, not blank at either end. INVALID says why.
[[nodiscard]] Status validate_user_id(std::string_view);

}  // namespace roost
