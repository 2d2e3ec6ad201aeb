// Several replicas over one store: what each of them shows, says and decides, and who leads.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

EngineOptions replica_options(const std::string& name) {
  EngineOptions options;
  options.replica = name;
  options.replicated = true;
  return options;
}

// Replica `a` of the harness, which leads, and `b`.
class Pair : public Harness {
 public:
  Pair() : Harness(replica_options("a")) {
    b = std::make_unique<Replica>(world, replica_options("b"));
    b->engine().on_event([this](const Event& event) { heard.push_back(event); });
    b->engine().start();
    EXPECT_TRUE(until([this] { return b->engine().ready().ok() && b->engine().is_current() && engine().is_current(); }));
  }
  template <class T>
  Result<T> ask_b(const std::function<void(Engine&, Done<T>)>& call) {
    return wait<T>([&](Done<T> done) { call(b->engine(), std::move(done)); });
  }
  // From now on each watch of the store fails.
  void break_watch() {
    world.faults = Faults{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    world.faults.cancelled_watch = 1;
    world.troubled = true;
  }
  void mend_watch() { world.troubled = false; }
  std::int64_t now_ms() { return simulator.monotonic_ns() / 1'000'000; }
  int heard_of(const std::string& type, const std::string& id) {
    return static_cast<int>(
        std::count_if(heard.begin(), heard.end(), [&](const Event& e) { return e.type == type && e.session_id == id; }));
  }

  std::unique_ptr<Replica> b;
  std::vector<Event> heard;
};

TEST(Replicas, WhatOneWritesTheOtherShowsAQuarterOfASecondLaterAtMost) {
  Pair h;
  auto made = h.create("ada@example.com");
  ASSERT_TRUE(made.ok());
  const std::string id = (*made)->session.id;
  const std::int64_t began = h.now_ms();
  ASSERT_TRUE(h.until([&] { return h.b->engine().reads().find(id) != nullptr; }));
  EXPECT_LE(h.now_ms() - began, 250);
}

TEST(Replicas, OneThatCannotFollowSaysSoAndReadsInTheStore) {
  Pair h;
  const std::string id = h.create_running();
  h.break_watch();
  h.pass_ms(300);
  EXPECT_FALSE(h.b->engine().is_current());
  ASSERT_TRUE(h.sleep(id).ok());
  EXPECT_EQ(h.b->engine().reads().find(id)->session.wanted, Wanted::running) << "nobody told it";
  auto seen = h.ask_b<SessionView>([&](Engine& b, Done<SessionView> done) { b.look(id, std::move(done)); });
  ASSERT_TRUE(seen.ok());
  EXPECT_EQ((*seen)->session.wanted, Wanted::asleep);
  h.mend_watch();
  EXPECT_TRUE(h.until([&] { return h.b->engine().is_current(); }));
}

TEST(Replicas, ACommandThatSeemsDoneIsHeldAgainstTheStore) {
  Pair h;
  const std::string id = h.create_running();
  ASSERT_TRUE(
      h.until([&] { return h.b->engine().reads().find(id) && h.b->engine().reads().find(id)->session.phase == Phase::running; }));
  h.break_watch();
  h.pass_ms(300);  // the watch that was under way has ended
  ASSERT_TRUE(h.sleep(id).ok());
  auto woken = h.ask_b<SessionView>([&](Engine& b, Done<SessionView> done) { b.wake(id, {}, std::move(done)); });
  ASSERT_TRUE(woken.ok());
  EXPECT_EQ((*woken)->session.wanted, Wanted::running);
  auto stored = h.world.get(documents::partition(id), documents::session_key(id));
  EXPECT_EQ((*documents::decode_session(*stored))->session.wanted, Wanted::running) << "an acknowledged wake is lost";
}

// A deleted session's backup, and the leader has led for long enough to remove it at once.
BackupRecord saved(Pair& h) {
  const std::string id = h.create_running();
  EXPECT_TRUE(h.remove(id).ok());
  const auto deleted = h.wait_deleted(id);
  EXPECT_TRUE(deleted.ok());
  h.pass_ms(60'000);
  return h.record(deleted->operation.backup_id);
}
Result<BackupRecord> remove_backup(Pair& h, const BackupRecord& backup) {
  return h.wait<BackupRecord>([&](Done<BackupRecord> done) {
    h.engine().remove_backup(backup.id, {"ada", "no longer needed", true}, std::move(done));
  });
}

TEST(Replicas, ABackupThatIsRemovedWhileAnotherBeginsToRestoreItGoesAfterThat) {
  Pair h;
  const BackupRecord backup = saved(h);
  ASSERT_TRUE(remove_backup(h, backup).ok());
  // The other one had read the record before.
  const auto made = h.ask_b<SessionView>(
      [&](Engine& b, Done<SessionView> done) { b.restore_as_new(backup, backup.user_id, {}, std::move(done)); });
  ASSERT_TRUE(made.ok()) << made.error().message;
  const std::string id = (*made)->session.id;
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty(); }));
  h.simulator.cancel(h.world.tasks.begin()->second.event);
  h.pass_ms(120'000);
  ASSERT_EQ(h.world.archives.count(backup.archive), 1U) << "it is being read";
  h.world.tasks.clear();  // somebody removes the task: another one is started
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  h.pass_ms(24LL * 3600 * 1000);
  EXPECT_EQ(h.world.archives.count(backup.archive), 0U);
  EXPECT_TRUE(h.world.violations.empty());
}

// In the store may stand another replica's wish that this one has not heard of.
TEST(Replicas, WhoDoesNotFollowErasesNothing) {
  Pair h;
  const BackupRecord backup = saved(h);
  h.break_watch();
  ASSERT_TRUE(h.until([&] { return !h.engine().is_current(); }));
  ASSERT_TRUE(remove_backup(h, backup).ok());
  h.pass_ms(60'000);
  EXPECT_EQ(h.world.archives.count(backup.archive), 1U);
  h.mend_watch();
  EXPECT_TRUE(h.until([&] { return h.world.archives.count(backup.archive) == 0; }));
}

TEST(Replicas, AWatchThatExpiredReadsEverythingAgainAndWhatIsGoneGoes) {
  Pair h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.until([&] { return h.b->engine().reads().find(id) != nullptr; }));
  h.break_watch();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_NE(h.b->engine().reads().find(id), nullptr);
  h.world.faults.cancelled_watch = 0;
  h.world.faults.expired_watch = 1;
  h.pass_ms(2'000);
  EXPECT_FALSE(h.b->engine().is_current()) << "a store that loses the thread each time is not followed";
  h.mend_watch();
  ASSERT_TRUE(h.until([&] { return h.b->engine().is_current(); }));
  EXPECT_EQ(h.b->engine().reads().find(id), nullptr);
}

TEST(Replicas, WhatIsDeletedBeforeItsCreateIsAnsweredIsNotShownAgain) {
  Pair h;
  int calls = 0;
  h.b->on_call = [&] { h.b->late_ms = ++calls == 2 ? 120'000 : 0; };  // the session's own commit, after its reservation
  std::optional<Result<SessionView>> made;
  h.b->engine().create("ada@example.com", {}, [&](Result<SessionView> answer) { made = std::move(answer); });
  ASSERT_TRUE(h.until([&] { return h.b->late_ms > 0; }));
  h.b->late_ms = 0;
  ASSERT_TRUE(h.until([&] { return h.engine().reads().size() == 1; }));
  const std::string id = h.engine().reads().list("", 1).front()->session.id;
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  h.pass_ms(1'000);
  EXPECT_FALSE(made.has_value());
  EXPECT_FALSE(h.b->engine().is_current() && h.b->engine().reads().find(id));
  ASSERT_TRUE(h.until([&] { return made.has_value(); }));
  EXPECT_TRUE(made->ok());
  h.pass_ms(1'000);
  EXPECT_TRUE(h.b->engine().is_current());
  EXPECT_EQ(h.b->engine().reads().find(id), nullptr) << "a deleted session is shown again";
}

// Who comes to lead reads everything again. A session that this finds changed has been shown wrong for longer than since then, as
// the hint tells that comes while it is read.
TEST(Replicas, AHintThatComesAfterAReloadFoundTheSessionDoesNotMakeItCurrent) {
  Pair h;
  const std::string id = h.create_running();
  const auto shows = [&](Wanted wanted) {
    const SessionView view = h.b->engine().reads().find(id);
    return view && view->session.wanted == wanted;
  };
  ASSERT_TRUE(h.until([&] { return shows(Wanted::running); }));
  h.break_watch();
  h.pass_ms(300);
  ASSERT_TRUE(h.sleep(id).ok());
  h.pass_ms(300);
  bool read = false;
  h.b->on_get = [&](const std::string& key) {
    if (key != documents::session_key(id) || std::exchange(read, true)) return;
    h.b->late_ms = 1'000;
    h.mend_watch();
    h.simulator.after_ns(0, [&] { h.b->late_ms = 0; });
  };
  h.engine().hand_over();
  bool lied = false;
  ASSERT_TRUE(h.until([&] {
    lied |= h.b->engine().is_current() && shows(Wanted::running);
    return shows(Wanted::asleep);
  }));
  EXPECT_TRUE(read);
  EXPECT_FALSE(lied) << "it is said to be current and shows what is more than a quarter of a second old";
  EXPECT_TRUE(h.until([&] { return h.b->engine().is_current(); }));
}

// A store may be behind with telling: what it tells is taken, and what it did not tell is not taken for unchanged.
TEST(Replicas, AWatchThatIsBehindDoesNotMakeItCurrent) {
  Pair h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.until([&] { return h.b->engine().reads().find(id) != nullptr; }));
  h.break_watch();
  h.world.faults.cancelled_watch = 0;
  h.world.faults.behind = 1;
  h.pass_ms(500);
  EXPECT_FALSE(h.b->engine().is_current());
  ASSERT_TRUE(h.sleep(id).ok());
  const auto shown = [&] { return h.b->engine().reads().find(id)->session.wanted == Wanted::asleep; };
  EXPECT_TRUE(h.until(shown));
  h.mend_watch();
  EXPECT_TRUE(h.until([&] { return h.b->engine().is_current(); }));
}

TEST(Replicas, AClaimIsWokenByAMessageThatAnotherReplicaTook) {
  Pair h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.until([&] { return h.b->engine().reads().find(id) != nullptr; }));
  std::optional<std::vector<Message>> claimed;
  h.b->engine().claim(id, 1, 30'000, 30'000, [&](Result<std::vector<Message>> got) { claimed = *got; });
  h.pass_ms(3'000);
  ASSERT_FALSE(claimed);
  ASSERT_TRUE(h.send(id, "hello").ok());
  const std::int64_t began = h.now_ms();
  ASSERT_TRUE(h.until([&] { return claimed.has_value(); }));
  ASSERT_EQ(claimed->size(), 1U);
  EXPECT_EQ(claimed->front().text, "hello");
  EXPECT_LE(h.now_ms() - began, 100) << "it looked by itself instead of being told";
}

TEST(Replicas, EventsAreTheSameWhicheverReplicaDidIt) {
  Pair h;
  const std::string id = h.create_running();
  auto sent = h.send(id, "hello");
  ASSERT_TRUE(sent.ok());
  auto claimed = h.claim(id);
  ASSERT_TRUE(claimed.ok());
  ASSERT_TRUE(h.ack(id, claimed->front(), claimed->front().claim, Json("hi")).ok());
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  h.pass_ms(1'000);
  EXPECT_EQ(h.heard_of("session.created", id), 1);
  EXPECT_EQ(h.heard_of("message.queued", id), 1);
  EXPECT_EQ(h.heard_of("message.answered", id), 1);
  EXPECT_GE(h.heard_of("session.phase", id), 1);
  EXPECT_EQ(h.heard_of("session.deleted", id), 1);
  const auto own = [&](const char* type) {
    return std::count_if(h.events.begin(), h.events.end(), [&](const Event& e) { return e.type == type && e.session_id == id; });
  };
  EXPECT_EQ(own("message.queued"), 1) << "its own, not once more by the watch";
  EXPECT_EQ(own("message.answered"), 1);
  EXPECT_EQ(own("session.created"), 1);
}

TEST(Replicas, WhoHandsOverIsFollowedAtOnceAndStillTakesCommands) {
  Pair h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.engine().statistics().leader);
  const std::int64_t began = h.now_ms();
  h.engine().hand_over();
  ASSERT_TRUE(h.until([&] { return h.b->engine().statistics().leader; }));
  EXPECT_LE(h.now_ms() - began, 250) << "the other replica waited for its next question";
  EXPECT_FALSE(h.engine().statistics().leader);
  ASSERT_TRUE(h.sleep(id).ok());
  EXPECT_TRUE(h.until([&] { return h.world.platforms[id].workload.state == WorkloadState::none; })) << "the new leader acts";
  EXPECT_FALSE(h.engine().statistics().leader);
}

// The daemon hands over first, then stops: it ends when it is told that it has stopped, and takes the calls under way with it.
TEST(Replicas, WhoHasStoppedHasGivenTheLeaseBack) {
  for (std::int64_t wait_ms : {0, 1, 3'333, 3'334, 3'336}) {  // the last ones while it asks for the lease again
    Harness h(replica_options("a"));
    h.pass_ms(wait_ms);
    std::optional<bool> held;
    h.engine().hand_over();
    h.engine().stop([&] { held = h.world.holds_lease("leader", "a"); });
    ASSERT_TRUE(h.until([&] { return held.has_value(); }));
    EXPECT_FALSE(*held) << wait_ms;
  }
}

TEST(Replicas, ALeaseIsGivenBackThoughTheFirstAttemptFails) {
  Harness h(replica_options("a"));
  h.world.faults = Faults{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  h.world.faults.unavailable = 1;
  h.world.troubled = true;
  bool stopped = false;
  h.engine().stop([&] { stopped = true; });
  h.pass_ms(50);
  h.world.troubled = false;
  ASSERT_TRUE(h.until([&] { return stopped; }));
  EXPECT_FALSE(h.world.holds_lease("leader", "a"));
}

TEST(Replicas, WhenTheLeaderIsGoneAnotherLeadsWithinOneAndAHalfLeases) {
  for (std::int64_t wait_ms : {100, 1'100, 2'300, 3'200}) {
    Pair h;
    h.pass_ms(10'000 + wait_ms);
    const std::int64_t began = h.now_ms();
    h.replica.reset();
    ASSERT_TRUE(h.until([&] { return h.b->engine().statistics().leader; }));
    EXPECT_LE(h.now_ms() - began, replica_options("").lease_ms * 3 / 2);
  }
}

TEST(Replicas, AnExpiredWatchMeansThatTheLeaseIsTakenAnew) {
  Pair h;
  ASSERT_TRUE(h.engine().statistics().leader);
  h.world.forget_leases();  // as a failover of the store may
  ASSERT_TRUE(h.world.lease("leader", "another", 1, 600'000).ok());
  h.break_watch();
  h.world.faults.cancelled_watch = 0;
  h.world.faults.expired_watch = 1;
  h.pass_ms(150);
  EXPECT_FALSE(h.engine().statistics().leader) << "it goes on believing in a lease that is gone";
}

TEST(Replicas, AStoreOfAnotherSecretKeyIsRefused) {
  Harness h;
  EngineOptions own = replica_options("a");
  own.identity = "one";
  Replica first(h.world, own);
  first.engine().start();
  ASSERT_TRUE(h.until([&] { return first.engine().ready().ok(); }));
  EngineOptions other = replica_options("b");
  other.identity = "two";
  Replica second(h.world, other);
  second.engine().start();
  h.pass_ms(30'000);
  ASSERT_FALSE(second.engine().ready().ok());
  EXPECT_NE(second.engine().ready().error().message.find("secret_key"), std::string::npos);
  EXPECT_FALSE(second.engine().statistics().leader);
}

TEST(Replicas, AStoreThatAnImportDidNotFinishIsRefused) {
  Harness h;
  Commit commit;
  commit.partition = documents::kTransferPartition;
  commit.operations.push_back({StoreOperation::Kind::put, documents::kImportKey, "{}", 0});
  ASSERT_TRUE(h.world.commit(commit).ok());
  for (const bool replicated : {true, false}) {
    EngineOptions options = replica_options("b");
    options.replicated = replicated;
    Replica replica(h.world, options);
    replica.engine().start();
    h.pass_ms(30'000);
    ASSERT_FALSE(replica.engine().ready().ok());
    EXPECT_EQ(replica.engine().ready().error().code, Code::data_loss);
    EXPECT_NE(replica.engine().ready().error().message.find("roostd import FILE"), std::string::npos);
    EXPECT_FALSE(replica.engine().statistics().leader);
  }
}

}  // namespace
}  // namespace roost::simulation
