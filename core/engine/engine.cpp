#include "engine/engine.hpp"

#include "engine/catalogue.hpp"
#include "engine/chat.hpp"
#include "engine/commands.hpp"
#include "engine/context.hpp"
#include "engine/creator.hpp"
#include "engine/documents.hpp"
#include "engine/drill.hpp"
#include "engine/follower.hpp"
#include "engine/keeper.hpp"
#include "engine/leader.hpp"
#include "engine/operations.hpp"
#include "engine/reconciler.hpp"
#include "engine/schedule.hpp"
#include "engine/sweep.hpp"
#include "engine/writer.hpp"

namespace roost {

namespace {
constexpr std::int64_t kReadAgainMs = 10'000;  // when to ask again for a restore whose backup is being read
}

class Engine::Impl : public std::enable_shared_from_this<Engine::Impl> {
 public:
  Impl(Ports ports, EngineOptions options) : context(ports, std::move(options)) {
    context.observers.push_back([this](const SessionView& before, const SessionView& after) {
      if (!after) gone(before->session.id);
    });
    keeper.not_good = [this](const BackupRecord& record) { schedule.forget_backup(record); };
  }

  // A session went: those who wait for that hear of it, with its tombstone.
  void gone(const std::string& id) {
    chat.gone(id);
    if (!commands.is_waited_for(id)) return;
    commands.find_tombstone(id, [this, id](Result<Tombstone> tombstone) { commands.buried(id, std::move(tombstone)); });
  }

  // Runs `work` on the engine's thread, or `refuse` where the engine takes no commands.
  template <class T>
  void command(Done<T> done, std::function<void(Done<T>)> work) {
    auto weak = weak_from_this();
    context.ports.scheduler->post([weak, done = std::move(done), work = std::move(work)]() mutable {
      auto self = weak.lock();
      if (!self || self->context.stopping) return done(Error{Code::unavailable, "the daemon is stopping", 1000});
      if (!self->context.loaded)
        return done(Error{Code::unavailable, "the daemon is starting: the sessions are not loaded yet", 1000});
      work(std::move(done));
    });
  }

  void start() {
    check_identity([this] { begin(); });
  }

  // Whoever comes first writes which secret key this store's replicas have.
  void check_identity(std::function<void()> then) {
    if (!context.replicated || context.options.identity.empty()) return then();
    const std::string partition(documents::kIdentityPartition), key(documents::kIdentityKey);
    context.get(partition, key, [this, partition, key, then = std::move(then)](const Result<Document>& found) {
      const auto again = [this, then](std::int64_t ms) {
        if (!context.stopping) context.after_ms(ms, [this, then] { check_identity(then); });
      };
      foreign = found.ok() && found->value != context.options.identity;
      if (foreign) {
        context.log(3, foreign_store().message);
        return again(10'000);
      }
      if (found) return then();
      if (found.error().code != Code::not_found) return again(500);
      Commit commit{
          partition, {{Condition::Kind::absent, key, 0}}, {{StoreOperation::Kind::put, key, context.options.identity, 0}}};
      context.commit(std::move(commit), [again](const Result<CommitResult>&) { again(1); });
    });
  }

  [[nodiscard]] static Error foreign_store() {
    return {
        Code::unavailable,
        "the store belongs to replicas with another secret key: give this one theirs (auth.secret_key), or a store of its own",
        0};
  }

  void begin() {
    follower.load([this] {
      context.loaded = true;
      loaded = true;
      context.log(1, "the sessions are loaded", Json::object({{"sessions", static_cast<std::int64_t>(context.reads.size())}}));
      leader.start([this] {
        reconciler.reset();
        if (context.replicated)  // the one that led before may have written what nobody told us yet
          return follower.reload([this] { sweep.resync(); });
        sweep.resync();
        // A commit of a process that was killed may arrive after its document was read here, and nobody tells of it.
        context.after_ms(Leader::kStragglersMs, [this] { follower.reload([this] { sweep.resync(); }); });
      });
      sweep.watch();
      keeper.start();
      schedule.start();
      if (context.replicated)
        follower.follow({[this] { sweep.resync(); }, [this] { leader.renounce(); }, [this] { leader.ask_now(); },
                         [this](const std::string& id) { keeper.hint(id); }});
    });
  }

  // One that recovery found was never read whole: a restore of it asks for that, and says so.
  Status is_proven(const BackupRecord& backup, bool dry_run) {
    if (backup.state != "verified" || backup.receipt.verified_at_us > 0) return {};
    if (!dry_run) catalogue.ask_verify(backup.id, [](const Result<BackupRecord>&) {});
    return Error{Code::conflict,
                 "backup " + backup.id +
                     " was found in the storage, and nobody has read it back yet: that is done first of all now; " +
                     "restore it again once its last_proven_restorable_at is set",
                 kReadAgainMs};
  }

  // The session as the store has it now.
  void look(const std::string& id, Done<SessionView> done) {
    writer.refresh(id, [id, done = std::move(done)](Result<SessionView> view) {
      if (view && !*view) return done(Error{Code::not_found, "there is no session " + id, 0});
      if (!view && (view.error().code == Code::deadline || view.error().code == Code::outcome_unknown))
        return done(Error{Code::unavailable, "the store does not answer", 1000});
      done(std::move(view));
    });
  }

  void await_current(std::int64_t left_ms, Done<void> done) {
    constexpr std::int64_t kLookMs = 10;
    if (context.is_current()) return done(Status{});
    if (left_ms <= 0) return done(Error{Code::deadline, "the changes in the store are not being followed", 1000});
    context.after_ms(kLookMs,
                     [this, left_ms, done = std::move(done)]() mutable { await_current(left_ms - kLookMs, std::move(done)); });
  }

  void hand_over() {
    leader.resign();
    reconciler.when_idle([this] { leader.release([] {}); });
  }

  void stop(std::function<void()> stopped) {
    context.stopping = true;
    commands.stop();
    chat.stop();
    leader.resign();
    auto release = [this, stopped = std::move(stopped)] { leader.release(stopped); };
    if (context.counters.in_flight > 0) {
      context.idle = [this, release = std::move(release)] {
        auto once = std::exchange(context.idle, nullptr);
        release();
      };
      return;
    }
    release();
  }

  Context context;
  Writer writer{context};
  Creator creator{context, writer};
  Commands commands{context, writer};
  Catalogue catalogue{context};
  Relay relay{context};
  Chat chat{context, writer, relay};
  Leader leader{context};
  Reconciler reconciler{context, writer, creator, leader};
  Drill drill{context, catalogue, leader};
  Sweep sweep{context, writer, reconciler, leader, drill};
  Keeper keeper{context, catalogue, drill, leader};
  Schedule schedule{context, writer, leader};
  Follower follower{context, writer, chat, relay};
  std::atomic<bool> loaded{false};
  std::atomic<bool> foreign{false};  // the store is of another secret key
};

Engine::Engine(Ports ports, EngineOptions options) : impl_(std::make_shared<Impl>(ports, std::move(options))) {}
Engine::~Engine() { impl_->context.end(); }

void Engine::start() {
  impl_->context.post([impl = impl_.get()] { impl->start(); });
}
void Engine::stop(std::function<void()> stopped) {
  impl_->context.post([impl = impl_.get(), stopped = std::move(stopped)]() mutable { impl->stop(std::move(stopped)); });
}

void Engine::hand_over() {
  impl_->context.post([impl = impl_.get()] { impl->hand_over(); });
}

bool Engine::is_replicated() const { return impl_->context.replicated; }
bool Engine::is_current() const { return impl_->context.is_current(); }

void Engine::await_current(std::int64_t timeout_ms, Done<void> done) {
  impl_->command<void>(std::move(done),
                       [impl = impl_.get(), timeout_ms](Done<void> then) { impl->await_current(timeout_ms, std::move(then)); });
}

void Engine::look(std::string id, Done<SessionView> done) {
  impl_->command<SessionView>(
      std::move(done), [impl = impl_.get(), id = std::move(id)](Done<SessionView> then) { impl->look(id, std::move(then)); });
}

Status Engine::ready() const {
  const Context& context = impl_->context;
  if (impl_->foreign) return Impl::foreign_store();
  const auto why = [&] {
    const std::string problem = context.store_ok ? std::string() : context.store_problem();
    return problem.empty() ? problem : ": " + problem;
  };
  if (!impl_->loaded || (context.replicated && !impl_->follower.has_caught_up()))
    return Error{Code::unavailable, "the sessions are not loaded from the store yet" + why(), 0};
  if (!context.store_ok) return Error{Code::unavailable, "the store does not answer" + why(), 0};
  if (impl_->leader.valid() && !context.compute_ok) return Error{Code::unavailable, "compute does not answer", 0};
  return {};
}

void Engine::reconfigure(EngineOptions options) {
  impl_->context.post([impl = impl_.get(), options = std::move(options)]() mutable {
    impl->context.options = std::move(options);
    if (impl->loaded) impl->schedule.start();
  });
}

const ReadModel& Engine::reads() const { return impl_->context.reads; }

void Engine::create(std::string user_id, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(
      std::move(done), [impl = impl_.get(), user_id = std::move(user_id), options = std::move(options)](Done<SessionView> then) {
        impl->creator.create(user_id, options, std::move(then));
      });
}

void Engine::sleep(std::string id, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(std::move(done),
                              [impl = impl_.get(), id = std::move(id), options = std::move(options)](Done<SessionView> then) {
                                impl->commands.sleep(id, options, std::move(then));
                              });
}

void Engine::wake(std::string id, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(std::move(done),
                              [impl = impl_.get(), id = std::move(id), options = std::move(options)](Done<SessionView> then) {
                                impl->commands.wake(id, options, std::move(then));
                              });
}

void Engine::scale(std::string id, bool up, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(std::move(done),
                              [impl = impl_.get(), id = std::move(id), up, options = std::move(options)](Done<SessionView> then) {
                                impl->commands.scale(id, up, options, std::move(then));
                              });
}

void Engine::backup(std::string id, std::string trigger, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(
      std::move(done), [impl = impl_.get(), id = std::move(id), trigger = std::move(trigger), options = std::move(options)](
                           Done<SessionView> then) { impl->commands.backup(id, trigger, options, std::move(then)); });
}

void Engine::restore(std::string id, BackupRecord backup, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(std::move(done), [impl = impl_.get(), id = std::move(id), backup = std::move(backup),
                                                options = std::move(options)](Done<SessionView> then) {
    if (const Status proven = impl->is_proven(backup, options.dry_run); !proven) return then(proven.error());
    impl->commands.restore(id, backup, options, std::move(then));
  });
}

void Engine::restore_as_new(BackupRecord backup, std::string user_id, CommandOptions options, Done<SessionView> done) {
  impl_->command<SessionView>(std::move(done), [impl = impl_.get(), backup = std::move(backup), user_id = std::move(user_id),
                                                options = std::move(options)](Done<SessionView> then) mutable {
    if (const Status proven = impl->is_proven(backup, options.dry_run); !proven) return then(proven.error());
    if (const Status refused = operations::refuse_source(backup); !refused) return then(refused.error());
    // A key that was used for another backup, or for a plain create, is not this one's.
    if (!options.idempotency_key.empty()) options.idempotency_key = "restore " + backup.id + " " + options.idempotency_key;
    impl->creator.create(user_id, options, std::move(then), operations::source_of(backup));
  });
}

void Engine::remove(std::string id, DeleteOptions wishes, CommandOptions options, Done<DeleteAnswer> done) {
  impl_->command<DeleteAnswer>(
      std::move(done), [impl = impl_.get(), id = std::move(id), wishes, options = std::move(options)](Done<DeleteAnswer> then) {
        impl->commands.remove(id, wishes, options, std::move(then));
      });
}

void Engine::wait_deleted(std::string id, std::int64_t timeout_ms, Done<Tombstone> done) {
  impl_->command<Tombstone>(std::move(done), [impl = impl_.get(), id = std::move(id), timeout_ms](Done<Tombstone> then) {
    impl->commands.wait_deleted(id, timeout_ms, std::move(then));
  });
}

void Engine::find_tombstone(std::string id, Done<Tombstone> done) {
  impl_->command<Tombstone>(std::move(done), [impl = impl_.get(), id = std::move(id)](Done<Tombstone> then) {
    impl->commands.find_tombstone(id, std::move(then));
  });
}

void Engine::find_operation(std::string operation_id, Done<Json> done) {
  impl_->command<Json>(std::move(done), [impl = impl_.get(), operation_id = std::move(operation_id)](Done<Json> then) {
    impl->commands.find_operation(operation_id, [impl, then = std::move(then)](Result<Json> found) {
      if (!found) return then(std::move(found));
      if (found.ok()) found->set("progress", impl->reconciler.progress_of(*found));
      then(std::move(found));
    });
  });
}

void Engine::find_backup(std::string id, Done<BackupRecord> done) {
  impl_->command<BackupRecord>(std::move(done), [impl = impl_.get(), id = std::move(id)](Done<BackupRecord> then) {
    impl->catalogue.find(id, std::move(then));
  });
}

void Engine::list_backups(BackupQuery query, Done<BackupPage> done) {
  impl_->command<BackupPage>(std::move(done), [impl = impl_.get(), query = std::move(query)](Done<BackupPage> then) {
    impl->catalogue.list(query, std::move(then));
  });
}

void Engine::list_strangers(Done<std::vector<BackupStorage::Object>> done) {
  using Objects = std::vector<BackupStorage::Object>;
  impl_->command<Objects>(std::move(done),
                          [impl = impl_.get()](Done<Objects> then) { impl->catalogue.strangers(std::move(then)); });
}

void Engine::hold_backup(std::string id, std::optional<BackupHold> hold, Done<BackupRecord> done) {
  impl_->command<BackupRecord>(std::move(done),
                               [impl = impl_.get(), id = std::move(id), hold = std::move(hold)](Done<BackupRecord> then) {
                                 impl->catalogue.hold(id, hold, std::move(then));
                               });
}

void Engine::verify_backup(std::string id, Done<BackupRecord> done) {
  impl_->command<BackupRecord>(std::move(done), [impl = impl_.get(), id = std::move(id)](Done<BackupRecord> then) {
    impl->catalogue.ask_verify(id, std::move(then));
  });
}

void Engine::remove_backup(std::string id, BackupRemoval removal, Done<BackupRecord> done) {
  impl_->command<BackupRecord>(std::move(done),
                               [impl = impl_.get(), id = std::move(id), removal = std::move(removal)](Done<BackupRecord> then) {
                                 impl->catalogue.remove(id, removal, std::move(then));
                               });
}

Engine::BackupStatistics Engine::backup_statistics() const { return impl_->keeper.statistics(); }
Engine::ScheduleStatistics Engine::schedule_statistics() const { return impl_->schedule.statistics(); }

void Engine::touch(std::string id) {
  impl_->context.post([impl = impl_.get(), id = std::move(id)] {
    if (impl->context.loaded && !impl->context.stopping) impl->commands.touch(id);
  });
}

void Engine::chat(std::string id, std::string text, CommandOptions options, Done<Queued> done) {
  impl_->command<Queued>(std::move(done),
                         [impl = impl_.get(), id = std::move(id), text = std::move(text), options = std::move(options)](
                             Done<Queued> then) { impl->chat.send(id, text, options, std::move(then)); });
}

void Engine::claim(std::string id, int max, std::int64_t wait_ms, std::int64_t visibility_ms, Done<std::vector<Message>> done) {
  impl_->command<std::vector<Message>>(
      std::move(done), [impl = impl_.get(), id = std::move(id), max, wait_ms, visibility_ms](Done<std::vector<Message>> then) {
        impl->chat.claim(id, max, wait_ms, visibility_ms, std::move(then));
      });
}

void Engine::ack(std::string id, std::string message_id, std::string claim, Json reply, Done<Message> done) {
  impl_->command<Message>(std::move(done), [impl = impl_.get(), id = std::move(id), message_id = std::move(message_id),
                                            claim = std::move(claim), reply = std::move(reply)](Done<Message> then) {
    impl->chat.ack(id, message_id, claim, reply, std::move(then));
  });
}

void Engine::history(std::string id, std::string after, int limit, Done<History> done) {
  impl_->command<History>(std::move(done), [impl = impl_.get(), id = std::move(id), after = std::move(after), limit](
                                               Done<History> then) { impl->chat.history(id, after, limit, std::move(then)); });
}

void Engine::on_event(std::function<void(const Event&)> listener) { impl_->context.listener = std::move(listener); }

Engine::Statistics Engine::statistics() const {
  const auto& counters = impl_->context.counters;
  Statistics statistics;
  statistics.steps = counters.steps;
  statistics.step_failures = counters.failures;
  statistics.conflicts = counters.conflicts;
  statistics.orphans = counters.orphans;
  statistics.calls_overdue = counters.overdue;
  statistics.queue_depth = counters.queue_depth;
  statistics.in_flight = counters.in_flight;
  statistics.leader = impl_->leader.valid();
  return statistics;
}

}  // namespace roost
