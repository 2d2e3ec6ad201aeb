// The planner as tables: a session, what is known, and the one step that follows.
#include "engine/planner.hpp"

#include <gtest/gtest.h>

#include <functional>

#include "engine/operations.hpp"

namespace roost {
namespace {

constexpr std::int64_t kNow = 1'763'000'000'000'000;
const std::string kHash(64, 'a');

Session session(Wanted wanted = Wanted::running) {
  Session s;
  s.id = "0a1b2c3d";
  s.user_id = "ada@example.com";
  s.wanted = wanted;
  s.spec_generation = 5;
  s.volume.name = "pvc-0a1b2c3d";
  s.volume.token = "token";
  s.volume.uid = "uid-1";
  return s;
}

Workspace workspace(WorkloadState state, std::int64_t generation = 5) {
  Workspace w;
  w.id = "0a1b2c3d";
  w.volume_state = VolumeState::present;
  w.volume_uid = "uid-1";
  w.workload_state = state;
  w.generation = generation;
  w.observed.replicas = state == WorkloadState::running || state == WorkloadState::starting ? 1 : 0;
  w.observed.ready = state == WorkloadState::running;
  w.observed.incarnation = state == WorkloadState::none ? "" : "inc-1";
  return w;
}

Knowledge known(const Workspace& w, bool live = true) {
  Knowledge k;
  k.workspace = w;
  k.live = live;
  return k;
}

// The plan once the document says what is observed: documents are updated first, that is a test of its own.
Step plan_settled(Session s, const Knowledge& k) {
  for (int i = 0; i < 5; ++i) {
    Step next = plan(s, k, kNow, {});
    auto* update = std::get_if<step::Update>(&next);
    if (!update) return next;
    if (update->next.operation && s.operation && update->next.operation->step != s.operation->step) return next;
    if (update->next.operation && s.operation && update->next.operation->reason != s.operation->reason) return next;
    s = update->next;
  }
  ADD_FAILURE() << "the document never settles";
  return step::Settled{};
}

std::string name(const Step& s) { return name_of(s); }

// ---- running, asleep ----

TEST(Planner, LooksBeforeAnything) { EXPECT_EQ(name(plan(session(), Knowledge{}, kNow, {})), "observe"); }

TEST(Planner, WritesDownWhatItSees) {
  Step next = plan(session(), known(workspace(WorkloadState::running)), kNow, {});
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.phase, Phase::running);
  EXPECT_EQ(std::get<step::Update>(next).next.observed.replicas, 1);
}

// An apply whose answer was lost has made the volume, and the user put the session to sleep before it was recorded: were it to
// vanish now, the next wake would make an empty one in its place.
TEST(Planner, AsleepWithAVolumeThatWasNeverRecordedItIsRecorded) {
  Session s = session(Wanted::asleep);
  s.volume.uid.clear();
  Workspace w = workspace(WorkloadState::none);
  w.volumes = std::vector<SeenVolume>{{s.volume.name, "token", "uid-1"}};
  const Step next = plan_settled(s, known(w));
  ASSERT_EQ(name(next), "apply");
  EXPECT_FALSE(std::get<step::Apply>(next).running);
  Knowledge answered = known(w);
  answered.adopted = true;
  answered.applied_generation = s.spec_generation;
  const Step then = plan(s, answered, kNow, {});
  ASSERT_EQ(name(then), "update");
  EXPECT_EQ(std::get<step::Update>(then).next.volume.uid, "uid-1");
  w.volumes->clear();
  w.volume_state = VolumeState::missing;
  EXPECT_EQ(name(plan_settled(s, known(w))), "settled") << "one that was never made is not made for a sleeping session";
}

struct Row {
  const char* what;
  Wanted wanted;
  WorkloadState state;
  std::int64_t generation;
  const char* expected;
};

class PlannerTable : public ::testing::TestWithParam<Row> {};

TEST_P(PlannerTable, ChoosesTheStep) {
  const Row& row = GetParam();
  EXPECT_EQ(name(plan_settled(session(row.wanted), known(workspace(row.state, row.generation)))), row.expected) << row.what;
}

INSTANTIATE_TEST_SUITE_P(
    Planner, PlannerTable,
    ::testing::Values(Row{"up as wanted", Wanted::running, WorkloadState::running, 5, "settled"},
                      Row{"up with an older wish: a new size", Wanted::running, WorkloadState::running, 4, "apply"},
                      Row{"on its way up", Wanted::running, WorkloadState::starting, 5, "wait"},
                      Row{"scaled while starting", Wanted::running, WorkloadState::starting, 4, "apply"},
                      Row{"down", Wanted::running, WorkloadState::none, 5, "apply"},
                      Row{"woken while it stops: the old one ends first", Wanted::running, WorkloadState::stopping, 4, "wait"},
                      Row{"failed: counted first", Wanted::running, WorkloadState::failed, 5, "fail"},
                      Row{"asleep", Wanted::asleep, WorkloadState::none, 4, "settled"},
                      Row{"to be stopped", Wanted::asleep, WorkloadState::running, 4, "apply"},
                      Row{"slept while starting", Wanted::asleep, WorkloadState::starting, 4, "apply"},
                      Row{"stopping", Wanted::asleep, WorkloadState::stopping, 5, "wait"},
                      Row{"the remains of a failure", Wanted::asleep, WorkloadState::failed, 4, "apply"}));

TEST(Planner, StartsOnlyAfterALiveLook) {
  EXPECT_EQ(name(plan_settled(session(), known(workspace(WorkloadState::none), false))), "observe");
}

TEST(Planner, MakesAVolumeOnlyForASessionThatNeverHadOne) {
  Session fresh = session();
  fresh.volume.uid.clear();
  Workspace nothing;
  nothing.id = fresh.id;
  Step next = plan_settled(fresh, known(nothing, false));
  ASSERT_EQ(name(next), "apply");
  EXPECT_TRUE(std::get<step::Apply>(next).create_volume);

  Step again = plan_settled(session(), known(workspace(WorkloadState::none)));
  ASSERT_EQ(name(again), "apply");
  EXPECT_FALSE(std::get<step::Apply>(again).create_volume);
}

TEST(Planner, TakesAVolumesIdentityOnlyFromTheAnswerOfAnApply) {
  Session fresh = session();
  fresh.volume.uid.clear();
  Knowledge k = known(workspace(WorkloadState::starting));
  EXPECT_TRUE(reflect(fresh, k).volume.uid.empty());
  k.adopted = true;
  EXPECT_EQ(reflect(fresh, k).volume.uid, "uid-1");
}

TEST(Planner, AMissingVolumeIsLostAndNothingIsStarted) {
  Workspace gone = workspace(WorkloadState::none);
  gone.volume_state = VolumeState::missing;
  gone.volume_uid.clear();
  EXPECT_EQ(name(plan(session(), known(gone, false), kNow, {})), "observe") << "a cached view does not condemn";
  Step next = plan(session(), known(gone), kNow, {});
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.phase, Phase::volume_lost);
  EXPECT_EQ(std::get<step::Update>(next).next.reason, "VolumeLost");
  EXPECT_EQ(name(plan_settled(session(), known(gone))), "wait");
}

TEST(Planner, AForeignVolumeIsNotTouched) {
  Workspace foreign = workspace(WorkloadState::none);
  foreign.volume_uid = "uid-2";
  EXPECT_EQ(name(plan_settled(session(), known(foreign))), "wait");
  EXPECT_EQ(reflect(session(), known(foreign)).reason, "VolumeForeign");
}

TEST(Planner, ADocumentOlderThanThePlatformCatchesUp) {
  EXPECT_EQ(reflect(session(), known(workspace(WorkloadState::running, 9))).spec_generation, 10);
}

TEST(Planner, AnOldViewAfterOurOwnApplyIsNotBelieved) {
  Knowledge k = known(workspace(WorkloadState::running, 4), false);
  k.applied_generation = 5;
  EXPECT_EQ(name(plan(session(Wanted::asleep), k, kNow, {})), "wait");
  k.apply_due = true;
  EXPECT_EQ(name(plan(session(Wanted::asleep), k, kNow, {})), "observe");
}

TEST(Planner, EarlierFailuresAreForgottenOnlyAfterAWhile) {
  Session s = session();
  s.failures = 4;
  s.reason = "CrashLoop";
  Knowledge k = known(workspace(WorkloadState::running));
  EXPECT_EQ(name(plan_settled(s, k)), "wait");
  k.ready_ms = 60'000;
  EXPECT_EQ(name(plan_settled(s, k)), "settled");
}

// ---- deleting ----

Session deleting(OperationStep where) {
  Session s = session(Wanted::deleted);
  s.phase = Phase::deleting;
  s.operation.emplace();
  s.operation->id = "0a111111";
  s.operation->step = where;
  s.operation->archive = "workspace-0a1b2c3d-20251113T021320Z.zip";
  s.operation->backup_id = "0a1b2c3d-20251113T021320Z";
  return s;
}

Receipt receipt(bool verified) {
  Receipt r;
  r.backup_id = "0a1b2c3d-20251113T021320Z";
  r.archive = "workspace-0a1b2c3d-20251113T021320Z.zip";
  r.session_id = "0a1b2c3d";
  r.operation_id = "0a111111";
  r.volume_uid = "uid-1";
  r.files = 2;
  r.archive_sha256 = r.tree_hash = kHash;
  r.made_at_us = kNow;
  r.verified_at_us = verified ? kNow : 0;
  return r;
}

Task task(TaskState state, const std::string& why = "") {
  Task t;
  t.state = state;
  t.reason = why;
  if (state == TaskState::succeeded) t.receipt = receipt(false);
  return t;
}

const Workspace kStopped = workspace(WorkloadState::none);

TEST(PlannerDelete, StopsWithItsOwnGenerationEvenWhereNothingRuns) {
  Session s = deleting(OperationStep::stop);
  Step next = plan_settled(s, known(workspace(WorkloadState::none, 4)));
  ASSERT_EQ(name(next), "apply") << "a start that is still on its way must be refused";
  EXPECT_FALSE(std::get<step::Apply>(next).running);
}

TEST(PlannerDelete, BacksUpOnlyAfterALiveLookAtNoWorkload) {
  EXPECT_EQ(name(plan_settled(deleting(OperationStep::stop), known(kStopped, false))), "observe");
  Step next = plan_settled(deleting(OperationStep::stop), known(kStopped));
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->step, OperationStep::backup);
  Knowledge k = known(kStopped, false);
  k.task = task(TaskState::none);
  EXPECT_EQ(name(plan_settled(deleting(OperationStep::backup), k)), "observe");
  k.live = true;
  EXPECT_EQ(name(plan_settled(deleting(OperationStep::backup), k)), "start_task");
}

TEST(PlannerDelete, AWorkloadThatShowsUpSendsItBackToTheStop) {
  for (OperationStep where : {OperationStep::release_workload, OperationStep::release_volume}) {
    Session s = deleting(where);
    s.operation->receipt = receipt(true);
    s.operation->override_losses = true;
    Knowledge k = known(workspace(WorkloadState::running));
    k.tasks_removed = true;
    k.archive = Knowledge::Archive::right;
    k.archive_name = s.operation->archive;
    Step next = plan_settled(s, k);
    ASSERT_EQ(name(next), "update");
    EXPECT_EQ(std::get<step::Update>(next).next.operation->step, OperationStep::stop);
    EXPECT_FALSE(std::get<step::Update>(next).next.operation->receipt) << "the backup may be out of date";
    EXPECT_FALSE(std::get<step::Update>(next).next.operation->override_losses) << "the next one may name other losses";
  }
}

TEST(PlannerDelete, AFailedBackupIsBlockedWithItsReasonAndTriedAgainWithANewArchive) {
  Session s = deleting(OperationStep::backup);
  Knowledge k = known(kStopped);
  k.task = task(TaskState::failed, "NoSpace");
  Step next = plan_settled(s, k);
  ASSERT_EQ(name(next), "fail");
  const Session& then = std::get<step::Fail>(next).next;
  EXPECT_EQ(then.phase, Phase::delete_blocked);
  EXPECT_EQ(then.operation->reason, "NoSpace");
  EXPECT_EQ(then.operation->attempt, 2);
  EXPECT_NE(then.operation->archive, s.operation->archive);
  EXPECT_GT(then.operation->backup_id, s.operation->backup_id);
}

TEST(PlannerDelete, AWorkloadDuringTheCopyIsLookedAtOnceMoreAndThenSendsItBack) {
  for (OperationStep where : {OperationStep::backup, OperationStep::verify}) {
    Knowledge k = known(workspace(WorkloadState::running), false);
    k.task = task(TaskState::running);
    EXPECT_EQ(name(plan_settled(deleting(where), k)), "observe");
    k.live = true;
    Step next = plan_settled(deleting(where), k);
    ASSERT_EQ(name(next), "update");
    EXPECT_EQ(std::get<step::Update>(next).next.operation->step, OperationStep::stop);
  }
}

TEST(PlannerDelete, ABackupIdThatIsNoneIsNoTrouble) {
  Session s = deleting(OperationStep::backup);
  s.operation->backup_id = "x";
  Knowledge k = known(kStopped);
  k.task = task(TaskState::failed, "NoSpace");
  EXPECT_EQ(name(plan_settled(s, k)), "fail");
}

TEST(PlannerDelete, TheCatalogueLearnsBeforeTheSession) {
  Knowledge k = known(kStopped);
  k.task = task(TaskState::succeeded);
  EXPECT_EQ(name(plan_settled(deleting(OperationStep::backup), k)), "record_backup");
  k.recorded = true;
  Step next = plan_settled(deleting(OperationStep::backup), k);
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->step, OperationStep::verify);
  EXPECT_EQ(std::get<step::Update>(next).next.operation->attempt, 2);

  EXPECT_EQ(name(plan_settled(deleting(OperationStep::verify), k)), "record_verified");
  k.verified = receipt(true);
  Step verified = plan_settled(deleting(OperationStep::verify), k);
  ASSERT_EQ(name(verified), "update");
  EXPECT_EQ(std::get<step::Update>(verified).next.operation->receipt, receipt(true));
}

TEST(PlannerDelete, ACorruptArchiveMeansANewBackupAndAKilledReaderANewReading) {
  Knowledge k = known(kStopped);
  k.task = task(TaskState::failed, "Corrupt");
  Step corrupt = plan_settled(deleting(OperationStep::verify), k);
  ASSERT_EQ(name(corrupt), "fail");
  EXPECT_EQ(std::get<step::Fail>(corrupt).next.operation->step, OperationStep::backup);
  for (const char* why : {"Killed", "Cancelled"}) {
    k.task = task(TaskState::failed, why);
    Step killed = plan_settled(deleting(OperationStep::verify), k);
    ASSERT_EQ(name(killed), "fail");
    EXPECT_EQ(std::get<step::Fail>(killed).next.operation->step, OperationStep::verify);
  }
}

TEST(PlannerDelete, WithoutAFitReceiptNothingIsReleased) {
  for (OperationStep where : {OperationStep::release_workload, OperationStep::release_volume}) {
    Session none = deleting(where);
    EXPECT_EQ(name(plan_settled(none, known(kStopped))), "fail");
    Session unread = deleting(where);
    unread.operation->receipt = receipt(false);
    EXPECT_EQ(name(plan_settled(unread, known(kStopped))), "fail");
    Session other = deleting(where);
    other.operation->receipt = receipt(true);
    other.operation->receipt->operation_id = "0a222222";
    EXPECT_EQ(name(plan_settled(other, known(kStopped))), "fail");
  }
}

TEST(PlannerDelete, SkippedFilesBlockUntilAnAdminAcceptsTheLoss) {
  Session s = deleting(OperationStep::release_workload);
  s.operation->receipt = receipt(true);
  s.operation->receipt->skipped.push_back({"file", "unreadable", 1, "secret.txt"});
  Knowledge k = known(kStopped);
  k.tasks_removed = true;
  Step next = plan_settled(s, k);
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->reason, "FilesSkipped");
  EXPECT_EQ(std::get<step::Update>(next).next.phase, Phase::delete_blocked);
  EXPECT_EQ(name(plan_settled(std::get<step::Update>(next).next, k)), "wait");
  s.operation->override_losses = true;
  EXPECT_EQ(name(plan_settled(s, k)), "remove_workload");
}

TEST(PlannerDelete, TheVolumeGoesOnlyAfterTheArchiveWasSeenAndALiveLook) {
  Session s = deleting(OperationStep::release_volume);
  s.operation->receipt = receipt(true);
  Knowledge k = known(kStopped, false);
  EXPECT_EQ(name(plan_settled(s, k)), "check_archive");
  k.archive = Knowledge::Archive::right;
  k.archive_name = "of a kept volume.zip";
  EXPECT_EQ(name(plan_settled(s, k)), "check_archive");
  k.archive_name = s.operation->archive;
  EXPECT_EQ(name(plan_settled(s, k)), "observe");
  k.live = true;
  EXPECT_EQ(name(plan_settled(s, k)), "remove_volume");
  k.archive = Knowledge::Archive::wrong;
  EXPECT_EQ(name(plan_settled(s, k)), "fail");
}

TEST(PlannerDelete, AVolumeThatIsMissingIsNotTakenForAnEmptyOne) {
  Workspace gone = kStopped;
  gone.volume_state = VolumeState::missing;
  gone.volume_uid.clear();
  Step next = plan_settled(deleting(OperationStep::stop), known(gone));
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->reason, "VolumeLost");
  Session admin = deleting(OperationStep::stop);
  admin.operation->skip_backup = true;
  Step given_up = plan_settled(admin, known(gone));
  ASSERT_EQ(name(given_up), "update");
  EXPECT_EQ(std::get<step::Update>(given_up).next.operation->step, OperationStep::release_workload);
}

TEST(PlannerDelete, ASessionThatNeverHadAVolumeNeedsNoBackup) {
  Session s = deleting(OperationStep::stop);
  s.volume.uid.clear();
  Workspace nothing;
  nothing.id = s.id;
  EXPECT_EQ(name(plan_settled(s, known(nothing, false))), "observe") << "only a live look tells";
  Step next = plan_settled(s, known(nothing));
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->step, OperationStep::release_workload);
  // One that is there after all is claimed by our token first, and then backed up like any other.
  EXPECT_EQ(name(plan_settled(s, known(workspace(WorkloadState::none)))), "apply");
}

TEST(PlannerDelete, TheReservationIsFreedBeforeTheTombstone) {
  Session s = deleting(OperationStep::done);
  Knowledge k;
  EXPECT_EQ(name(plan(s, k, kNow, {})), "free_reservation");
  k.reservation_freed = true;
  EXPECT_EQ(name(plan(s, k, kNow, {})), "bury");
}

// ---- backups on demand ----

Session backing_up(OperationStep where, Wanted wanted = Wanted::asleep) {
  Session s = session(wanted);
  s.phase = wanted == Wanted::asleep ? Phase::asleep : Phase::running;
  s.operation = deleting(where).operation;
  s.operation->kind = OperationKind::backup;
  s.operation->live = wanted == Wanted::running;
  return s;
}

struct BackupRow {
  const char* what;
  OperationStep where;
  Wanted wanted;
  WorkloadState workload;
  std::optional<TaskState> task;
  bool live_look;
  const char* expected;
};

class PlannerBackup : public ::testing::TestWithParam<BackupRow> {};

TEST_P(PlannerBackup, ChoosesTheStep) {
  const BackupRow& row = GetParam();
  Knowledge k = known(workspace(row.workload), row.live_look);
  if (row.task) k.task = task(*row.task);
  EXPECT_EQ(name(plan_settled(backing_up(row.where, row.wanted), k)), row.expected) << row.what;
}

constexpr auto kCopy = OperationStep::backup;
constexpr auto kRead = OperationStep::verify;
INSTANTIATE_TEST_SUITE_P(
    Planner, PlannerBackup,
    ::testing::Values(
        BackupRow{"whether a task runs is not known", kCopy, Wanted::asleep, WorkloadState::none, {}, true, "observe_task"},
        BackupRow{"begins with a live look", kCopy, Wanted::asleep, WorkloadState::none, TaskState::none, false, "observe"},
        BackupRow{"at rest", kCopy, Wanted::asleep, WorkloadState::none, TaskState::none, true, "start_task"},
        BackupRow{"beside a workload", kCopy, Wanted::running, WorkloadState::running, TaskState::none, true, "start_task"},
        BackupRow{"not while it starts", kCopy, Wanted::running, WorkloadState::starting, TaskState::none, true, "wait"},
        BackupRow{"not while it stops", kCopy, Wanted::asleep, WorkloadState::stopping, TaskState::none, true, "wait"},
        BackupRow{"the workload first: a start", kCopy, Wanted::running, WorkloadState::none, TaskState::running, true, "apply"},
        BackupRow{"the workload first: a failure", kCopy, Wanted::running, WorkloadState::failed, TaskState::running, true,
                  "fail"},
        BackupRow{"it is copied", kCopy, Wanted::asleep, WorkloadState::none, TaskState::running, true, "wait"},
        BackupRow{"it was copied", kCopy, Wanted::asleep, WorkloadState::none, TaskState::succeeded, true, "record_backup"},
        BackupRow{"it failed", kCopy, Wanted::asleep, WorkloadState::none, TaskState::failed, true, "fail"},
        BackupRow{"a copy at rest and a workload: looked at", kCopy, Wanted::asleep, WorkloadState::running, TaskState::running,
                  false, "observe"},
        BackupRow{"a copy at rest and a workload", kCopy, Wanted::asleep, WorkloadState::running, TaskState::running, true,
                  "fail"},
        BackupRow{"the last attempt's task goes first", kRead, Wanted::asleep, WorkloadState::none, TaskState::none, true,
                  "remove_tasks"},
        BackupRow{"it was read", kRead, Wanted::asleep, WorkloadState::none, TaskState::succeeded, true, "record_verified"}));

// ---- restores ----

const Volume kTarget{"pvc-0a1b2c3d-g1", "token-1", "", 1, 1 << 30};

Session restoring(OperationStep where, bool saved = true) {
  Session s = backing_up(where);
  s.operation->kind = OperationKind::restore;
  s.operation->source = receipt(true);
  s.operation->source->operation_id = "0a999999";
  s.operation->target = kTarget;
  if (where == OperationStep::swap) s.operation->target->uid = "uid-2";
  if (saved && where != OperationStep::backup && where != OperationStep::verify) s.operation->receipt = receipt(true);
  return s;
}

Workspace several(WorkloadState state = WorkloadState::none) {
  Workspace w = workspace(state);
  w.volumes = {{"pvc-0a1b2c3d", "token", "uid-1"}, {"pvc-0a1b2c3d-g1", "token-1", "uid-2"}};
  return w;
}

Task filled() {
  Task t = task(TaskState::succeeded);
  t.receipt = restoring(OperationStep::fill).operation->source;
  t.receipt->verified_at_us = kNow;
  return t;
}

TEST(PlannerRestore, JudgesTheVolumeThatTheSessionNames) {
  Workspace w = several();
  w.volume_uid = "uid-2";
  EXPECT_EQ(judge_volume(session(), w), VolumeVerdict::ours);
  w.volumes->front().token = "another";
  EXPECT_EQ(judge_volume(session(), w), VolumeVerdict::foreign);
  w.volumes->erase(w.volumes->begin());
  EXPECT_EQ(judge_volume(session(), w), VolumeVerdict::lost);
  w.volumes.reset();
  EXPECT_EQ(judge_volume(session(), w), VolumeVerdict::foreign) << "a platform that tells of one only";
}

TEST(PlannerRestore, GoesOnOnlyWithAReceiptThatWouldPermitTheRelease) {
  Knowledge k = known(several());
  k.task = task(TaskState::succeeded);
  k.verified = receipt(true);
  Step good = plan_settled(restoring(OperationStep::verify), k);
  ASSERT_EQ(name(good), "update");
  EXPECT_EQ(std::get<step::Update>(good).next.operation->step, OperationStep::fill);
  k.verified->live = true;
  Step live = plan_settled(restoring(OperationStep::verify), k);
  ASSERT_EQ(name(live), "fail");
  EXPECT_EQ(std::get<step::Fail>(live).next.operation->outcome, OperationOutcome::failed);
}

TEST(PlannerRestore, TakesTheFilledVolumesUidFromALiveLookOnly) {
  Knowledge k = known(several(), false);
  k.task = filled();
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::fill), k)), "observe");
  k.live = true;
  k.task->receipt->not_restored.push_back({"file", "permissions", 2, "a"});
  Step next = plan_settled(restoring(OperationStep::fill), k);
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->step, OperationStep::swap);
  EXPECT_EQ(std::get<step::Update>(next).next.operation->target->uid, "uid-2");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->source->not_restored, k.task->receipt->not_restored);
  k.workspace->volumes->back().token = "another";
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::fill), k)), "fail");
}

TEST(PlannerRestore, NeedsAPlatformThatHoldsSeveralVolumes) {
  Knowledge k = known(several());
  k.task = task(TaskState::none);
  k.previous_task_removed = true;
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::fill), k)), "start_task");
  k.workspace->volumes.reset();
  Step next = plan_settled(restoring(OperationStep::fill), k);
  ASSERT_EQ(name(next), "fail");
  EXPECT_EQ(std::get<step::Fail>(next).next.operation->reason, "Unsupported");
}

TEST(PlannerRestore, WhatWasReadIsComparedWithTheRecord) {
  for (const auto& spoil : std::vector<std::function<void(Receipt&)>>{
           [](Receipt& r) { r.tree_hash = std::string(64, 'b'); }, [](Receipt& r) { r.archive_sha256 = std::string(64, 'b'); },
           [](Receipt& r) { r.files += 1; }, [](Receipt& r) { r.bytes += 1; }, [](Receipt& r) { r.archive = "other.zip"; },
           [](Receipt& r) { r.archive_bytes += 1; }, [](Receipt& r) { r.verified_at_us = 0; }}) {
    Knowledge k = known(several());
    k.task = filled();
    spoil(*k.task->receipt);
    Step next = plan_settled(restoring(OperationStep::fill), k);
    ASSERT_EQ(name(next), "fail");
    EXPECT_EQ(std::get<step::Fail>(next).next.operation->reason, "ReceiptMismatch");
  }
}

TEST(PlannerRestore, SwapsOnlyAfterItsTasksAreGoneAndALiveLook) {
  Knowledge k = known(several(), false);
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::swap), k)), "remove_tasks");
  k.tasks_removed = true;
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::swap), k)), "observe");
  k.live = true;
  Step next = plan_settled(restoring(OperationStep::swap), k);
  ASSERT_EQ(name(next), "update");
  const Session& done = std::get<step::Update>(next).next;
  EXPECT_EQ(done.volume.uid, "uid-2");
  ASSERT_EQ(done.kept_volumes.size(), 1U);
  EXPECT_EQ(done.kept_volumes[0].volume.uid, "uid-1");
  EXPECT_GT(done.kept_volumes[0].until_us, kNow);
  EXPECT_GT(done.spec_generation, session().spec_generation);
  EXPECT_TRUE(done.discarded_volumes.empty());

  Session unsaved = restoring(OperationStep::swap, false);
  EXPECT_EQ(name(plan_settled(unsaved, k)), "fail") << "what is there was not saved";
  Session stale = restoring(OperationStep::swap);
  stale.operation->receipt->volume_uid = "uid-9";
  EXPECT_EQ(name(plan_settled(stale, k)), "fail");
  Knowledge other = k;
  other.workspace->volumes->back().uid = "uid-9";
  const Step anew = plan_settled(restoring(OperationStep::swap), other);
  ASSERT_EQ(name(anew), "fail") << "another volume has the name and the token of the one that was filled";
  EXPECT_EQ(std::get<step::Fail>(anew).next.operation->step, OperationStep::fill);
  k.workspace->generation = 4;
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::swap), k)), "apply") << "a start may be on its way";
}

TEST(PlannerRestore, WhatIsThereIsSavedOnceNothingRunsAndNothingCanStart) {
  Knowledge k = known(several());
  k.task = task(TaskState::none);
  EXPECT_EQ(name(plan_settled(restoring(OperationStep::backup), k)), "start_task");
  k.workspace->generation = 4;
  const Step fence = plan_settled(restoring(OperationStep::backup), k);
  ASSERT_EQ(name(fence), "apply") << "a start may be on its way";
  EXPECT_FALSE(std::get<step::Apply>(fence).running);
  k = known(several(WorkloadState::failed));
  k.task = task(TaskState::none);
  k.applied_generation = 5;
  const Step remains = plan_settled(restoring(OperationStep::backup), k);
  ASSERT_EQ(name(remains), "remove_workload");
  EXPECT_EQ(std::get<step::RemoveWorkload>(remains).incarnation, "inc-1");
}

TEST(PlannerRestore, OfALostVolumeBeginsAndEndsOnlyOnceItsWorkloadIsGone) {
  for (const OperationStep where : {OperationStep::fill, OperationStep::swap}) {
    Knowledge k = known(several(WorkloadState::running));
    k.workspace->volumes->erase(k.workspace->volumes->begin());
    k.task = task(TaskState::none);
    k.tasks_removed = k.previous_task_removed = true;
    EXPECT_EQ(name(plan_settled(restoring(where, false), k)), "remove_workload");
    k.workspace->workload_state = WorkloadState::stopping;
    EXPECT_EQ(name(plan_settled(restoring(where, false), k)), "wait");
    k.workspace->workload_state = WorkloadState::none;
    EXPECT_EQ(name(plan_settled(restoring(where, false), k)), where == OperationStep::fill ? "start_task" : "update");
  }
}

// The task of an attempt that is given up may still run: two must not fill one volume.
TEST(PlannerRestore, ALaterAttemptBeginsOnceTheEarliersTaskIsGone) {
  for (const OperationStep where : {OperationStep::backup, OperationStep::fill}) {
    Session s = restoring(where);
    s.operation->attempt = 2;
    Knowledge k = known(several());
    k.task = task(TaskState::none);
    EXPECT_EQ(name(plan_settled(s, k)), "remove_tasks");
    k.previous_task_removed = true;
    EXPECT_EQ(name(plan_settled(s, k)), "start_task");
  }
}

TEST(PlannerRestore, OnlyOneThatWasReadBackIsASource) {
  BackupRecord backup;
  backup.state = "verified";
  EXPECT_FALSE(operations::refuse_source(backup).ok()) << "nobody read it back";
  backup.receipt.verified_at_us = 1;
  EXPECT_TRUE(operations::refuse_source(backup).ok());
  backup.state = "damaged";
  EXPECT_FALSE(operations::refuse_source(backup).ok());
}

TEST(PlannerRestore, BeginsBySavingWhatIsThere) {
  Session s = session(Wanted::asleep);
  s.phase = Phase::asleep;
  ASSERT_TRUE(operations::begin_restore(s, "0a222222", receipt(true), "token-1", kNow + 1'000'000).ok());
  EXPECT_EQ(s.operation->step, OperationStep::backup);
  EXPECT_NE(s.operation->archive, "");
  EXPECT_NE(s.operation->archive, s.operation->source->archive);
  s = session(Wanted::asleep);
  s.phase = Phase::volume_lost;
  ASSERT_TRUE(operations::begin_restore(s, "0a222222", receipt(true), "token-1", kNow).ok());
  EXPECT_EQ(s.operation->step, OperationStep::fill) << "nothing is there";
}

TEST(PlannerRestore, OneThatComesToNothingLeavesItsVolumeToBeRemovedAndNoStartComesLate) {
  Session s = restoring(OperationStep::fill);
  operations::cancel(s, "somebody woke it");
  EXPECT_EQ(s.discarded_volumes, std::vector<Volume>{kTarget});
  EXPECT_GT(s.spec_generation, session().spec_generation) << "the next apply fences it";
  ASSERT_EQ(s.retired.size(), 1U);
  EXPECT_EQ(s.retired[0].operation, "0a111111");
  EXPECT_EQ(s.volume.uid, "uid-1");
}

TEST(PlannerRestore, TheNewVolumeHasRoomForWhatTheBackupHolds) {
  constexpr std::int64_t kGiB = 1 << 30;
  for (const std::int64_t has : {kGiB, 100 * kGiB}) {
    Session s = session(Wanted::asleep);
    s.phase = Phase::asleep;
    s.volume.size_bytes = has;
    Receipt source = receipt(true);
    source.bytes = 40 * kGiB;
    source.files = 1'000'000;
    ASSERT_TRUE(operations::begin_restore(s, "0a222222", source, "token-1", kNow).ok());
    const Volume& target = *s.operation->target;
    EXPECT_GE(target.size_bytes, has == kGiB ? source.bytes + source.files * 4096 : has);
    EXPECT_LE(target.size_bytes, 100 * kGiB);
    EXPECT_EQ(target.size_bytes % kGiB, 0);
    EXPECT_EQ(target.token, "token-1");
    EXPECT_EQ(target.uid, "") << "it is not made yet";
  }
}

TEST(PlannerRestore, AWorkloadMeansThatWhatIsThereIsSavedAnew) {
  for (OperationStep where : {OperationStep::verify, OperationStep::fill, OperationStep::swap}) {
    Knowledge k = known(several(WorkloadState::running));
    k.tasks_removed = true;
    Step next = plan_settled(restoring(where), k);
    ASSERT_EQ(name(next), "fail");
    EXPECT_EQ(std::get<step::Fail>(next).next.operation->step, OperationStep::backup);
    EXPECT_FALSE(std::get<step::Fail>(next).next.operation->receipt);
  }
}

// ---- what restores leave ----

Session keeping(std::int64_t until_us) {
  Session s = session(Wanted::asleep);
  s.phase = Phase::asleep;
  s.volume = kTarget;
  s.volume.uid = "uid-2";
  s.kept_volumes.push_back({session().volume, receipt(true), until_us});
  return s;
}

TEST(PlannerVolumes, WhatWasReplacedGoesOnlyAfterItsArchiveWasSeenAndALiveLook) {
  Knowledge k = known(several(), false);
  EXPECT_EQ(name(plan_settled(keeping(kNow + 1), k)), "settled");
  EXPECT_EQ(name(plan_settled(keeping(kNow), k)), "check_archive");
  k.archive = Knowledge::Archive::right;
  k.archive_name = "another.zip";
  EXPECT_EQ(name(plan_settled(keeping(kNow), k)), "check_archive");
  k.archive_name = receipt(true).archive;
  EXPECT_EQ(name(plan_settled(keeping(kNow), k)), "observe");
  k.live = true;
  Step next = plan_settled(keeping(kNow), k);
  ASSERT_EQ(name(next), "remove_volume");
  EXPECT_EQ(std::get<step::RemoveVolume>(next).volume.uid, "uid-1");
  k.archive = Knowledge::Archive::wrong;
  Step longer = plan(keeping(kNow), k, kNow, {});
  ASSERT_EQ(name(longer), "update");
  EXPECT_GT(std::get<step::Update>(longer).next.kept_volumes.at(0).until_us, kNow) << "kept for another day";
  Session unfit = keeping(kNow);
  unfit.kept_volumes[0].receipt.volume_uid = "uid-2";
  k.archive = Knowledge::Archive::right;
  Step never = plan(unfit, k, kNow, {});
  ASSERT_EQ(name(never), "update");
  EXPECT_GT(std::get<step::Update>(never).next.kept_volumes.at(0).until_us, kNow) << "its receipt is of another volume";
}

TEST(PlannerVolumes, AnotherVolumeUnderTheNameOfWhatWasReplacedIsLeftAlone) {
  Knowledge k = known(several());
  k.archive = Knowledge::Archive::right;
  k.archive_name = receipt(true).archive;
  k.workspace->volumes->front().uid = "uid-9";
  const Step next = plan(keeping(kNow), k, kNow, {});
  ASSERT_EQ(name(next), "update");
  EXPECT_TRUE(std::get<step::Update>(next).next.kept_volumes.empty());
}

TEST(PlannerVolumes, WhatWasDiscardedGoesOnceALateStartWouldBeRefused) {
  Session s = session(Wanted::asleep);
  s.phase = Phase::asleep;
  s.discarded_volumes.push_back(kTarget);
  EXPECT_EQ(name(plan_settled(s, known(several(), false))), "observe");
  Step next = plan_settled(s, known(several()));
  ASSERT_EQ(name(next), "remove_volume");
  EXPECT_EQ(std::get<step::RemoveVolume>(next).volume.uid, "uid-2");
  Workspace old = several();
  old.generation = 4;
  EXPECT_EQ(name(plan_settled(s, known(old))), "apply");
  Session adopted = s;
  adopted.volume = kTarget;
  adopted.volume.uid = "uid-2";
  Step kept = plan(adopted, known(several()), kNow, {});
  ASSERT_EQ(name(kept), "update");
  EXPECT_TRUE(std::get<step::Update>(kept).next.discarded_volumes.empty()) << "it is the session's own now";
}

TEST(PlannerBackups, TasksOfWhatIsOverGoBeforeAnythingElse) {
  for (Wanted wanted : {Wanted::running, Wanted::asleep, Wanted::deleted}) {
    Session s = session(wanted);
    s.retired.push_back({"0a111111", 2, true});
    EXPECT_NE(name(plan(s, Knowledge{}, kNow, {})), "remove_retired");
    s.retired.push_back({"0a222222", 1, false});
    EXPECT_EQ(name(plan(s, Knowledge{}, kNow, {})), "remove_retired");
  }
}

TEST(PlannerBackups, OneThatIsDoneIsNotTheEndOfADelete) {
  Session s = backing_up(OperationStep::done);
  s.wanted = Wanted::deleted;
  Knowledge k = known(kStopped);
  Step next = plan_settled(s, k);
  ASSERT_EQ(name(next), "update");
  EXPECT_EQ(std::get<step::Update>(next).next.operation->kind, OperationKind::remove);
}

TEST(PlannerBackups, WhatReadsBackOtherwiseThanItWasWrittenIsMadeAnew) {
  for (const OperationKind kind : {OperationKind::backup, OperationKind::restore}) {
    Session s = restoring(kRead);
    s.operation->kind = kind;
    Knowledge k = known(several());
    k.task = task(TaskState::succeeded);
    k.verified = receipt(true);
    k.mismatch = "the archive has another size than was written";
    const Step next = plan_settled(s, k);
    ASSERT_EQ(name(next), "fail");
    const Operation& again = *std::get<step::Fail>(next).next.operation;
    EXPECT_EQ(again.reason, "ReceiptMismatch");
    EXPECT_EQ(again.step, OperationStep::backup);
    EXPECT_NE(again.archive, s.operation->archive);
    EXPECT_FALSE(again.receipt);
  }
}

TEST(PlannerBackups, FailuresAreTheOperationsOwnAndHaveAnEnd) {
  Session s = backing_up(kCopy);
  Knowledge k = known(kStopped);
  k.task = task(TaskState::failed, "NoSpace");
  Step next = plan_settled(s, k);
  ASSERT_EQ(name(next), "fail");
  EXPECT_TRUE(std::get<step::Fail>(next).operation);
  EXPECT_EQ(std::get<step::Fail>(next).next.operation->attempt, 2);
  EXPECT_NE(std::get<step::Fail>(next).next.operation->archive, s.operation->archive);
  s.operation->failures = 9;
  Step last = plan_settled(s, k);
  ASSERT_EQ(name(last), "fail");
  const Session& over = std::get<step::Fail>(last).next;
  EXPECT_EQ(over.operation->outcome, OperationOutcome::failed);
  EXPECT_EQ(over.operation->reason, "NoSpace");
  ASSERT_EQ(over.retired.size(), 1U);
}

TEST(PlannerDelete, AHiccupIsNotABlockYet) {
  Session s = deleting(OperationStep::backup);
  s.operation->reason = "Unavailable";
  s.failures = 1;
  EXPECT_EQ(phase_of(s, nullptr), Phase::deleting);
  s.failures = 3;
  EXPECT_EQ(phase_of(s, nullptr), Phase::delete_blocked);
  s.failures = 1;
  s.operation->reason = "NoSpace";
  EXPECT_EQ(phase_of(s, nullptr), Phase::delete_blocked);
}

}  // namespace
}  // namespace roost
