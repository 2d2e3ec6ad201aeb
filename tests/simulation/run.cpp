#include "simulation/run.hpp"

#include <algorithm>

#include "engine/documents.hpp"
#include "engine/schedule.hpp"

namespace roost::simulation {

namespace {
constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kWalkMs = 120'000, kRetentionMs = 120'000;
constexpr std::int64_t kAnswerMs = 90'000;  // a client gives up; what it asked for may still happen
}  // namespace

// A client works on one session, one command at a time. What it knows: what was acknowledged, and what may have happened.
struct Run::Client {
  std::size_t number = 0;
  std::string user;
  std::string id;  // empty: not created yet
  std::string create_key;
  std::int64_t rests_until_ms = 0;     // it waits for a restore, and does nothing that would cancel it
  std::optional<BackupRecord> source;  // it is created from
  bool creating = false;
  bool busy = false;
  std::uint64_t turn = 0;  // of the command under way: a late answer of an earlier one is ignored
  std::set<Wanted> wanted{Wanted::running};
  std::set<bool> large{false};
  bool removed = false;  // a delete may have been accepted
  bool remove_accepted = false;
  bool tombstone = false;
  bool volume_taken = false;
  std::vector<Sent> sent;
  std::set<std::string> delivered, answered;
  std::map<std::string, std::string> texts;  // to the id that each was delivered under
  std::string last_first;                    // the greatest id that was delivered for the first time
  bool consuming = false;
  std::uint64_t consumer_turn = 0;
};

Run::Run(const Plan& plan) : plan_(plan), simulator_(plan.seed), world_(simulator_, plan.faults) {
  world_.sabotage = plan.sabotage;
  world_.retention_ms = kRetentionMs;
  world_.cache_lag_ms = plan.cache_lag_ms;
  world_.grace_ms = plan.grace_ms;
  world_.terminating_ms = plan.terminating_ms;
  for (int i = 0; i < plan.sessions; ++i) {
    auto client = std::make_unique<Client>();
    client->number = static_cast<std::size_t>(i);
    client->user = "user" + std::to_string(i % 3) + "@example.com";
    client->create_key = "create-" + std::to_string(i);
    clients_.push_back(std::move(client));
  }
}

Run::~Run() { replicas_.clear(); }

EngineOptions Run::options(const std::string& name) const {
  EngineOptions options;
  options.replica = name;
  options.replicated = plan_.replicas > 1;
  options.concurrent_starts = 2;
  options.concurrent_tasks = 2;
  options.resync_ms = 20'000;
  options.message_tries = 1000;
  options.backup_walk_ms = kWalkMs;
  options.backup_retention_ms = kRetentionMs;
  options.backup_drill_ms = 60'000;
  options.task_stall_ms = 120'000;
  options.backup_every_ms = plan_.backup_every_ms;
  options.kept_volume_ms = 60'000;
  options.tombstone_ms = 30LL * 24 * 3600 * 1000;
  if (plan_.trace) {
    options.log = [this, name](int level, const std::string& message, const Json& fields) {
      std::printf("%8lld %s %d %s %s\n", static_cast<long long>(simulator_.now_ms()), name.c_str(), level, message.c_str(),
                  fields.dump().c_str());
    };
  }
  return options;
}

void Run::boot(std::size_t index) {
  replicas_[index] = std::make_unique<Replica>(world_, options(name_of(index)));
  replicas_[index]->on_call = [this, index] {
    ++report_.calls;
    if (plan_.crash_at_call && *plan_.crash_at_call == report_.calls) crashing_.push_back(index);
    if (busy_ && plan_.crash_restoring > 0 && is_restoring() && simulator_.chance(plan_.crash_restoring))
      crashing_.push_back(index);
  };
  if (plan_.trace) {
    replicas_[index]->engine().on_event([this, index](const Event& event) {
      std::printf("%8lld replica%zu event %s %s\n", static_cast<long long>(simulator_.now_ms()), index, event.type.c_str(),
                  event.data.dump().c_str());
    });
  }
  replicas_[index]->engine().start();
}

void Run::crash(std::size_t index) {
  if (!replicas_[index]) return;
  ++report_.crashes;
  replicas_[index].reset();
  simulator_.after_ns(simulator_.between(0, 3000) * kMs, [this, index] {
    if (!replicas_[index]) boot(index);
  });
}

Replica* Run::any_replica() {
  std::vector<Replica*> up;
  for (auto& replica : replicas_) {
    if (replica && !replica->paused()) up.push_back(replica.get());
  }
  return up.empty() ? nullptr : up[simulator_.number() % up.size()];
}

void Run::check_leaders() {
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    const bool leads = replicas_[i] && replicas_[i]->engine().statistics().leader;
    if (leads && !world_.holds_lease("leader", name_of(i))) world_.violate(name_of(i) + " leads without the lease");
  }
}

// A replica that says that its read model is current shows no session as it was more than a moment ago.
void Run::check_reads() {
  constexpr std::int64_t kLagMs = 250;
  const std::int64_t now = simulator_.monotonic_ns() / kMs;
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    if (!replicas_[i] || replicas_[i]->paused() || !replicas_[i]->engine().is_current() || !replicas_[i]->engine().ready())
      continue;
    for (auto& client : clients_) {
      if (client->id.empty()) continue;
      const auto changed = world_.changed_ms.find(documents::session_key(client->id));
      if (changed == world_.changed_ms.end() || now - changed->second <= kLagMs) continue;
      auto document = world_.get(documents::partition(client->id), documents::session_key(client->id));
      const SessionView view = replicas_[i]->engine().reads().find(client->id);
      const std::uint64_t stored = document ? document->revision : 0, shown = view ? view->revision : 0;
      if (stored == shown) continue;
      world_.violate(name_of(i) + " is current and shows session " + client->id + " at revision " + std::to_string(shown) +
                     "; it is at " + std::to_string(stored) + " since " + std::to_string(now - changed->second) + " ms");
    }
  }
}

void Run::trouble() {
  if (!busy_) return;
  if (simulator_.chance(plan_.clock_jump)) world_.simulator.jump_us(simulator_.between(-3'600, 3'600) * 1'000'000);
  for (std::size_t i = 0; i < replicas_.size(); ++i) {
    if (simulator_.chance(plan_.crash) && !plan_.crash_at_call) crash(i);
  }
  if (plan_.replicas > 1 && simulator_.chance(0.001)) {
    const std::size_t i = simulator_.number() % replicas_.size();
    if (replicas_[i] && !replicas_[i]->paused()) {
      Replica* paused = replicas_[i].get();
      paused->pause();
      simulator_.after_ns(simulator_.between(1, 40'000) * kMs, [this, i, paused] {
        if (replicas_[i].get() == paused) paused->resume();
      });
    }
  }
  harm_storage();
  for (auto& [id, platform] : world_.platforms) {
    if (simulator_.chance(plan_.faults.intruder)) {
      world_.intrude(id);
      break;
    }
    if (simulator_.chance(plan_.faults.node_lost)) {
      world_.lose_node(id);
      break;
    }
    if (simulator_.chance(0.01)) world_.user_writes(id);
    if (simulator_.chance(plan_.faults.workload_dies * 0.1)) {
      world_.workload_dies(id);
      break;
    }
  }
}

void Run::harm_storage() {
  const Faults& faults = plan_.faults;
  if (simulator_.chance(faults.stranger)) world_.put_stranger();
  if (world_.archives.empty()) return;
  const auto any = [this](const auto& archives) {
    return std::next(archives.begin(), static_cast<std::ptrdiff_t>(simulator_.number() % archives.size()))->first;
  };
  if (simulator_.chance(faults.archive_rots)) world_.rot(any(world_.archives));
  if (simulator_.chance(faults.archive_lost)) world_.lose_archive(any(world_.archives));
  if (!world_.lost_archives.empty() && simulator_.chance(faults.archive_lost / 2)) world_.bring_back(any(world_.lost_archives));
  if (simulator_.chance(faults.archive_lost)) world_.list_shows_nothing = !world_.list_shows_nothing;
}

// ---- clients ------------------------------------------------------------------------------------------------------------

void Run::schedule(Client& client) {
  simulator_.after_ns(simulator_.between(10, 15'000) * kMs, [this, &client] {
    if (!busy_) return;
    act(client);
    schedule(client);
  });
}

void Run::act(Client& client) {
  if (!client.consuming && !client.id.empty() && simulator_.chance(0.3)) claim(client);
  if (simulator_.chance(0.15)) tend();
  if (client.busy || simulator_.now_ms() < client.rests_until_ms) return;
  if (client.id.empty()) return create(client);
  if (plan_.lost_volumes && !client.removed && simulator_.chance(0.02) && world_.platforms.count(client.id)) {
    auto document = world_.get(documents::partition(client.id), documents::session_key(client.id));
    if (document) {
      client.volume_taken = true;
      world_.lose_volume(client.id, (*documents::decode_session(*document))->session.volume.name);
    }
  }
  if (plan_.restores && restore_soon(client)) return;
  const auto dice = simulator_.between(0, 99);
  if (dice < 30) return send(client);
  if (client.removed) {
    if (dice < 60) remove(client);
    return;
  }
  if (dice < 45) return command(client, Wanted::asleep);
  if (dice < 65) return command(client, Wanted::running);
  if (dice < 75) return scale(client);
  if (dice < 80) return remove(client);
  if (dice < 88) return backup(client);
  if (dice < 96) return restore(client);
}

// A command begins; who waits for its answer gives up at last.
std::uint64_t Run::begin(Client& client) {
  client.busy = true;
  simulator_.after_ns(kAnswerMs * kMs, [&client, turn = ++client.turn] {
    if (client.turn == turn) client.busy = false;
  });
  return client.turn;
}

void Run::create(Client& client) {
  Replica* replica = any_replica();
  if (!replica) return;
  if (client.number % 5 == 4 && !client.source) client.source = any_backup("");  // made of a backup, once there is one
  if (client.number % 5 == 4 && !client.source) return;
  const std::uint64_t turn = begin(client);
  CommandOptions options;
  options.idempotency_key = client.create_key;
  auto done = [this, &client, turn](Result<SessionView> made) {
    if (made) {
      if (client.id.empty()) ++report_.created;
      if (!client.id.empty() && client.id != (*made)->session.id) world_.violate("one idempotency key made two sessions");
      client.id = (*made)->session.id;
    }
    if (client.turn == turn) client.busy = false;
  };
  if (client.source)
    replica->engine().restore_as_new(*client.source, client.user, options, done);
  else
    replica->engine().create(client.user, options, done);
}

// What is asked for may have happened from now on; once it is acknowledged, it has.
void Run::command(Client& client, Wanted wanted) {
  Replica* replica = any_replica();
  if (!replica) return;
  const std::uint64_t turn = begin(client);
  client.wanted.insert(wanted);
  auto done = [&client, turn, wanted](Result<SessionView> view) {
    if (client.turn != turn) {  // given up on, and done after all
      if (view) client.wanted.insert(wanted);
      return;
    }
    client.busy = false;
    if (view) client.wanted = {wanted};
  };
  if (wanted == Wanted::asleep) replica->engine().sleep(client.id, {}, done);
  if (wanted == Wanted::running) replica->engine().wake(client.id, {}, done);
}

void Run::scale(Client& client) {
  Replica* replica = any_replica();
  if (!replica) return;
  const std::uint64_t turn = begin(client);
  const bool up = simulator_.chance(0.5);
  client.large.insert(up);
  CommandOptions options;
  if (simulator_.chance(0.3)) options.idempotency_key = "scale-" + std::to_string(simulator_.number());
  replica->engine().scale(client.id, up, options, [&client, turn, up](Result<SessionView> view) {
    if (client.turn != turn) {
      if (view) client.large.insert(up);
      return;
    }
    client.busy = false;
    if (view) client.large = {up};
  });
}

// It may be refused, fail or be cancelled; it must come to an end, and leave the session as it was wanted.
void Run::backup(Client& client) {
  Replica* replica = any_replica();
  if (!replica) return;
  const std::uint64_t turn = begin(client);
  replica->engine().backup(client.id, "request", {}, [this, &client, turn](Result<SessionView> begun) {
    if (begun) ++report_.backups;
    if (client.turn == turn) client.busy = false;
  });
}

std::optional<Session> Run::stored(const Client& client) {
  auto document = world_.get(documents::partition(client.id), documents::session_key(client.id));
  if (!document) return std::nullopt;
  return (*documents::decode_session(*document))->session;
}

bool Run::is_restoring() {
  return std::any_of(clients_.begin(), clients_.end(), [this](const auto& client) {
    if (client->id.empty()) return false;
    const auto session = stored(*client);
    return session && is_operating(*session) && session->operation->kind == OperationKind::restore;
  });
}

std::vector<BackupRecord> Run::good_backups(const std::string& user, const std::string& id) {
  std::vector<BackupRecord> found;
  for (const auto& client : clients_) {
    if (client->id.empty() || (!id.empty() && client->id != id) || (!user.empty() && client->user != user)) continue;
    auto page = world_.scan(documents::backup_partition(client->id), documents::backup_key(client->id), "", 100);
    for (const Document& document : *page) {
      BackupRecord record = *documents::decode_backup(document);
      if (record.state == "verified" && record.session_id == client->id) found.push_back(std::move(record));
    }
  }
  return found;
}

std::optional<BackupRecord> Run::any_backup(const std::string& id) {
  const std::vector<BackupRecord> found = good_backups("", id);
  if (found.empty()) return std::nullopt;
  return found[simulator_.number() % found.size()];
}

// One of the schedule, one that a drill reads, one that retention is about to remove, or any that the user may take.
std::optional<BackupRecord> Run::backup_to_restore(const Client& client) {
  std::vector<BackupRecord> found = good_backups(client.user, simulator_.chance(0.7) ? client.id : "");
  if (found.empty()) return std::nullopt;
  const auto lot = simulator_.between(0, 3);
  const auto liked = [&](const BackupRecord& record) {
    return (lot == 0 && record.trigger == "schedule") || (lot == 1 && !record.drill.empty());
  };
  std::shuffle(found.begin(), found.end(), simulator_);
  std::stable_partition(found.begin(), found.end(), liked);
  if (lot == 2)
    std::swap(found.front(), *std::min_element(found.begin(), found.end(),
                                               [](const auto& a, const auto& b) { return a.created_at_us < b.created_at_us; }));
  return found.front();
}

// Whoever wants a backup back puts the session to sleep for that first.
bool Run::restore_soon(Client& client) {
  const auto session = stored(client);
  if (!session || client.removed || is_operating(*session) || session->volume.uid.empty()) return false;
  if (!simulator_.chance(0.5)) return false;
  const bool lost = session->phase == Phase::volume_lost;
  if (good_backups(client.user, "").empty()) {
    backup(client);
  } else if (lost || session->phase == Phase::asleep) {
    restore(client);
  } else {
    command(client, Wanted::asleep);
  }
  return true;
}

void Run::restore(Client& client) {
  Replica* replica = any_replica();
  const auto backup = backup_to_restore(client);
  if (!replica || !backup) return;
  const std::uint64_t turn = begin(client);
  if (simulator_.chance(0.2)) replica->engine().verify_backup(backup->id, [](const Result<BackupRecord>&) {});
  replica->engine().restore(client.id, *backup, {}, [this, &client, turn](Result<SessionView> begun) {
    if (begun) ++report_.restores;
    if (begun) client.rests_until_ms = simulator_.now_ms() + simulator_.between(0, 120'000);
    if (client.turn == turn) client.busy = false;
  });
}

void Run::tend() {
  Replica* replica = any_replica();
  const auto backup = any_backup("");
  if (!replica || !backup) return;
  const auto ignore = [](const Result<BackupRecord>&) {};
  const auto dice = simulator_.between(0, 9);
  const bool held = backup->hold.has_value();
  if (dice < 4) return replica->engine().verify_backup(backup->id, ignore);
  if (dice < 7 && held) return replica->engine().hold_backup(backup->id, std::nullopt, ignore);
  if (dice < 7) return replica->engine().hold_backup(backup->id, BackupHold{0, "an audit", "ada", 1}, ignore);
  replica->engine().remove_backup(backup->id, {"ada", "no longer needed", simulator_.chance(0.3)}, ignore);
}

std::string Run::blocked_by(const Client& client) {
  auto document = world_.get(documents::partition(client.id), documents::session_key(client.id));
  if (!document) return {};
  const Session session = (*documents::decode_session(*document))->session;
  return session.phase == Phase::delete_blocked ? session.operation->reason : std::string();
}

// Whether its delete's receipt says what is lost: from then on that can be accepted, also before the phase says it.
bool Run::names_losses(const Client& client) {
  auto document = world_.get(documents::partition(client.id), documents::session_key(client.id));
  if (!document) return false;
  const Session session = (*documents::decode_session(*document))->session;
  return session.operation && session.operation->receipt && !session.operation->receipt->skipped.empty();
}

void Run::remove(Client& client) {
  Replica* replica = any_replica();
  if (!replica) return;
  client.removed = true;
  const std::uint64_t turn = begin(client);
  DeleteOptions wishes;
  wishes.skip_backup = simulator_.chance(0.02);
  wishes.override_losses = simulator_.chance(0.2);
  if (wishes.skip_backup) world_.may_skip.insert(client.id);
  if (wishes.override_losses && names_losses(client)) world_.may_lose.insert(client.id);
  replica->engine().remove(client.id, wishes, {}, [&client, turn](Result<Engine::DeleteAnswer> answer) {
    if (answer) client.remove_accepted = true;
    if (answer && answer->tombstone) client.tombstone = true;
    if (client.turn == turn) client.busy = false;
  });
}

void Run::send(Client& client) {
  Replica* replica = any_replica();
  if (!replica) return;
  const std::size_t index = client.sent.size();
  const std::string text = "message " + std::to_string(index) + " of " + std::to_string(client.number);
  client.sent.push_back({text, "", false});
  client.wanted.insert(client.removed ? Wanted::deleted : Wanted::running);  // a message wakes
  CommandOptions options;
  if (simulator_.chance(0.3)) options.idempotency_key = text;
  const std::uint64_t turn = begin(client);
  replica->engine().chat(client.id, text, options, [this, &client, index, turn](Result<Engine::Queued> queued) {
    if (queued) {
      ++report_.sent;
      client.sent[index].id = queued->message.id;
      client.sent[index].acknowledged = true;
      if (queued->message.id.empty()) world_.violate("a message was acknowledged without an id");
    }
    if (client.turn != turn) {
      if (queued) client.wanted.insert(Wanted::running);
      return;
    }
    client.busy = false;
    if (queued) client.wanted = {Wanted::running};
  });
}

void Run::claim(Client& client) {
  Replica* replica = any_replica();
  if (!replica || client.id.empty()) return;
  client.consuming = true;
  const std::uint64_t turn = ++client.consumer_turn;
  simulator_.after_ns(60'000 * kMs, [&client, turn] {
    if (client.consumer_turn == turn) client.consuming = false;
  });
  const int max = static_cast<int>(simulator_.between(1, 3));
  replica->engine().claim(
      client.id, max, simulator_.between(0, 20'000), simulator_.between(1'000, 20'000),
      [this, &client, turn](Result<std::vector<Message>> messages) {
        if (client.consumer_turn == turn) client.consuming = false;
        if (!messages || messages->empty()) return;
        for (const Message& message : *messages) {
          const bool first = client.delivered.insert(message.id).second;
          const std::string& known = client.texts.emplace(message.text, message.id).first->second;
          if (known != message.id) world_.violate("message " + message.id + " of " + client.id + " was queued twice");
          if (client.answered.count(message.id))
            world_.violate("message " + message.id + " was offered after it was acknowledged");
          if (first && message.id < client.last_first)
            world_.violate("message " + message.id + " of " + client.id + " came after a later one");
          if (first) client.last_first = message.id;
        }
        auto head = world_.scan(documents::partition(client.id), documents::message_prefix(client.id), "", 100);
        if (!head->empty() && head->front().key < documents::message_prefix(client.id) + messages->front().id) {
          world_.violate("message " + messages->front().id + " of " + client.id + " was offered behind one that is not answered");
        }
        // Nothing that was acknowledged to its sender stands before the first of these and was never offered.
        for (const Sent& sent : client.sent) {
          if (sent.acknowledged && sent.id < messages->front().id && !client.delivered.count(sent.id) &&
              !client.answered.count(sent.id)) {
            world_.violate("message " + sent.id + " of " + client.id + " was passed over");
          }
        }
        ack(client, *messages);
      });
}

void Run::ack(Client& client, const std::vector<Message>& messages) {
  for (const Message& message : messages) {
    if (simulator_.chance(0.2) && busy_) return;  // the consumer dies
    Replica* replica = any_replica();
    if (!replica) return;
    const std::string id = message.id;
    replica->engine().ack(client.id, id, message.claim, Json("reply to " + id), [this, &client, id](Result<Message> acked) {
      if (!acked) return;
      ++report_.answered;
      client.answered.insert(id);
    });
  }
}

// ---- the end ------------------------------------------------------------------------------------------------------------

void Run::run_until(std::int64_t until_ms) {
  while (simulator_.step(until_ms * kMs)) {
    check_leaders();
    if (plan_.replicas > 1) check_reads();
    trouble();
    for (std::size_t index : std::exchange(crashing_, {})) crash(index);
    if (world_.violations.size() > 20) return;
  }
}

bool Run::client_at_rest(Client& client, std::string& why) {
  if (client.id.empty()) return true;
  auto document = world_.get(documents::partition(client.id), documents::session_key(client.id));
  auto platform = world_.platforms.find(client.id);
  auto no = [&](const std::string& what) {
    why = "session " + client.id + ": " + what;
    return false;
  };
  if (!document) {
    auto tombstone = world_.get(documents::partition(client.id), documents::tombstone_key(client.id));
    if (!tombstone) return no("neither a document nor a tombstone");
    const bool written =
        platform != world_.platforms.end() && platform->second.volume && !platform->second.volume->written.empty();
    const bool made_late = client.volume_taken;  // an apply that was on its way when it was taken
    if (written && !made_late) return no("deleted, but its volume is there");
    if (platform != world_.platforms.end() && !platform->second.others.empty())
      return no("deleted, but volume " + platform->second.others.begin()->first + " is there");
    return true;
  }
  auto view = documents::decode_session(*document);
  if (!view) return no(view.error().message);
  const Session& session = (*view)->session;
  if (is_operating(session) && session.wanted != Wanted::deleted && !is_scheduled(*session.operation))
    return no("its " + std::string(to_string(session.operation->kind)) + " is still under way");
  const bool missing = session.phase == Phase::volume_lost || session.volume.uid.empty();
  if (awaits_restore(session) && session.wanted != Wanted::deleted)
    return session.phase == Phase::failed ? true
                                          : no("it was not restored, and its phase is " + std::string(to_string(session.phase)));
  if (client.volume_taken && (missing || !client.source) && session.wanted != Wanted::deleted &&
      (missing || session.volume.generation == 0)) {
    return missing ? true : no("its volume was taken, but its phase is " + std::string(to_string(session.phase)));
  }
  if (session.wanted == Wanted::deleted) {
    if (session.phase == Phase::delete_blocked && !session.operation->reason.empty())
      return no("blocked: " + session.operation->reason);
    return no("still being deleted, at " + std::string(to_string(session.operation->step)));
  }
  for (const RetiredTasks& tasks : session.retired) {
    if (!tasks.removed) return no("tasks of operation " + tasks.operation + " are not removed");
  }
  if (const std::string what = volumes_at_rest(session); !what.empty()) return no(what);
  const bool up = platform != world_.platforms.end() && platform->second.workload.state == WorkloadState::running;
  if (session.wanted == Wanted::running) {
    if (session.phase != Phase::running || !up) return no("wanted running, is " + std::string(to_string(session.phase)));
    if (!(platform->second.workload.size == session.wanted_size)) return no("has another size than wanted");
    return true;
  }
  const bool gone = platform == world_.platforms.end() || platform->second.workload.state == WorkloadState::none;
  if (plan_.backup_every_ms > 0 && session.phase == Phase::asleep && unsaved_since_us(session))
    return no("it sleeps, and nobody saved what it holds");
  return session.phase == Phase::asleep && gone ? true : no("wanted asleep, is " + std::string(to_string(session.phase)));
}

bool Run::at_rest(std::string& why) {
  for (auto& replica : replicas_) {
    if (!replica || !replica->engine().ready()) {
      why = "a replica is not ready";
      return false;
    }
  }
  for (auto& client : clients_) {
    if (!client_at_rest(*client, why)) return false;
  }
  return true;
}

void Run::settle() {
  busy_ = false;
  world_.troubled = world_.list_shows_nothing = false;
  if (simulator_.has_jumped()) simulator_.jump_us(24LL * 3600 * 1'000'000);  // nothing waits for a time that was ahead
  for (const auto& [name, archive] : std::map(world_.lost_archives)) {       // of a deleted session it stays lost
    const std::string id = archive.receipt.session_id;
    if (world_.get(documents::partition(id), documents::session_key(id))) world_.bring_back(name);
  }
  for (auto& replica : replicas_) {
    if (replica && replica->paused()) replica->resume();
  }
  const std::int64_t until = simulator_.now_ms() + plan_.settle_ms;
  std::string why;
  while (simulator_.now_ms() < until && world_.violations.size() <= 20) {
    run_until(simulator_.now_ms() + 5'000);
    if (at_rest(why)) return;
    // What waits for a human gets one: losses are accepted, what is lost is given up.
    for (auto& client : clients_) {
      Replica* replica = any_replica();
      if (!client->removed || !replica) continue;
      const std::string reason = blocked_by(*client);
      if (reason.empty()) continue;
      ++report_.blocked;
      DeleteOptions wishes;
      wishes.override_losses = reason == "FilesSkipped";
      wishes.skip_backup = reason == "VolumeLost" || reason == "VolumeForeign";
      // A volume on its way out cannot be kept where its archive vanishes just then.
      const bool unlucky = client->volume_taken || world_.bereft.count(client->id) != 0;
      if (wishes.skip_backup && !unlucky) world_.violate("the volume of " + client->id + " is said to be lost");
      if (wishes.override_losses) world_.may_lose.insert(client->id);
      if (wishes.skip_backup) world_.may_skip.insert(client->id);
      if (wishes.override_losses || wishes.skip_backup)
        replica->engine().remove(client->id, wishes, {}, [](Result<Engine::DeleteAnswer>) {});
    }
  }
  world_.violate("no rest after " + std::to_string(plan_.settle_ms / 1000) + " s without faults: " + why);
}

void Run::drain_queues() {
  for (int round = 0; round < 400; ++round) {
    bool open = false;
    for (auto& client : clients_) {
      if (client->id.empty() || !world_.get(documents::partition(client->id), documents::session_key(client->id))) continue;
      if (world_.scan(documents::partition(client->id), documents::message_prefix(client->id), "", 1)->empty()) continue;
      open = true;
      if (!client->consuming) claim(*client);
    }
    if (!open) return;
    run_until(simulator_.now_ms() + 2'000);
  }
  world_.violate("the queues do not empty");
}

void Run::check_end() {
  for (auto& owned : clients_) {
    Client& client = *owned;
    if (client.id.empty()) continue;
    auto document = world_.get(documents::partition(client.id), documents::session_key(client.id));
    if (!document) {
      ++report_.deleted;
      if (!client.removed) world_.violate("session " + client.id + " is gone, and nobody deleted it");
      for (const auto& [key, task] : world_.tasks) {
        if (std::get<0>(key) == client.id && task.spec.kind == TaskKind::backup && world_.platforms.count(client.id))
          world_.violate("a task of " + client.id + " is left");
      }
      if (world_.get(documents::user_partition(client.user), documents::reservation_key(client.id)))
        world_.violate("the reservation of " + client.id + " is left");
      continue;
    }
    if (client.remove_accepted && !plan_.lost_volumes)
      world_.violate("session " + client.id + " is there after an accepted delete");
    const Session session = (*documents::decode_session(*document))->session;
    if (!client.removed && !client.wanted.count(session.wanted))
      world_.violate("session " + client.id + ": an acknowledged command is lost: it is wanted " +
                     std::string(to_string(session.wanted)));
    if (!client.large.count(session.wanted_size == EngineOptions{}.size_large))
      world_.violate("session " + client.id + ": an acknowledged scale is lost");
    if (!session.last_backup.id.empty()) check_backup(session);
    const bool filled = session.operation && session.operation->kind == OperationKind::restore &&
                        session.operation->outcome == OperationOutcome::succeeded;
    if (session.volume.generation > 0 || filled) ++report_.restored;
    if (session.queue_length != 0)
      world_.violate("session " + client.id + ": the empty queue is said to hold " + std::to_string(session.queue_length));
    for (const Sent& sent : client.sent) {
      if (sent.acknowledged && !client.delivered.count(sent.id))
        world_.violate("message " + sent.id + " of " + client.id + " was acknowledged and never delivered");
    }
    if (!world_.get(documents::user_partition(client.user), documents::reservation_key(client.id)))
      world_.violate("session " + client.id + " has no reservation");
  }
}

std::string Run::volumes_at_rest(const Session& session) {
  const SimVolume* volume = world_.find_volume(session.id, session.volume.name);
  if (volume && volume->uid != session.volume.uid) return "the uid of its volume is not recorded";
  if (volume && volume->copy && !volume->whole) return "its volume is half filled";
  if (!session.discarded_volumes.empty()) return "volume " + session.discarded_volumes.front().name + " is still to be removed";
  auto platform = world_.platforms.find(session.id);
  if (platform == world_.platforms.end()) return {};
  std::set<std::string> known{session.volume.name};
  for (const KeptVolume& kept : session.kept_volumes) known.insert(kept.volume.name);
  for (const auto& [name, other] : platform->second.others) {
    if (!known.count(name)) return "nobody knows of volume " + name;
  }
  return {};
}

// What a session says of its newest backup is true, unless something happened to that since.
void Run::check_backup(const Session& session) {
  const std::string& id = session.last_backup.id;
  auto document = world_.get(documents::backup_partition(id.substr(0, 8)), documents::backup_key(id));
  if (!document) return world_.violate("backup " + id + " is not in the catalogue");
  const BackupRecord record = *documents::decode_backup(*document);
  const auto archive = world_.archives.find(record.archive);
  const bool whole = archive != world_.archives.end() && !archive->second.corrupt && archive->second.verified;
  if (record.state == "started") world_.violate("backup " + id + " is said to be verified, and is not");
  if (record.trigger == "schedule") ++report_.scheduled;
  const SimVolume* volume = world_.find_volume(session.id, session.volume.name);
  if (!unsaved_since_us(session) && volume && whole) {
    std::vector<std::uint64_t> expected = volume->written;
    std::erase_if(expected, [&](std::uint64_t item) {
      return archive->second.skipped.count(item) != 0 || (record.receipt.exclusions && World::may_be_left_out(item));
    });
    if (archive->second.content != expected) world_.violate("session " + session.id + " counts as saved, and is not");
  }
  if (record.receipt.live != session.last_backup.live) world_.violate("backup " + id + " does not say whether it was live");
}

// The catalogue says what is in the storage.
std::string Run::backups_at_rest() {
  std::set<std::string> named, read;
  for (const BackupRecord& record : world_.records()) {
    if (record.state != "deleted") named.insert(record.archive);
    read.insert(record.drill);
    const auto found = world_.archives.find(record.archive);
    const bool there = found != world_.archives.end();
    const auto wrong = [&](const std::string& truth) {
      return "backup " + record.id + " is said to be " + record.state + ", and is " + truth;
    };
    if (record.state == "deleting") return wrong("still to be removed");
    if (record.state == "verified" && !there) return wrong("gone");
    if (record.state == "verified" && (found->second.corrupt || !found->second.verified)) return wrong("not good");
    if (record.state == "missing" && there) return wrong("there");
    if (record.state == "damaged" && !there) return wrong("gone");
    if (record.state == "damaged" && !found->second.corrupt) return wrong("whole");
  }
  if (std::string what = strangers_at_rest(named); !what.empty()) return what;
  return readings_at_rest(read);
}

// Archives of no record are told, and no others.
std::string Run::strangers_at_rest(const std::set<std::string>& named) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::set<std::string> told, strange;
  for (int i = 0; i < 256; ++i) {
    const std::string partition{kDigits[i >> 4], kDigits[i & 15]};
    auto document = world_.get(documents::backup_partition(partition), std::string(documents::kStrangersKey));
    if (!document) continue;
    for (const auto& object : documents::decode_strangers(*document)) told.insert(object.name);
  }
  for (const auto& [name, archive] : world_.archives) {
    if (!named.count(name)) strange.insert(name);
  }
  for (const std::string& name : told) {
    if (!strange.count(name)) return name + " is called a stranger, and is none";
  }
  for (const std::string& name : strange) {
    if (!told.count(name)) return name + " is a stranger, and is not called one";
  }
  return {};
}

// No reading is left behind without a word (a task of an operation before a session's last one may begin after both, and is then
// an orphan), and the one that is under way is nobody's orphan.
std::string Run::readings_at_rest(const std::set<std::string>& read) {
  std::set<std::string> left;
  std::string which;
  for (const auto& [key, task] : world_.tasks) {
    const auto& [id, operation, attempt] = key;
    const bool own = world_.get(documents::partition(id), documents::session_key(id)).ok();
    if (task.spec.kind != TaskKind::verify || own || read.count(operation)) continue;
    left.insert(id);
    which = id + " by " + operation + "/" + std::to_string(attempt);
  }
  if (plan_.lost_volumes) return {};  // what a late apply makes in the place of a lost one is an orphan
  for (auto& replica : replicas_) {
    if (!replica) return "a replica is down";
    if (!replica->engine().statistics().leader) continue;
    const auto orphans = static_cast<std::size_t>(replica->engine().statistics().orphans);
    if (orphans > left.size()) return "there are orphans";
    if (orphans < left.size()) return "a task that reads for " + which + " is left, and nobody is told";
  }
  return {};
}

void Run::settle_backups() {
  const std::int64_t until = simulator_.now_ms() + plan_.settle_ms;
  std::string why;
  while (simulator_.now_ms() < until && world_.violations.empty()) {
    run_until(simulator_.now_ms() + 10'000);
    why = backups_at_rest();
    if (why.empty()) return;
  }
  if (world_.violations.empty())
    world_.violate("no rest of the backups after " + std::to_string(plan_.settle_ms / 1000) + " s: " + why);
}

Report Run::go() {
  replicas_.resize(plan_.replicas);
  for (std::size_t i = 0; i < replicas_.size(); ++i) boot(i);
  for (auto& client : clients_) schedule(*client);
  run_until(plan_.busy_ms);
  settle();
  if (world_.violations.empty()) drain_queues();
  std::string why;
  if (world_.violations.empty()) run_until(simulator_.now_ms() + 120'000);
  // A backup of the schedule that is under way, or whose tasks are still to be removed, comes to its end.
  for (int i = 0; i < 60 && plan_.backup_every_ms > 0 && world_.violations.empty() && !at_rest(why); ++i)
    run_until(simulator_.now_ms() + 1'000);
  if (world_.violations.empty() && !at_rest(why)) world_.violate("it does not stay at rest: " + why);
  if (world_.violations.empty()) settle_backups();
  if (world_.violations.empty()) check_end();
  for (auto& replica : replicas_) {
    if (!replica) continue;
    const auto backups = replica->engine().backup_statistics();
    report_.drilled += static_cast<std::uint64_t>(backups.proven);
    report_.missing += static_cast<std::uint64_t>(backups.missing);
    report_.damaged += static_cast<std::uint64_t>(backups.damaged);
    report_.removed += static_cast<std::uint64_t>(backups.removed);
  }
  report_.in_place = world_.restores;
  report_.violations = world_.violations;
  report_.events = simulator_.steps();
  return report_;
}

}  // namespace roost::simulation
