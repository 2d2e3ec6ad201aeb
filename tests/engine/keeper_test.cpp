// The keeper and the drill in a world where archives rot, vanish and appear.
#include <gmock/gmock.h>

#include <utility>

#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::int64_t kMinute = 60'000, kHour = 60 * kMinute;

EngineOptions brisk() {
  EngineOptions options;
  options.backup_walk_ms = 10 * kMinute;
  options.backup_retention_ms = 10 * kHour;
  options.backup_drill_ms = 1000 * kHour;
  options.tombstone_ms = 24 * kHour;
  options.lease_ms = options.resync_ms = 10 * kMinute;
  return options;
}

class KeeperTest : public testing::Test {
 protected:
  explicit KeeperTest(EngineOptions options = brisk()) : harness(std::move(options)) {}

  // A session that lived and was deleted; answers the id of its backup.
  std::string saved(const std::string& user = "ada@example.com") {
    const std::string id = harness.create_running(user);
    EXPECT_TRUE(harness.remove(id).ok());
    EXPECT_TRUE(harness.wait_deleted(id).ok());
    return of_session(id).at(0).id;
  }
  std::vector<BackupRecord> of_session(const std::string& session) {
    BackupQuery query;
    query.session_id = session;
    auto page = harness.wait<BackupPage>([&](Done<BackupPage> done) { harness.engine().list_backups(query, std::move(done)); });
    EXPECT_TRUE(page.ok());
    return page.ok() ? page->backups : std::vector<BackupRecord>();
  }
  BackupRecord record(const std::string& id) {
    auto found = harness.wait<BackupRecord>([&](Done<BackupRecord> done) { harness.engine().find_backup(id, std::move(done)); });
    return found.ok() ? *found : BackupRecord{};
  }
  Result<BackupRecord> remove(const std::string& id, bool overrides = false) {
    return harness.wait<BackupRecord>([&](Done<BackupRecord> done) {
      harness.engine().remove_backup(id, {"ada", "no longer needed", overrides}, std::move(done));
    });
  }
  Result<BackupRecord> hold(const std::string& id, std::optional<BackupHold> hold) {
    return harness.wait<BackupRecord>([&](Done<BackupRecord> done) { harness.engine().hold_backup(id, hold, std::move(done)); });
  }
  Result<BackupRecord> verify(const std::string& id) {
    return harness.wait<BackupRecord>([&](Done<BackupRecord> done) { harness.engine().verify_backup(id, std::move(done)); });
  }
  // A backup of `session` as one of `age_ms` ago would be.
  std::string plant(const std::string& session, std::int64_t age_ms, const std::string& state = "verified", bool live = false) {
    const std::int64_t at_us = harness.simulator.wall_us() - age_ms * 1000;
    BackupRecord made;
    made.id = session + "-" + format_compact_time(at_us);
    made.session_id = session;
    made.user_id = "ada@example.com";
    made.archive = "workspace-" + made.id + ".zip";
    made.created_at_us = at_us;
    made.state = state;
    SimArchive archive;
    Receipt& receipt = archive.receipt;
    receipt.backup_id = made.id;
    receipt.archive = made.archive;
    receipt.session_id = session;
    receipt.operation_id = "0badcafe";
    receipt.archive_bytes = 100;
    receipt.archive_sha256 = receipt.tree_hash = std::string(64, 'a');
    receipt.made_at_us = receipt.verified_at_us = at_us;
    receipt.live = live;
    made.receipt = receipt;
    harness.world.archives[made.archive] = archive;
    Commit commit;
    commit.partition = documents::backup_partition(made.id);
    commit.operations.push_back({StoreOperation::Kind::put, documents::backup_key(made.id), to_json(made).dump(), 0});
    EXPECT_TRUE(harness.world.commit(commit).ok());
    return made.id;
  }
  // A backup of a session that was deleted so long ago that it may go.
  std::string plant_over(const std::string& session) {
    const std::string id = plant(session, 20 * kHour);
    edit(id, [](BackupRecord& old) { old.session_deleted_at_us = old.created_at_us; });
    return id;
  }
  // The record as somebody else changes it in the store.
  void edit(const std::string& id, const std::function<void(BackupRecord&)>& change) {
    const std::string partition = documents::backup_partition(id), key = documents::backup_key(id);
    const auto document = harness.world.get(partition, key);
    ASSERT_TRUE(document.ok());
    BackupRecord changed = *documents::decode_backup(*document);
    change(changed);
    Commit commit;
    commit.partition = partition;
    commit.operations.push_back({StoreOperation::Kind::put, key, to_json(changed).dump(), 0});
    EXPECT_TRUE(harness.world.commit(commit).ok());
  }
  // The task of a reading that is under way; it does not end by itself any more.
  SimTask& hung_task() {
    EXPECT_TRUE(harness.until([&] { return !harness.world.tasks.empty(); }));
    SimTask& task = harness.world.tasks.begin()->second;
    harness.simulator.cancel(task.event);
    return task;
  }
  static void kill(SimTask& task, const char* reason = "Killed") {
    task.task.state = TaskState::failed;
    task.task.reason = reason;
  }
  void refuse(const std::string& call, Code code) {
    harness.world.refuse = [call, code](const std::string& called, const std::string&) -> std::optional<Error> {
      if (called != call) return std::nullopt;
      return Error{code, "simulated", 0};
    };
  }
  Engine::BackupStatistics counted() { return harness.engine().backup_statistics(); }
  std::string archive(const std::string& id) { return "workspace-" + id + ".zip"; }
  bool stored(const std::string& id) { return harness.world.archives.count(archive(id)) != 0; }
  std::vector<std::string> events(const std::string& id) {
    std::vector<std::string> types;
    for (const Event& event : harness.events) {
      if (event.data["backup_id"].as_string() == id) types.push_back(event.type);
    }
    return types;
  }

  Harness harness;
};

TEST_F(KeeperTest, ADeletedSessionsBackupIsKeptForItsTimeThenRemovedOnTheRecord) {
  const std::string id = saved();
  harness.pass_ms(9 * kHour);
  EXPECT_TRUE(stored(id));
  EXPECT_EQ(record(id).state, "verified");
  EXPECT_GT(record(id).protected_until_us, harness.simulator.wall_us());
  harness.pass_ms(2 * kHour);
  EXPECT_FALSE(stored(id));
  const BackupRecord gone = record(id);
  EXPECT_EQ(gone.state, "deleted");
  ASSERT_TRUE(gone.note);
  EXPECT_EQ(gone.note->by, "retention");
  EXPECT_THAT(events(id), testing::ElementsAre("backup.deleting", "backup.deleted"));
  EXPECT_TRUE(of_session(id.substr(0, 8)).empty());
  EXPECT_EQ(harness.engine().backup_statistics().removed, 1);
  harness.pass_ms(26 * kHour);
  EXPECT_EQ(record(id).state, "") << "the record goes in the end";
}

TEST_F(KeeperTest, WhatIsHeldStaysUntilTheHoldIsLifted) {
  const std::string id = saved();
  ASSERT_TRUE(hold(id, BackupHold{0, "an audit", "ada", 1}).ok());
  harness.pass_ms(30 * kHour);
  EXPECT_TRUE(stored(id));
  EXPECT_EQ(code_of(remove(id, true)), Code::conflict);
  ASSERT_TRUE(hold(id, std::nullopt).ok());
  harness.pass_ms(kHour);
  EXPECT_FALSE(stored(id));
  EXPECT_EQ(code_of(hold(id, BackupHold{0, "too late", "ada", 1})), Code::conflict);
}

TEST_F(KeeperTest, OfASessionThatLivesTheNewestGoodOneStays) {
  const std::string session = harness.create_running();
  const std::string old = plant(session, 40 * kHour), good = plant(session, 30 * kHour),
                    live = plant(session, 20 * kHour, "verified", true);
  const std::string bad = plant(session, 15 * kHour, "damaged");
  harness.pass_ms(kHour);
  EXPECT_FALSE(stored(old));
  EXPECT_TRUE(stored(good)) << "nothing later is as consistent";
  EXPECT_TRUE(stored(live)) << "the newest of its kind";
  EXPECT_TRUE(stored(bad)) << "nothing better came after it";
  EXPECT_EQ(record(good).protected_until_us, 0);
}

TEST_F(KeeperTest, ABackupWhoseArchiveIsGoneStandsInForNoOther) {
  const std::string session = harness.create_running();
  const std::string old = plant(session, 40 * kHour), newer = plant(session, 30 * kHour);
  harness.world.archives.erase(archive(newer));
  harness.pass_ms(kHour);
  EXPECT_EQ(record(newer).state, "missing");
  EXPECT_TRUE(stored(old)) << "it is the newest good one now";
}

TEST_F(KeeperTest, AMissingArchiveIsToldAndOneThatComesBackIsProvenAgain) {
  const std::string id = saved();
  const SimArchive kept = harness.world.archives.at(archive(id));
  harness.world.archives.erase(archive(id));
  ASSERT_TRUE(harness.until([&] { return !events(id).empty(); }));
  EXPECT_THAT(events(id), testing::ElementsAre("backup.missing"));
  EXPECT_EQ(record(id).state, "missing");
  EXPECT_EQ(harness.engine().backup_statistics().missing, 1);
  harness.world.archives[archive(id)] = kept;
  harness.pass_ms(kHour);  // some walks
  ASSERT_EQ(events(id).size(), 2U);
  EXPECT_EQ(events(id).back(), "backup.verified");
  EXPECT_EQ(record(id).state, "verified");
  EXPECT_FALSE(record(id).note);
}

TEST_F(KeeperTest, AListThatFailsOrIsEmptyMakesNothingMissingAndRemovesNothing) {
  const std::string id = saved();
  harness.world.list_shows_nothing = true;
  harness.pass_ms(kHour);
  EXPECT_EQ(record(id).state, "verified");
  harness.world.list_shows_nothing = false;
  const int asked = harness.world.calls["stat"];
  refuse("list_archives", Code::unavailable);
  harness.pass_ms(20 * kHour);
  EXPECT_EQ(harness.world.calls["stat"], asked) << "a storage that is away is not asked for each archive by name";
  EXPECT_EQ(record(id).state, "verified");
  EXPECT_TRUE(stored(id)) << "its time is over, but nothing is decided blindly";
  harness.world.refuse = nullptr;
  harness.pass_ms(kHour);
  EXPECT_FALSE(stored(id));
}

TEST_F(KeeperTest, AStorageThatCannotBeAskedMakesNothingMissing) {
  const std::string id = saved();
  harness.world.archives.erase(archive(id));
  refuse("stat", Code::unavailable);
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return counted().drills_failed > 0; }));
  EXPECT_EQ(record(id).state, "verified");
  harness.world.refuse = nullptr;
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return record(id).state == "missing"; }));
}

// Its record says so only once its task has ended.
TEST_F(KeeperTest, AnArchiveThatIsBeingMadeIsNoStranger) {
  const std::string session = harness.create_running();
  ASSERT_TRUE(harness.backup(session).ok());
  hung_task();
  const std::string name = harness.view(session)->session.operation->archive;
  harness.world.archives[name].receipt.made_at_us = harness.simulator.wall_us();
  harness.pass_ms(3 * kHour);
  EXPECT_TRUE(is_operating(harness.view(session)->session));
  EXPECT_EQ(counted().strangers, 0);
}

TEST_F(KeeperTest, StrangersAreReportedAndLeft) {
  const std::string id = saved();
  for (const char* name : {"workspace-7f000001-20250101T000000Z.zip", "a-file-of-mine", "zzz"}) harness.world.archives[name];
  harness.pass_ms(kHour);
  const auto strangers = [&] {
    using Objects = std::vector<BackupStorage::Object>;
    auto found = harness.wait<Objects>([&](Done<Objects> done) { harness.engine().list_strangers(std::move(done)); });
    std::vector<std::string> names;
    for (const auto& object : *found) names.push_back(object.name);
    return names;
  };
  EXPECT_THAT(strangers(), testing::UnorderedElementsAre("workspace-7f000001-20250101T000000Z.zip", "a-file-of-mine", "zzz"));
  EXPECT_EQ(harness.engine().backup_statistics().strangers, 3);
  EXPECT_EQ(harness.engine().backup_statistics().states["verified"], 1);
  harness.pass_ms(30 * kHour);
  EXPECT_EQ(harness.world.archives.count("a-file-of-mine"), 1U) << "nobody removes what nobody knows";
  harness.world.archives.erase("zzz");
  harness.pass_ms(kHour);
  EXPECT_EQ(strangers().size(), 2U);
  EXPECT_EQ(harness.engine().backup_statistics().strangers, 2);
}

// The first part of the storage begins with everything that others named before "workspace-", and the last ends likewise.
TEST_F(KeeperTest, HoweverManyFilesOthersPutThereTheBackupsBesideThemAreJudged) {
  const std::string first = plant_over("00000001"), last = plant_over("ff000001");
  const std::string gone = plant("00000002", kHour);
  harness.world.archives.erase(archive(gone));
  for (int i = 0; i < 210'000; ++i) {
    const std::string number = std::to_string(1'000'000 + i);
    harness.world.files.insert("photo-" + number);
    harness.world.files.insert("x-" + number);
  }
  ASSERT_TRUE(harness.until([&] { return counted().known; }));
  EXPECT_EQ(record(gone).state, "missing");
  EXPECT_TRUE(harness.until([&] { return !stored(first) && !stored(last); })) << "their time is over";
  EXPECT_EQ(counted().unlisted, 0);
  EXPECT_GE(counted().strangers, 400'000) << "as many as were looked at";
  EXPECT_EQ(harness.world.files.size(), 420'000U);
}

TEST_F(KeeperTest, AListThatIsCutShortDecidesNothingAndIsTold) {
  std::vector<std::string> told;
  harness.options.log = [&](int level, const std::string& message, const Json&) {
    if (level == 3) told.push_back(message);
  };
  harness.restart();
  const std::string over = plant_over("00000001"), gone = plant("00000002", kHour);
  harness.world.archives.erase(archive(gone));
  for (int i = 0; i < 200'000; ++i) harness.world.files.insert("workspace-00000000-" + std::to_string(1'000'000 + i) + ".zip");
  const int asked = harness.world.calls["stat"];
  ASSERT_TRUE(harness.until([&] { return counted().known; }));
  EXPECT_EQ(counted().unlisted, 1);
  EXPECT_THAT(told, Contains(HasSubstr("too many archives")));
  EXPECT_TRUE(stored(over)) << "its time is over, but nothing is decided on a part of the list";
  EXPECT_EQ(record(over).state, "verified");
  EXPECT_EQ(record(gone).state, "verified");
  EXPECT_EQ(harness.world.calls["stat"], asked) << "what a list was cut before is not asked for by name";
  harness.world.files.clear();
  harness.pass_ms(kHour);
  EXPECT_FALSE(stored(over));
  EXPECT_EQ(record(gone).state, "missing");
  EXPECT_EQ(counted().unlisted, 0);
}

TEST_F(KeeperTest, ARemovalThatFailsOrIsCutOffGoesOn) {
  const std::string id = saved();
  harness.world.refuse = [](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "remove_archive") return std::nullopt;
    return Error{Code::denied, "simulated: under object lock", 0};
  };
  EXPECT_EQ(code_of(remove(id)), Code::conflict) << "the newest good one of a deleted session";
  ASSERT_TRUE(remove(id, true).ok());
  harness.pass_ms(kHour);
  EXPECT_EQ(record(id).state, "deleting");
  EXPECT_TRUE(stored(id));
  harness.restart();
  harness.world.refuse = nullptr;
  ASSERT_TRUE(harness.until([&] { return !stored(id) && record(id).state == "deleted"; }));
  EXPECT_EQ(record(id).note->by, "ada");
  EXPECT_EQ(record(id).note->reason, "no longer needed");
}

// Between the look at a record and the removal that retention decided on that look.
TEST_F(KeeperTest, WhatChangedSinceItWasJudgedIsNotRemovedOnThat) {
  struct Row {
    const char* what;
    std::function<void(BackupRecord&)> change;
  };
  const std::vector<Row> rows = {
      {"somebody holds it",
       [](BackupRecord& now) {
         now.hold = BackupHold{0, "an audit", "ada", 1};
       }},
      {"it was read, and is good again", [](BackupRecord& now) { now.state = "verified"; }},
      {"it holds something else", [](BackupRecord& now) { now.receipt.tree_hash = std::string(64, 'c'); }}};
  for (const Row& row : rows) {
    const std::string id = saved();
    const std::int64_t before_us = harness.simulator.wall_us() - 20 * kHour * 1000;
    edit(id, [&](BackupRecord& old) {
      old.state = "damaged";
      old.created_at_us = old.session_deleted_at_us = before_us;
    });
    bool changed = false;
    harness.replica->on_get = [&](const std::string& key) {
      if (key == documents::backup_key(id) && !std::exchange(changed, true)) edit(id, row.change);
    };
    harness.pass_ms(kMinute);
    while (!changed && harness.simulator.wall_us() - before_us < 40 * kHour * 1000) harness.pass_ms(1'000);
    harness.pass_ms(1'000);
    EXPECT_TRUE(changed) << row.what;
    EXPECT_TRUE(stored(id)) << row.what;
    EXPECT_NE(record(id).state, "deleting") << row.what;
    harness.replica->on_get = nullptr;
  }
}

TEST_F(KeeperTest, WhatStandsInForABackupIsLookedAtOnceMoreBeforeThatIsRemoved) {
  const std::string newer = saved(), session = newer.substr(0, 8), older = plant(session, 20 * kHour);
  bool changed = false;
  // The visit has read the records, and asks when the session was deleted to judge the older one.
  harness.replica->on_get = [&](const std::string& key) {
    if (key == documents::tombstone_key(session) && !std::exchange(changed, true))
      edit(newer, [](BackupRecord& now) { now.state = "damaged"; });
  };
  harness.pass_ms(kHour);
  EXPECT_TRUE(changed);
  EXPECT_TRUE(stored(older)) << "it is the only good one";
  EXPECT_EQ(record(older).state, "verified");
}

// Both removals were judged, and each rested on the other's record: the second one to be written down meets the first.
TEST_F(KeeperTest, WhatStandsInForABackupDoesSoWhenTheRemovalIsWrittenDown) {
  for (const bool by_retention : {true, false}) {
    const std::string newer = saved(by_retention ? "ada" : "bob"), session = newer.substr(0, 8);
    const std::string older = plant(session, by_retention ? 20 * kHour : kHour);
    bool removed = false;
    harness.replica->on_get = [&](const std::string& key) {
      if (key != documents::backup_key(older) || std::exchange(removed, true)) return;
      edit(newer, [](BackupRecord& now) {
        now.state = "deleting";
        now.note = BackupNote{"an admin's override", "ada", 1};
      });
    };
    if (!by_retention) {
      EXPECT_EQ(code_of(remove(older)), Code::conflict);
    }
    harness.pass_ms(kHour);
    EXPECT_TRUE(removed);
    EXPECT_TRUE(stored(older)) << "it is the only good one";
    EXPECT_EQ(record(older).state, "verified");
    EXPECT_EQ(record(newer).state, "deleted");
    harness.replica->on_get = nullptr;
  }
}

TEST_F(KeeperTest, WhatAKeptVolumeRestsOnIsNotRemovedByRetention) {
  const std::string session = harness.create_running();
  ASSERT_TRUE(harness.sleep(session).ok());
  ASSERT_TRUE(harness.until([&] { return harness.phase(session) == Phase::asleep; }));
  ASSERT_TRUE(harness.backup(session).ok());
  ASSERT_TRUE(harness.restore(session, record(harness.operated(session).backup_id)).ok());
  ASSERT_EQ(harness.operated(session).outcome, OperationOutcome::succeeded);
  const std::string saved_by_it = harness.view(session)->session.kept_volumes.at(0).receipt.backup_id;
  harness.pass_ms(kMinute);
  const std::string later = plant(session, 0);
  harness.pass_ms(20 * kHour);
  EXPECT_TRUE(stored(saved_by_it)) << "the volume that was replaced is still kept";
  EXPECT_EQ(record(saved_by_it).state, "verified");
  EXPECT_TRUE(stored(later));
}

TEST_F(KeeperTest, ARemovalThatWasDecidedWhileItsArchiveWasLookedForStands) {
  const std::string id = saved();
  harness.world.archives.erase(archive(id));
  bool decided = false;
  harness.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call == "stat" && !std::exchange(decided, true)) {
      edit(id, [](BackupRecord& now) {
        now.state = "deleting";
        now.note = BackupNote{"no longer needed", "ada", 1};
      });
    }
    return std::nullopt;
  };
  harness.pass_ms(kHour);
  EXPECT_TRUE(decided);
  EXPECT_EQ(record(id).state, "deleted");
  EXPECT_THAT(events(id), testing::ElementsAre("backup.deleted"));
}

TEST_F(KeeperTest, ARecordThatChangedWhileItsArchiveWentIsNotSaidToBeRemoved) {
  const std::string id = saved();
  harness.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call == "remove_archive") edit(id, [](BackupRecord& now) { now.state = "verified"; });
    return std::nullopt;
  };
  ASSERT_TRUE(remove(id, true).ok());
  ASSERT_TRUE(harness.until([&] { return !stored(id); }));
  harness.pass_ms(kHour);
  EXPECT_EQ(record(id).state, "missing") << "which is what it is";
  EXPECT_EQ(counted().removed, 0);
}

TEST_F(KeeperTest, WhatASessionRestsOnIsNotRemoved) {
  const std::string session = harness.create_running();
  harness.world.refuse = [](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "remove_volume") return std::nullopt;
    return Error{Code::unavailable, "simulated: stuck", 0};
  };
  ASSERT_TRUE(harness.remove(session).ok());
  ASSERT_TRUE(harness.until([&] { return harness.world.calls["remove_volume"] > 0; }));
  const std::string id = of_session(session).at(0).id;
  EXPECT_EQ(code_of(remove(id, true)), Code::conflict) << "the volume goes only against this backup";
  harness.pass_ms(20 * kHour);
  EXPECT_TRUE(stored(id));
}

TEST_F(KeeperTest, WhatASessionRestsOnIsKnownAfterARestartToo) {
  const std::string session = harness.create_running();
  harness.world.refuse = [](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "remove_volume") return std::nullopt;
    return Error{Code::unavailable, "simulated: stuck", 60'000};
  };
  ASSERT_TRUE(harness.remove(session).ok());
  ASSERT_TRUE(harness.until([&] { return harness.view(session)->session.failures > 3; }));
  harness.options.backoff_first_ms = harness.options.backoff_max_ms = 10 * kMinute;  // the document does not change meanwhile
  harness.restart();
  const std::string id = of_session(session).at(0).id;
  EXPECT_EQ(code_of(remove(id, true)), Code::conflict);
}

TEST_F(KeeperTest, OnRequestABackupIsReadAgainAtOnce) {
  const std::string id = saved();
  harness.pass_ms(kHour);
  const std::int64_t before = record(id).last_proven_us;
  ASSERT_TRUE(verify(id).ok());
  EXPECT_NE(record(id).verify_asked_at_us, 0);
  ASSERT_TRUE(harness.until([&] { return record(id).verify_asked_at_us == 0; }));
  EXPECT_GT(record(id).last_proven_us, before);
  ASSERT_TRUE(harness.until([&] { return harness.engine().backup_statistics().proven == 1; }))
      << "counted when it is known to be stored";
  EXPECT_TRUE(harness.world.tasks.empty()) << "nothing of it is left on the platform";
  EXPECT_EQ(record(id).drill, "");
}

TEST_F(KeeperTest, RotIsBelievedAfterTheSecondReading) {
  const std::string id = saved();
  harness.world.archives.at(archive(id)).corrupt = true;
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return record(id).state == "damaged"; }));
  EXPECT_THAT(events(id), testing::ElementsAre("backup.damaged"));
  EXPECT_EQ(record(id).note->by, "drill");
  EXPECT_EQ(harness.engine().backup_statistics().damaged, 1);
  EXPECT_TRUE(stored(id)) << "some of it may still be of use";
  EXPECT_TRUE(harness.world.tasks.empty());
}

TEST_F(KeeperTest, AReadingThatFailedOnceIsNoRot) {
  const std::string id = saved();
  SimArchive& kept = harness.world.archives.at(archive(id));
  kept.corrupt = true;
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] {
    for (const auto& [key, task] : harness.world.tasks) {
      if (std::get<2>(key) == 2) return true;
    }
    return false;
  }));
  kept.corrupt = false;
  ASSERT_TRUE(harness.until([&] { return record(id).verify_asked_at_us == 0; }));
  EXPECT_EQ(record(id).state, "verified");
  EXPECT_TRUE(events(id).empty());
}

// A node is lost, a pod evicted: as often as that happens.
TEST_F(KeeperTest, AReadingThatIsCutShortSaysNothingOfTheArchive) {
  const std::string id = saved();
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(verify(id).ok());
    kill(hung_task());
    ASSERT_TRUE(harness.until([&] { return counted().drills_failed == i; }));
  }
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return record(id).verify_asked_at_us == 0; }));
  EXPECT_EQ(record(id).state, "verified");
  EXPECT_TRUE(events(id).empty());
}

// Keys that may not list a storage are told the same of what is absent and of what is out of bounds.
TEST_F(KeeperTest, WhetherAnArchiveIsMissingThatATaskMayNotSeeIsAskedByTheDaemon) {
  const std::string id = saved();
  ASSERT_TRUE(verify(id).ok());
  kill(hung_task(), "Unreadable");
  ASSERT_TRUE(harness.until([&] { return counted().drills_failed == 1; }));
  EXPECT_EQ(record(id).state, "verified");
  ASSERT_TRUE(verify(id).ok());
  SimTask& task = hung_task();
  harness.world.archives.erase(archive(id));
  kill(task, "Unreadable");
  EXPECT_TRUE(harness.until([&] { return record(id).state == "missing"; }));
}

TEST_F(KeeperTest, AReadingGivesWayToTheWorkOfItsSession) {
  const std::string session = harness.create_running();
  const std::string id = plant(session, kHour);
  ASSERT_TRUE(verify(id).ok());
  hung_task();
  ASSERT_TRUE(harness.backup(session).ok());
  ASSERT_TRUE(harness.until([&] { return counted().drills_failed == 1; })) << "it would take hours";
  EXPECT_EQ(harness.operated(session).outcome, OperationOutcome::succeeded);
  EXPECT_EQ(record(id).state, "verified");
  ASSERT_TRUE(verify(id).ok());
  EXPECT_TRUE(harness.until([&] { return record(id).verify_asked_at_us == 0; })) << "it comes again";
}

TEST_F(KeeperTest, AReadingWhoseTaskCannotBeObservedEndsInTimeAndTheNextOneIsDone) {
  std::vector<std::string> told;
  harness.options.task_stall_ms = 5 * kMinute;
  harness.options.log = [&](int level, const std::string& message, const Json& fields) {
    if (level >= 2) told.push_back(message + ": " + fields["detail"].as_string());
  };
  harness.restart();
  const std::string first = saved("ada"), second = saved("bob");
  refuse("task_observe", Code::unavailable);
  ASSERT_TRUE(verify(first).ok());
  ASSERT_TRUE(harness.until([&] { return !harness.world.tasks.empty(); }));
  ASSERT_TRUE(verify(second).ok());
  harness.pass_ms(4 * kMinute);
  EXPECT_EQ(counted().drills_failed, 0) << "it may be seen again";
  ASSERT_TRUE(harness.until([&] { return counted().drills_failed == 1; })) << "no other backup would ever be read";
  EXPECT_THAT(told, Contains(HasSubstr("its task cannot be observed: simulated")));
  harness.world.refuse = nullptr;
  ASSERT_TRUE(harness.until([&] { return record(second).verify_asked_at_us == 0; }));
  EXPECT_EQ(record(first).state, "verified") << "nothing is known of it";
  EXPECT_EQ(record(second).state, "verified");
  harness.pass_ms(kHour);
  EXPECT_EQ(record(first).verify_asked_at_us, 0) << "it comes again";
}

TEST_F(KeeperTest, WhatIsRemovedWhileItIsReadGoesAfterTheReading) {
  const std::string id = saved();
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return !harness.world.tasks.empty(); }));
  ASSERT_TRUE(remove(id, true).ok());
  ASSERT_FALSE(harness.world.tasks.empty());
  while (!harness.world.tasks.empty()) {
    ASSERT_TRUE(stored(id)) << "it is being read";
    harness.pass_ms(100);
  }
  harness.pass_ms(kHour);
  EXPECT_EQ(record(id).state, "deleted") << "however well it was read";
  EXPECT_FALSE(stored(id));
}

TEST_F(KeeperTest, WhatIsRemovedBeforeItsTurnIsNotRead) {
  for (const std::string state : {"deleting", "deleted"}) {
    const std::string first = saved("ada-" + state), second = saved("bob-" + state);
    ASSERT_TRUE(verify(first).ok());
    SimTask& reading = hung_task();
    ASSERT_TRUE(verify(second).ok());
    harness.pass_ms(kMinute);
    int read = 0;
    harness.world.refuse = [&](const std::string& call, const std::string& what) -> std::optional<Error> {
      if (call == "task_start" && what == second.substr(0, 8)) ++read;
      if (call != "remove_archive" || state == "deleted") return std::nullopt;
      return Error{Code::denied, "simulated: under object lock", 0};
    };
    ASSERT_TRUE(remove(second, true).ok());
    ASSERT_TRUE(harness.until([&] { return record(second).state == state; }));
    kill(reading);
    ASSERT_TRUE(harness.until([&] { return harness.world.tasks.empty(); }));
    harness.pass_ms(kMinute);
    EXPECT_EQ(record(second).state, state);
    EXPECT_EQ(read, 0) << state;
    harness.world.refuse = nullptr;
    harness.pass_ms(kHour);
    EXPECT_EQ(record(second).state, "deleted");
  }
}

TEST_F(KeeperTest, AnotherArchiveUnderItsNameIsNoProof) {
  struct Row {
    const char* why;
    std::function<void(Receipt&)> change;
  };
  const std::vector<Row> rows = {
      {"other files", [](Receipt& read) { read.tree_hash = std::string(64, 'b'); }},
      {"not the one that was stored", [](Receipt& read) { read.archive_sha256 = std::string(64, 'b'); }},
      {"another backup's", [](Receipt& read) { read.session_id = "7f000001"; }},
      {"another backup's", [](Receipt& read) { read.archive = "workspace-7f000001-20250101T000000Z.zip"; }}};
  for (const Row& row : rows) {
    const std::string id = saved();
    row.change(harness.world.archives.at(archive(id)).receipt);
    ASSERT_TRUE(verify(id).ok());
    ASSERT_TRUE(harness.until([&] { return record(id).state == "damaged"; })) << row.why;
    EXPECT_THAT(record(id).note->reason, HasSubstr(row.why));
  }
}

TEST_F(KeeperTest, ADrillThatWasCutOffLeavesNothingBehind) {
  const std::string id = saved();
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return !harness.world.tasks.empty(); }));
  EXPECT_NE(record(id).drill, "");
  harness.restart();
  ASSERT_TRUE(harness.until([&] { return record(id).verify_asked_at_us == 0; }));
  EXPECT_EQ(record(id).drill, "");
  EXPECT_TRUE(harness.world.tasks.empty());
}

// A session's wish for a backup, which a process that was killed had sent, is heard first.
TEST_F(KeeperTest, AfterATakeoverNothingIsRemovedForAWhile) {
  const std::string id = saved();
  harness.restart();
  ASSERT_TRUE(remove(id, true).ok());
  harness.pass_ms(20'000);
  EXPECT_TRUE(stored(id));
  EXPECT_TRUE(harness.until([&] { return !stored(id); }));
}

// The start of a reading is not answered, and comes to pass when nobody waits for it any more.
TEST_F(KeeperTest, AReadingThatBeginsLateLeavesNothingBehind) {
  const std::string id = saved();
  std::string operation;
  harness.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call != "task_start" || !operation.empty()) return std::nullopt;
    const auto document = harness.world.get(documents::backup_partition(id), documents::backup_key(id));
    operation = documents::decode_backup(*document)->drill;
    TaskSpec spec;
    spec.id = id.substr(0, 8);
    spec.operation = operation;
    spec.kind = TaskKind::verify;
    spec.archive = archive(id);
    harness.simulator.after_ns(20'000'000'000, [this, spec] { (void)harness.world.task_start(spec); });
    return Error{Code::outcome_unknown, "simulated: no answer", 0};
  };
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return record(id).verify_asked_at_us == 0; }));
  harness.pass_ms(kHour);
  EXPECT_FALSE(operation.empty());
  EXPECT_EQ(record(id).drill, "");
  EXPECT_TRUE(harness.world.tasks.empty());
}

TEST_F(KeeperTest, AReadingForADeletedSessionIsNoOrphan) {
  const std::string id = saved();
  ASSERT_TRUE(verify(id).ok());
  ASSERT_TRUE(harness.until([&] { return !harness.world.tasks.empty(); }));
  harness.world.tasks.begin()->second.event = 0;  // it stays
  std::int64_t most = 0;
  for (int i = 0; i < 30; ++i) {
    harness.pass_ms(kMinute);
    most = std::max(most, harness.engine().statistics().orphans);
  }
  EXPECT_EQ(most, 0);
}

TEST_F(KeeperTest, ARestoreOfWhatWasNeverReadAsksForThatFirst) {
  const std::string id = plant("10000001", kHour);
  edit(id, [](BackupRecord& unread) { unread.receipt.verified_at_us = 0; });
  CommandOptions dry;
  dry.dry_run = true;
  EXPECT_EQ(code_of(harness.restore_as_new(record(id), "ada@example.com", dry)), Code::conflict);
  EXPECT_EQ(record(id).verify_asked_at_us, 0);
  const auto refused = harness.restore_as_new(record(id), "ada@example.com");
  ASSERT_EQ(code_of(refused), Code::conflict);
  EXPECT_THAT(refused.error().message, HasSubstr("last_proven_restorable_at"));
  ASSERT_TRUE(harness.until([&] { return record(id).last_proven_us != 0; }));
  const auto made = harness.restore_as_new(record(id), "ada@example.com");
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(harness.until([&] { return harness.phase((*made)->session.id) == Phase::running; }));
}

TEST_F(KeeperTest, WhatWasNeverReadIsReadAtOnce) {
  std::vector<std::string> ids;
  for (const char* session : {"10000001", "20000001", "30000001"}) {
    ids.push_back(plant(session, kHour));
    edit(ids.back(), [](BackupRecord& unread) { unread.receipt.verified_at_us = 0; });
  }
  harness.pass_ms(15 * kMinute);
  for (const std::string& id : ids) EXPECT_NE(record(id).last_proven_us, 0) << id;
}

class DrillTest : public KeeperTest {
 protected:
  static EngineOptions often() {
    EngineOptions options = brisk();
    options.backup_drill_ms = 20 * kHour;
    options.backup_retention_ms = 10'000 * kHour;
    return options;
  }
  DrillTest() : KeeperTest(often()) {}
};

TEST_F(DrillTest, EveryBackupIsProvenWithinTheIntervalOrSoOneAtATime) {
  std::vector<std::string> ids;
  for (int i = 0; i < 6; ++i) ids.push_back(saved("user" + std::to_string(i)));
  std::size_t most = 0;
  harness.world.refuse = [&](const std::string& call, const std::string&) -> std::optional<Error> {
    if (call == "task_start") most = std::max(most, harness.world.tasks.size() + 1);
    return std::nullopt;
  };
  harness.pass_ms(40 * kHour);
  EXPECT_EQ(most, 1U);
  for (const std::string& id : ids) EXPECT_GT(record(id).last_proven_us, harness.simulator.wall_us() - 35 * kHour * 1000) << id;
  EXPECT_GE(harness.engine().backup_statistics().proven, 6);
  const std::int64_t oldest_us = harness.engine().backup_statistics().oldest_proof_us;
  EXPECT_GT(oldest_us, harness.simulator.wall_us() - 35 * kHour * 1000);
}

}  // namespace
}  // namespace roost::simulation
