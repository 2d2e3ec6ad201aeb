// World: a made-up store, platform and backup storage, with real semantics and injected faults. It outlives the engines that are
// run against it, and knows what every user wrote, so that it can judge each release of a volume.
// Thread safety: one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "simulation/simulator.hpp"

namespace roost::simulation {

// How likely each trouble is, for each call or event.
struct Faults {
  double unavailable = 0.02;     // nothing was done, and the caller hears so
  double lost_answer = 0.02;     // done, but the answer is lost
  double lost_request = 0.01;    // not done, and nobody knows
  double late = 0.01;            // the caller gave up, then it is done after all
  double slow = 0.02;            // up to twenty seconds
  double bad_start = 0.05;       // a workload that does not come up
  double workload_dies = 0.002;  // at each look at the world
  double task_killed = 0.05;
  double task_late_killed = 0.03;  // killed after the archive was stored
  double corrupt = 0.05;           // the stored archive does not read back
  double unreadable = 0.03;        // a user's file that the backup cannot read
  double disk_full = 0.1;          // chance that a task meets a full disk
  double task_vanishes = 0.02;     // somebody removes it before its end
  double task_hangs = 0.01;        // it never ends by itself
  double stale_result = 0.02;      // what it answers is the result of an older operation
  double node_lost = 0;            // with all that runs of a session: nothing ends before the platform gives the node up
  double intruder = 0;             // somebody else starts a workload, at each event
  double archive_lost = 0;         // the storage loses one, at each event; half of them come back
  double archive_rots = 0;
  double stranger = 0;  // somebody puts a file beside the archives
  double cancelled_watch = 0.02;
  double expired_watch = 0.01;
  double behind = 0.05;  // the store tells of a part only, and says so
};

// What is wrong on purpose, to show that the harness notices.
struct Sabotage {
  bool verify_reads_nothing = false;  // verify succeeds without looking at the archive
  bool live_is_cached = false;        // a live observation is a cached one
  bool unguarded = false;             // the platform removes what is in use
  bool ignores_conditions = false;    // a commit's conditions are not checked
  bool forgets_commits = false;       // some acknowledged commits were never made
  bool backup_takes_nothing = false;  // the archive lacks the last thing that was written
  bool offers_out_of_order = false;   // a scan begins behind the first document
};

struct SimVolume {
  std::string name, token, uid;
  std::vector<std::uint64_t> written;  // everything that the user ever wrote
  std::set<std::uint64_t> unreadable;
  bool deleting = false;              // on its way out; it cannot be kept any more
  bool copy = false;                  // a restore fills or filled it, and no workload ever had it
  bool whole = true;                  // ... and is through
  std::vector<std::uint64_t> source;  // what the archive that it was filled from held
};

struct SimWorkload {
  WorkloadState state = WorkloadState::none;
  std::string incarnation;
  Size size;
  std::uint64_t event = 0;  // the end of its starting or stopping
};

struct SimPlatform {
  std::optional<SimVolume> volume;          // that a workload has or would have
  std::map<std::string, SimVolume> others;  // by name: what restores fill or replaced
  SimWorkload workload;
  std::int64_t generation = 0;
};

struct SimTask {
  TaskSpec spec;
  Task task;
  std::vector<std::uint64_t> read;
  std::set<std::uint64_t> skipped;
  std::int64_t left_out = 0;  // on request
  std::uint64_t event = 0;
};

struct SimArchive {
  std::vector<std::uint64_t> content;
  std::set<std::uint64_t> skipped;
  std::string volume_uid;
  Receipt receipt;
  bool corrupt = false;
  bool verified = false;  // somebody really read it back
  std::int64_t made_ms = 0;
  std::int64_t rotted_ms = -1;  // it was whole until then; -1: nothing happened to it
  std::int64_t lost_ms = -1;
};

class World {
 public:
  World(Simulator& the_simulator, const Faults& the_faults) : simulator(the_simulator), faults(the_faults) {}

  Simulator& simulator;
  Faults faults;
  Sabotage sabotage;
  bool troubled = true;             // faults happen
  std::int64_t cache_lag_ms = 0;    // how old a cached observation is
  std::int64_t grace_ms = 4'000;    // how long a workload may take to end
  std::int64_t terminating_ms = 0;  // how long a removed volume may stay to be seen; its removal's outcome is unknown until then
  std::vector<std::string> violations;
  void violate(const std::string& what);
  // For one test: refuses a call of the platform ("apply", "remove_volume", ...) before it does anything.
  std::function<std::optional<Error>(const std::string& call, const std::string& id)> refuse;
  std::map<std::string, int> calls;  // of the platform, by name
  bool list_shows_nothing = false;   // of the archives, though they are there

  // ---- the store ----
  Result<Document> get(const std::string& partition, const std::string& key);
  Result<std::vector<Document>> scan(const std::string& partition, const std::string& prefix, const std::string& after,
                                     std::uint32_t limit);
  Result<CommitResult> commit(const Commit& commit);
  std::map<std::string, std::int64_t> changed_ms;  // by key: when a session's document was last written or removed
  void forget_leases() { leases_.clear(); }
  [[nodiscard]] bool holds_lease(const std::string& name, const std::string& holder) const;
  Result<Lease> lease(const std::string& name, const std::string& holder, int action, std::int64_t ttl_ms);

  // ---- the platform ----
  std::map<std::string, SimPlatform> platforms;
  std::map<std::string, std::int64_t> generations;  // the highest that was applied for each id, also where nothing came of it
  std::map<std::tuple<std::string, std::string, std::int64_t>, SimTask> tasks;
  std::map<std::string, SimArchive> archives;
  std::map<std::string, SimArchive> lost_archives;
  std::set<std::string> files;     // of others beside the archives, by name
  std::set<std::string> bereft;    // sessions that an archive was ever lost of
  std::int64_t retention_ms = 0;   // the engines'; 0: none of it is judged
  std::set<std::string> may_skip;  // sessions whose loss an admin accepted
  std::set<std::string> may_lose;  // sessions whose unreadable files an admin accepted
  struct Restores {                // into a session, by how they ended
    std::uint64_t succeeded = 0, failed = 0, cancelled = 0;
  } restores;

  Result<Workspace> apply(const WorkspaceSpec& spec);
  Workspace observe(const std::string& id, bool live);
  std::vector<Workspace> list(const std::string& after, std::uint32_t limit);
  Status remove_workload(const std::string& id, const std::string& incarnation);
  Status remove_volume(const std::string& id, const Volume& volume);
  Result<Task> task_start(const TaskSpec& spec);
  Task task_observe(const std::string& id, const std::string& operation, std::int64_t attempt);
  Status task_remove(const std::string& id, const std::string& operation, std::int64_t attempt);
  Result<BackupStorage::Object> stat(const std::string& name);
  Result<std::vector<BackupStorage::Object>> list_archives(const std::string& after, std::uint32_t limit);
  Status remove_archive(const std::string& name);

  // Whether it is one of the things that a build makes again, which a backup of the schedule need not hold.
  [[nodiscard]] static bool may_be_left_out(std::uint64_t item) { return item % 4 == 0; }
  void user_writes(const std::string& id);  // into a workspace that is up
  void workload_dies(const std::string& id);
  void intrude(const std::string& id);                                     // a workload that no engine asked for
  void lose_volume(const std::string& id, const std::string& name = {});   // somebody took it away; empty: the workload's
  SimVolume* find_volume(const std::string& id, const std::string& name);  // null: it is not there
  void lose_archive(const std::string& name);
  void bring_back(const std::string& name);
  void rot(const std::string& name);
  void put_stranger();
  [[nodiscard]] std::vector<BackupRecord> records();  // all of the catalogue
  void lose_node(const std::string& id);              // on which its workload and tasks run
  void changed(const std::string& id);                // in any way: observations show it, watches hint at it
  // Counts a call of the platform, and refuses it where the test says so.
  std::optional<Error> refused(const std::string& call, const std::string& id);

  // ---- watches: what changed, in order ----
  std::vector<Change> store_changes, compute_changes;
  std::vector<std::function<void()>> store_waiters, compute_waiters;

 private:
  struct Kept {
    std::string value;
    std::uint64_t revision = 0;
    std::int64_t expires_ms = 0;
  };
  using Partition = std::map<std::string, Kept>;
  void expire(Partition& partition) const;
  bool holds(const Partition& partition, const Condition& condition) const;
  void notify(std::vector<Change>& changes, std::vector<std::function<void()>>& waiters, Change change);

  void judge_session(const std::string& key, const Document* before, const std::string& value);
  void judge_restore(const Session& before, const Session& now);
  void judge_restored(const Session& now);
  void judge_record(const Document* before, const std::string& value);
  void judge_removal_of(const BackupRecord& before, const BackupRecord& now);
  void judge_erasure(const std::string& name);

  Workspace see(const std::string& id) const;
  void begin_start(const std::string& id, const Size& size);
  void begin_stop(const std::string& id);
  void end_after(std::int64_t ms, const std::string& id);
  void task_ends(const std::tuple<std::string, std::string, std::int64_t>& key);
  void backup_ends(SimTask& task);
  void restore_ends(SimTask& task);
  Status begin_fill(const TaskSpec& spec);
  void take_volume(SimPlatform& platform, const std::string& name);
  void verify_ends(SimTask& task);
  void fail_task(SimTask& task, const std::string& reason);
  void judge_release(const std::string& id, const SimVolume& volume);

  std::map<std::string, Partition> partitions_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> sequences_;
  std::uint64_t revision_ = 0;
  struct Held {
    std::string holder;
    std::uint64_t epoch = 0;
    std::int64_t until_ms = 0;
  };
  std::map<std::string, Held> leases_;
  std::map<std::string, std::deque<std::pair<std::int64_t, Workspace>>> seen_;  // for cached observations
  std::uint64_t next_ = 0;
  std::map<std::string, std::map<std::string, std::int64_t>> needed_ms_;  // session, backup that it rests on: since when
  std::map<std::string, std::int64_t> deleting_ms_;                       // backup: since when its record says so
  std::map<std::string, std::int64_t> worse_ms_;                          // session: when a good backup of it was one no more
  std::set<std::string> asked_missing_, returned_;                        // names of archives
};

}  // namespace roost::simulation
