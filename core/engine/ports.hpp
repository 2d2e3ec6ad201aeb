// The ports: what the engine needs of the world. They are asynchronous: a call returns at once, its completion is posted to the
// engine's scheduler exactly once. host implements them over plugins, the simulator over a made-up world.
// A completion arrives only when the backend's call has really returned; a call that overran its deadline answers
// OUTCOME_UNKNOWN then. Thread safety: called on the engine's thread only; completions run there too.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"
#include "model/session.hpp"

namespace roost {

template <class T>
using Done = std::function<void(Result<T>)>;

// ---- time -------------------------------------------------------------------------------------------------------------
class Scheduler {
 public:
  using TimerId = std::uint64_t;  // never 0
  virtual ~Scheduler() = default;
  virtual void post(std::function<void()> work) = 0;  // [any thread] runs on the engine's thread, later
  virtual TimerId after(std::int64_t delay_ns, std::function<void()> work) = 0;
  virtual void cancel(TimerId timer) = 0;  // unknown: nothing
};

// ---- store ------------------------------------------------------------------------------------------------------------
struct Document {
  std::string key;
  std::string value;
  std::uint64_t revision = 0;
};

struct Condition {
  enum class Kind { absent, exists, revision } kind = Kind::absent;
  std::string key;
  std::uint64_t revision = 0;
};

struct StoreOperation {
  enum class Kind { put, remove, append } kind = Kind::put;
  std::string key;
  std::string value;
  std::int64_t ttl_ms = 0;  // 0: forever
};

struct Commit {
  std::string partition;
  std::vector<Condition> conditions;
  std::vector<StoreOperation> operations;
};

struct CommitResult {
  std::vector<Document> documents;  // key and revision of each operation, in order; no value
};

struct Lease {
  std::string holder;
  std::uint64_t epoch = 0;
  std::int64_t remaining_ms = 0;
};

struct Change {  // a hint: read it again
  std::string partition;
  std::string key;
};

struct Watched {
  std::vector<Change> changes;
  std::string resume;
  bool behind = false;  // else all that changed before this watch began has been told, now or before
};

class Store {
 public:
  virtual ~Store() = default;
  virtual void get(std::string partition, std::string key, Done<Document> done) = 0;
  virtual void scan(std::string partition, std::string prefix, std::string after, std::uint32_t limit,
                    Done<std::vector<Document>> done) = 0;
  virtual void commit(Commit commit, Done<CommitResult> done) = 0;
  virtual void lease(std::string name, std::string holder, int action, std::int64_t ttl_ms, Done<Lease> done) = 0;
  virtual void watch(std::string resume, Done<Watched> done) = 0;  // long: it waits for changes; EXPIRED: scan again
};

// ---- compute ----------------------------------------------------------------------------------------------------------
struct WorkspaceSpec {
  std::string id;
  std::string user_id;
  std::int64_t generation = 0;
  bool running = false;
  Size size;
  Volume volume;
  bool create_volume = false;  // only then may a volume be made; else a missing one is the answer, not an error
  std::string login_secret;    // for the front's login; never logged
  std::string token;           // of scope `workspace`; never logged
  std::string url;             // the workspace's own, as its user sees it
  bool operator==(const WorkspaceSpec&) const = default;
};

enum class VolumeState { missing, present, foreign };
enum class WorkloadState { none, starting, running, stopping, failed };

struct SeenVolume {  // one of a session's, as the platform has it
  std::string name;
  std::string token;  // empty: none can be read, so it is nobody's
  std::string uid;
  bool operator==(const SeenVolume&) const = default;
};

struct Workspace {  // what compute observes
  std::string id;
  VolumeState volume_state = VolumeState::missing;
  std::string volume_uid;
  std::optional<std::vector<SeenVolume>> volumes;  // all of the session's; none: this platform tells of one only
  WorkloadState workload_state = WorkloadState::none;
  Observed observed;
  std::int64_t generation = 0;  // of the spec last applied; 0: unknown
  bool operator==(const Workspace&) const = default;
};

enum class TaskKind { backup, verify, restore };
enum class TaskState { none, running, succeeded, failed };

struct TaskSpec {
  std::string id;  // session
  std::string operation;
  std::int64_t attempt = 1;
  TaskKind kind = TaskKind::backup;
  Volume volume;            // that a backup reads or a restore fills; a verify uses none
  bool live = false;        // a workload may write while a backup is taken
  bool exclusions = false;  // a backup leaves out what the user's .roostignore names: only one of the schedule
  std::string archive;
  std::string backup_id;
  std::string user_id;
  // Of a restore, which makes its volume: refused where a later generation was applied, or where there is no room for so much.
  std::int64_t generation = 0;
  std::int64_t bytes = 0;
};

struct Task {
  TaskState state = TaskState::none;
  std::string reason;  // CamelCase, where failed: "NoSpace", "Killed", "Corrupt", ...
  std::string message;
  std::optional<Receipt> receipt;  // where it succeeded
  std::int64_t progress_bytes = 0;
  std::int64_t progress_files = 0;
  std::int64_t total_bytes = -1;  // what there will be in all; < 0: not known
  std::int64_t total_files = -1;
};

class Compute {
 public:
  virtual ~Compute() = default;
  virtual void apply(WorkspaceSpec spec, Done<Workspace> done) = 0;
  virtual void observe(std::string id, bool live, Done<Workspace> done) = 0;
  virtual void list(std::string after, std::uint32_t limit, Done<std::vector<Workspace>> done) = 0;
  virtual void watch(std::string resume, Done<Watched> done) = 0;  // Change.key is the id
  virtual void remove_workload(std::string id, std::string incarnation, Done<void> done) = 0;
  virtual void remove_volume(std::string id, Volume volume, Done<void> done) = 0;
  // The port adds what the backup plugin describes; the task loads that plugin beside the volume.
  virtual void task_start(TaskSpec spec, Done<Task> done) = 0;
  virtual void task_observe(std::string id, std::string operation, std::int64_t attempt, Done<Task> done) = 0;
  virtual void task_remove(std::string id, std::string operation, std::int64_t attempt, Done<void> done) = 0;
};

// ---- backup -----------------------------------------------------------------------------------------------------------
class BackupStorage {
 public:
  virtual ~BackupStorage() = default;
  struct Object {
    std::string name;
    std::int64_t size = 0;
    std::int64_t modified_us = 0;  // 0: the storage does not say
  };
  virtual void stat(std::string name, Done<Object> done) = 0;
  // Up to `limit` objects in byte order of the name, from after `after`; fewer: there are no more.
  virtual void list(std::string after, std::uint32_t limit, Done<std::vector<Object>> done) = 0;
  virtual void remove(std::string name, Done<void> done) = 0;  // absent is success
};

}  // namespace roost
