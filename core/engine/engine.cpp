#include "engine/engine.hpp"

#include "engine/chat.hpp"
#include "engine/commands.hpp"
#include "engine/context.hpp"
#include "engine/creator.hpp"
#include "engine/leader.hpp"
#include "engine/reconciler.hpp"
#include "engine/sweep.hpp"
#include "engine/writer.hpp"

namespace roost {

class Engine::Impl : public std::enable_shared_from_this<Engine::Impl> {
 public:
  Impl(Ports ports, EngineOptions options) : context(ports, std::move(options)) {
    context.observers.push_back([this](const SessionView& before, const SessionView& after) {
      if (!after) gone(before->session.id);
    });
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
    sweep.load([this] {
      context.loaded = true;
      loaded = true;
      context.log(1, "the sessions are loaded", Json::object({{"sessions", static_cast<std::int64_t>(context.reads.size())}}));
      leader.start([this] {
        reconciler.reset();
        if (!context.options.replicated) return sweep.resync();
        sweep.reload([this] { sweep.resync(); });  // the one that led before may have written what nobody told us yet
      });
      sweep.watch();
    });
  }

  void stop(std::function<void()> stopped) {
    context.stopping = true;
    commands.stop();
    chat.stop();
    auto release = [this, stopped = std::move(stopped)] { leader.stop(stopped); };
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
  Creator creator{context};
  Commands commands{context, writer};
  Chat chat{context, writer};
  Leader leader{context};
  Reconciler reconciler{context, writer, creator, leader};
  Sweep sweep{context, writer, reconciler, chat, leader};
  std::atomic<bool> loaded{false};
};

Engine::Engine(Ports ports, EngineOptions options) : impl_(std::make_shared<Impl>(ports, std::move(options))) {}
Engine::~Engine() { impl_->context.end(); }

void Engine::start() {
  impl_->context.post([impl = impl_.get()] { impl->start(); });
}
void Engine::stop(std::function<void()> stopped) {
  impl_->context.post([impl = impl_.get(), stopped = std::move(stopped)]() mutable { impl->stop(std::move(stopped)); });
}

Status Engine::ready() const {
  const Context& context = impl_->context;
  const auto why = [&] {
    const std::string problem = context.store_ok ? std::string() : context.store_problem();
    return problem.empty() ? problem : ": " + problem;
  };
  if (!impl_->loaded) return Error{Code::unavailable, "the sessions are not loaded from the store yet" + why(), 0};
  if (!context.store_ok) return Error{Code::unavailable, "the store does not answer" + why(), 0};
  if (impl_->leader.valid() && !context.compute_ok) return Error{Code::unavailable, "compute does not answer", 0};
  return {};
}

void Engine::reconfigure(EngineOptions options) {
  impl_->context.post(
      [impl = impl_.get(), options = std::move(options)]() mutable { impl->context.options = std::move(options); });
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
      if (const Task* task = impl->reconciler.task_of((*found)["session_id"].as_string())) {
        found->set("progress", Json::object({{"bytes", task->progress_bytes}, {"files", task->progress_files}}));
      }
      then(std::move(found));
    });
  });
}

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

void Engine::history(std::string id, std::string after, int limit, Done<std::vector<Message>> done) {
  impl_->command<std::vector<Message>>(
      std::move(done), [impl = impl_.get(), id = std::move(id), after = std::move(after),
                        limit](Done<std::vector<Message>> then) { impl->chat.history(id, after, limit, std::move(then)); });
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
