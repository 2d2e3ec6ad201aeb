// What does not go well: it is tried again ever more rarely, and the API says why.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

constexpr std::int64_t kTenMinutesMs = 600'000;
constexpr int kFewCalls = 40;  // with a backoff from 0.2 s to 60 s there is room for about twenty in ten minutes

std::optional<Error> refuse_all(const std::string& call, const char* which, Code code) {
  if (call != which) return std::nullopt;
  return Error{code, "refused by the test", 0};
}

// ---- backoff and reasons ----------------------------------------------------------------------------------------------

class Refused : public ::testing::TestWithParam<Code> {};

TEST_P(Refused, AStartIsTriedEverMoreRarelyAndSaysWhy) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  h.world.refuse = [](const std::string& call, const std::string&) { return refuse_all(call, "apply", GetParam()); };
  h.world.calls.clear();
  ASSERT_TRUE(h.wake(id).ok());
  h.pass_ms(kTenMinutesMs);
  EXPECT_LT(h.world.calls["apply"], kFewCalls);
  EXPECT_GT(h.world.calls["apply"], 3);
  EXPECT_EQ(h.view(id)->session.message, "apply: refused by the test");
  EXPECT_EQ(h.phase(id), Phase::failed);
  EXPECT_GT(h.view(id)->session.next_attempt_at_us, 0);
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::running && h.view(id)->session.reason.empty(); }));
}

TEST_P(Refused, AReleaseIsTriedEverMoreRarelyAndSaysWhy) {
  Harness h;
  const std::string id = h.create_running();
  h.world.refuse = [](const std::string& call, const std::string&) { return refuse_all(call, "remove_volume", GetParam()); };
  ASSERT_TRUE(h.remove(id).ok());
  h.pass_ms(kTenMinutesMs);
  EXPECT_LT(h.world.calls["remove_volume"], kFewCalls);
  EXPECT_GT(h.world.calls["remove_volume"], 3);
  EXPECT_EQ(h.phase(id), Phase::delete_blocked);
  EXPECT_EQ(h.view(id)->session.operation->message, "remove the volume: refused by the test");
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_P(Refused, ARemovalOfTheWorkloadIsNotTakenForDone) {
  Harness h;
  const std::string id = h.create_running();
  h.world.refuse = [](const std::string& call, const std::string&) { return refuse_all(call, "remove_workload", GetParam()); };
  ASSERT_TRUE(h.remove(id).ok());
  h.pass_ms(kTenMinutesMs);
  EXPECT_LT(h.world.calls["remove_workload"], kFewCalls);
  ASSERT_TRUE(h.view(id));
  EXPECT_EQ(h.view(id)->session.operation->step, OperationStep::release_workload);
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.wait_deleted(id).ok());
}

// All parts are asked for at once, so one store that is away is as many failures.
TEST(Failures, AStoreThatComesLateIsLoadedFromSoonAfter) {
  Harness h;
  const std::string id = h.create_running();
  h.replica.reset();
  h.world.faults = Faults{};
  h.world.faults.unavailable = 1;
  h.world.faults.slow = 0;
  h.world.troubled = true;
  h.replica = std::make_unique<Replica>(h.world, h.options);
  h.engine().start();
  h.pass_ms(10'000);
  EXPECT_FALSE(h.engine().ready().ok());
  h.world.refuse = [](const std::string& call, const std::string&) { return refuse_all(call, "scan", Code::unavailable); };
  h.world.troubled = false;
  h.pass_ms(60'000);
  EXPECT_FALSE(h.engine().ready().ok());
  h.world.refuse = nullptr;
  const std::int64_t back_ns = h.simulator.monotonic_ns();
  ASSERT_TRUE(h.until([&] { return h.view(id) != nullptr && h.engine().ready().ok(); }));
  EXPECT_LT((h.simulator.monotonic_ns() - back_ns) / 1'000'000, 5'000);
}

TEST(Failures, AfterAnUnknownOutcomeNothingIsDoneBeforeALiveLook) {
  Harness h;
  const std::string id = h.create_running();
  std::vector<std::string> calls;
  h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (calls.empty() && call != "apply") return std::nullopt;
    calls.push_back(call);
    if (calls.size() > 1) return std::nullopt;
    return Error{Code::outcome_unknown, "refused by the test", 0};
  };
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  ASSERT_FALSE(calls.empty());
  const auto second = std::find(calls.begin() + 1, calls.end(), "apply");
  ASSERT_NE(second, calls.end());
  EXPECT_NE(std::find(calls.begin() + 1, second, "observe_live"), second);
}

TEST(Failures, ARemovalThatTakesLongIsNoPlatformThatIsAway) {
  Harness h;
  const std::string id = h.create_running();
  std::int64_t retry_after_ms = 1000;
  h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "remove_volume") return std::nullopt;
    return Error{Code::outcome_unknown, "it is being deleted", retry_after_ms};
  };
  ASSERT_TRUE(h.remove(id).ok());
  bool ready = true;
  ASSERT_TRUE(h.until([&] {
    ready = ready && h.engine().ready().ok();
    return h.world.calls["remove_volume"] > 8;
  }));
  EXPECT_TRUE(ready);
  EXPECT_EQ(h.engine().statistics().calls_overdue, 0);
  retry_after_ms = 0;  // an answer that was lost
  EXPECT_TRUE(h.until([&] { return !h.engine().ready().ok(); }));
  EXPECT_GT(h.engine().statistics().calls_overdue, 0);
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.wait_deleted(id).ok());
}

TEST(Failures, ARemovalThatTakesLongIsShownAsBlockedOnlyAfterMinutes) {
  Harness h;
  const std::string id = h.create_running();
  h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "remove_volume") return std::nullopt;
    return Error{Code::outcome_unknown, "it is being deleted", 1000};
  };
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.world.calls["remove_volume"] > 0; }));
  h.pass_ms(240'000);
  EXPECT_GT(h.world.calls["remove_volume"], 5);
  EXPECT_EQ(h.phase(id), Phase::deleting);
  EXPECT_EQ(h.view(id)->session.operation->reason, "OutcomeUnknown") << "and says what it waits for";
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }))
      << "a finalizer that nobody removes is somebody's to look at";
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.wait_deleted(id).ok());
}

// Each gave the place that it was just handed to the other, for ever and in no time.
TEST(Failures, TwoThatFailedDoNotHandOnePlaceToAndFro) {
  EngineOptions options;
  options.concurrent_starts = 1;
  Harness h(options);
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(h.create_running("user" + std::to_string(i)));
  for (const std::string& id : ids) {
    h.world.platforms[id].workload.state = WorkloadState::failed;
    h.world.changed(id);
  }
  int steps = 0;
  std::set<std::string> fell, up;
  EXPECT_TRUE(h.until([&] {
    for (const std::string& id : ids) {
      if (h.phase(id) != Phase::running) fell.insert(id);
      if (fell.count(id) != 0 && h.phase(id) == Phase::running) up.insert(id);
    }
    return up.size() == ids.size() || ++steps > 200'000;
  }));
  EXPECT_LT(steps, 200'000);
}

TEST(Failures, WhatIsUnderWayIsAskedForAgainWhenThePlatformChanges) {
  Harness h;
  const std::string id = h.create_running();
  h.world.refuse = [](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "task_remove") return std::nullopt;
    return Error{Code::outcome_unknown, "it is being deleted", 1000};
  };
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.world.calls["task_remove"] >= 12; }));  // the backoff is at its longest, a minute
  h.pass_ms(1000);
  ASSERT_EQ(h.world.calls["task_remove"], 12);
  h.world.refuse = nullptr;
  h.world.changed(id);
  h.pass_ms(5000);
  EXPECT_GT(h.world.calls["task_remove"], 12);
  EXPECT_TRUE(h.wait_deleted(id).ok());
}

TEST(Failures, WhoLostTheLeaseStopsInTheMiddle) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty(); }));
  h.replica->pause();
  h.pass_ms(30'000);  // the task ends meanwhile
  ASSERT_TRUE(h.world.lease("leader", "another", 1, 3'600'000).ok());
  h.world.calls.clear();
  h.replica->resume();
  h.pass_ms(120'000);
  for (const char* call : {"apply", "task_start", "task_remove", "remove_workload", "remove_volume"})
    EXPECT_EQ(h.world.calls[call], 0) << call;
  EXPECT_EQ(h.view(id)->session.operation->step, OperationStep::backup);
}

INSTANTIATE_TEST_SUITE_P(Failures, Refused,
                         ::testing::Values(Code::conflict, Code::outcome_unknown, Code::exhausted, Code::unavailable,
                                           Code::deadline));

TEST(Failures, ALookThatKeepsFailingIsTheReasonThatIsShown) {
  Harness h;
  const std::string id = h.create_running();
  h.world.refuse = [](const std::string& call, const std::string&) { return refuse_all(call, "observe", Code::internal); };
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.operation->reason == "Internal"; }));
  EXPECT_EQ(h.view(id)->session.operation->message, "observe: refused by the test");
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.wait_deleted(id).ok());
}

// ---- tasks ------------------------------------------------------------------------------------------------------------

SimTask& the_task(Harness& h) { return h.world.tasks.begin()->second; }

class StuckTask : public ::testing::TestWithParam<TaskKind> {};

TEST_P(StuckTask, IsStoppedAndTriedAgain) {
  EngineOptions options;
  options.task_stall_ms = 120'000;
  Harness h(options);
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty() && the_task(h).spec.kind == GetParam(); }));
  const std::int64_t attempt = the_task(h).spec.attempt;
  h.simulator.cancel(the_task(h).event);
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.operation->reason == "TaskStalled"; }));
  EXPECT_EQ(h.phase(id), Phase::delete_blocked);
  EXPECT_EQ(h.view(id)->session.operation->attempt, attempt + 1);
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty() && h.world.tasks.rbegin()->second.spec.attempt == attempt + 1; }));
  EXPECT_EQ(h.world.tasks.size(), 1U) << "the old one is gone before the new one starts";
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.tasks.empty());
  EXPECT_TRUE(h.world.violations.empty());
}

INSTANTIATE_TEST_SUITE_P(Failures, StuckTask, ::testing::Values(TaskKind::backup, TaskKind::verify));

TEST(Failures, ATaskThatMovesIsNotStuck) {
  EngineOptions options;
  options.task_stall_ms = 120'000;
  Harness h(options);
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty(); }));
  h.simulator.cancel(the_task(h).event);
  for (int minute = 0; minute < 30; ++minute) {
    ++the_task(h).task.progress_bytes;
    h.pass_ms(60'000);
  }
  EXPECT_EQ(h.view(id)->session.operation->attempt, 1);
}

TEST(Failures, WhatARunningTaskWaitsForIsShownUntilItGoesOn) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty(); }));
  h.simulator.cancel(the_task(h).event);
  the_task(h).task.reason = "Unschedulable";
  the_task(h).task.message = "no node has room";
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }));
  EXPECT_EQ(h.view(id)->session.operation->reason, "Unschedulable");
  EXPECT_EQ(h.view(id)->session.operation->message, "no node has room");
  the_task(h).task.reason.clear();
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::deleting; }));
  EXPECT_TRUE(h.view(id)->session.operation->reason.empty());
}

// What a verify task may answer, by mistake or by malice, and must not be believed.
struct Wrong {
  const char* what;
  void (*make)(Receipt&);
};

class WrongReceipt : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongReceipt, OfAVerifyMeansANewBackup) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return !h.world.tasks.empty() && the_task(h).spec.kind == TaskKind::verify; }));
  SimTask& task = the_task(h);
  h.simulator.cancel(task.event);
  task.event = 0;
  SimArchive& archive = h.world.archives[task.spec.archive];
  Receipt receipt = archive.receipt;
  receipt.verified_at_us = h.simulator.wall_us();
  GetParam().make(receipt);
  task.task.state = TaskState::succeeded;
  task.task.receipt = receipt;
  ASSERT_TRUE(h.until([&] { return !h.view(id) || h.view(id)->session.operation->step != OperationStep::verify; }));
  ASSERT_TRUE(h.view(id));
  EXPECT_EQ(h.view(id)->session.operation->step, OperationStep::backup);
  EXPECT_EQ(h.view(id)->session.operation->reason, "ReceiptMismatch") << h.view(id)->session.operation->message;
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

INSTANTIATE_TEST_SUITE_P(Failures, WrongReceipt,
                         ::testing::Values(Wrong{"of an older operation", [](Receipt& r) { r.operation_id = "00000000"; }},
                                           Wrong{"of another session", [](Receipt& r) { r.session_id = "00000000"; }},
                                           Wrong{"of another volume", [](Receipt& r) { r.volume_uid = "uid-0"; }},
                                           Wrong{"of another archive", [](Receipt& r) { r.archive = "other.zip"; }},
                                           Wrong{"of other bytes", [](Receipt& r) { r.archive_sha256 = std::string(64, '0'); }},
                                           Wrong{"of another tree", [](Receipt& r) { r.tree_hash = std::string(64, '0'); }},
                                           Wrong{"of fewer files", [](Receipt& r) { r.files -= 1; }},
                                           Wrong{"of another size", [](Receipt& r) { r.archive_bytes += 1; }},
                                           Wrong{"not read back", [](Receipt& r) { r.verified_at_us = 0; }}),
                         [](const auto& row) {
                           std::string name = row.param.what;
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

class Intruder : public ::testing::TestWithParam<OperationStep> {};

TEST_P(Intruder, ThatCameAndWentDuringTheCopyMakesItWorthless) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] {
    return h.view(id)->session.operation->step == GetParam() && !h.world.tasks.empty() &&
           the_task(h).task.state == TaskState::running;
  }));
  h.world.intrude(id);  // it writes
  h.pass_ms(50);
  h.world.platforms[id].workload = {};
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

INSTANTIATE_TEST_SUITE_P(Failures, Intruder, ::testing::Values(OperationStep::backup, OperationStep::verify));

TEST(Failures, AWorkloadThatComesBetweenTheLookAndTheReleaseIsNotSweptAway) {
  Harness h;
  const std::string id = h.create_running();
  bool came = false;
  h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call == "remove_workload" && !std::exchange(came, true)) h.world.intrude(id);  // it writes
    return std::nullopt;
  };
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(came);
  EXPECT_TRUE(h.world.violations.empty());
}

// ---- hints and answers ------------------------------------------------------------------------------------------------

// The platform hints at what an apply did before the apply has answered.
// A start whose answer was lost comes to pass when the session has its tombstone.
TEST(Failures, ATaskOfADeleteThatBeginsAfterItsEndIsRemoved) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  const auto buried = h.wait_deleted(id);
  ASSERT_TRUE(buried.ok());
  TaskSpec late;
  late.id = id;
  late.operation = buried->operation.id;
  late.attempt = buried->operation.attempt;
  late.kind = TaskKind::verify;
  late.archive = buried->operation.archive;
  ASSERT_TRUE(h.world.task_start(late).ok());
  EXPECT_TRUE(h.until([&] { return h.world.tasks.empty(); }));
  h.pass_ms(300'000);
  EXPECT_EQ(h.engine().statistics().orphans, 0);
}

// Nothing tells a single replica of it: the store's watch is for several.
TEST(Failures, ACommitOfAKilledProcessThatArrivesLateIsNoticed) {
  Harness h;
  const std::string id = h.create_running();
  h.restart();
  h.pass_ms(5'000);
  const auto document = h.world.get(documents::partition(id), documents::session_key(id));
  const SessionView view = *documents::decode_session(*document);
  Session next = view->session;
  next.wanted = Wanted::asleep;
  next.spec_generation += 1;
  Commit late;
  late.partition = documents::partition(id);
  late.conditions.push_back({Condition::Kind::revision, documents::session_key(id), document->revision});
  late.operations.push_back({StoreOperation::Kind::put, documents::session_key(id), documents::encode(next, view->commits), 0});
  ASSERT_TRUE(h.world.commit(late).ok());
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
}

TEST(Failures, AHintDuringAnApplyDoesNotCostTheVolumesUid) {
  EngineOptions options;
  options.lease_ms = 3'600'000;  // the lease is not what this is about
  Harness h(options);
  h.world.faults = {};
  for (double* fault :
       {&h.world.faults.unavailable, &h.world.faults.lost_answer, &h.world.faults.lost_request, &h.world.faults.late,
        &h.world.faults.bad_start, &h.world.faults.cancelled_watch, &h.world.faults.expired_watch})
    *fault = 0;
  h.world.faults.slow = 1;  // answers take seconds, hints do not
  h.world.troubled = true;
  for (int i = 0; i < 10; ++i) {
    h.world.calls.clear();
    const std::string id = (*h.create("user" + std::to_string(i)))->session.id;
    ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
    EXPECT_EQ(h.view(id)->session.volume.uid, h.world.platforms[id].volume->uid);
    EXPECT_EQ(h.world.calls["apply"], 1) << "its answer was not thrown away";
  }
}

// ---- the store knows better -------------------------------------------------------------------------------------------

TEST(Failures, AVolumeIsReleasedByTheDocumentInTheStoreNotByAnOldOne) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.operation->step == OperationStep::release_volume; }));
  // The leader before went back to the stop, and this one has not heard of it.
  auto document = h.world.get(documents::partition(id), documents::session_key(id));
  Session session = (*documents::decode_session(*document))->session;
  session.operation->step = OperationStep::stop;
  session.operation->attempt += 1;
  session.operation->receipt.reset();
  Commit commit;
  commit.partition = documents::partition(id);
  commit.operations.push_back({StoreOperation::Kind::put, document->key, documents::encode(session, ""), 0});
  ASSERT_TRUE(h.world.commit(commit).ok());
  h.world.platforms[id].volume->written.push_back(4711);  // what was written since
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST(Failures, ADocumentUnderAnothersKeyIsLeftAlone) {
  Harness h;
  const std::string id = h.create_running();
  auto document = h.world.get(documents::partition(id), documents::session_key(id));
  const std::string other = id.substr(0, 2) + (id.substr(2) == "ffffff" ? "fffffe" : "ffffff");
  Commit commit;
  commit.partition = documents::partition(id);
  commit.operations.push_back({StoreOperation::Kind::put, documents::session_key(other), document->value, 0});
  ASSERT_TRUE(h.world.commit(commit).ok());
  h.restart();
  EXPECT_EQ(h.engine().reads().size(), 1U);
  EXPECT_FALSE(h.view(other));
}

TEST(Failures, ALongQueueOfRefusedWishesIsNotADeepStack) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.remove(id).ok());
  h.world.may_skip.insert(id);
  DeleteOptions skip;
  skip.skip_backup = true;
  h.engine().remove(id, skip, {}, [](Result<Engine::DeleteAnswer>) {});  // while it is committed the others queue up
  int refused = 0;
  constexpr int kMany = 100'000;
  for (int i = 0; i < kMany; ++i) {
    h.engine().chat(id, "m", {}, [&](Result<Engine::Queued> queued) { refused += queued.ok() ? 0 : 1; });
  }
  EXPECT_TRUE(h.until([&] { return refused == kMany; }));
}

}  // namespace
}  // namespace roost::simulation
