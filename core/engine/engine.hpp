// Engine: the level-triggered reconciler and the only writer of sessions. API handlers say what is wanted; the engine commits
// it, then drives the platform there one recorded step at a time. It owns no thread and never blocks.
// Thread safety: commands may be called from any thread (they are posted to the scheduler); completions run on the engine's
// thread and must not block. reads() and the const functions may be called from any thread.
// Invariants: one mutating backend call at a time for a session; no volume is released without a release-grade receipt.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "engine/ports.hpp"
#include "engine/read_model.hpp"
#include "model/message.hpp"
#include "model/session.hpp"

namespace roost {

struct EngineOptions {
  std::string replica = "roostd";  // who holds the leader lease
  std::int64_t lease_ms = 10'000;
  std::int64_t resync_ms = 60'000;  // every session is looked at again at least so often (and the orphan sweep runs)
  std::int64_t poll_ms = 500;       // while something is under way and the backend's watch is quiet
  std::int64_t backoff_first_ms = 200;
  std::int64_t backoff_max_ms = 60'000;
  std::int64_t sessions_per_user = 20;
  std::int64_t sessions_total = 100'000;
  std::int64_t concurrent_starts = 64;
  std::int64_t concurrent_tasks = 8;
  std::int64_t task_stall_ms = 7LL * 3600 * 1000;  // a task that runs so long without visible progress is stopped and tried anew
  std::int64_t kept_volume_ms = 7LL * 24 * 3600 * 1000;  // what a restore replaced is kept so long
  std::int64_t backup_every_ms = 0;  // what may have changed is backed up at least so often; 0: never by itself
  std::int64_t tombstone_ms = 30LL * 24 * 3600 * 1000;
  std::int64_t idempotency_ms = 24LL * 3600 * 1000;
  std::int64_t queue_max = 1000;   // unacknowledged chat messages of a session
  std::int64_t message_tries = 5;  // then it is dead
  std::int64_t history_ms = 30LL * 24 * 3600 * 1000;
  bool chat_wakes = true;
  std::int64_t backup_retention_ms = 30LL * 24 * 3600 * 1000;
  std::int64_t backup_retention_scheduled_ms = 7LL * 24 * 3600 * 1000;  // of a superseded one of the schedule
  std::int64_t backup_drill_ms = 30LL * 24 * 3600 * 1000;               // each backup is read again within so long
  std::int64_t backup_walk_ms = 3600LL * 1000;  // catalogue and storage are gone through once in so long; 0: never
  bool replicated = false;                      // other replicas write to the store too: watch it. For the engine's life.
  // With other replicas: says which secret key this replica has. A store that was first used with another one is refused: logins
  // and tokens of one replica would mean nothing to the next. Empty: not asked.
  std::string identity;
  // [engine's thread] level: 0 debug, 1 info, 2 warning, 3 error; `fields` is an object. May be empty.
  std::function<void(int level, const std::string& message, const Json& fields)> log;
  Size size_small{1000, std::int64_t{1} << 30};
  Size size_large{2000, std::int64_t{2} << 30};
  std::int64_t volume_bytes = 5 * (std::int64_t{1} << 30);
  // Derives the secrets and the URL of a session; pure.
  std::function<std::string(const Session&)> login_secret;
  std::function<std::string(const Session&)> workspace_token;
  std::function<std::string(const std::string& id)> workspace_url;
};

// The circumstances of a command, from the request's headers and query.
struct CommandOptions {
  std::string idempotency_key;            // empty: none
  std::optional<std::uint64_t> if_match;  // the session's revision; another one is CONFLICT
  bool dry_run = false;                   // checks everything, commits nothing
  std::string actor;                      // the API key's name, for the audit trail
};

struct DeleteOptions {
  bool skip_backup = false;      // the caller checked that the actor is an admin
  bool override_losses = false;  // likewise; CONFLICT unless the delete is blocked by losses that its receipt names
};

// Things that happen to a session, for SSE and the audit trail. `data` is ready to be sent.
struct Event {
  std::string session_id;
  std::string user_id;
  // "session.phase", "session.created", "session.deleted", "message.queued", "message.answered", "operation.step",
  // "backup.deleting", "backup.deleted", "backup.damaged", "backup.missing", "backup.verified",
  // "backup.failed" (one of the schedule)
  std::string type;
  std::int64_t at_us = 0;
  Json data;
};

// A page of the catalogue of backups.
struct BackupQuery {
  std::string user_id, session_id;  // empty: everybody's, every session's
  std::string after;                // an id; empty: from the first
  std::int64_t limit = 100;
};
struct BackupPage {
  std::vector<BackupRecord> backups;
  std::string next;  // goes on after this id; empty: that was all
};

struct BackupRemoval {
  std::string actor, reason;        // for the record
  bool override_retention = false;  // the caller checked that the actor is an admin
};

struct Ports {
  Store* store = nullptr;
  Compute* compute = nullptr;
  BackupStorage* backup = nullptr;
  Clock* clock = nullptr;
  Random* random = nullptr;
  Scheduler* scheduler = nullptr;
};

class Engine {
 public:
  Engine(Ports ports, EngineOptions options);  // the ports outlive it
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Loads every session, takes the lease, begins to reconcile. Retries while the store is away: ready() says when it is done.
  void start();
  // Stops beginning new steps, and lets another replica lead as soon as those under way are done. Commands are still taken.
  void hand_over();
  // Stops beginning new steps, releases the lease, answers once no call is under way.
  void stop(std::function<void()> stopped);
  // OK once the read model is loaded and the backends answer; else UNAVAILABLE with the reason.
  [[nodiscard]] Status ready() const;
  void reconfigure(EngineOptions options);

  [[nodiscard]] const ReadModel& reads() const;
  // Whether reads() shows every change that is in the store for more than 250 ms: always without other replicas; with them for as
  // long as the store's watch works.
  [[nodiscard]] bool is_current() const;
  [[nodiscard]] bool is_replicated() const;
  // Answers once it is current; DEADLINE.
  void await_current(std::int64_t timeout_ms, Done<void> done);
  // Reads the session from the store into reads(). NOT_FOUND.
  void look(std::string id, Done<SessionView> done);

  // ---- commands ----
  // EXHAUSTED past a cap. With an idempotency key that was used before: that session (INVALID where the user differs).
  void create(std::string user_id, CommandOptions, Done<SessionView>);
  // CONFLICT while the session is being deleted; NOT_FOUND; each answers the session as committed.
  void sleep(std::string id, CommandOptions, Done<SessionView>);
  void wake(std::string id, CommandOptions, Done<SessionView>);
  void scale(std::string id, bool up, CommandOptions, Done<SessionView>);
  // Begins a backup, which is done beside whatever the session does; `trigger`: "request" or "schedule". A live one, of a session
  // that runs, never releases a volume. CONFLICT where it is neither asleep nor running, or another operation is under way.
  void backup(std::string id, std::string trigger, CommandOptions, Done<SessionView>);
  // Begins to fill a new volume from the backup and to put it in the place of the session's. CONFLICT unless the session is
  // asleep or its volume is lost, or where the backup is not verified or another user's.
  void restore(std::string id, BackupRecord backup, CommandOptions, Done<SessionView>);
  // A new session of that user, filled from the backup before it starts. As create(), and CONFLICT as above.
  void restore_as_new(BackupRecord backup, std::string user_id, CommandOptions, Done<SessionView>);
  // Begins the delete machine, or changes its options where it runs already. Answers as soon as that is recorded; for an id with
  // a tombstone: that tombstone. Its progress: on_deleted, operation(), events.
  struct DeleteAnswer {
    SessionView session;  // null where it is gone
    std::optional<Tombstone> tombstone;
    Operation operation;
  };
  void remove(std::string id, DeleteOptions, CommandOptions, Done<DeleteAnswer>);
  // Calls `done` once the session has its tombstone, or at the deadline with DEADLINE.
  void wait_deleted(std::string id, std::int64_t timeout_ms, Done<Tombstone> done);
  // From the read model, or the tombstone in the store. NOT_FOUND.
  void find_tombstone(std::string id, Done<Tombstone> done);
  void find_operation(std::string operation_id, Done<Json> done);  // with session_id, user_id and its progress; NOT_FOUND

  // ---- backups ----
  // NOT_FOUND. A record whose backup was removed is found for a while, with the state "deleted".
  void find_backup(std::string id, Done<BackupRecord> done);
  // In order of the id, without those that were removed. A page may be short, or empty, though more follow.
  void list_backups(BackupQuery query, Done<BackupPage> done);
  // Archives in the storage that no record names, as last seen.
  void list_strangers(Done<std::vector<BackupStorage::Object>> done);
  // Each answers the record as committed. CONFLICT where it is being removed.
  void hold_backup(std::string id, std::optional<BackupHold> hold, Done<BackupRecord> done);  // none: lifts it
  void verify_backup(std::string id, Done<BackupRecord> done);                                // soon; the record says when it was
  // Records that it goes; the keeper removes it. CONFLICT where it is held, in use, or still to be kept.
  void remove_backup(std::string id, BackupRemoval removal, Done<BackupRecord> done);

  // Notes that a person or program used the workspace (from the gateway); written at most once a minute.
  void touch(std::string id);

  // ---- chat ----
  struct Queued {
    Message message;
    std::int64_t queue_length = 0;
  };
  // EXHAUSTED where the queue is full.
  void chat(std::string id, std::string text, CommandOptions, Done<Queued>);
  // Up to `max` (1..100) messages from the head of the queue, of large ones fewer; waits up to wait_ms for one. They are
  // invisible to other claims for visibility_ms (1 s .. 12 h). Order is strict: while the head is claimed nothing behind it is
  // offered.
  void claim(std::string id, int max, std::int64_t wait_ms, std::int64_t visibility_ms, Done<std::vector<Message>>);
  // NOT_FOUND: no such message. Acknowledging an answered one again answers the same. `claim`: empty, or must be the present one
  // (CONFLICT).
  void ack(std::string id, std::string message_id, std::string claim, Json reply, Done<Message>);
  struct History {
    std::vector<Message> messages;
    bool more = false;  // others may follow
  };
  // Pending and answered messages in order, from after `after`, up to `limit` (1..1000); of large ones fewer, at least one.
  void history(std::string id, std::string after, int limit, Done<History>);

  // Called on the engine's thread. Set before start().
  void on_event(std::function<void(const Event&)> listener);

  struct Statistics {  // for metrics
    std::int64_t steps = 0, step_failures = 0, conflicts = 0, orphans = 0, calls_overdue = 0;
    std::int64_t queue_depth = 0, in_flight = 0;
    bool leader = false;
  };
  [[nodiscard]] Statistics statistics() const;
  struct BackupStatistics {
    bool known = false;                          // this replica leads, and has gone through all of them once
    std::map<std::string, std::int64_t> states;  // records by state
    std::int64_t oldest_proof_us = 0;            // of the verified ones; 0: there are none
    std::int64_t strangers = 0;
    std::int64_t proven = 0, damaged = 0, missing = 0, drills_failed = 0, removed = 0;  // ever, by this process
  };
  [[nodiscard]] BackupStatistics backup_statistics() const;
  struct ScheduleStatistics {
    // Backups of the schedule, by this process. One that the platform cannot make while its workload runs is postponed.
    std::int64_t started = 0, succeeded = 0, failed = 0, postponed = 0, cancelled = 0;
    // Of the sessions whose files no good backup is known to hold, since when that is so of the one that waits longest; 0: there
    // is none, or this replica does not lead, or the schedule is off.
    std::int64_t unsaved_since_us = 0;
  };
  [[nodiscard]] ScheduleStatistics schedule_statistics() const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace roost
