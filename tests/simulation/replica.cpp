#include "simulation/replica.hpp"

namespace roost::simulation {

namespace {
constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kWatchMs = 10'000;
constexpr std::int64_t kStoreWatchMs = 100;
}  // namespace

void Replica::deliver(const std::shared_ptr<Life>& life, std::function<void()> work) {
  if (!life->alive) return;
  if (life->paused) {
    life->held.push_back(std::move(work));
    return;
  }
  work();
}

void Replica::resume() {
  life_->paused = false;
  auto held = std::move(life_->held);
  life_->held.clear();
  for (auto& work : held) {
    simulator_.after_ns(0, [life = life_, work = std::move(work)]() mutable { deliver(life, std::move(work)); });
  }
}

template <class T>
void Replica::call(bool mutating, std::function<Result<T>()> act, Done<T> done) {
  if (mutating && on_call) on_call();
  const Faults& faults = world_.faults;
  const bool troubled = world_.troubled;
  auto chance = [&](double probability) { return troubled && simulator_.chance(probability); };
  const std::int64_t there = (chance(faults.slow) ? simulator_.between(1, 20'000) : simulator_.between(0, 3)) * kMs;
  const std::int64_t back = ((chance(faults.slow) ? simulator_.between(1, 5'000) : simulator_.between(0, 3)) + late_ms) * kMs;
  auto answer = [life = life_, done](Result<T> result) {
    deliver(life, [done, result = std::move(result)]() mutable { done(std::move(result)); });
  };
  const Error unknown{Code::outcome_unknown, "simulated: no answer", 0};
  if (chance(faults.unavailable)) {
    simulator_.after_ns(there, [answer] { answer(Error{Code::unavailable, "simulated: away", 0}); });
  } else if (mutating && chance(faults.lost_request)) {
    simulator_.after_ns(there + back, [answer, unknown] { answer(unknown); });
  } else if (mutating && chance(faults.lost_answer)) {
    simulator_.after_ns(there, [this_simulator = &simulator_, act, answer, unknown, back] {
      (void)act();
      this_simulator->after_ns(back, [answer, unknown] { answer(unknown); });
    });
  } else if (mutating && chance(faults.late)) {
    simulator_.after_ns(there, [answer, unknown] { answer(unknown); });
    simulator_.after_ns(there + simulator_.between(1, 5'000) * kMs, [act] { (void)act(); });
  } else {
    simulator_.after_ns(there, [this_simulator = &simulator_, act, answer, back] {
      Result<T> result = act();
      this_simulator->after_ns(back, [answer, result = std::move(result)]() mutable { answer(std::move(result)); });
    });
  }
}

void Replica::watch(const std::vector<Change>& changes, std::vector<std::function<void()>>& waiters, const std::string& resume,
                    std::int64_t longest_ms, Done<Watched> done) {
  const std::size_t from = resume.empty() ? changes.size() : std::stoul(resume);
  if (world_.troubled && simulator_.chance(world_.faults.expired_watch)) {
    simulator_.after_ns(kMs, [life = life_, done] {
      deliver(life, [done] { done(Error{Code::expired, "simulated: too old", 0}); });
    });
    return;
  }
  if (world_.troubled && simulator_.chance(world_.faults.cancelled_watch)) {
    simulator_.after_ns(kMs, [life = life_, done] {
      deliver(life, [done] { done(Error{Code::unavailable, "simulated: away", 0}); });
    });
    return;
  }
  auto over = std::make_shared<bool>(false);
  // What it says is fixed when it is sent, however late it arrives.
  auto answer = [this, life = life_, over, from, &changes, done] {
    if (std::exchange(*over, true)) return;
    const auto chance = [&](double probability) { return world_.troubled && simulator_.chance(probability); };
    Watched watched;
    watched.behind = chance(world_.faults.behind);
    const std::size_t to = watched.behind ? from + simulator_.number() % (changes.size() - from + 1) : changes.size();
    watched.changes.assign(changes.begin() + static_cast<std::ptrdiff_t>(from),
                           changes.begin() + static_cast<std::ptrdiff_t>(to));
    watched.resume = std::to_string(to);
    const std::int64_t back_ms = chance(world_.faults.slow) ? simulator_.between(1, 1'000) : 1;
    simulator_.after_ns(back_ms * kMs, [life, watched = std::move(watched), done]() mutable {
      deliver(life, [done, watched = std::move(watched)]() mutable { done(std::move(watched)); });
    });
  };
  auto guarded = [life = life_, answer] {
    if (life->alive) answer();
  };
  if (changes.size() > from) return guarded();
  waiters.push_back(guarded);
  simulator_.after_ns(longest_ms * kMs, guarded);
}

struct Replica::SchedulerPort : Scheduler {
  explicit SchedulerPort(Replica& replica) : r(replica) {}
  Replica& r;
  void post(std::function<void()> work) override {
    if (std::this_thread::get_id() != r.owner_) {
      std::lock_guard lock(r.posted_mutex_);
      r.posted_.push_back(std::move(work));
      return;
    }
    r.simulator_.after_ns(0, [life = r.life_, work = std::move(work)]() mutable { deliver(life, std::move(work)); });
  }
  TimerId after(std::int64_t delay_ns, std::function<void()> work) override {
    return r.simulator_.after_ns(delay_ns,
                                 [life = r.life_, work = std::move(work)]() mutable { deliver(life, std::move(work)); });
  }
  void cancel(TimerId timer) override { r.simulator_.cancel(timer); }
};

struct Replica::StorePort : Store {
  explicit StorePort(Replica& replica) : r(replica) {}
  Replica& r;
  void get(std::string partition, std::string key, Done<Document> done) override {
    if (r.on_get) r.on_get(key);
    r.call<Document>(
        false, [w = &r.world_, partition, key] { return w->get(partition, key); }, std::move(done));
  }
  void scan(std::string partition, std::string prefix, std::string after, std::uint32_t limit,
            Done<std::vector<Document>> done) override {
    r.call<std::vector<Document>>(
        false,
        [w = &r.world_, partition, prefix, after, limit]() -> Result<std::vector<Document>> {
          if (auto error = w->refused("scan", partition)) return *std::move(error);
          return w->scan(partition, prefix, after, limit);
        },
        std::move(done));
  }
  void commit(Commit commit, Done<CommitResult> done) override {
    r.call<CommitResult>(
        true, [w = &r.world_, commit = std::move(commit)] { return w->commit(commit); }, std::move(done));
  }
  void lease(std::string name, std::string holder, int action, std::int64_t ttl_ms, Done<Lease> done) override {
    r.call<Lease>(
        false, [w = &r.world_, name, holder, action, ttl_ms] { return w->lease(name, holder, action, ttl_ms); }, std::move(done));
  }
  void watch(std::string resume, Done<Watched> done) override {
    r.watch(r.world_.store_changes, r.world_.store_waiters, resume, kStoreWatchMs, std::move(done));
  }
};

struct Replica::ComputePort : Compute {
  explicit ComputePort(Replica& replica) : r(replica) {}
  Replica& r;
  Done<Workspace> telling(Done<Workspace> done) {
    return [replica = &r, done = std::move(done)](Result<Workspace> seen) {
      if (seen) replica->told_[seen->id] = seen->workload_state;
      done(std::move(seen));
    };
  }
  void apply(WorkspaceSpec spec, Done<Workspace> done) override {
    if (spec.running && r.told_[spec.id] == WorkloadState::stopping)
      r.world_.violate("a workload of " + spec.id + " is started while the old one is known to be ending");
    if (spec.running && spec.volume.uid.empty() != spec.create_volume)
      r.world_.violate("a volume of " + spec.id + " that exists would be made anew");
    r.call<Workspace>(
        true, [w = &r.world_, spec] { return w->apply(spec); }, telling(std::move(done)));
  }
  void observe(std::string id, bool live, Done<Workspace> done) override {
    r.call<Workspace>(
        false,
        [w = &r.world_, id, live]() -> Result<Workspace> {
          if (auto error = w->refused(live ? "observe_live" : "observe", id)) return *std::move(error);
          return w->observe(id, live);
        },
        telling(std::move(done)));
  }
  void list(std::string after, std::uint32_t limit, Done<std::vector<Workspace>> done) override {
    r.call<std::vector<Workspace>>(
        false, [w = &r.world_, after, limit]() -> Result<std::vector<Workspace>> { return w->list(after, limit); },
        std::move(done));
  }
  void watch(std::string resume, Done<Watched> done) override {
    r.watch(r.world_.compute_changes, r.world_.compute_waiters, resume, kWatchMs, std::move(done));
  }
  void remove_workload(std::string id, std::string incarnation, Done<void> done) override {
    r.call<void>(
        true, [w = &r.world_, id, incarnation] { return w->remove_workload(id, incarnation); }, std::move(done));
  }
  void remove_volume(std::string id, Volume volume, Done<void> done) override {
    r.call<void>(
        true, [w = &r.world_, id, volume] { return w->remove_volume(id, volume); }, std::move(done));
  }
  void task_start(TaskSpec spec, Done<Task> done) override {
    r.call<Task>(
        true, [w = &r.world_, spec] { return w->task_start(spec); }, std::move(done));
  }
  void task_observe(std::string id, std::string operation, std::int64_t attempt, Done<Task> done) override {
    r.call<Task>(
        false,
        [w = &r.world_, id, operation, attempt]() -> Result<Task> {
          if (auto error = w->refused("task_observe", id)) return *std::move(error);
          return w->task_observe(id, operation, attempt);
        },
        std::move(done));
  }
  void task_remove(std::string id, std::string operation, std::int64_t attempt, Done<void> done) override {
    r.call<void>(
        true, [w = &r.world_, id, operation, attempt] { return w->task_remove(id, operation, attempt); }, std::move(done));
  }
};

struct Replica::BackupPort : BackupStorage {
  explicit BackupPort(Replica& replica) : r(replica) {}
  Replica& r;
  void stat(std::string name, Done<Object> done) override {
    r.call<Object>(
        false, [w = &r.world_, name] { return w->stat(name); }, std::move(done));
  }
  void list(std::string after, std::uint32_t limit, Done<std::vector<Object>> done) override {
    r.call<std::vector<Object>>(
        false, [w = &r.world_, after, limit] { return w->list_archives(after, limit); }, std::move(done));
  }
  void remove(std::string name, Done<void> done) override {
    r.call<void>(
        true, [w = &r.world_, name] { return w->remove_archive(name); }, std::move(done));
  }
};

bool Replica::take_posted() {
  std::vector<std::function<void()>> posted;
  {
    std::lock_guard lock(posted_mutex_);
    posted.swap(posted_);
  }
  for (auto& work : posted) scheduler_->post(std::move(work));
  return !posted.empty();
}

Replica::Replica(World& world, EngineOptions options)
    : world_(world),
      simulator_(world.simulator),
      random_(world.simulator),
      scheduler_(std::make_unique<SchedulerPort>(*this)),
      store_(std::make_unique<StorePort>(*this)),
      compute_(std::make_unique<ComputePort>(*this)),
      backup_(std::make_unique<BackupPort>(*this)) {
  const Ports ports{store_.get(), compute_.get(), backup_.get(), &simulator_, &random_, scheduler_.get()};
  engine_ = std::make_unique<Engine>(ports, std::move(options));
}

Replica::~Replica() {
  life_->alive = false;
  life_->held.clear();
}

}  // namespace roost::simulation
