#include "simulation/world.hpp"

#include <algorithm>

#include "base/crypto.hpp"
#include "engine/documents.hpp"

namespace roost::simulation {

namespace {

std::string fingerprint(const std::vector<std::uint64_t>& content, const std::string& salt) {
  std::string text = salt;
  for (std::uint64_t item : content) text += "," + std::to_string(item);
  return to_hex(sha256(text));
}

constexpr std::int64_t kLatestMs = 120'000;  // what was known so long ago may still be acted on

std::string backup_of(const std::string& archive) {  // the id in "workspace-{id}.zip"
  return archive.size() > 14 ? archive.substr(10, archive.size() - 14) : std::string();
}

bool starts_with(const std::string& text, const std::string& prefix) { return text.compare(0, prefix.size(), prefix) == 0; }

}  // namespace

void World::violate(const std::string& what) {
  violations.push_back("at " + std::to_string(simulator.now_ms()) + " ms: " + what);
}

// ---- the store ----------------------------------------------------------------------------------------------------------

void World::expire(Partition& partition) const {
  std::erase_if(partition, [this](const auto& entry) {
    return entry.second.expires_ms != 0 && entry.second.expires_ms <= simulator.now_ms();
  });
}

Result<Document> World::get(const std::string& partition, const std::string& key) {
  Partition& documents = partitions_[partition];
  expire(documents);
  auto it = documents.find(key);
  if (it == documents.end()) return Error{Code::not_found, "no document " + key, 0};
  return Document{key, it->second.value, it->second.revision};
}

Result<std::vector<Document>> World::scan(const std::string& partition, const std::string& prefix, const std::string& after,
                                          std::uint32_t limit) {
  Partition& documents = partitions_[partition];
  expire(documents);
  std::vector<Document> found;
  bool skip = sabotage.offers_out_of_order && starts_with(prefix, "message/") && limit < 50;
  for (auto it = documents.lower_bound(std::max(prefix, after)); it != documents.end() && starts_with(it->first, prefix); ++it) {
    if (it->first == after) continue;
    if (std::exchange(skip, false) && std::next(it) != documents.end() && starts_with(std::next(it)->first, prefix)) continue;
    if (found.size() >= limit) break;
    found.push_back({it->first, it->second.value, it->second.revision});
  }
  return found;
}

bool World::holds(const Partition& partition, const Condition& condition) const {
  auto it = partition.find(condition.key);
  switch (condition.kind) {
    case Condition::Kind::absent: return it == partition.end();
    case Condition::Kind::exists: return it != partition.end();
    case Condition::Kind::revision: return it != partition.end() && it->second.revision == condition.revision;
  }
  return false;
}

Result<CommitResult> World::commit(const Commit& commit) {
  Partition& documents = partitions_[commit.partition];
  expire(documents);
  for (const Condition& condition : commit.conditions) {
    if (sabotage.ignores_conditions && condition.kind == Condition::Kind::revision && documents.count(condition.key)) continue;
    if (!holds(documents, condition)) return Error{Code::conflict, "a condition on " + condition.key + " does not hold", 0};
  }
  CommitResult result;
  const bool forget = sabotage.forgets_commits && simulator.chance(0.05);
  for (const StoreOperation& operation : commit.operations) {
    std::string key = operation.key;
    if (starts_with(key, "session/")) {
      const auto before = get(commit.partition, key);
      judge_session(key, before ? &*before : nullptr, operation.value);
    }
    if (starts_with(key, "backup/")) {
      const auto before = get(commit.partition, key);
      judge_record(before ? &*before : nullptr, operation.value);
    }
    if (operation.kind == StoreOperation::Kind::remove) {
      if (!forget) documents.erase(key);
      result.documents.push_back({key, "", 0});
    } else {
      if (operation.kind == StoreOperation::Kind::append) {
        char number[17];
        std::snprintf(number, sizeof number, "%016llx", static_cast<unsigned long long>(++sequences_[{commit.partition, key}]));
        key += number;
      }
      const std::uint64_t revision = ++revision_;
      const std::int64_t expires = operation.ttl_ms ? simulator.now_ms() + operation.ttl_ms : 0;
      if (!forget) documents[key] = {operation.value, revision, expires};
      result.documents.push_back({key, "", revision});
    }
    if (key.rfind("session/", 0) == 0) changed_ms[key] = simulator.monotonic_ns() / 1'000'000;
    notify(store_changes, store_waiters, {commit.partition, key});
  }
  return result;
}

bool World::holds_lease(const std::string& name, const std::string& holder) const {
  auto it = leases_.find(name);
  return it != leases_.end() && it->second.holder == holder && it->second.until_ms > simulator.now_ms();
}

Result<Lease> World::lease(const std::string& name, const std::string& holder, int action, std::int64_t ttl_ms) {
  Held& held = leases_[name];
  const std::int64_t now = simulator.now_ms();
  const bool free = held.holder.empty() || held.until_ms <= now;
  if (action == 3) {
    if (held.holder != holder) return Error{Code::conflict, "another holds it", 0};
    held.holder.clear();
    return Lease{"", held.epoch, 0};
  }
  if (!free && held.holder != holder) return Error{Code::conflict, "held by " + held.holder, held.until_ms - now};
  if (held.holder != holder || free) ++held.epoch;
  held.holder = holder;
  held.until_ms = now + ttl_ms;
  return Lease{holder, held.epoch, ttl_ms};
}

void World::notify(std::vector<Change>& changes, std::vector<std::function<void()>>& waiters, Change change) {
  changes.push_back(std::move(change));
  auto now = std::move(waiters);
  waiters.clear();
  for (auto& waiter : now) waiter();
}

// ---- the platform -------------------------------------------------------------------------------------------------------

std::optional<Error> World::refused(const std::string& call, const std::string& id) {
  ++calls[call];
  return refuse ? refuse(call, id) : std::nullopt;
}

Workspace World::see(const std::string& id) const {
  Workspace workspace;
  workspace.id = id;
  workspace.volumes.emplace();
  auto it = platforms.find(id);
  if (it == platforms.end()) return workspace;
  const SimPlatform& platform = it->second;
  workspace.generation = platform.generation;
  if (platform.volume) {
    workspace.volume_state = VolumeState::present;
    workspace.volume_uid = platform.volume->uid;
    workspace.volumes->push_back({platform.volume->name, platform.volume->token, platform.volume->uid});
  }
  for (const auto& [name, volume] : platform.others) workspace.volumes->push_back({name, volume.token, volume.uid});
  const SimWorkload& workload = platform.workload;
  workspace.workload_state = workload.state;
  workspace.observed.incarnation = workload.incarnation;
  workspace.observed.size = workload.size;
  const bool up = workload.state == WorkloadState::running || workload.state == WorkloadState::starting;
  workspace.observed.replicas = up ? 1 : 0;
  workspace.observed.ready = workload.state == WorkloadState::running;
  if (up) workspace.observed.endpoint = "unix:/run/" + id;
  if (workload.state == WorkloadState::failed) workspace.observed.reason = "CrashLoop";
  return workspace;
}

void World::changed(const std::string& id) {
  auto it = platforms.find(id);
  const bool empty = it != platforms.end() && !it->second.volume && it->second.others.empty();
  if (empty && it->second.workload.state == WorkloadState::none) platforms.erase(it);
  auto& seen = seen_[id];
  seen.emplace_back(simulator.now_ms(), see(id));
  while (seen.size() > 50) seen.pop_front();
  simulator.after_ns(cache_lag_ms * 1'000'000, [this, id] { notify(compute_changes, compute_waiters, {"", id}); });
}

Workspace World::observe(const std::string& id, bool live) {
  if ((live && !sabotage.live_is_cached) || cache_lag_ms == 0) return see(id);
  Workspace cached;
  cached.id = id;
  for (const auto& [at, workspace] : seen_[id]) {
    if (at <= simulator.now_ms() - cache_lag_ms) cached = workspace;
  }
  return cached;
}

std::vector<Workspace> World::list(const std::string& after, std::uint32_t limit) {
  std::set<std::string> ids;
  for (auto it = platforms.upper_bound(after); it != platforms.end() && ids.size() < limit; ++it) ids.insert(it->first);
  for (const auto& [key, task] : tasks) {
    if (std::get<0>(key) > after) ids.insert(std::get<0>(key));
  }
  std::vector<Workspace> found;
  for (auto it = ids.begin(); it != ids.end() && found.size() < limit; ++it) found.push_back(observe(*it, false));
  return found;
}

Result<Workspace> World::apply(const WorkspaceSpec& spec) {
  if (auto error = refused("apply", spec.id)) return *std::move(error);
  auto it = platforms.find(spec.id);
  if (it != platforms.end() && spec.generation < it->second.generation) return Error{Code::conflict, "an older generation", 0};
  generations[spec.id] = std::max(generations[spec.id], spec.generation);
  if (it != platforms.end()) take_volume(it->second, spec.volume.name);
  const bool has_volume = it != platforms.end() && it->second.volume;
  if (!has_volume && !(spec.create_volume && spec.volume.uid.empty())) return see(spec.id);
  SimPlatform& platform = platforms[spec.id];
  if (!platform.volume) {
    platform.volume.emplace();
    platform.volume->name = spec.volume.name;
    platform.volume->token = spec.volume.token;
    platform.volume->uid = "uid-" + std::to_string(++next_);
  }
  if (platform.volume->token != spec.volume.token) return Error{Code::conflict, "the volume is not yours", 0};
  if (!spec.volume.uid.empty() && platform.volume->uid != spec.volume.uid) return Error{Code::conflict, "another volume", 0};
  if (spec.running && platform.volume->deleting) return Error{Code::conflict, "the volume is being deleted", 0};
  if (spec.running && platform.workload.state == WorkloadState::stopping)
    return Error{Code::conflict, "the old workload is still ending", 0};
  platform.generation = spec.generation;
  const WorkloadState state = platform.workload.state;
  if (spec.running && (state == WorkloadState::none || state == WorkloadState::failed)) begin_start(spec.id, spec.size);
  if (spec.running) platform.workload.size = spec.size;
  if (!spec.running && state != WorkloadState::none && state != WorkloadState::stopping) begin_stop(spec.id);
  changed(spec.id);
  return see(spec.id);
}

// The volume that a spec names becomes the workload's.
void World::take_volume(SimPlatform& platform, const std::string& name) {
  auto named = platform.others.find(name);
  if (named == platform.others.end() || platform.workload.state != WorkloadState::none) return;
  SimVolume taken = std::move(named->second);
  platform.others.erase(named);
  if (platform.volume) platform.others[platform.volume->name] = *platform.volume;
  platform.volume = std::move(taken);
}

void World::begin_start(const std::string& id, const Size& size) {
  SimVolume& volume = *platforms[id].volume;
  if (!volume.whole) violate("a workload of " + id + " is started on a volume that is half filled");
  if (volume.copy && volume.written != volume.source)
    violate("a restored volume of " + id + " does not hold what its archive holds");
  volume.copy = false;
  SimWorkload& workload = platforms[id].workload;
  simulator.cancel(workload.event);
  workload = {WorkloadState::starting, "inc-" + std::to_string(++next_), size, 0};
  const bool bad = troubled && simulator.chance(faults.bad_start);
  workload.event = simulator.after_ns(simulator.between(200, 5000) * 1'000'000, [this, id, bad] {
    platforms[id].workload.state = bad ? WorkloadState::failed : WorkloadState::running;
    changed(id);
  });
}

void World::begin_stop(const std::string& id) {
  SimWorkload& workload = platforms[id].workload;
  simulator.cancel(workload.event);
  workload.state = WorkloadState::stopping;
  workload.event = simulator.after_ns(simulator.between(50, grace_ms) * 1'000'000, [this, id] {
    user_writes(id);  // an editor saves at the last moment
    platforms[id].workload = {};
    changed(id);
  });
}

void World::lose_node(const std::string& id) {
  const std::int64_t lost_ms = simulator.between(30'000, 90'000);
  SimWorkload& workload = platforms[id].workload;
  if (workload.state != WorkloadState::none) {
    simulator.cancel(workload.event);
    workload.state = WorkloadState::stopping;
    workload.event = simulator.after_ns(lost_ms * 1'000'000, [this, id] {
      platforms[id].workload = {};
      changed(id);
    });
    changed(id);
  }
  for (auto& [key, task] : tasks) {
    if (task.spec.id != id || task.task.state != TaskState::running) continue;
    simulator.cancel(task.event);
    task.event = simulator.after_ns(lost_ms * 1'000'000, [this, key] {
      fail_task(tasks[key], "Killed");
      notify(compute_changes, compute_waiters, {"", std::get<0>(key)});
    });
  }
}

void World::workload_dies(const std::string& id) {
  SimWorkload& workload = platforms[id].workload;
  if (workload.state != WorkloadState::running) return;
  workload.state = WorkloadState::failed;
  changed(id);
}

void World::intrude(const std::string& id) {
  SimPlatform& platform = platforms[id];
  if (!platform.volume || platform.volume->deleting || platform.workload.state != WorkloadState::none) return;
  platform.workload = {WorkloadState::running, "inc-" + std::to_string(++next_), {}, 0};
  user_writes(id);
  changed(id);
}

void World::user_writes(const std::string& id) {
  auto it = platforms.find(id);
  if (it == platforms.end() || !it->second.volume) return;
  const WorkloadState state = it->second.workload.state;
  if (state != WorkloadState::running && state != WorkloadState::stopping) return;
  SimVolume& volume = *it->second.volume;
  volume.written.push_back(++next_);
  if (troubled && simulator.chance(faults.unreadable)) volume.unreadable.insert(next_);
}

void World::lose_volume(const std::string& id, const std::string& name) {
  auto it = platforms.find(id);
  if (it == platforms.end()) return;
  if (name.empty() || (it->second.volume && it->second.volume->name == name)) it->second.volume.reset();
  it->second.others.erase(name);
  changed(id);
}

SimVolume* World::find_volume(const std::string& id, const std::string& name) {
  auto it = platforms.find(id);
  if (it == platforms.end()) return nullptr;
  if (it->second.volume && it->second.volume->name == name) return &*it->second.volume;
  auto other = it->second.others.find(name);
  return other == it->second.others.end() ? nullptr : &other->second;
}

Status World::remove_workload(const std::string& id, const std::string& incarnation) {
  if (auto error = refused("remove_workload", id)) return *std::move(error);
  auto it = platforms.find(id);
  if (it == platforms.end() || it->second.workload.state == WorkloadState::none) return {};
  SimWorkload& workload = it->second.workload;
  const bool any = incarnation.empty();  // as the plugins take it
  if (!any && workload.incarnation != incarnation && !sabotage.unguarded) return Error{Code::conflict, "another incarnation", 0};
  simulator.cancel(workload.event);
  workload = {};
  changed(id);
  return {};
}

Status World::remove_volume(const std::string& id, const Volume& volume) {
  if (auto error = refused("remove_volume", id)) return *std::move(error);
  auto it = platforms.find(id);
  if (it == platforms.end()) return {};
  SimPlatform& platform = it->second;
  const bool own = platform.volume && platform.volume->name == volume.name;
  auto other = platform.others.find(volume.name);
  if (!own && other == platform.others.end()) return {};
  SimVolume& going = own ? *platform.volume : other->second;
  if (going.uid != volume.uid) return Error{Code::conflict, "another volume", 0};
  if (own && platform.workload.state != WorkloadState::none && !sabotage.unguarded)
    return Error{Code::conflict, "a workload uses it", 0};
  for (const auto& [key, task] : tasks) {  // a finished pod keeps its volume
    if (task.spec.id == id && task.spec.kind != TaskKind::verify && task.spec.volume.name == volume.name)
      return Error{Code::conflict, "a task uses it", 0};
  }
  if (!going.deleting && !going.copy) judge_release(id, going);
  const auto erase = [this, id, name = volume.name, uid = volume.uid] {
    auto found = platforms.find(id);
    if (found == platforms.end()) return;
    if (found->second.volume && found->second.volume->uid == uid) found->second.volume.reset();
    auto entry = found->second.others.find(name);
    if (entry != found->second.others.end() && entry->second.uid == uid) found->second.others.erase(entry);
    changed(id);
  };
  if (terminating_ms == 0) {
    erase();
    return {};
  }
  if (!std::exchange(going.deleting, true)) simulator.after_ns(simulator.between(1, terminating_ms) * 1'000'000, erase);
  return Error{Code::outcome_unknown, "the volume is being deleted, and is not gone yet", 1000};
}

// The product's promise, checked against everything that was ever written.
void World::judge_release(const std::string& id, const SimVolume& volume) {
  if (may_skip.count(id)) return;
  bool saved = false;
  std::map<std::string, SimArchive> stored = archives;
  for (const auto& [name, archive] : lost_archives) {  // nobody could know yet
    if (simulator.now_ms() - archive.lost_ms < kLatestMs) stored.insert({name, archive});
  }
  for (const auto& [name, archive] : stored) {
    const bool bad = archive.corrupt && archive.rotted_ms < 0;  // what rots later cannot be seen by a look at its size
    if (archive.volume_uid != volume.uid || bad || !archive.verified) continue;
    std::vector<std::uint64_t> expected = volume.written;
    if (may_lose.count(id)) std::erase_if(expected, [&](std::uint64_t item) { return archive.skipped.count(item) != 0; });
    saved |= archive.content == expected;
  }
  if (saved) return;
  std::string known;
  for (const auto& [name, archive] : archives) {
    if (archive.volume_uid == volume.uid)
      known += "; " + name + " holds " + std::to_string(archive.content.size()) + (archive.verified ? ", verified" : "") +
               (archive.corrupt ? ", corrupt" : "");
  }
  violate("the volume of " + id + " was released without a verified backup of everything in it: " +
          std::to_string(volume.written.size()) + " things" + known);
}

// ---- tasks --------------------------------------------------------------------------------------------------------------

Result<Task> World::task_start(const TaskSpec& spec) {
  if (auto error = refused("task_start", spec.id)) return *std::move(error);
  const auto key = std::make_tuple(spec.id, spec.operation, spec.attempt);
  if (auto it = tasks.find(key); it != tasks.end()) return it->second.task;
  SimTask task;
  task.spec = spec;
  task.task.state = TaskState::running;
  if (spec.kind == TaskKind::restore) {
    if (const Status begun = begin_fill(spec); !begun) return begun.error();
  }
  if (spec.kind == TaskKind::backup) {
    const SimVolume* named = find_volume(spec.id, spec.volume.name);
    if (!named || named->uid != spec.volume.uid) return Error{Code::conflict, "the volume is not the one expected", 0};
    const SimVolume& volume = *named;
    if (volume.deleting) return Error{Code::conflict, "the volume is being deleted", 0};
    for (std::uint64_t item : volume.written) {
      if (spec.exclusions && may_be_left_out(item)) {
        ++task.left_out;
        continue;
      }
      if (volume.unreadable.count(item)) task.skipped.insert(item);
      if (!volume.unreadable.count(item)) task.read.push_back(item);
    }
    if (sabotage.backup_takes_nothing && !task.read.empty()) task.read.pop_back();
  }
  if (!troubled || !simulator.chance(faults.task_hangs))
    task.event = simulator.after_ns(simulator.between(100, 15'000) * 1'000'000, [this, key] { task_ends(key); });
  tasks[key] = task;
  return task.task;
}

// The new volume, made once however often the start is repeated.
Status World::begin_fill(const TaskSpec& spec) {
  if (spec.generation < generations[spec.id]) return Error{Code::conflict, "a later generation was applied", 0};
  SimPlatform& platform = platforms[spec.id];
  if (platform.volume && platform.volume->name == spec.volume.name) {
    if (!platform.volume->copy) violate("a restore fills a volume of " + spec.id + " that a workload had");
    return Error{Code::conflict, "the volume is in use", 0};
  }
  auto [entry, fresh] = platform.others.try_emplace(spec.volume.name);
  SimVolume& volume = entry->second;
  if (!fresh && (volume.token != spec.volume.token || volume.deleting))
    return Error{Code::conflict, "the volume is not yours", 0};
  if (!fresh && !volume.copy) violate("a restore fills a volume of " + spec.id + " that a workload had");
  volume.name = spec.volume.name;
  volume.token = spec.volume.token;
  if (fresh) volume.uid = "uid-" + std::to_string(++next_);
  volume.copy = true;
  volume.whole = false;
  volume.written.clear();
  changed(spec.id);
  return {};
}

void World::task_ends(const std::tuple<std::string, std::string, std::int64_t>& key) {
  SimTask& task = tasks[key];
  task.event = 0;
  if (troubled && simulator.chance(faults.task_vanishes)) {
    tasks.erase(key);
    return;
  }
  if (troubled && simulator.chance(faults.task_killed)) return fail_task(task, simulator.chance(0.5) ? "Killed" : "Evicted");
  if (task.spec.kind == TaskKind::backup) backup_ends(task);
  if (task.spec.kind == TaskKind::verify) verify_ends(task);
  if (task.spec.kind == TaskKind::restore) restore_ends(task);
  if (task.task.receipt && troubled && simulator.chance(faults.stale_result)) task.task.receipt->operation_id = "00000000";
  notify(compute_changes, compute_waiters, {"", task.spec.id});
}

void World::fail_task(SimTask& task, const std::string& reason) {
  task.task.state = TaskState::failed;
  task.task.reason = reason;
  task.task.message = "simulated";
}

void World::backup_ends(SimTask& task) {
  if (troubled && simulator.chance(faults.disk_full)) return fail_task(task, "NoSpace");
  if (archives.count(task.spec.archive)) return fail_task(task, "Exists");
  SimArchive archive;
  archive.content = task.read;
  archive.skipped = task.skipped;
  archive.volume_uid = task.spec.volume.uid;
  archive.corrupt = troubled && simulator.chance(faults.corrupt);
  Receipt& receipt = archive.receipt;
  receipt.backup_id = task.spec.backup_id;
  receipt.archive = task.spec.archive;
  receipt.session_id = task.spec.id;
  receipt.operation_id = task.spec.operation;
  receipt.volume_uid = task.spec.volume.uid;
  receipt.files = static_cast<std::int64_t>(task.read.size());
  receipt.bytes = receipt.files * 10;
  receipt.archive_bytes = receipt.bytes + 100;
  receipt.archive_sha256 = fingerprint(task.read, task.spec.archive);
  receipt.tree_hash = fingerprint(task.read, "");
  receipt.made_at_us = simulator.wall_us();
  receipt.live = task.spec.live;
  receipt.exclusions = task.left_out > 0;
  receipt.empty_volume = task.read.empty() && task.skipped.empty() && !receipt.exclusions;
  if (task.read.empty() && !receipt.empty_volume) receipt.files = 1;  // the root directory
  if (receipt.exclusions) receipt.skipped.push_back({"file", "excluded", task.left_out, "a file"});
  if (!task.skipped.empty()) {
    receipt.skipped.push_back({"file", "unreadable", static_cast<std::int64_t>(task.skipped.size()), "a file"});
  }
  archive.made_ms = simulator.now_ms();
  archives[task.spec.archive] = archive;
  if (troubled && simulator.chance(faults.task_late_killed)) return fail_task(task, "Killed");
  task.task.state = TaskState::succeeded;
  task.task.receipt = receipt;
}

void World::verify_ends(SimTask& task) {
  auto it = archives.find(task.spec.archive);
  if (it == archives.end()) return fail_task(task, "NotFound");
  SimArchive& archive = it->second;
  if (!sabotage.verify_reads_nothing) {
    if (archive.corrupt) return fail_task(task, "Corrupt");
    archive.verified = true;
  }
  task.task.state = TaskState::succeeded;
  task.task.receipt = archive.receipt;
  task.task.receipt->verified_at_us = simulator.wall_us();
}

void World::restore_ends(SimTask& task) {
  auto archive = archives.find(task.spec.archive);
  if (archive == archives.end()) return fail_task(task, "NotFound");
  auto platform = platforms.find(task.spec.id);
  const bool there = platform != platforms.end() && platform->second.others.count(task.spec.volume.name) != 0;
  if (!there) return fail_task(task, "Unreadable");
  SimVolume& volume = platform->second.others[task.spec.volume.name];
  volume.written = archive->second.content;
  if (archive->second.corrupt || (troubled && simulator.chance(faults.disk_full))) {
    volume.written.resize(volume.written.size() / 2);
    return fail_task(task, archive->second.corrupt ? "Corrupt" : "NoSpace");
  }
  volume.whole = true;
  volume.source = archive->second.content;
  if (troubled && simulator.chance(faults.task_late_killed)) return fail_task(task, "Killed");
  task.task.state = TaskState::succeeded;
  task.task.receipt = archive->second.receipt;
  task.task.receipt->verified_at_us = simulator.wall_us();
}

Task World::task_observe(const std::string& id, const std::string& operation, std::int64_t attempt) {
  auto it = tasks.find({id, operation, attempt});
  return it == tasks.end() ? Task{} : it->second.task;
}

Status World::task_remove(const std::string& id, const std::string& operation, std::int64_t attempt) {
  if (auto error = refused("task_remove", id)) return *std::move(error);
  auto it = tasks.find({id, operation, attempt});
  if (it == tasks.end()) return {};
  if (it->second.event) simulator.cancel(it->second.event);
  tasks.erase(it);
  return {};
}

Result<BackupStorage::Object> World::stat(const std::string& name) {
  if (auto error = refused("stat", name)) return *std::move(error);
  auto it = archives.find(name);
  if (it == archives.end()) {
    asked_missing_.insert(name);
    return Error{Code::not_found, "no archive " + name, 0};
  }
  return BackupStorage::Object{name, it->second.receipt.archive_bytes, it->second.receipt.made_at_us};
}

Result<std::vector<BackupStorage::Object>> World::list_archives(const std::string& after, std::uint32_t limit) {
  if (auto error = refused("list_archives", "")) return *std::move(error);
  std::vector<BackupStorage::Object> page;
  if (list_shows_nothing) return page;
  auto archive = archives.upper_bound(after);
  auto file = files.upper_bound(after);
  while (page.size() < limit && (archive != archives.end() || file != files.end())) {
    if (archive == archives.end() || (file != files.end() && *file < archive->first)) {
      page.push_back({*file++, 0, 0});
      continue;
    }
    page.push_back({archive->first, archive->second.receipt.archive_bytes, archive->second.receipt.made_at_us});
    ++archive;
  }
  return page;
}

Status World::remove_archive(const std::string& name) {
  if (auto error = refused("remove_archive", name)) return *std::move(error);
  judge_erasure(name);
  archives.erase(name);
  return {};
}

// ---- what happens to the storage, and what may be done to it ------------------------------------------------------------

void World::lose_archive(const std::string& name) {
  auto it = archives.find(name);
  if (it == archives.end()) return;
  it->second.lost_ms = simulator.now_ms();
  lost_archives[name] = it->second;
  bereft.insert(it->second.receipt.session_id);
  archives.erase(it);
}

void World::bring_back(const std::string& name) {
  auto it = lost_archives.find(name);
  if (it == lost_archives.end() || archives.count(name)) return;
  archives[name] = it->second;
  lost_archives.erase(it);
  asked_missing_.erase(name);
  returned_.insert(name);
}

void World::rot(const std::string& name) {
  auto it = archives.find(name);
  if (it == archives.end() || it->second.corrupt) return;
  it->second.corrupt = true;
  it->second.rotted_ms = simulator.now_ms();
}

void World::put_stranger() {
  const std::uint64_t number = simulator.number() % 4096;
  char id[9];
  std::snprintf(id, sizeof id, "%08llx", static_cast<unsigned long long>(simulator.number() & 0xffffffffU));
  const bool like_ours = simulator.chance(0.7);
  const std::string name =
      like_ours ? "workspace-" + std::string(id) + "-20200101T000000Z.zip" : "notes-" + std::to_string(number);
  archives[name].receipt.made_at_us = simulator.wall_us();
}

std::vector<BackupRecord> World::records() {
  std::vector<BackupRecord> found;
  for (const auto& [name, documents] : partitions_) {
    for (const auto& [key, kept] : documents) {
      if (!starts_with(key, "backup/")) continue;
      auto record = documents::decode_backup({key, kept.value, kept.revision});
      if (record) found.push_back(*std::move(record));
    }
  }
  return found;
}

// Which backups a session's document rests on, and since when.
void World::judge_session(const std::string& key, const Document* before_it, const std::string& value) {
  std::map<std::string, std::int64_t> needed;
  const auto view = value.empty() ? Result<SessionView>(nullptr) : documents::decode_session({key, value, 1});
  const auto was = before_it ? documents::decode_session(*before_it) : Result<SessionView>(nullptr);
  if (view && *view && was && *was) judge_restore((*was)->session, (*view)->session);
  if (view && *view) {
    const Session& session = (*view)->session;
    const auto& operation = session.operation;
    if (operation && operation->step != OperationStep::done) {
      needed[operation->backup_id];
      if (operation->source) needed[operation->source->backup_id];
    }
    for (const KeptVolume& kept : session.kept_volumes) needed[kept.receipt.backup_id];
  }
  auto& before = needed_ms_[key];
  for (auto& [id, since_ms] : needed) since_ms = before.count(id) ? before[id] : simulator.now_ms();
  before = std::move(needed);
}

// A session has another volume than before only by a restore that succeeded, and what it had is kept, if it is there.
void World::judge_restore(const Session& before, const Session& now) {
  const auto& was = before.operation;
  const auto& is = now.operation;
  const bool restored = was && is_operating(before) && was->kind == OperationKind::restore;
  const bool swapped = restored && is && is->id == was->id && is->outcome == OperationOutcome::succeeded;
  const bool fresh = before.volume.uid.empty() && before.volume.name == now.volume.name;
  const bool same = before.volume.name == now.volume.name && before.volume.uid == now.volume.uid;
  if (!swapped && !same && !fresh) violate("session " + now.id + " has volume " + now.volume.name + " without a restore");
  if (!restored || fresh) return;
  if (is && is->id == was->id && is_operating(now)) return;
  if (!swapped) ++(is && is->id == was->id && is->outcome == OperationOutcome::failed ? restores.failed : restores.cancelled);
  if (!swapped) return;
  ++restores.succeeded;
  judge_restored(now);
  const SimVolume* old = find_volume(now.id, before.volume.name);
  const bool there = old && old->uid == before.volume.uid && !old->deleting;
  const bool kept = std::any_of(now.kept_volumes.begin(), now.kept_volumes.end(),
                                [&](const KeptVolume& entry) { return entry.volume.uid == before.volume.uid; });
  if (there && !kept) violate("a restore into " + now.id + " does not keep volume " + before.volume.name);
}

void World::judge_restored(const Session& now) {
  const std::string& name = now.operation->source->archive;
  const auto stored = archives.find(name), lost = lost_archives.find(name);
  const SimVolume* volume = find_volume(now.id, now.volume.name);
  if (!volume || volume->uid != now.volume.uid || !volume->copy) return;  // taken, or used, since it was looked at
  const std::vector<std::uint64_t>& content = stored != archives.end()      ? stored->second.content
                                              : lost != lost_archives.end() ? lost->second.content
                                                                            : volume->source;
  if (!volume->whole || volume->written != content)
    violate("a restore into " + now.id + " succeeded, and the volume is not what " + name + " holds");
}

void World::judge_record(const Document* before, const std::string& value) {
  if (!before || value.empty()) return;
  const auto was = documents::decode_backup(*before), is = documents::decode_backup({before->key, value, 1});
  if (!was || !is) return;
  const std::int64_t now_ms = simulator.now_ms();
  const auto stored = archives.find(is->archive);
  const bool there = stored != archives.end();
  const bool rotten = there && stored->second.corrupt && now_ms - stored->second.rotted_ms > kLatestMs;
  if (is->last_proven_us != was->last_proven_us && rotten) violate("backup " + is->id + " is said to be proven, and is rotten");
  if (is->state == was->state) return;
  if (was->state == "verified") worse_ms_[is->session_id] = now_ms;
  if (is->state == "missing" && !asked_missing_.count(is->archive))
    violate("backup " + is->id + " is said to be missing, and the storage was not asked");
  if (is->state == "damaged" && there && !stored->second.corrupt)
    violate("backup " + is->id + " is said to be damaged, and is whole");
  if (is->state == "deleted" && there && !returned_.count(is->archive))
    violate("backup " + is->id + " is said to be removed, and is there");
  if (is->state == "deleting") {
    deleting_ms_[is->id] = now_ms;
    judge_removal_of(*was, *is);
  }
}

// The moment at which somebody decided that it goes.
void World::judge_removal_of(const BackupRecord& before, const BackupRecord& now) {
  if (before.hold && before.hold->until_us == 0) violate("backup " + now.id + " is removed, and is held");
  if (retention_ms == 0 || !now.note || now.note->by != "retention" || before.state == "started") return;
  const std::string partition = documents::backup_partition(now.session_id);
  const auto all = scan(partition, documents::backup_key(now.session_id), "", 1'000);
  bool superseded = worse_ms_.count(now.session_id) && simulator.now_ms() - worse_ms_[now.session_id] < kLatestMs;
  for (const Document& document : *all) {
    const auto other = documents::decode_backup(document);
    superseded |= other && other->id > now.id && other->state == "verified" && (now.receipt.live || !other->receipt.live);
  }
  if (superseded || before.state == "missing") return;
  if (get(documents::partition(now.session_id), documents::session_key(now.session_id)))
    violate("backup " + now.id + ", the newest good one of a session that lives, is removed");
  const auto gone = changed_ms.find(documents::session_key(now.session_id));
  if (!simulator.has_jumped() && gone != changed_ms.end() && simulator.now_ms() - gone->second < retention_ms - 1'000)
    violate("backup " + now.id + ", the newest good one of a deleted session, is removed before its time");
}

// The moment at which the archive goes.
void World::judge_erasure(const std::string& name) {
  if (retention_ms == 0 || !archives.count(name)) return;
  const std::string id = backup_of(name);
  const auto document = id.size() > 8 ? get(documents::backup_partition(id), documents::backup_key(id))
                                      : Result<Document>(Error{Code::not_found, "", 0});
  const auto record = document ? documents::decode_backup(*document) : Result<BackupRecord>(Error{Code::not_found, "", 0});
  if (!record) return violate("archive " + name + ", which no record names, is removed");
  if (record->state != "deleting" && record->state != "deleted")
    return violate("archive " + name + " is removed, and its record says " + record->state);
  for (const auto& [session, needed] : needed_ms_) {
    const auto since = needed.find(id);
    if (since != needed.end() && since->second < deleting_ms_[id])
      violate("archive " + name + " is removed, and " + session + " rests on it");
  }
}

}  // namespace roost::simulation
