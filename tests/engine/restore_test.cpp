// Restores: what is there is saved first, the new volume holds what the archive holds, what is replaced is kept and goes only
// with its backup; whatever fails leaves what was there.
#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

using Content = std::vector<std::uint64_t>;

class Restore : public ::testing::Test {
 protected:
  // A session that is asleep, with a backup of its first things and more written since.
  void prepare(Harness& in) {
    id = in.create_running();
    ASSERT_TRUE(in.backup(id).ok());
    backup = in.record(in.operated(id).backup_id);
    first = in.world.platforms[id].volume->written;
    in.world.user_writes(id);
    ASSERT_TRUE(in.sleep(id).ok());
    ASSERT_TRUE(in.until([&] { return in.phase(id) == Phase::asleep; }));
    second = in.world.platforms[id].volume->written;
    ASSERT_NE(first, second);
    old = session(in).volume;
  }
  void prepare() { prepare(h); }
  const Session& session(Harness& from) {
    static Session none;
    SessionView found = from.view(id);
    kept_alive_.push_back(found);
    return found ? found->session : none;
  }
  const Session& session() { return session(h); }
  Content content(Harness& from, const Volume& volume) {
    const SimVolume* found = from.world.find_volume(id, volume.name);
    return found ? found->written : Content{};
  }
  SimTask* task(Harness& from) { return from.world.tasks.empty() ? nullptr : &from.world.tasks.begin()->second; }
  bool until_task(TaskKind kind) {
    return h.until([&] { return task(h) && task(h)->spec.kind == kind && task(h)->task.state == TaskState::running; });
  }
  bool until_tidy() {
    return h.until([&] { return h.world.tasks.empty() && session().discarded_volumes.empty() && !is_operating(session()); });
  }
  // The session is as before the restore, and nothing is left of that.
  void expect_untouched() {
    EXPECT_TRUE(until_tidy());
    EXPECT_EQ(session().volume, old);
    EXPECT_EQ(content(h, old), second);
    EXPECT_TRUE(session().kept_volumes.empty());
    EXPECT_TRUE(h.world.platforms[id].others.empty());
    EXPECT_TRUE(h.world.violations.empty());
  }

  Harness h;
  std::string id;
  BackupRecord backup;
  Content first, second;
  Volume old;

 private:
  std::vector<SessionView> kept_alive_;
};

TEST_F(Restore, PutsTheBackupInThePlaceOfWhatIsThereAndKeepsThat) {
  prepare();
  auto begun = h.restore(id, backup);
  ASSERT_TRUE(begun.ok()) << begun.error().message;
  ASSERT_TRUE(until_task(TaskKind::restore));
  EXPECT_EQ(h.phase(id), Phase::asleep);
  EXPECT_EQ(content(h, old), second) << "until the swap the old one is the session's";
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::succeeded);
  EXPECT_EQ(session().volume.name, "pvc-" + id + "-g1");
  EXPECT_NE(session().volume.token, old.token);
  EXPECT_EQ(content(h, session().volume), first);
  ASSERT_EQ(session().kept_volumes.size(), 1U);
  EXPECT_EQ(session().kept_volumes[0].volume, old);
  EXPECT_EQ(content(h, old), second);
  const Receipt& receipt = session().kept_volumes[0].receipt;
  EXPECT_EQ(release_blocker(receipt, done.id, old.uid, false), "");
  EXPECT_EQ(h.record(receipt.backup_id).state, "verified");
  EXPECT_EQ(h.phase(id), Phase::asleep);
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  EXPECT_EQ(h.world.platforms[id].volume->uid, session().volume.uid);
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(Restore, WhatWasReplacedGoesAfterItsTimeAndOnlyWithItsArchive) {
  prepare();
  ASSERT_TRUE(h.restore(id, backup).ok());
  h.operated(id);
  const KeptVolume kept = session().kept_volumes.at(0);
  const SimArchive archive = h.world.archives[kept.receipt.archive];
  h.world.archives.erase(kept.receipt.archive);
  h.pass_ms(7LL * 24 * 3600 * 1000 + 120'000);
  EXPECT_EQ(content(h, old), second) << "its archive is not there";
  EXPECT_GT(session().kept_volumes.at(0).until_us, kept.until_us);
  h.world.archives[kept.receipt.archive] = archive;
  h.pass_ms(24LL * 3600 * 1000 + 120'000);
  EXPECT_TRUE(session().kept_volumes.empty());
  EXPECT_EQ(h.world.find_volume(id, old.name), nullptr);
  EXPECT_EQ(content(h, session().volume), first);
  EXPECT_TRUE(h.world.violations.empty());
}

// A session's document has a limit, and what does not fit into it could not be written down any more.
TEST_F(Restore, IsRefusedWhereTooManyVolumesAreKeptAndNoneGoesForIt) {
  prepare();
  ASSERT_TRUE(h.restore(id, backup).ok());
  h.operated(id);
  const std::string partition = documents::partition(id), key = documents::session_key(id);
  SessionView stored = *documents::decode_session(*h.world.get(partition, key));
  Session crowded = stored->session;
  while (crowded.kept_volumes.size() < 99) {
    crowded.kept_volumes.push_back(crowded.kept_volumes.front());
    crowded.kept_volumes.back().volume.uid += "-" + std::to_string(crowded.kept_volumes.size());
    crowded.kept_volumes.back().until_us += 1'000'000;
  }
  Commit commit;
  commit.partition = partition;
  commit.operations.push_back({StoreOperation::Kind::put, key, documents::encode(crowded, stored->commits), 0});
  ASSERT_TRUE(h.world.commit(commit).ok());
  h.restart();
  ASSERT_TRUE(h.restore(id, backup).ok());
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  ASSERT_EQ(session().kept_volumes.size(), 100U);
  const std::uint64_t revision = h.view(id)->revision;
  const auto refused = h.restore(id, backup);
  ASSERT_EQ(code_of(refused), Code::exhausted);
  EXPECT_NE(refused.error().message.find("as a new session"), std::string::npos) << refused.error().message;
  EXPECT_GT(refused.error().retry_after_ms, 6LL * 24 * 3600 * 1000);
  EXPECT_EQ(h.view(id)->revision, revision);
  EXPECT_EQ(h.world.calls["remove_volume"], 0);
  EXPECT_TRUE(h.restore_as_new(backup, "ada@example.com").ok());
  h.world.lose_volume(id, session().volume.name);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::volume_lost; }));
  EXPECT_TRUE(h.restore(id, backup).ok()) << "nothing is there that it would keep";
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
}

TEST_F(Restore, ADeleteReleasesWhatIsKeptToo) {
  prepare();
  ASSERT_TRUE(h.restore(id, backup).ok());
  h.operated(id);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_FALSE(h.world.platforms.count(id));
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(Restore, ADeleteWaitsWhereTheArchiveOfWhatIsKeptIsMissing) {
  prepare();
  ASSERT_TRUE(h.restore(id, backup).ok());
  h.operated(id);
  const std::string name = session().kept_volumes.at(0).receipt.archive;
  const SimArchive archive = h.world.archives[name];
  h.world.archives.erase(name);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::delete_blocked; }));
  EXPECT_EQ(session().operation->reason, "ArchiveMissing");
  EXPECT_EQ(content(h, old), second);
  h.world.archives[name] = archive;
  EXPECT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(Restore, AWakeCancelsItAndTheOldFilesAreThere) {
  for (const TaskKind during : {TaskKind::backup, TaskKind::verify, TaskKind::restore}) {
    prepare();
    ASSERT_TRUE(h.restore(id, backup).ok());
    ASSERT_TRUE(until_task(during));
    ASSERT_TRUE(h.wake(id).ok());
    ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
    EXPECT_EQ(session().operation->outcome, OperationOutcome::cancelled);
    expect_untouched();
  }
}

TEST_F(Restore, ADeleteTakesItsPlace) {
  for (const TaskKind during : {TaskKind::backup, TaskKind::restore}) {
    prepare();
    ASSERT_TRUE(h.restore(id, backup).ok());
    ASSERT_TRUE(until_task(during));
    ASSERT_TRUE(h.remove(id).ok());
    ASSERT_TRUE(h.wait_deleted(id).ok());
    EXPECT_FALSE(h.world.platforms.count(id)) << "the half-filled volume goes too";
    EXPECT_TRUE(h.world.violations.empty());
  }
}

TEST_F(Restore, OfADamagedArchiveFailsAndLeavesWhatWasThere) {
  prepare();
  h.world.archives[backup.archive].corrupt = true;
  ASSERT_TRUE(h.restore(id, backup).ok());
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "Corrupt");
  expect_untouched();
}

TEST_F(Restore, OfAnArchiveThatIsGoneFailsAndLeavesWhatWasThere) {
  prepare();
  h.world.archives.erase(backup.archive);
  ASSERT_TRUE(h.restore(id, backup).ok());
  EXPECT_EQ(h.operated(id).reason, "NotFound");
  expect_untouched();
}

TEST_F(Restore, WithoutRoomIsRefusedWithTheNumbers) {
  prepare();
  h.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "task_start" || session().operation->step != OperationStep::fill) return std::nullopt;
    return Error{Code::exhausted, "the restore needs 10 bytes; 5 are free", 0};
  };
  ASSERT_TRUE(h.restore(id, backup).ok());
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "NoSpace");
  EXPECT_NE(done.message.find("needs 10 bytes; 5 are free"), std::string::npos);
  h.world.refuse = nullptr;
  expect_untouched();
}

TEST_F(Restore, WhatIsReadIsComparedWithTheBackupsRecord) {
  prepare();
  BackupRecord other = backup;
  other.receipt.tree_hash = std::string(64, '0');
  ASSERT_TRUE(h.restore(id, other).ok());
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "ReceiptMismatch");
  expect_untouched();
}

TEST_F(Restore, WhatCannotBeSavedWholeIsNotReplaced) {
  prepare();
  h.world.platforms[id].volume->unreadable.insert(second.back());
  ASSERT_TRUE(h.restore(id, backup).ok());
  const Operation done = h.operated(id);
  EXPECT_EQ(done.outcome, OperationOutcome::failed);
  EXPECT_EQ(done.reason, "FilesSkipped");
  expect_untouched();
}

TEST_F(Restore, AWorkloadThatShowsUpMakesItSaveAnew) {
  for (const OperationStep during : {OperationStep::backup, OperationStep::verify, OperationStep::fill}) {
    prepare();
    ASSERT_TRUE(h.restore(id, backup).ok());
    ASSERT_TRUE(
        h.until([&] { return session().operation->step == during && task(h) && task(h)->task.state == TaskState::running; }));
    h.world.intrude(id);  // it writes
    const Content written = content(h, old);
    ASSERT_NE(written, second);
    EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
    ASSERT_EQ(session().kept_volumes.size(), 1U);
    EXPECT_EQ(h.world.archives[session().kept_volumes[0].receipt.archive].content, content(h, old));
    EXPECT_TRUE(h.world.violations.empty());
  }
}

TEST_F(Restore, BringsBackASessionWhoseVolumeIsLost) {
  prepare();
  h.world.lose_volume(id);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::volume_lost; }));
  ASSERT_TRUE(h.restore(id, backup).ok());
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  EXPECT_TRUE(session().kept_volumes.empty());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  EXPECT_EQ(content(h, session().volume), first);
  ASSERT_TRUE(h.wake(id).ok());
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
}

TEST_F(Restore, OfALostVolumeStopsTheWorkloadThatIsStillThere) {
  for (const bool wanted : {true, false}) {
    Harness in;
    prepare(in);
    ASSERT_TRUE(in.wake(id).ok());
    ASSERT_TRUE(in.until([&] { return in.phase(id) == Phase::running; }));
    in.world.lose_volume(id);
    ASSERT_TRUE(in.until([&] { return in.phase(id) == Phase::volume_lost; }));
    EXPECT_EQ(in.world.platforms[id].workload.state, WorkloadState::running);
    if (!wanted) {
      ASSERT_TRUE(in.sleep(id).ok());
    }
    ASSERT_TRUE(in.restore(id, backup).ok());
    EXPECT_EQ(in.operated(id).outcome, OperationOutcome::succeeded);
    EXPECT_TRUE(in.until([&] { return in.phase(id) == (wanted ? Phase::running : Phase::asleep); }));
    EXPECT_EQ(content(in, session(in).volume), first);
    EXPECT_TRUE(in.world.violations.empty());
  }
}

TEST_F(Restore, ALostVolumeThatComesBackMeanwhileIsSavedFirst) {
  prepare();
  const SimVolume away = *h.world.platforms[id].volume;
  h.world.lose_volume(id);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::volume_lost; }));
  ASSERT_TRUE(h.restore(id, backup).ok());
  ASSERT_TRUE(until_task(TaskKind::restore));
  h.world.platforms[id].volume = away;
  h.world.changed(id);
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  ASSERT_EQ(session().kept_volumes.size(), 1U);
  EXPECT_EQ(content(h, old), second);
  EXPECT_EQ(h.world.archives[session().kept_volumes[0].receipt.archive].content, second);
}

TEST_F(Restore, IsRefusedWhereItCannotBe) {
  prepare();
  ASSERT_TRUE(h.wake(id).ok());
  EXPECT_EQ(code_of(h.restore(id, backup)), Code::conflict) << "it is not asleep";
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  BackupRecord unread = backup;
  unread.state = "started";
  EXPECT_EQ(code_of(h.restore(id, unread)), Code::conflict);
  EXPECT_EQ(code_of(h.restore_as_new(unread, "ada@example.com")), Code::conflict);
  BackupRecord foreign = backup;
  foreign.user_id = "somebody@example.com";
  EXPECT_EQ(code_of(h.restore(id, foreign)), Code::conflict);
  ASSERT_TRUE(h.restore(id, backup).ok());
  EXPECT_EQ(code_of(h.restore(id, backup)), Code::conflict) << "one operation at a time";
  EXPECT_EQ(code_of(h.backup(id)), Code::conflict);
}

TEST_F(Restore, CanBeRepeatedAndGoesBackToWhatWasKept) {
  prepare();
  ASSERT_TRUE(h.restore(id, backup).ok());
  const BackupRecord before = h.record(h.operated(id).receipt->backup_id);
  ASSERT_TRUE(h.restore(id, before).ok());
  EXPECT_EQ(h.operated(id).outcome, OperationOutcome::succeeded);
  EXPECT_EQ(content(h, session().volume), second);
  EXPECT_EQ(session().volume.generation, 2);
  EXPECT_EQ(session().kept_volumes.size(), 2U);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_FALSE(h.world.platforms.count(id));
  EXPECT_TRUE(h.world.violations.empty());
}

// ---- as a new session ----

TEST_F(Restore, OfADeletedSessionMakesANewOneThatStartsWhenItIsFilled) {
  prepare();
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  auto made = h.restore_as_new(backup, "grace@example.com");
  ASSERT_TRUE(made.ok()) << made.error().message;
  id = (*made)->session.id;
  ASSERT_TRUE(until_task(TaskKind::restore));
  EXPECT_EQ(h.phase(id), Phase::pending);
  EXPECT_FALSE(h.world.platforms[id].volume) << "no empty one is made";
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  EXPECT_EQ(session().user_id, "grace@example.com");
  EXPECT_EQ(content(h, session().volume), first);
  EXPECT_EQ(session().volume.name, "pvc-" + id);
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(Restore, AsANewSessionThatFailsStartsNothingAndCanBeTriedAgain) {
  prepare();
  const BackupRecord good = h.record([&] {
    EXPECT_TRUE(h.backup(id).ok());
    return h.operated(id).backup_id;
  }());
  h.world.archives[backup.archive].corrupt = true;
  auto made = h.restore_as_new(backup, backup.user_id);
  ASSERT_TRUE(made.ok());
  id = (*made)->session.id;
  h.operated(id);
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::failed; }));
  EXPECT_EQ(session().reason, "RestoreFailed");
  ASSERT_TRUE(until_tidy());
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.wake(id).ok());
  h.pass_ms(120'000);
  EXPECT_EQ(h.phase(id), Phase::failed) << "an empty volume is nobody's backup";
  EXPECT_FALSE(h.world.platforms.count(id));
  ASSERT_TRUE(h.restore(id, good).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  EXPECT_EQ(content(h, session().volume), second);
  EXPECT_EQ(session().reason, "");
}

TEST_F(Restore, AsANewSessionIsNotCancelledByAWake) {
  prepare();
  auto made = h.restore_as_new(backup, backup.user_id);
  ASSERT_TRUE(made.ok());
  id = (*made)->session.id;
  ASSERT_TRUE(until_task(TaskKind::restore));
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.wake(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));
  EXPECT_EQ(content(h, session().volume), first);
}

TEST_F(Restore, AsANewSessionThatIsDeletedOnTheWayLeavesNothing) {
  prepare();
  auto made = h.restore_as_new(backup, backup.user_id, with_key("k"));
  ASSERT_TRUE(made.ok());
  id = (*made)->session.id;
  EXPECT_EQ((*h.restore_as_new(backup, backup.user_id, with_key("k")))->session.id, id);
  ASSERT_TRUE(until_task(TaskKind::restore));
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.wait_deleted(id).ok());
  EXPECT_FALSE(h.world.platforms.count(id));
  EXPECT_TRUE(h.world.violations.empty());
}

TEST_F(Restore, AWorkloadOnWhatIsHalfFilledDoesNotHoldUpTheDelete) {
  prepare();
  auto made = h.restore_as_new(backup, backup.user_id);
  ASSERT_TRUE(made.ok());
  id = (*made)->session.id;
  ASSERT_TRUE(until_task(TaskKind::restore));
  h.world.refuse = [](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "remove_volume") return std::nullopt;
    return Error{Code::unavailable, "simulated: away", 0};
  };
  ASSERT_TRUE(h.remove(id).ok());
  ASSERT_TRUE(h.until([&] { return h.world.calls["remove_volume"] > 0; }));
  h.world.intrude(id);
  ASSERT_EQ(h.world.platforms[id].workload.state, WorkloadState::running);
  h.world.refuse = nullptr;
  EXPECT_TRUE(h.wait_deleted(id).ok());
  EXPECT_FALSE(h.world.platforms.count(id));
}

// ---- crashes ----

// A restore with a crash at each call that may change something, one run for each.
TEST_F(Restore, ACrashAtAnyCallLosesNothing) {
  int calls = 0, all = 0;
  for (int at = 0; at <= all; ++at) {  // the first one counts
    Harness each;
    prepare(each);
    bool crash = false;
    calls = 0;
    each.replica->on_call = [&] { crash |= ++calls == at; };
    const auto begun = std::make_shared<bool>(false);
    each.engine().restore(id, backup, {}, [begun](Result<SessionView> view) { *begun = view.ok(); });
    ASSERT_TRUE(each.until([&] { return crash || (*begun && !is_operating(session(each))); }));
    if (at == 0) all = calls;
    EXPECT_EQ(crash, at > 0) << at;
    if (crash) each.restart();
    const auto& operation = session(each).operation;
    const bool arrived = operation && operation->kind == OperationKind::restore;
    ASSERT_TRUE(arrived || each.restore(id, backup).ok()) << at;
    EXPECT_EQ(each.operated(id).outcome, OperationOutcome::succeeded) << at;
    ASSERT_TRUE(each.until([&] { return each.world.tasks.empty(); })) << at;
    EXPECT_EQ(content(each, session(each).volume), first) << at;
    EXPECT_EQ(content(each, old), second) << at;
    EXPECT_EQ(each.world.platforms[id].others.size(), 1U) << at;
    EXPECT_TRUE(each.world.violations.empty()) << at;
  }
  EXPECT_GT(all, 10);
}

}  // namespace
}  // namespace roost::simulation
