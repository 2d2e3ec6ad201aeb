// Harness: an engine in a world without faults, in virtual time, with calls that wait for their answer. Thread safety: one
// thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/documents.hpp"
#include "engine/engine.hpp"
#include "simulation/replica.hpp"

namespace roost::simulation {

inline CommandOptions with_key(const std::string& key) {
  CommandOptions options;
  options.idempotency_key = key;
  return options;
}

template <class T>
Code code_of(const Result<T>& result) {
  return result.ok() ? static_cast<Code>(0) : result.error().code;
}

class Harness {
 public:
  explicit Harness(EngineOptions the_options = {}) : world(simulator, Faults{}), options(std::move(the_options)) {
    world.troubled = false;
    restart();
  }

  void restart() {
    replica.reset();
    replica = std::make_unique<Replica>(world, options);
    replica->engine().on_event([this](const Event& event) { events.push_back(event); });
    replica->engine().start();
    EXPECT_TRUE(until([this] { return engine().ready().ok() && engine().statistics().leader; }));
  }
  Engine& engine() { return replica->engine(); }

  // Runs the world until `met`, at most ten virtual minutes.
  bool until(const std::function<bool()>& met) {
    const std::int64_t end = simulator.monotonic_ns() + 600'000'000'000;
    while (!met()) {
      if (!simulator.step(end)) return met();
    }
    return true;
  }
  void pass_ms(std::int64_t ms) {
    const std::int64_t end = simulator.monotonic_ns() + ms * 1'000'000;
    while (simulator.step(end)) {
    }
  }
  template <class T>
  Result<T> wait(const std::function<void(Done<T>)>& call) {
    auto answer = std::make_shared<std::optional<Result<T>>>();
    call([answer](Result<T> result) { answer->emplace(std::move(result)); });
    if (!until([&] { return answer->has_value(); })) return Error{Code::deadline, "no answer came", 0};
    return **answer;
  }

  Result<SessionView> create(const std::string& user, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().create(user, how, std::move(done)); });
  }
  // A session that is up, with `writes` things written by its user.
  std::string create_running(const std::string& user = "ada@example.com", int writes = 3) {
    auto made = create(user);
    EXPECT_TRUE(made.ok());
    const std::string id = (*made)->session.id;
    EXPECT_TRUE(until([&] { return phase(id) == Phase::running; }));
    for (int i = 0; i < writes; ++i) world.user_writes(id);
    return id;
  }
  Result<SessionView> sleep(const std::string& id, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().sleep(id, how, std::move(done)); });
  }
  Result<SessionView> wake(const std::string& id, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().wake(id, how, std::move(done)); });
  }
  Result<SessionView> scale(const std::string& id, bool up, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().scale(id, up, how, std::move(done)); });
  }
  Result<Engine::DeleteAnswer> remove(const std::string& id, const DeleteOptions& wishes = {}, const CommandOptions& how = {}) {
    return wait<Engine::DeleteAnswer>(
        [&](Done<Engine::DeleteAnswer> done) { engine().remove(id, wishes, how, std::move(done)); });
  }
  Result<SessionView> backup(const std::string& id, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().backup(id, "request", how, std::move(done)); });
  }
  BackupRecord record(const std::string& backup) {
    auto found = wait<BackupRecord>([&](Done<BackupRecord> done) { engine().find_backup(backup, std::move(done)); });
    EXPECT_TRUE(found.ok()) << backup;
    return found.ok() ? *found : BackupRecord{};
  }
  Result<SessionView> restore(const std::string& id, const BackupRecord& backup, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().restore(id, backup, how, std::move(done)); });
  }
  Result<SessionView> restore_as_new(const BackupRecord& backup, const std::string& user, const CommandOptions& how = {}) {
    return wait<SessionView>([&](Done<SessionView> done) { engine().restore_as_new(backup, user, how, std::move(done)); });
  }
  // The operation of the session once it is done.
  Operation operated(const std::string& id) {
    EXPECT_TRUE(until([&] { return view(id) && !is_operating(view(id)->session); }));
    return view(id) && view(id)->session.operation ? *view(id)->session.operation : Operation{};
  }
  Result<Tombstone> wait_deleted(const std::string& id, std::int64_t ms = 300'000) {
    return wait<Tombstone>([&](Done<Tombstone> done) { engine().wait_deleted(id, ms, std::move(done)); });
  }
  Result<Engine::Queued> send(const std::string& id, const std::string& text, const CommandOptions& how = {}) {
    return wait<Engine::Queued>([&](Done<Engine::Queued> done) { engine().chat(id, text, how, std::move(done)); });
  }
  Result<std::vector<Message>> claim(const std::string& id, int max = 1, std::int64_t wait_ms = 0,
                                     std::int64_t visible_ms = 30'000) {
    return wait<std::vector<Message>>(
        [&](Done<std::vector<Message>> done) { engine().claim(id, max, wait_ms, visible_ms, std::move(done)); });
  }
  Result<Message> ack(const std::string& id, const Message& message, const std::string& claim, const Json& reply) {
    return wait<Message>([&](Done<Message> done) { engine().ack(id, message.id, claim, reply, std::move(done)); });
  }
  Result<std::vector<Message>> history(const std::string& id, const std::string& after = "", int limit = 100) {
    auto page = wait<Engine::History>([&](Done<Engine::History> done) { engine().history(id, after, limit, std::move(done)); });
    if (!page) return page.error();
    return std::move(page->messages);
  }
  Result<Json> operation(const std::string& id) {
    return wait<Json>([&](Done<Json> done) { engine().find_operation(id, std::move(done)); });
  }

  SessionView view(const std::string& id) { return engine().reads().find(id); }
  Phase phase(const std::string& id) {
    SessionView found = view(id);
    return found ? found->session.phase : Phase::pending;
  }

  Simulator simulator{1};
  World world;
  EngineOptions options;
  std::vector<Event> events;
  std::unique_ptr<Replica> replica;
};

}  // namespace roost::simulation
