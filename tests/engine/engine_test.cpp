// The engine's behaviour over simulated ports without faults: each test is one promise of the API.
#include "engine/engine.hpp"

#include <algorithm>
#include <thread>

#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

// ---- sleep, wake, scale -----------------------------------------------------------------------------------------------

TEST(Life, SleepStopsAndWakeStartsWithTheSameVolume) {
  Harness h;
  const std::string id = h.create_running();
  const std::string uid = h.view(id)->session.volume.uid;
  auto slept = h.sleep(id);
  ASSERT_TRUE(slept.ok());
  EXPECT_EQ((*slept)->session.phase, Phase::stopping) << "read your writes";
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  EXPECT_EQ(h.world.platforms[id].workload.state, WorkloadState::none);
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  EXPECT_EQ(h.view(id)->session.volume.uid, uid);
  EXPECT_EQ(h.view(id)->session.wake_count, 1);
}

TEST(Life, AWakeDuringTheStopWaitsForTheOldWorkloadsEnd) {
  Harness h;
  const std::string id = h.create_running();
  const std::string before = h.view(id)->session.observed.incarnation;
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.world.platforms[id].workload.state == WorkloadState::stopping; }));
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running && h.view(id)->session.observed.ready; }));
  EXPECT_NE(h.view(id)->session.observed.incarnation, before);
  EXPECT_TRUE(h.world.violations.empty());
}

TEST(Life, ScaleChangesTheSizeInForceWithoutARestart) {
  Harness h;
  const std::string id = h.create_running();
  const std::string before = h.view(id)->session.observed.incarnation;
  ASSERT_TRUE(h.scale(id, true).ok());
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.observed.size == h.options.size_large; }));
  EXPECT_EQ(h.view(id)->session.observed.incarnation, before);
}

TEST(Life, ScaleOfASleepingSessionCountsFromItsNextWake) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  ASSERT_TRUE(h.scale(id, true).ok());
  h.pass_ms(30'000);
  EXPECT_EQ(h.phase(id), Phase::asleep);
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  EXPECT_EQ(h.view(id)->session.observed.size, h.options.size_large);
}

TEST(Life, AWorkloadThatDiesIsStartedAgainAndTheReasonIsShown) {
  Harness h;
  const std::string id = h.create_running();
  h.world.workload_dies(id);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::failed && h.view(id)->session.reason == "CrashLoop"; }));
  EXPECT_GT(h.view(id)->session.next_attempt_at_us, 0);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.failures == 0; })) << "forgotten once it has stayed up";
  EXPECT_TRUE(h.view(id)->session.reason.empty());
}

TEST(Life, ALostVolumeIsNeitherStartedNorMadeAnew) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  h.world.lose_volume(id);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::volume_lost; }));
  ASSERT_TRUE(h.wake(id).ok());
  h.pass_ms(120'000);
  EXPECT_EQ(h.phase(id), Phase::volume_lost);
  EXPECT_EQ(h.world.platforms.count(id), 0U);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }));
  EXPECT_EQ(h.view(id)->session.operation->reason, "VolumeLost");
}

TEST(Commands, KnowTheRevisionTheyAreFor) {
  Harness h;
  const std::string id = h.create_running();
  CommandOptions wrong;
  wrong.if_match = h.view(id)->revision + 1;
  EXPECT_EQ(code_of(h.sleep(id, wrong)), Code::conflict);
  CommandOptions right;
  right.if_match = h.view(id)->revision;
  EXPECT_TRUE(h.sleep(id, right).ok());
}

TEST(Commands, ADryRunChangesNothing) {
  Harness h;
  const std::string id = h.create_running();
  const std::uint64_t revision = h.view(id)->revision;
  CommandOptions dry;
  dry.dry_run = true;
  auto preview = h.sleep(id, dry);
  ASSERT_TRUE(preview.ok());
  EXPECT_EQ((*preview)->session.wanted, Wanted::asleep);
  EXPECT_EQ(h.view(id)->revision, revision);
}

TEST(Commands, AKeyIsForOneRequestOnly) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.sleep(id, with_key("k")).ok());
  ASSERT_TRUE(h.wake(id).ok());
  auto repeated = h.sleep(id, with_key("k"));
  ASSERT_TRUE(repeated.ok());
  EXPECT_EQ((*repeated)->session.wanted, Wanted::running) << "the repeated sleep is not done twice";
  EXPECT_EQ(code_of(h.scale(id, true, with_key("k"))), Code::invalid);
}

TEST(Commands, OfAnUnknownSessionAreNotFound) {
  Harness h;
  EXPECT_EQ(code_of(h.sleep("00000000")), Code::not_found);
  EXPECT_EQ(code_of(h.remove("00000000")), Code::not_found);
  EXPECT_EQ(code_of(h.send("00000000", "hello")), Code::not_found);
  EXPECT_EQ(code_of(h.claim("00000000")), Code::not_found);
}

TEST(Commands, TouchIsWrittenAtMostOnceAMinute) {
  Harness h;
  const std::string id = h.create_running();
  h.pass_ms(120'000);
  const std::uint64_t before = h.view(id)->revision;
  h.engine().touch(id);
  h.pass_ms(100);
  const std::uint64_t touched = h.view(id)->revision;
  EXPECT_NE(touched, before);
  for (int i = 0; i < 50; ++i) {
    h.engine().touch(id);
    h.pass_ms(1000);
  }
  EXPECT_EQ(h.view(id)->revision, touched);
  h.pass_ms(20'000);
  h.engine().touch(id);
  h.pass_ms(100);
  EXPECT_NE(h.view(id)->revision, touched);
}

TEST(Limits, NoMoreTasksAtATimeThanAllowed) {
  EngineOptions options;
  options.concurrent_tasks = 1;
  Harness h(options);
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(h.create_running("user" + std::to_string(i)));
  for (const std::string& id : ids) ASSERT_TRUE(h.remove(id).ok());
  std::ptrdiff_t most = 0;
  ASSERT_TRUE(h.until([&] {
    most = std::max(most, std::count_if(h.world.tasks.begin(), h.world.tasks.end(),
                                        [](const auto& t) { return t.second.task.state == TaskState::running; }));
    return h.engine().reads().size() == 0;
  }));
  EXPECT_EQ(most, 1);
  EXPECT_TRUE(h.world.violations.empty());
}

TEST(Limits, OfManyDeletesTheFirstDoNotWaitForTheLast) {
  EngineOptions options;
  options.concurrent_tasks = 1;
  Harness h(options);
  std::vector<std::string> ids;
  for (int i = 0; i < 8; ++i) ids.push_back(h.create_running("user" + std::to_string(i)));
  for (const std::string& id : ids) ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.engine().reads().size() < ids.size(); }));
  EXPECT_LE(h.world.calls["task_start"], 4) << "its copy, another's that got the place meanwhile, its verification, one more";
  ASSERT_TRUE(h.until([&] { return h.engine().reads().size() == 0; }));
}

TEST(Limits, NoMoreStartsAtATimeThanAllowed) {
  EngineOptions options;
  options.concurrent_starts = 2;
  Harness h(options);
  std::vector<std::string> ids;
  for (int i = 0; i < 8; ++i) ids.push_back((*h.create("user" + std::to_string(i)))->session.id);
  std::ptrdiff_t most = 0;
  bool said = false;
  ASSERT_TRUE(h.until([&] {
    const auto starting = std::count_if(h.world.platforms.begin(), h.world.platforms.end(),
                                        [](const auto& p) { return p.second.workload.state == WorkloadState::starting; });
    most = std::max(most, starting);
    for (const std::string& id : ids) said |= h.view(id)->session.reason == "StartLimit";
    return std::all_of(ids.begin(), ids.end(), [&](const std::string& id) { return h.phase(id) == Phase::running; });
  }));
  EXPECT_EQ(most, 2);
  EXPECT_TRUE(said);
}

// All of a platform's users come back at once, and it is slow: each look at it takes longer than it takes to be too old behind
// all the others.
TEST(Limits, AllThatWakeAtOnceComeUpThoughThePlatformIsSlow) {
  EngineOptions options;
  options.lease_ms = 3'600'000;  // the lease is not what this is about
  Harness h(options);
  constexpr int kSessions = 600;
  std::vector<std::string> ids;
  for (int i = 0; i < kSessions; ++i) ids.push_back((*h.create("user" + std::to_string(i)))->session.id);
  const auto all = [&](Phase phase) {
    return
        [&, phase] { return std::all_of(ids.begin(), ids.end(), [&](const std::string& id) { return h.phase(id) == phase; }); };
  };
  const auto eventually = [&](const std::function<bool()>& met) { return h.until(met) || h.until(met) || h.until(met); };
  ASSERT_TRUE(eventually(all(Phase::running)));
  for (const std::string& id : ids) ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(eventually(all(Phase::asleep)));
  h.world.faults = {};
  for (double* fault : {&h.world.faults.unavailable, &h.world.faults.lost_answer, &h.world.faults.lost_request,
                        &h.world.faults.late, &h.world.faults.bad_start, &h.world.faults.workload_dies,
                        &h.world.faults.cancelled_watch, &h.world.faults.expired_watch}) {
    *fault = 0;
  }
  h.world.faults.slow = 1;
  for (const std::string& id : ids) {
    h.engine().wake(id, {}, [](const Result<SessionView>& woken) { EXPECT_TRUE(woken.ok()); });
  }
  h.world.troubled = true;
  EXPECT_TRUE(eventually(all(Phase::running)))
      << std::count_if(ids.begin(), ids.end(), [&](const std::string& id) { return h.phase(id) == Phase::running; });
  EXPECT_TRUE(h.world.violations.empty());
}

// ---- delete -------------------------------------------------------------------------------------------------------------

TEST(Delete, SavesEverythingThenReleasesEverything) {
  Harness h;
  const std::string id = h.create_running();
  const auto written = h.world.platforms[id].volume->written;
  auto answer = h.remove(id);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->session->session.phase, Phase::deleting);
  auto tombstone = h.wait_deleted(id);
  ASSERT_TRUE(tombstone.ok());
  EXPECT_TRUE(h.world.violations.empty());
  ASSERT_TRUE(tombstone->operation.receipt);
  const Receipt& receipt = *tombstone->operation.receipt;
  ASSERT_EQ(h.world.archives.count(receipt.archive), 1U);
  const auto& content = h.world.archives[receipt.archive].content;
  EXPECT_TRUE(std::equal(written.begin(), written.end(), content.begin())) << "and what the editor saved at the last moment";
  EXPECT_GT(receipt.verified_at_us, 0);
  EXPECT_EQ(h.world.platforms.count(id), 0U);
  EXPECT_TRUE(h.world.tasks.empty());
  EXPECT_EQ(h.view(id), nullptr);
  auto record = h.world.get(documents::backup_partition(id), documents::backup_key(receipt.backup_id));
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(documents::decode_backup(*record)->state, "verified");
  EXPECT_EQ(documents::decode_backup(*record)->receipt, receipt);
}

TEST(Delete, ASecondOneAnswersTheSameReceipt) {
  EngineOptions options;
  options.tombstone_ms = 600'000;
  Harness h(options);
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  auto tombstone = h.wait_deleted(id);
  ASSERT_TRUE(tombstone.ok());
  auto again = h.remove(id);
  ASSERT_TRUE(again.ok());
  ASSERT_TRUE(again->tombstone);
  EXPECT_EQ(again->tombstone->operation.receipt, tombstone->operation.receipt);
  h.pass_ms(580'000);
  EXPECT_TRUE(h.remove(id).ok()) << "for all of the tombstone's time";
  h.pass_ms(21'000);
  EXPECT_EQ(code_of(h.remove(id)), Code::not_found) << "when the tombstone's time is over it is forgotten";
}

TEST(Delete, RefusesEveryOtherWishFromThenOn) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  EXPECT_EQ(code_of(h.wake(id)), Code::conflict);
  EXPECT_EQ(code_of(h.send(id, "hello")), Code::conflict);
}

TEST(Delete, AFullDiskBlocksItWithTheReasonAndTheDataStays) {
  Harness h;
  const std::string id = h.create_running();
  h.world.troubled = true;
  h.world.faults = Faults{};
  for (double* fault : {&h.world.faults.unavailable, &h.world.faults.lost_answer, &h.world.faults.lost_request,
                        &h.world.faults.late, &h.world.faults.slow, &h.world.faults.task_killed, &h.world.faults.unreadable}) {
    *fault = 0;
  }
  h.world.faults.disk_full = 1;
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }));
  EXPECT_EQ(h.view(id)->session.operation->reason, "NoSpace");
  EXPECT_GT(h.view(id)->session.next_attempt_at_us, 0);
  EXPECT_EQ(code_of(h.wait_deleted(id, 60'000)), Code::deadline);
  EXPECT_FALSE(h.world.platforms[id].volume->written.empty());
  h.world.troubled = false;  // somebody made room
  EXPECT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST(Delete, SkippedFilesBlockItUntilAnAdminAcceptsTheLoss) {
  Harness h;
  const std::string id = h.create_running();
  h.world.platforms[id].volume->unreadable.insert(h.world.platforms[id].volume->written.front());
  h.world.may_lose.insert(id);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }));
  EXPECT_EQ(h.view(id)->session.operation->reason, "FilesSkipped");
  h.pass_ms(300'000);
  EXPECT_EQ(h.phase(id), Phase::delete_blocked);
  EXPECT_TRUE(h.world.platforms[id].volume);
  DeleteOptions accept;
  accept.override_losses = true;
  ASSERT_TRUE(h.remove(id, accept).ok());
  auto tombstone = h.wait_deleted(id);
  ASSERT_TRUE(tombstone.ok());
  EXPECT_TRUE(tombstone->operation.override_losses) << "recorded";
  EXPECT_TRUE(h.world.violations.empty());
}

TEST(Delete, LossesThatNobodyNamedYetCannotBeAccepted) {
  Harness h;
  const std::string id = h.create_running();
  DeleteOptions accept;
  accept.override_losses = true;
  EXPECT_EQ(code_of(h.remove(id, accept)), Code::conflict);
  EXPECT_EQ(h.view(id)->session.wanted, Wanted::running) << "nothing was begun";
  h.world.platforms[id].volume->unreadable.insert(h.world.platforms[id].volume->written.front());
  ASSERT_TRUE(h.remove(id).ok());
  EXPECT_EQ(code_of(h.remove(id, accept)), Code::conflict);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }));
  h.world.may_lose.insert(id);
  EXPECT_TRUE(h.remove(id, accept).ok());
  EXPECT_TRUE(h.remove(id, accept).ok()) << "once more is the same";
  EXPECT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.remove(id, accept).ok()) << "and of the tombstone, too";
}

TEST(Delete, AnAdminMaySkipTheBackupAndItIsRecorded) {
  Harness h;
  const std::string id = h.create_running();
  h.world.may_skip.insert(id);
  DeleteOptions skip;
  skip.skip_backup = true;
  ASSERT_TRUE(h.remove(id, skip).ok());
  auto tombstone = h.wait_deleted(id);
  ASSERT_TRUE(tombstone.ok());
  EXPECT_TRUE(tombstone->operation.skip_backup);
  EXPECT_TRUE(h.world.archives.empty());
}

TEST(Delete, OfASessionThatWasNeverMadeNeedsNoBackup) {
  EngineOptions options;
  options.concurrent_starts = 0;
  Harness h(options);
  const std::string id = (*h.create("ada"))->session.id;
  ASSERT_TRUE(h.remove(id).ok());
  auto tombstone = h.wait_deleted(id);
  ASSERT_TRUE(tombstone.ok());
  EXPECT_EQ(tombstone->operation.reason, "NothingToSave");
  EXPECT_TRUE(h.world.archives.empty());
}

TEST(Delete, TheOperationIsFoundByItsIdBeforeAndAfter) {
  Harness h;
  const std::string id = h.create_running();
  auto answer = h.remove(id);
  ASSERT_TRUE(answer.ok());
  auto during = h.operation(answer->operation.id);
  ASSERT_TRUE(during.ok());
  EXPECT_EQ((*during)["session_id"].as_string(), id);
  ASSERT_TRUE(h.wait_deleted(id).ok());
  auto after = h.operation(answer->operation.id);
  ASSERT_TRUE(after.ok());
  EXPECT_EQ((*after)["step"].as_string(), "done");
  EXPECT_EQ(code_of(h.operation("12345678")), Code::not_found);
}

TEST(Delete, TellsItsStepsAsEvents) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  std::vector<std::string> steps;
  bool deleted = false;
  for (const Event& event : h.events) {
    if (event.type == "operation.step") steps.push_back(event.data["step"].as_string());
    deleted |= event.type == "session.deleted";
  }
  EXPECT_EQ(steps, (std::vector<std::string>{"stop", "backup", "verify", "release_workload", "release_volume", "done"}));
  EXPECT_TRUE(deleted);
}

// ---- the engine itself ------------------------------------------------------------------------------------------------

TEST(Engine, ReportsWhatThePlatformHoldsOfNoSessionAndLeavesItAlone) {
  EngineOptions options;
  options.resync_ms = 5'000;
  Harness h(options);
  WorkspaceSpec stranger;
  stranger.id = "deadbeef";
  stranger.generation = 1;
  stranger.create_volume = true;
  stranger.volume.name = "pvc-deadbeef";
  stranger.volume.token = "x";
  ASSERT_TRUE(h.world.apply(stranger).ok());
  ASSERT_TRUE(h.until([&] { return h.engine().statistics().orphans == 1; }));
  EXPECT_TRUE(h.world.platforms["deadbeef"].volume);
}

TEST(Engine, ARestartGoesOnWhereItWas) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.operation->step == OperationStep::backup; }));
  h.restart();
  EXPECT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST(Engine, RunningWorkspacesAreNotTouchedByARestart) {
  Harness h;
  const std::string id = h.create_running();
  const std::string before = h.view(id)->session.observed.incarnation;
  h.restart();
  h.pass_ms(120'000);
  EXPECT_EQ(h.phase(id), Phase::running);
  EXPECT_EQ(h.world.platforms[id].workload.incarnation, before);
}

TEST(Engine, StopsOnceNoCallIsUnderWayAndGivesTheLeaseBack) {
  Harness h;
  const std::string id = h.create_running();
  bool stopped = false;
  ASSERT_TRUE(h.sleep(id).ok());
  h.engine().stop([&] { stopped = true; });
  ASSERT_TRUE(h.until([&] { return stopped; }));
  EXPECT_FALSE(h.engine().statistics().leader);
  EXPECT_EQ(code_of(h.wake(id)), Code::unavailable);
  EXPECT_TRUE(h.world.lease("leader", "another", 1, 1000).ok());
}

TEST(Engine, WithoutTheLeaseItTakesCommandsButTouchesNothing) {
  Harness h;
  const std::string id = h.create_running();
  h.replica.reset();
  h.pass_ms(20'000);
  ASSERT_TRUE(h.world.lease("leader", "another", 1, 600'000).ok());
  h.replica = std::make_unique<Replica>(h.world, h.options);
  h.replica->engine().start();
  ASSERT_TRUE(h.until([&] { return h.engine().ready().ok(); }));
  ASSERT_TRUE(h.sleep(id).ok());
  h.pass_ms(60'000);
  EXPECT_EQ(h.world.platforms[id].workload.state, WorkloadState::running);
  EXPECT_EQ(h.view(id)->session.phase, Phase::stopping);
}

TEST(Engine, TakesCommandsFromSeveralThreadsWhileOthersRead) {
  Harness h;
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(h.create_running("user" + std::to_string(i)));
  std::atomic<int> answered{0};
  std::atomic<bool> over{false};
  constexpr int kEach = 50;
  std::vector<std::thread> threads;
  for (const std::string& id : ids) {
    threads.emplace_back([&, id] {
      for (int i = 0; i < kEach; ++i) {
        h.engine().chat(id, "m", {}, [&](Result<Engine::Queued>) { ++answered; });
        h.engine().touch(id);
      }
    });
  }
  threads.emplace_back([&] {
    while (!over) {
      (void)h.engine().reads().list("", 10);
      (void)h.engine().reads().count_by_phase();
      (void)h.engine().statistics();
      (void)h.engine().ready();
      for (const std::string& id : ids) (void)h.engine().reads().find(id)->session.queue_length;
    }
  });
  while (answered < kEach * static_cast<int>(ids.size())) {
    h.replica->take_posted();
    for (int i = 0; i < 100 && h.simulator.step(h.simulator.monotonic_ns() + 1'000'000); ++i) {
    }
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  for (const std::string& id : ids) EXPECT_EQ(h.view(id)->session.queue_length, kEach);
}

}  // namespace
}  // namespace roost::simulation
