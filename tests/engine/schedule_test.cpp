// Backups on a schedule: which sessions are due, and how the leader takes its turns with them without being in anybody's way.
#include "engine/schedule.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "engine/harness.hpp"
#include "engine/operations.hpp"

namespace roost::simulation {
namespace {

constexpr std::int64_t kMinuteUs = 60'000'000, kHourUs = 60 * kMinuteUs, kDayUs = 24 * kHourUs;
constexpr std::int64_t kNow = 100 * kDayUs;
constexpr std::int64_t kHourMs = 3'600'000;

// Asleep, backed up at rest two days ago, and woken since.
Session changed() {
  Session s;
  s.id = "0a1b2c3d";
  s.wanted = Wanted::asleep;
  s.phase = Phase::asleep;
  s.wake_count = 4;
  s.created_at_us = kNow - 50 * kDayUs;
  s.volume.uid = "uid";
  s.last_backup = {"0a1b2c3d-20251113T021320Z", kNow - 2 * kDayUs, false, 3};
  return s;
}
Session running() {
  Session s = changed();
  s.wanted = Wanted::running;
  s.phase = Phase::running;
  return s;
}
bool is_due(const Session& s, std::int64_t now_us = kNow) {
  const auto due_us = backup_due_us(s, now_us, kDayUs);
  return due_us && *due_us <= now_us;
}

TEST(ScheduleDue, IsASessionWhoseFilesMayHaveChangedSinceItsLastGoodBackup) {
  EXPECT_TRUE(is_due(changed()));
  EXPECT_TRUE(is_due(running()));
  Session s = changed();
  s.wake_count = 3;
  EXPECT_FALSE(is_due(s)) << "it slept ever since";
  EXPECT_FALSE(unsaved_since_us(s));
  s.last_backup.live = true;
  EXPECT_TRUE(is_due(s)) << "a live one is no moment";
  s = changed();
  s.wake_count = 3;
  s.last_backup.id = "11111111-20251113T021320Z";
  EXPECT_TRUE(is_due(s)) << "it was made from another session's backup, which may go";
  s.last_backup = {"0a1b2c3d-20251113T021320Z", kNow - 2 * kDayUs, false};
  EXPECT_TRUE(is_due(s)) << "what was restored need not be what its newest backup holds";
  s.last_backup = {};
  EXPECT_TRUE(is_due(s)) << "there is none";
  EXPECT_EQ(unsaved_since_us(s), s.created_at_us);
  s.created_at_us = kNow - kHourUs;
  EXPECT_FALSE(is_due(s)) << "it is young itself";
}

TEST(ScheduleDue, ComesWithinTheIntervalAndAtATimeOfTheSessionsOwn) {
  std::map<std::int64_t, int> minutes;
  for (int i = 0; i < 10'000; ++i) {
    char id[9];
    std::snprintf(id, sizeof id, "%08x", static_cast<unsigned>(i) * 7919U);
    Session s = changed();
    s.id = id;
    s.last_backup = {std::string(id) + "-20251113T021320Z", kNow, false, 3};
    const std::int64_t after_us = *backup_due_us(s, kNow, kDayUs) - kNow;
    EXPECT_GT(after_us, kDayUs * 9 / 10 - kMinuteUs);
    EXPECT_LE(after_us, kDayUs);
    ++minutes[after_us / kMinuteUs];
    EXPECT_EQ(*backup_due_us(s, kNow, kDayUs) - kNow, after_us) << "the same each time";
  }
  for (const auto& [minute, count] : minutes) EXPECT_LT(count, 200) << "of 10,000 in minute " << minute;
}

TEST(ScheduleDue, IsNoSessionThatIsBusyDeletedLostOrOnItsWay) {
  Session s = changed();
  s.operation.emplace();
  s.operation->kind = OperationKind::restore;
  s.operation->step = OperationStep::backup;
  EXPECT_FALSE(is_due(s));
  s.operation->step = OperationStep::done;
  EXPECT_TRUE(is_due(s));
  for (const Phase phase : {Phase::pending, Phase::starting, Phase::stopping, Phase::deleting, Phase::delete_blocked,
                            Phase::volume_lost, Phase::failed}) {
    s = running();
    s.phase = phase;
    EXPECT_FALSE(is_due(s)) << to_string(phase);
    EXPECT_EQ(unsaved_since_us(s).has_value(), phase != Phase::volume_lost) << to_string(phase);
  }
  s = changed();
  s.wanted = Wanted::deleted;
  EXPECT_FALSE(is_due(s));
  EXPECT_FALSE(unsaved_since_us(s));
  s = changed();
  s.wanted = Wanted::running;  // its phase is still asleep
  EXPECT_FALSE(is_due(s));
  s = changed();
  s.volume.uid.clear();
  EXPECT_FALSE(is_due(s));
}

TEST(ScheduleDue, WaitsTwiceAsLongAfterEachFailureAndNeverLongerThanTheInterval) {
  Session s = changed();
  s.scheduled.tried_at_us = kNow;
  std::int64_t expected = 15 * kMinuteUs;
  for (s.scheduled.failures = 1; s.scheduled.failures < 20; ++s.scheduled.failures) {
    EXPECT_EQ(*backup_due_us(s, kNow, kDayUs) - kNow, expected) << s.scheduled.failures;
    expected = std::min(2 * expected, kDayUs);
  }
  s.scheduled.failures = 0;
  EXPECT_EQ(*backup_due_us(s, kNow, kDayUs) - kNow, 15 * kMinuteUs) << "after one that was cancelled, too";
}

TEST(ScheduleDue, IsTakenOfARunningOneUnlessThePlatformCannot) {
  Session s = running();
  s.scheduled.awaits_sleep = true;
  EXPECT_FALSE(is_due(s));
  s = changed();
  s.scheduled.awaits_sleep = true;
  EXPECT_TRUE(is_due(s)) << "at once when it sleeps";
}

TEST(ScheduleDue, IsNotPutOffByAClockThatWasWrong) {
  Session s = changed();
  s.last_backup.at_us = kNow + 1000 * kDayUs;
  EXPECT_TRUE(is_due(s));
  s = changed();
  s.scheduled = {kNow + 1000 * kDayUs, 1, false};
  EXPECT_TRUE(is_due(s));
}

// ---- the leader ----

EngineOptions hourly() {
  EngineOptions options;
  options.backup_every_ms = kHourMs;
  return options;
}

class ScheduleTest : public ::testing::Test {
 protected:
  explicit ScheduleTest(EngineOptions options = hourly()) : h(std::move(options)) {
    h.world.refuse = [this](const std::string& call, const std::string& id) { return seen(call, id); };
  }
  std::optional<Error> seen(const std::string& call, const std::string& id) {
    most_ = std::max(most_, h.world.tasks.size());
    return call == "task_start" && refuse ? refuse(id) : std::nullopt;
  }
  std::function<std::optional<Error>(const std::string& id)> refuse;

  const Session& session(const std::string& id) { return h.view(id)->session; }
  std::vector<BackupRecord> records(const std::string& id) {
    BackupQuery query;
    query.session_id = id;
    auto page = h.wait<BackupPage>([&](Done<BackupPage> done) { h.engine().list_backups(query, std::move(done)); });
    EXPECT_TRUE(page.ok());
    return page.ok() ? page->backups : std::vector<BackupRecord>();
  }
  std::size_t made(const std::string& id) { return records(id).size(); }
  bool put_to_sleep(const std::string& id) {
    return h.sleep(id).ok() && h.until([&] { return h.phase(id) == Phase::asleep; });
  }
  bool wake_up(const std::string& id) {
    return h.wake(id).ok() && h.until([&] { return h.phase(id) == Phase::running; });
  }
  bool until_scheduled(const std::string& id) {
    const std::int64_t end = h.simulator.monotonic_ns() + 2 * kHourMs * 1'000'000;
    const auto met = [&] { return is_operating(session(id)) && is_scheduled(*session(id).operation); };
    while (!met() && h.simulator.step(end)) {
    }
    return met();
  }
  bool until_task() {
    return h.until([&] { return !h.world.tasks.empty(); });
  }
  // The task under way never ends by itself.
  void hang() { h.simulator.cancel(h.world.tasks.begin()->second.event); }
  Engine::ScheduleStatistics counted() { return h.engine().schedule_statistics(); }
  int events(const std::string& type) {
    return static_cast<int>(std::count_if(h.events.begin(), h.events.end(), [&](const Event& e) { return e.type == type; }));
  }

  Harness h;
  std::size_t most_ = 0;  // tasks at a time
};

TEST_F(ScheduleTest, BacksUpWhatRunsAgainAndAgainAndWhatSleepsOnce) {
  const std::string id = h.create_running();
  h.pass_ms(5 * kHourMs);
  const auto live = records(id);
  EXPECT_GE(live.size(), 4U);
  EXPECT_LE(live.size(), 6U);
  for (const BackupRecord& record : live) {
    EXPECT_EQ(record.trigger, "schedule");
    EXPECT_EQ(record.state, "verified");
    EXPECT_TRUE(record.receipt.live);
  }
  ASSERT_TRUE(put_to_sleep(id));
  h.pass_ms(5 * kHourMs);
  const auto all = records(id);
  ASSERT_EQ(all.size(), live.size() + 1) << "once more at rest, and then nothing changes";
  EXPECT_FALSE(all.back().receipt.live);
  EXPECT_EQ(counted().unsaved_since_us, 0);
  ASSERT_TRUE(wake_up(id));
  h.world.user_writes(id);
  ASSERT_TRUE(put_to_sleep(id));
  h.pass_ms(2 * kHourMs);
  EXPECT_EQ(made(id), all.size() + 1) << "it was awake, for however short";
  EXPECT_EQ(static_cast<std::size_t>(counted().succeeded), all.size() + 1);
  EXPECT_EQ(counted().started, counted().succeeded);
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(ScheduleTest, IsOffWhereTheIntervalIsZero) {
  h.options.backup_every_ms = 0;
  h.restart();
  const std::string id = h.create_running();
  h.pass_ms(50 * kHourMs);
  EXPECT_EQ(made(id), 0U);
  h.options.backup_every_ms = kHourMs;
  h.engine().reconfigure(h.options);
  h.pass_ms(kHourMs / 2);
  EXPECT_EQ(made(id), 1U);
  h.options.backup_every_ms = 0;
  h.engine().reconfigure(h.options);
  h.pass_ms(50 * kHourMs);
  EXPECT_EQ(made(id), 1U);
}

TEST_F(ScheduleTest, OnlyItsBackupsLeaveOutWhatTheUserNames) {
  std::map<std::string, bool> asked;  // by the operation
  h.world.refuse = nullptr;
  const auto note = [&] {
    for (const auto& [key, task] : h.world.tasks) {
      if (task.spec.kind == TaskKind::backup) asked[std::get<1>(key)] |= task.spec.exclusions;
    }
  };
  const std::string id = h.create_running("ada@example.com", 9);
  ASSERT_TRUE(put_to_sleep(id));
  ASSERT_TRUE(until_scheduled(id));
  const std::string scheduled = session(id).operation->id;
  ASSERT_TRUE(h.until([&] { return note(), !is_operating(session(id)); }));
  const BackupRecord less = records(id).at(0);
  EXPECT_TRUE(less.receipt.exclusions);
  EXPECT_EQ(less.receipt.skipped.at(0).reason, "excluded");
  EXPECT_NE(release_blocker(less.receipt, scheduled, session(id).volume.uid, true), "") << "it never lets a volume go";

  ASSERT_TRUE(h.backup(id).ok());
  const std::string request = session(id).operation->id;
  ASSERT_TRUE(h.until([&] { return note(), !is_operating(session(id)); }));
  ASSERT_TRUE(h.restore(id, less).ok());
  const std::string restore = session(id).operation->id;
  ASSERT_TRUE(h.until([&] { return note(), !is_operating(session(id)); }));
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return note(), !h.view(id); }));
  EXPECT_TRUE(asked.at(scheduled));
  EXPECT_FALSE(asked.at(request));
  EXPECT_FALSE(asked.at(restore));
  EXPECT_EQ(std::count_if(asked.begin(), asked.end(), [](const auto& entry) { return entry.second; }), 1) << "nor a delete's";
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(ScheduleTest, WhatThePlatformCannotDoIsAskedOnceAndDoneWhenItSleeps) {
  const std::string id = h.create_running();
  refuse = [&](const std::string& whose) -> std::optional<Error> {
    if (h.phase(whose) != Phase::running) return std::nullopt;
    return Error{Code::unsupported, "one pod at a time may use this volume", 0};
  };
  h.pass_ms(9 * kHourMs);
  EXPECT_EQ(h.world.calls["task_start"], 1);
  EXPECT_EQ(counted().postponed, 1);
  EXPECT_EQ(counted().failed, 0);
  EXPECT_EQ(events("backup.failed"), 0);
  h.restart();
  h.pass_ms(3 * kHourMs);
  EXPECT_EQ(h.world.calls["task_start"], 1) << "the document remembers";
  ASSERT_TRUE(put_to_sleep(id));
  h.pass_ms(10 * 60'000);
  ASSERT_EQ(made(id), 1U) << "it was overdue: at once";
  EXPECT_FALSE(records(id).at(0).receipt.live);
  EXPECT_EQ(session(id).scheduled, ScheduledBackups{});
}

TEST_F(ScheduleTest, AWakeEndsItAndItComesAgainLater) {
  const std::string id = h.create_running();
  ASSERT_TRUE(put_to_sleep(id));
  ASSERT_TRUE(until_scheduled(id));
  ASSERT_TRUE(until_task());
  hang();
  ASSERT_TRUE(wake_up(id));
  EXPECT_EQ(session(id).operation->outcome, OperationOutcome::cancelled);
  EXPECT_EQ(session(id).scheduled.failures, 0);
  EXPECT_EQ(counted().cancelled, 1);
  EXPECT_EQ(counted().failed, 0);
  EXPECT_EQ(made(id), 0U);
  h.pass_ms(kHourMs / 2);  // within a whole one the next may come as well, as a turn is up to a tenth early
  EXPECT_EQ(made(id), 1U);
}

TEST_F(ScheduleTest, GivesWayToWhatSomebodyAsksFor) {
  const std::string id = h.create_running();
  ASSERT_TRUE(put_to_sleep(id));
  ASSERT_TRUE(h.backup(id).ok());
  const Operation first = h.operated(id);
  ASSERT_TRUE(wake_up(id));
  ASSERT_TRUE(put_to_sleep(id));

  ASSERT_TRUE(until_scheduled(id));
  ASSERT_TRUE(until_task());
  hang();
  ASSERT_TRUE(h.backup(id).ok());
  EXPECT_EQ(session(id).operation->trigger, "request");
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  EXPECT_EQ(code_of(h.backup(id)), static_cast<Code>(0));
  EXPECT_EQ(code_of(h.backup(id)), Code::conflict) << "what somebody asked for does not give way";
  h.operated(id);

  ASSERT_TRUE(wake_up(id));
  ASSERT_TRUE(put_to_sleep(id));
  ASSERT_TRUE(until_scheduled(id));
  ASSERT_TRUE(until_task());
  hang();
  ASSERT_TRUE(h.restore(id, h.record(first.backup_id)).ok());
  EXPECT_EQ(session(id).operation->kind, OperationKind::restore);
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  EXPECT_EQ(counted().cancelled, 2);

  ASSERT_TRUE(until_scheduled(id)) << "what was restored is saved once more";
  ASSERT_TRUE(until_task());
  hang();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(ScheduleTest, OneThatFailsIsSeenAndTriedAgainLessAndLessOften) {
  const std::string id = h.create_running();
  bool refused = true;
  refuse = [&](const std::string&) -> std::optional<Error> {
    if (!refused) return std::nullopt;
    return Error{Code::unavailable, "no storage", 0};
  };
  ASSERT_TRUE(until_scheduled(id));
  const std::int64_t begun_us = session(id).operation->started_at_us;
  ASSERT_TRUE(h.until([&] { return !is_operating(session(id)); }));
  EXPECT_EQ(h.world.calls["task_start"], 3) << "a few tries, then others have their turn";
  EXPECT_EQ(session(id).scheduled.failures, 1);
  EXPECT_EQ(events("backup.failed"), 1);
  EXPECT_EQ(counted().failed, 1);
  ASSERT_TRUE(until_scheduled(id));
  EXPECT_GE(session(id).operation->started_at_us - begun_us, kHourUs / 96);
  h.pass_ms(10 * kHourMs);
  EXPECT_LT(counted().failed, 20);
  EXPECT_GT(counted().failed, 8) << "it goes on trying";
  EXPECT_EQ(h.phase(id), Phase::running) << "the session does not suffer";
  EXPECT_GT(h.simulator.wall_us() - counted().unsaved_since_us, 10 * kHourUs) << "which an operator sees";
  refused = false;
  h.pass_ms(2 * kHourMs);
  EXPECT_GE(made(id), 1U);
  EXPECT_EQ(session(id).scheduled, ScheduledBackups{});
}

TEST_F(ScheduleTest, ATaskWithoutAPlaceGivesItsTurnToOthers) {
  const std::string id = h.create_running();
  ASSERT_TRUE(until_scheduled(id));
  ASSERT_TRUE(until_task());
  hang();
  h.world.tasks.begin()->second.task.reason = "Unschedulable";
  h.pass_ms(40 * 60'000);
  EXPECT_EQ(counted().failed, 1);
  EXPECT_GE(made(id), 1U) << "the next one had a place";
}

TEST_F(ScheduleTest, UsesHalfThePlacesAndTheOneThatWaitsLongestComesFirst) {
  std::vector<std::string> ids;
  for (int i = 0; i < 12; ++i) {
    ids.push_back(h.create_running("user" + std::to_string(i) + "@example.com"));
    h.pass_ms(60'000);
  }
  h.options.concurrent_tasks = 4;
  h.options.backup_every_ms = 0;
  h.restart();
  h.pass_ms(20 * kHourMs);  // all are overdue
  h.options.backup_every_ms = kHourMs;
  h.engine().reconfigure(h.options);
  most_ = 0;
  std::vector<std::string> order;
  std::size_t at_once = 0;
  ASSERT_TRUE(h.until([&] {
    std::size_t under_way = 0;
    for (const std::string& id : ids) {
      if (!session(id).operation) continue;
      if (is_operating(session(id))) ++under_way;
      if (std::find(order.begin(), order.end(), id) == order.end()) order.push_back(id);
    }
    at_once = std::max(at_once, under_way);
    return order.size() == ids.size() && under_way == 0;
  }));
  EXPECT_EQ(at_once, 2U);
  // By the time that each is due; of two that begin at once either may be seen first.
  for (std::size_t i = 2; i < order.size(); ++i) {
    const auto due = [&](const std::string& id) {
      Session s = session(id);
      s.operation.reset();
      s.last_backup = {};
      return *backup_due_us(s, h.simulator.wall_us(), kHourUs);
    };
    EXPECT_LE(due(order[i - 2]), due(order[i]));
  }
}

TEST_F(ScheduleTest, LeavesPlacesForADelete) {
  std::vector<std::string> ids;
  h.options.concurrent_tasks = 2;
  h.restart();
  for (int i = 0; i < 4; ++i) ids.push_back(h.create_running("user" + std::to_string(i) + "@example.com"));
  const std::string last = h.create_running("last@example.com");
  const std::int64_t end = h.simulator.monotonic_ns() + 2 * kHourMs * 1'000'000;
  while (h.world.tasks.empty() && h.simulator.step(end)) {
  }
  ASSERT_FALSE(h.world.tasks.empty());
  hang();
  ASSERT_TRUE(h.remove(last).ok());
  ASSERT_TRUE(h.wait_deleted(last).ok()) << "beside a backup that never ends";
  EXPECT_EQ(counted().started, 1);
}

TEST_F(ScheduleTest, GivesTheOnlyPlaceUpToWhatSomebodyWaitsFor) {
  h.options.concurrent_tasks = 1;
  h.restart();
  const std::string id = h.create_running();
  const std::string other = h.create_running("other@example.com");
  ASSERT_TRUE(h.backup(other).ok());
  EXPECT_EQ(h.operated(other).outcome, OperationOutcome::succeeded);
  ASSERT_TRUE(until_scheduled(id));
  ASSERT_TRUE(until_task());
  hang();
  const std::string scheduled = session(id).operation->id;
  ASSERT_TRUE(h.remove(other).ok());
  ASSERT_TRUE(h.wait_deleted(other).ok()) << "beside a backup that never ends";
  ASSERT_TRUE(h.until([&] { return session(id).operation->id != scheduled && !is_operating(session(id)); }));
  EXPECT_EQ(session(id).operation->outcome, OperationOutcome::succeeded) << "it comes again";
  EXPECT_EQ(counted().failed, 0);
}

TEST_F(ScheduleTest, ACrashOrAnotherLeaderBeginsNothingTwice) {
  const std::string id = h.create_running();
  ASSERT_TRUE(put_to_sleep(id));
  ASSERT_TRUE(until_scheduled(id));
  const std::string operation = session(id).operation->id;
  ASSERT_TRUE(until_task());
  for (int i = 0; i < 5; ++i) {
    h.restart();
    h.pass_ms(1'000);
    EXPECT_EQ(session(id).operation->id, operation);
  }
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  h.restart();
  h.pass_ms(5 * kHourMs);
  EXPECT_EQ(made(id), 1U);
  EXPECT_EQ(session(id).operation->id, operation);
}

// Another leader has just made one, and this one has not heard of it.
TEST_F(ScheduleTest, IsDecidedOnTheDocumentAsItIsWhenItIsWritten) {
  const std::string id = h.create_running();
  ASSERT_TRUE(put_to_sleep(id));
  const std::string last = id + "-20251113T021320Z";
  bool begins = false;
  h.replica->on_call = [&] {
    if (std::exchange(begins, true)) return;
    Session next = session(id);
    next.last_backup = {last, h.simulator.wall_us(), false, next.wake_count};
    Commit commit;
    commit.partition = documents::partition(id);
    commit.operations.push_back(
        {StoreOperation::Kind::put, documents::session_key(id), documents::encode(next, h.view(id)->commits), 0});
    EXPECT_TRUE(h.world.commit(commit).ok());
  };
  h.pass_ms(3 * kHourMs);
  EXPECT_TRUE(begins);
  EXPECT_EQ(session(id).last_backup.id, last);
  EXPECT_EQ(counted().started, 0);
  EXPECT_EQ(made(id), 0U);
}

TEST_F(ScheduleTest, MakesAnewWhatIsNoLongerGood) {
  h.options.backup_walk_ms = 600'000;
  h.restart();
  const std::string id = h.create_running();
  ASSERT_TRUE(put_to_sleep(id));
  h.pass_ms(2 * kHourMs);
  ASSERT_EQ(made(id), 1U);
  const BackupRecord first = records(id).at(0);
  h.world.archives.erase(first.archive);  // somebody took it
  h.pass_ms(kHourMs);
  ASSERT_EQ(made(id), 2U);
  EXPECT_EQ(records(id).at(0).state, "missing");
  const BackupRecord second = records(id).at(1);
  EXPECT_EQ(second.state, "verified");
  EXPECT_EQ(session(id).last_backup.id, second.id);
  ASSERT_TRUE(h.wait<BackupRecord>([&](Done<BackupRecord> done) {
                 h.engine().remove_backup(second.id, {"ada", "no longer needed", false}, std::move(done));
               }).ok());
  h.pass_ms(kHourMs);
  EXPECT_EQ(session(id).last_backup.id.empty(), false);
  EXPECT_NE(session(id).last_backup.id, second.id);
}

TEST_F(ScheduleTest, WhatWasMadeFromAnotherSessionsBackupGetsOneOfItsOwn) {
  const std::string id = h.create_running();
  ASSERT_TRUE(put_to_sleep(id));
  ASSERT_TRUE(h.backup(id).ok());
  const BackupRecord source = h.record(h.operated(id).backup_id);
  const auto copy = h.restore_as_new(source, "bob@example.com");
  ASSERT_TRUE(copy.ok());
  const std::string other = (*copy)->session.id;
  ASSERT_TRUE(h.until([&] { return h.phase(other) == Phase::running; }));
  ASSERT_TRUE(put_to_sleep(other));
  h.pass_ms(2 * kHourMs);
  ASSERT_EQ(made(other), 1U);
  EXPECT_EQ(session(other).last_backup.id, records(other).at(0).id);
  h.pass_ms(5 * kHourMs);
  EXPECT_EQ(made(other), 1U);
}

}  // namespace
}  // namespace roost::simulation
