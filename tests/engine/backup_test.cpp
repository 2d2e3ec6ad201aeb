// Backups on demand: what they save, whom they hold up (nobody), what ends them.
#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

class Backup : public ::testing::Test {
 protected:
  std::string asleep() {
    const std::string id = h.create_running();
    EXPECT_TRUE(h.sleep(id).ok());
    EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
    return id;
  }
  Operation begun(const std::string& id) {
    auto view = h.backup(id);
    EXPECT_TRUE(view.ok()) << (view.ok() ? "" : view.error().message);
    return view.ok() ? *(*view)->session.operation : Operation{};
  }
  SimTask* task() { return h.world.tasks.empty() ? nullptr : &h.world.tasks.begin()->second; }
  bool until_task(TaskKind kind) {
    return h.until([&] { return task() && task()->spec.kind == kind && task()->task.state == TaskState::running; });
  }
  bool until_tidy(const std::string& id) {
    return h.until([&] { return h.world.tasks.empty() && !is_operating(h.view(id)->session); });
  }
  Harness h;
};

TEST_F(Backup, OfASleepingSessionIsVerifiedAndLeavesItAsleep) {
  const std::string id = asleep();
  const Operation operation = begun(id);
  EXPECT_EQ(operation.kind, OperationKind::backup);
  EXPECT_FALSE(operation.live);
  ASSERT_TRUE(until_task(TaskKind::verify));
  EXPECT_EQ(h.phase(id), Phase::asleep);
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::succeeded);
  ASSERT_TRUE(done.receipt);
  EXPECT_EQ(release_blocker(*done.receipt, done.id, h.view(id)->session.volume.uid, false), "");
  EXPECT_EQ(h.view(id)->session.last_backup.id, done.backup_id);
  const BackupRecord kept = h.record(done.backup_id);
  EXPECT_EQ(kept.state, "verified");
  EXPECT_EQ(h.world.archives[kept.archive].content, h.world.platforms[id].volume->written);
  EXPECT_TRUE(until_tidy(id)) << "its tasks are removed";
  EXPECT_EQ(h.phase(id), Phase::asleep);
}

TEST_F(Backup, OfARunningSessionIsLiveAndNeverReleasesAVolume) {
  const std::string id = h.create_running();
  const std::string incarnation = h.view(id)->session.observed.incarnation;
  EXPECT_TRUE(begun(id).live);
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::succeeded);
  EXPECT_TRUE(done.receipt->live);
  EXPECT_NE(release_blocker(*done.receipt, done.id, h.view(id)->session.volume.uid, true), "");
  EXPECT_TRUE(h.record(done.backup_id).receipt.live);
  EXPECT_TRUE(h.view(id)->session.last_backup.live);
  EXPECT_EQ(h.phase(id), Phase::running);
  EXPECT_EQ(h.view(id)->session.observed.incarnation, incarnation);
}

TEST_F(Backup, AWakeCancelsIt) {
  for (const TaskKind during : {TaskKind::backup, TaskKind::verify}) {
    const std::string id = asleep();
    begun(id);
    ASSERT_TRUE(until_task(during));
    bool tasks_gone = false;
    h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
      if (call == "apply") tasks_gone = h.world.tasks.empty();
      return std::nullopt;
    };
    ASSERT_TRUE(h.wake(id).ok());
    ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
    EXPECT_TRUE(tasks_gone) << "before the workspace starts";
    EXPECT_EQ(h.view(id)->session.operation->outcome, OperationOutcome::cancelled);
    EXPECT_EQ(h.view(id)->session.operation->reason, "Cancelled");
    h.world.refuse = nullptr;
  }
}

TEST_F(Backup, ADeleteTakesItsPlaceAndRemovesItsTasksFirst) {
  const std::string id = asleep();
  const Operation operation = begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  bool mixed = false;
  h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call == "task_start") mixed |= !h.world.tasks.empty() && std::get<1>(h.world.tasks.begin()->first) == operation.id;
    return std::nullopt;
  };
  ASSERT_TRUE(h.remove(id).ok());
  const auto deleted = h.wait_deleted(id);
  ASSERT_TRUE(deleted.ok());
  EXPECT_FALSE(mixed);
  EXPECT_NE(deleted->operation.id, operation.id);
  EXPECT_EQ(deleted->operation.outcome, OperationOutcome::succeeded);
  EXPECT_TRUE(h.world.violations.empty());
}

// A start that was on its way when its operation was cancelled comes after the tasks were removed.
TEST_F(Backup, ATaskOfACancelledOneThatComesLateDoesNotHoldUpTheDelete) {
  const std::string id = asleep();
  begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  const auto late = *h.world.tasks.begin();
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  h.world.tasks.insert(late);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.tasks.empty());
}

TEST_F(Backup, IsRefusedWhereItCannotBe) {
  const std::string id = asleep();
  begun(id);
  EXPECT_EQ(code_of(h.backup(id)), Code::conflict) << "one operation at a time";
  h.operated(id);
  ASSERT_TRUE(h.wake(id).ok());
  EXPECT_EQ(code_of(h.backup(id)), Code::conflict) << "it is starting";
  ASSERT_TRUE(h.remove(id).ok());
  const auto late = h.backup(id);
  ASSERT_EQ(code_of(late), Code::conflict);
  EXPECT_NE(late.error().message.find("is being deleted"), std::string::npos) << late.error().message;
  EXPECT_EQ(code_of(h.backup("00000000")), Code::not_found);
  CommandOptions dry;
  dry.dry_run = true;
  const std::string other = asleep();
  EXPECT_TRUE(h.backup(other, dry).ok());
  EXPECT_FALSE(h.view(other)->session.operation);
}

TEST_F(Backup, TheSameKeyBeginsOne) {
  const std::string id = asleep();
  const auto first = h.backup(id, with_key("k")), second = h.backup(id, with_key("k"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->session.operation->id, (*second)->session.operation->id);
}

TEST_F(Backup, ARepeatedCallAnswersWithItsOwnAlsoWhereAnotherFollowed) {
  const std::string id = asleep();
  const Operation first = *(*h.backup(id, with_key("first")))->session.operation;
  h.operated(id);
  const Operation second = *(*h.backup(id, with_key("second")))->session.operation;
  ASSERT_NE(first.id, second.id);
  for (const bool deleted : {false, true}) {
    if (deleted) {
      ASSERT_TRUE(h.remove(id).ok());
    }
    const auto again = h.backup(id, with_key("first"));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ((*again)->session.operation->id, first.id);
    EXPECT_EQ((*again)->session.operation->kind, OperationKind::backup);
    EXPECT_EQ((*again)->session.operation->backup_id, first.backup_id);
    const auto& under_way = h.view(id)->session.operation;
    EXPECT_EQ(under_way->id == second.id, !deleted) << "and changes nothing";
  }
}

TEST_F(Backup, ThatKeepsFailingEndsWithTheReasonAndHoldsUpNobody) {
  const std::string id = h.create_running();
  h.world.troubled = true;
  h.world.faults = {};
  for (double* chance :
       {&h.world.faults.unavailable, &h.world.faults.lost_answer, &h.world.faults.lost_request, &h.world.faults.late,
        &h.world.faults.slow, &h.world.faults.bad_start, &h.world.faults.task_killed, &h.world.faults.task_vanishes,
        &h.world.faults.task_hangs, &h.world.faults.stale_result, &h.world.faults.cancelled_watch, &h.world.faults.expired_watch})
    *chance = 0;
  h.world.faults.disk_full = 1;
  begun(id);
  ASSERT_TRUE(h.until([&] { return h.view(id)->session.operation->failures >= 4; }));
  EXPECT_EQ(h.view(id)->session.failures, 0) << "the session itself is well";
  EXPECT_EQ(h.phase(id), Phase::running);
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; })) << "its backoff does not hold up a wish";
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "NoSpace");
  EXPECT_TRUE(h.view(id)->session.last_backup.id.empty());
  EXPECT_TRUE(until_tidy(id));
}

TEST_F(Backup, GoesOnAtRestWhereItsSessionIsPutToSleep) {
  const std::string id = h.create_running();
  begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  ASSERT_TRUE(h.sleep(id).ok());
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  EXPECT_TRUE(h.view(id)->session.last_backup.live) << "it was begun while the workspace could write";
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
}

TEST_F(Backup, BesideAWorkspaceThatIsGoneIsTakenAtRest) {
  const std::string id = h.create_running();
  begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  h.simulator.cancel(task()->event);
  task()->task.reason = "Unschedulable";  // it was to run where the workspace's pod is
  ASSERT_TRUE(h.sleep(id).ok());
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::succeeded);
  EXPECT_FALSE(done.receipt->live);
}

TEST_F(Backup, ThatThePlatformCannotMakeFailsAtOnceWithTheReason) {
  const std::string id = h.create_running();
  h.world.refuse = [](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "task_start") return std::nullopt;
    return Error{Code::unsupported, "one pod at a time may use this volume", 0};
  };
  begun(id);
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "Unsupported");
  EXPECT_NE(done.message.find("one pod at a time"), std::string::npos);
  EXPECT_EQ(h.world.calls["task_start"], 1);
}

TEST_F(Backup, DoesNotKeepADeadWorkspaceFromStartingAgain) {
  const std::string id = h.create_running();
  begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  h.simulator.cancel(task()->event);  // it takes for ever
  const std::string incarnation = h.view(id)->session.observed.incarnation;
  h.world.workload_dies(id);
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::running && h.view(id)->session.observed.incarnation != incarnation; }));
  EXPECT_TRUE(is_operating(h.view(id)->session));
}

TEST_F(Backup, AWorkloadThatShowsUpDuringACopyAtRestMakesItWorthless) {
  const std::string id = asleep();
  const Operation first = begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  h.simulator.cancel(task()->event);
  h.world.intrude(id);  // it writes
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::succeeded);
  EXPECT_GT(done.attempt, 2);
  EXPECT_NE(done.archive, first.archive);
  EXPECT_EQ(h.world.archives[done.archive].content, h.world.platforms[id].volume->written);
}

TEST_F(Backup, IsResumedAfterARestart) {
  for (const TaskKind during : {TaskKind::backup, TaskKind::verify}) {
    const std::string id = asleep();
    const Operation operation = begun(id);
    ASSERT_TRUE(until_task(during));
    h.restart();
    const Operation done = h.operated(id);
    EXPECT_EQ(done.id, operation.id);
    EXPECT_EQ(done.outcome, OperationOutcome::succeeded);
    ASSERT_TRUE(until_tidy(id));
  }
}

TEST_F(Backup, IsFoundByItsOperationsIdDuringAndAfter) {
  const std::string id = asleep();
  const Operation operation = begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  ASSERT_TRUE(h.operation(operation.id).ok());
  h.operated(id);
  const auto found = h.operation(operation.id);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ((*found)["outcome"].as_string(), "succeeded");
}

TEST_F(Backup, SaysHowFarItIsAndOfHowMuch) {
  const std::string id = asleep();
  const Operation operation = begun(id);
  const auto progress = [&] { return (*h.operation(operation.id))["progress"]; };
  // Until its task is seen, and as long as the task says nothing, nobody knows.
  ASSERT_TRUE(until_task(TaskKind::backup));
  h.simulator.cancel(task()->event);
  h.pass_ms(10'000);
  EXPECT_TRUE(progress().is_null());
  task()->task.progress_bytes = 5;
  task()->task.progress_files = 1;
  ASSERT_TRUE(h.until([&] { return progress().is_object(); }));
  EXPECT_EQ(progress().dump(), R"({"bytes":5,"files":1})") << "no total that is not known";
  task()->task.total_bytes = 50;
  task()->task.total_files = 2;
  ASSERT_TRUE(h.until([&] { return progress()["total_bytes"].as_int() == 50; }));
  EXPECT_EQ(progress()["total_files"].as_int(), 2);
}

TEST_F(Backup, ItsReadingIsOfAsManyBytesAsWereSaved) {
  const std::string id = asleep();
  const Operation operation = begun(id);
  ASSERT_TRUE(until_task(TaskKind::verify));
  h.simulator.cancel(task()->event);
  task()->task.progress_files = 1;
  task()->task.total_files = 3;
  const auto progress = [&] { return (*h.operation(operation.id))["progress"]; };
  ASSERT_TRUE(h.until([&] { return progress().is_object(); }));
  EXPECT_EQ(progress()["total_files"].as_int(), 3);
  EXPECT_GT(progress()["total_bytes"].as_int(), 0);
  EXPECT_EQ(progress()["total_bytes"].as_int(), h.record(operation.backup_id).receipt.bytes);
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(until_tidy(id));
  EXPECT_TRUE(progress().is_null()) << "of what is over";
}

TEST_F(Backup, WhoseVolumeIsLostFails) {
  const std::string id = asleep();
  begun(id);
  ASSERT_TRUE(until_task(TaskKind::backup));
  h.simulator.cancel(task()->event);
  h.world.lose_volume(id);
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "VolumeLost");
}

}  // namespace
}  // namespace roost::simulation
