#include "engine/commands.hpp"

#include "engine/documents.hpp"
#include "engine/operations.hpp"
#include "engine/planner.hpp"

namespace roost {

namespace {

constexpr std::int64_t kTouchUs = 60LL * 1'000'000;
constexpr std::uint32_t kSearchPage = 200;

// A wish of a person: earlier failures do not hold it up.
void begin_anew(Session& session) {
  session.spec_generation += 1;
  session.failures = 0;
  session.next_attempt_at_us = 0;
  if (session.phase == Phase::volume_lost) return;
  session.reason.clear();
  session.message.clear();
}

// An admin accepts the losses that a verified receipt names, not those that a later one may.
Status refuse_unnamed_losses(const Session& session) {
  const bool stands = session.wanted == Wanted::deleted && session.operation && session.operation->receipt;
  if (stands) {
    const Operation& operation = *session.operation;
    const auto blocker = [&](bool accepted) {
      return release_blocker(*operation.receipt, operation.id, session.volume.uid, accepted);
    };
    if (operation.override_losses || (!blocker(false).empty() && blocker(true).empty())) return {};
  }
  return Error{Code::conflict,
               "there are no losses to accept yet: begin the delete without it, and accept what it names once its phase is "
               "delete_blocked with the reason FilesSkipped",
               0};
}

// What stands under an idempotency key: the command, and the operation that it began.
Json used_by(const std::string& command, const Session& before, const Session& now) {
  Json used = Json::object({{"command", command}});
  const bool begun = now.operation && (!before.operation || before.operation->id != now.operation->id);
  if (begun) used.set("operation", to_json(*now.operation));
  return used;
}

// The session as whoever repeats a call is to hear of it: with the operation that the first one began, where another has taken
// its place since. Null: as it is.
SessionView as_answered_first(const SessionView& view, const Json& used) {
  auto first = operation_from_json(used["operation"]);
  if (!first || !view->session.operation || view->session.operation->id == first->id) return nullptr;
  auto then = std::make_shared<SessionSnapshot>(*view);
  then->session.operation = *std::move(first);
  return then;
}

// `of`: its session, or what is left of it.
template <class Of>
Json operation_json(const Operation& operation, const Of& of) {
  return to_json(operation).set("session_id", of.id).set("user_id", of.user_id);
}

}  // namespace

Status refuse_deleted(const Session& session) {
  if (session.wanted != Wanted::deleted) return {};
  return Error{Code::conflict, "session " + session.id + " is being deleted", 0};
}

void want_running(Session& session, std::int64_t now_us) {
  session.last_activity_us = now_us;
  if (session.wanted == Wanted::running) return;
  session.wanted = Wanted::running;
  session.wake_count += 1;
  if (!awaits_restore(session)) operations::cancel(session, "the session was woken");
  begin_anew(session);
  if (session.phase != Phase::volume_lost) session.phase = session.volume.uid.empty() ? Phase::pending : Phase::starting;
}

void Commands::run(const std::string& id, const std::string& name, const CommandOptions& options, Change change,
                   Done<SessionView> done) {
  auto answer = std::make_shared<SessionView>();  // of a dry run, or a repeated call; null: the session as it is
  const std::string key = options.idempotency_key.empty() ? "" : documents::idempotency_key(id, options.idempotency_key);
  auto judge = [this, options, name, key, answer, change = std::move(change)](const SessionView& view,
                                                                              const Writer::Decide& decide) {
    if (options.if_match && *options.if_match != view->revision) {
      return decide(Edit::refuse(
          {Code::conflict,
           "the session is at revision " + std::to_string(view->revision) + ", not at " + std::to_string(*options.if_match), 0}));
    }
    Session next = view->session;
    if (Status status = change(next); !status) return decide(Edit::refuse(status.error()));
    if (options.dry_run) {
      auto preview = std::make_shared<SessionSnapshot>(*view);
      preview->session = std::move(next);
      *answer = std::move(preview);
      return decide(Edit::none());
    }
    if (next == view->session && key.empty()) return decide(Edit::none());
    Edit edit = Edit::write(std::move(next));
    if (!key.empty()) {
      edit.conditions.push_back({Condition::Kind::absent, key, 0});
      edit.operations.push_back(
          {StoreOperation::Kind::put, key, used_by(name, view->session, edit.next).dump(), context_.options.idempotency_ms});
    }
    decide(std::move(edit));
  };
  auto prepare = [this, id, name, key, answer, judge = std::move(judge)](const SessionView& view, Writer::Decide chosen) {
    if (key.empty()) return judge(view, chosen);
    context_.get(documents::partition(id), key, [name, view, answer, judge, chosen = std::move(chosen)](Result<Document> used) {
      if (!used && used.error().code == Code::not_found) return judge(view, chosen);
      if (!used) return chosen(Edit::refuse(used.error()));
      auto json = Json::parse(used->value);
      if (!json || (*json)["command"].as_string() != name)
        return chosen(Edit::refuse({Code::invalid, "this idempotency key was used for another request", 0}));
      *answer = as_answered_first(view, *json);
      chosen(Edit::none());
    });
  };
  writer_.mutate(id, std::move(prepare), [answer, done = std::move(done)](Result<Written> written) {
    if (!written) return done(written.error());
    done(*answer ? *answer : written->view);
  });
}

void Commands::sleep(const std::string& id, const CommandOptions& options, Done<SessionView> done) {
  auto change = [](Session& session) -> Status {
    ROOST_CHECK(refuse_deleted(session));
    if (session.wanted == Wanted::asleep) return {};
    const bool up = session.phase != Phase::volume_lost && session.phase != Phase::pending;
    session.wanted = Wanted::asleep;
    begin_anew(session);
    if (up) session.phase = Phase::stopping;
    return {};
  };
  run(id, "sleep", options, std::move(change), std::move(done));
}

void Commands::wake(const std::string& id, const CommandOptions& options, Done<SessionView> done) {
  auto change = [this](Session& session) -> Status {
    ROOST_CHECK(refuse_deleted(session));
    if (session.wanted != Wanted::running) want_running(session, context_.wall_us());
    return {};
  };
  run(id, "wake", options, std::move(change), std::move(done));
}

void Commands::scale(const std::string& id, bool up, const CommandOptions& options, Done<SessionView> done) {
  auto change = [this, up](Session& session) -> Status {
    ROOST_CHECK(refuse_deleted(session));
    const Size& size = up ? context_.options.size_large : context_.options.size_small;
    if (session.wanted_size == size) return {};
    session.wanted_size = size;
    session.last_activity_us = context_.wall_us();
    begin_anew(session);
    return {};
  };
  run(id, up ? "scale up" : "scale down", options, std::move(change), std::move(done));
}

void Commands::backup(const std::string& id, const std::string& trigger, const CommandOptions& options, Done<SessionView> done) {
  auto change = [this, trigger](Session& session) -> Status {
    return operations::begin_backup(session, operation_id(session.id), trigger, context_.wall_us());
  };
  run(id, "backup", options, std::move(change), std::move(done));
}

void Commands::restore(const std::string& id, const BackupRecord& backup, const CommandOptions& options, Done<SessionView> done) {
  auto change = [this, backup](Session& session) -> Status {
    ROOST_CHECK(operations::refuse_source(backup));
    if (backup.user_id != session.user_id)
      return Error{Code::conflict, "backup " + backup.id + " is of another user's session: restore it as a new session", 0};
    return operations::begin_restore(session, operation_id(session.id), operations::source_of(backup),
                                     context_.ports.random->hex(16), context_.wall_us());
  };
  run(id, "restore " + backup.id, options, std::move(change), std::move(done));
}

void Commands::remove(const std::string& id, const DeleteOptions& wishes, const CommandOptions& options,
                      Done<Engine::DeleteAnswer> done) {
  auto change = [this, wishes](Session& session) -> Status {
    if (wishes.override_losses) ROOST_CHECK(refuse_unnamed_losses(session));
    if (session.wanted != Wanted::deleted || !session.operation || session.operation->kind != OperationKind::remove) {
      session.wanted = Wanted::deleted;
      operations::cancel(session, "the session is deleted");
      session.operation.emplace();
      session.operation->id = operation_id(session.id);
      session.operation->started_at_us = context_.wall_us();
      begin_anew(session);
    }
    Operation& operation = *session.operation;
    const bool more = (wishes.skip_backup && !operation.skip_backup) || (wishes.override_losses && !operation.override_losses);
    operation.skip_backup |= wishes.skip_backup;
    operation.override_losses |= wishes.override_losses;
    if (more) session.failures = session.next_attempt_at_us = 0;
    session.phase = phase_of(session, nullptr);
    return {};
  };
  const std::string name =
      std::string("delete") + (wishes.skip_backup ? " skip" : "") + (wishes.override_losses ? " override" : "");
  run(id, name, options, std::move(change), [this, id, done = std::move(done)](Result<SessionView> view) {
    if (view) {
      const auto& operation = (*view)->session.operation;
      return done(Engine::DeleteAnswer{*view, std::nullopt, operation ? *operation : Operation{}});
    }
    if (view.error().code != Code::not_found) return done(view.error());
    find_tombstone(id, [done](Result<Tombstone> tombstone) {
      if (!tombstone) return done(tombstone.error());
      const Operation operation = tombstone->operation;
      done(Engine::DeleteAnswer{nullptr, *std::move(tombstone), operation});
    });
  });
}

void Commands::touch(const std::string& id) {
  SessionView view = context_.reads.find(id);
  const std::int64_t now = context_.wall_us();
  if (!view || view->session.wanted == Wanted::deleted) return;
  if (now >= view->session.last_activity_us && now - view->session.last_activity_us < kTouchUs) return;
  if (!touching_.insert(id).second) return;
  auto prepare = [now](const SessionView& latest, const Writer::Decide& decide) {
    if (latest->session.wanted == Wanted::deleted) return decide(Edit::none());
    Session next = latest->session;
    next.last_activity_us = now;
    decide(Edit::write(std::move(next)));
  };
  writer_.mutate(id, std::move(prepare), [this, id](Result<Written>) { touching_.erase(id); });
}

void Commands::find_tombstone(const std::string& id, Done<Tombstone> done) {
  context_.get(documents::partition(id), documents::tombstone_key(id), [id, done = std::move(done)](Result<Document> found) {
    if (!found && found.error().code == Code::not_found) return done(Error{Code::not_found, "there is no session " + id, 0});
    if (!found) return done(found.error());
    done(documents::decode_tombstone(*found));
  });
}

void Commands::wait_deleted(const std::string& id, std::int64_t timeout_ms, Done<Tombstone> done) {
  if (!context_.reads.find(id)) return find_tombstone(id, std::move(done));
  auto& list = waiters_[id];
  list.push_back({std::move(done), 0});
  auto it = std::prev(list.end());
  it->timer = context_.after_ms(timeout_ms, [this, id, it] {
    Done<Tombstone> late = std::move(it->done);
    auto& waiting = waiters_[id];
    waiting.erase(it);
    if (waiting.empty()) waiters_.erase(id);
    late(Error{Code::deadline, "session " + id + " is still being deleted; it carries on", 0});
  });
}

void Commands::buried(const std::string& id, const Result<Tombstone>& tombstone) {
  auto node = waiters_.extract(id);
  if (node.empty()) return;
  for (Waiter& waiter : node.mapped()) {
    context_.ports.scheduler->cancel(waiter.timer);
    waiter.done(tombstone);
  }
}

void Commands::stop() {
  auto all = std::move(waiters_);
  waiters_.clear();
  for (auto& [id, list] : all) {
    for (Waiter& waiter : list) {
      context_.ports.scheduler->cancel(waiter.timer);
      waiter.done(Error{Code::unavailable, "the daemon is stopping; the delete carries on when it is back", 0});
    }
  }
}

void Commands::find_operation(const std::string& operation_id, Done<Json> done) {
  if (!valid_session_id(operation_id)) return done(Error{Code::not_found, "there is no such operation", 0});
  if (!context_.is_current()) return scan_sessions(operation_id, "", std::move(done));
  std::string after = operation_id.substr(0, 2) + "000000";
  const std::string first = operation_id.substr(0, 2);
  SessionView zero = context_.reads.find(after);
  if (zero && zero->session.operation && zero->session.operation->id == operation_id) {
    return done(operation_json(*zero->session.operation, zero->session));
  }
  while (true) {
    auto page = context_.reads.list(after, kSearchPage);
    for (const SessionView& view : page) {
      if (view->session.id.compare(0, 2, first) != 0) return scan_sessions(operation_id, "", std::move(done));
      const auto& operation = view->session.operation;
      if (operation && operation->id == operation_id) return done(operation_json(*operation, view->session));
    }
    if (page.size() < kSearchPage) return scan_sessions(operation_id, "", std::move(done));
    after = page.back()->session.id;
  }
}

// Another replica may have just begun it.
void Commands::scan_sessions(const std::string& operation_id, const std::string& after, Done<Json> done) {
  if (!context_.replicated) return scan_tombstones(operation_id, "", std::move(done));
  context_.scan(operation_id.substr(0, 2), "session/", after, kSearchPage,
                [this, operation_id, done = std::move(done)](Result<std::vector<Document>> page) {
                  if (!page) return done(page.error());
                  for (const Document& document : *page) {
                    auto view = documents::decode_session(document);
                    if (!view || !(*view)->session.operation || (*view)->session.operation->id != operation_id) continue;
                    return done(operation_json(*(*view)->session.operation, (*view)->session));
                  }
                  if (page->size() < kSearchPage) return scan_tombstones(operation_id, "", done);
                  scan_sessions(operation_id, page->back().key, done);
                });
}

void Commands::scan_tombstones(const std::string& operation_id, const std::string& after, Done<Json> done) {
  context_.scan(operation_id.substr(0, 2), "tombstone/", after, kSearchPage,
                [this, operation_id, done = std::move(done)](Result<std::vector<Document>> page) {
                  if (!page) return done(page.error());
                  for (const Document& document : *page) {
                    auto tombstone = documents::decode_tombstone(document);
                    if (tombstone && tombstone->operation.id == operation_id)
                      return done(operation_json(tombstone->operation, *tombstone));
                  }
                  if (page->size() < kSearchPage) return done(Error{Code::not_found, "there is no operation " + operation_id, 0});
                  scan_tombstones(operation_id, page->back().key, done);
                });
}

}  // namespace roost
