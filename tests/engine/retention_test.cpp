// Every rule of how long a backup is kept, as a row of a table.
#include "engine/retention.hpp"

#include <gtest/gtest.h>

namespace roost {
namespace {

constexpr std::int64_t kDay = 24LL * 3600 * 1'000'000;
constexpr std::int64_t kMade = 1'000 * kDay;

struct RetentionRow {
  const char* what;
  const char* state;
  std::int64_t age_days;
  bool session_exists;
  bool superseded;
  std::int64_t deleted_after_days;  // of the session, after the backup was made; meaningful where it is gone
  std::int64_t held_days;           // from now; 0: no hold; -1: without an end
  bool removed;
  std::int64_t until_days;  // protected_until, after the backup was made; 0: not foreseeable
};

const RetentionRow kRows[] = {
    {"a new one", "verified", 0, true, true, 0, 0, false, 30},
    {"one day before its time", "verified", 29, true, true, 0, 0, false, 30},
    {"its time is over", "verified", 30, true, true, 0, 0, true, 30},
    {"the newest of a session that lives", "verified", 4000, true, false, 0, 0, false, 0},
    {"the newest of a deleted session", "verified", 30, false, false, 10, 0, false, 40},
    {"the newest of a deleted session, at its end", "verified", 40, false, false, 10, 0, true, 40},
    {"an older one of a deleted session", "verified", 30, false, true, 10, 0, true, 30},
    {"a session deleted long after its last backup", "verified", 399, false, false, 370, 0, false, 400},
    {"held without an end", "verified", 4000, false, false, 0, -1, false, 30},
    {"held for a day more", "verified", 4000, false, true, 0, 1, false, 30},
    {"damaged, with a good one after it", "damaged", 31, true, true, 0, 0, true, 30},
    {"damaged, and nothing better", "damaged", 4000, true, false, 0, 0, false, 0},
    {"damaged, and nothing better, session gone", "damaged", 35, false, false, 10, 0, false, 40},
    {"left behind, a good one followed", "started", 8, true, true, 0, 0, true, 7},
    {"left behind, nothing followed", "started", 29, true, false, 0, 0, false, 30},
    {"left behind, nothing followed, for long", "started", 30, true, false, 0, 0, true, 30},
    {"gone already", "deleted", 4000, false, true, 0, 0, false, 0},
    {"being removed", "deleting", 1, true, false, 0, -1, true, 0},
};

TEST(Retention, WhatAnOperationReadsOrAKeptVolumeRestsOnIsInUse) {
  Session session;
  session.operation.emplace();
  session.operation->step = OperationStep::fill;
  session.operation->backup_id = "made";
  session.operation->receipt.emplace().backup_id = "saved";
  session.operation->source.emplace().backup_id = "source";
  KeptVolume kept;
  kept.receipt.backup_id = "kept";
  session.kept_volumes.push_back(kept);
  EXPECT_EQ(used_backups(session), (std::vector<std::string>{"made", "saved", "source", "kept"}));
  session.operation->step = OperationStep::done;
  EXPECT_EQ(used_backups(session), std::vector<std::string>{"kept"});
}

TEST(Retention, EveryRule) {
  for (const RetentionRow& row : kRows) {
    SCOPED_TRACE(row.what);
    const std::int64_t now = kMade + row.age_days * kDay;
    BackupRecord record;
    record.id = "1823b3a8-20251115T035136Z";
    record.state = row.state;
    record.created_at_us = kMade;
    if (!row.session_exists) record.session_deleted_at_us = kMade + row.deleted_after_days * kDay;
    if (row.held_days != 0) record.hold = BackupHold{row.held_days < 0 ? 0 : now + row.held_days * kDay, "why", "who", now};
    if (record.state == "deleting") record.note = BackupNote{"asked for", "who", now};
    const BackupJudgement judged = judge_backup(record, {row.session_exists, row.superseded}, now, RetentionPolicy{});
    EXPECT_EQ(judged.remove, row.removed);
    EXPECT_EQ(judged.protected_until_us, row.until_days == 0 ? 0 : kMade + row.until_days * kDay);
    EXPECT_EQ(judged.reason.empty(), !row.removed);
  }
}

TEST(Retention, OneOfTheScheduleGoesSoonerOnceALaterOneStandsInForIt) {
  BackupRecord record;
  record.state = "verified";
  record.trigger = "schedule";
  record.created_at_us = kMade;
  EXPECT_FALSE(judge_backup(record, {true, true}, kMade + 7 * kDay - 1, {}).remove);
  EXPECT_TRUE(judge_backup(record, {true, true}, kMade + 7 * kDay, {}).remove);
  EXPECT_FALSE(judge_backup(record, {true, false}, kMade + 4'000 * kDay, {}).remove) << "nothing stands in for it";
  record.session_deleted_at_us = kMade + 10 * kDay;
  EXPECT_FALSE(judge_backup(record, {false, false}, kMade + 39 * kDay, {}).remove) << "the newest of a deleted session";
  record.trigger = "request";
  EXPECT_FALSE(judge_backup(record, {true, true}, kMade + 29 * kDay, {}).remove) << "somebody asked for it";
}

TEST(Retention, AHoldEnds) {
  BackupRecord record;
  record.hold = BackupHold{100, "why", "who", 1};
  EXPECT_TRUE(is_held(record, 99));
  EXPECT_FALSE(is_held(record, 100));
  record.hold->until_us = 0;
  EXPECT_TRUE(is_held(record, INT64_MAX));
  record.hold.reset();
  EXPECT_FALSE(is_held(record, 0));
}

TEST(Retention, AMissingOneIsRememberedFromWhenThatWasSeen) {
  BackupRecord record;
  record.state = "missing";
  record.created_at_us = kMade;
  record.note = BackupNote{"gone", "keeper", kMade + 50 * kDay};
  EXPECT_FALSE(judge_backup(record, {true, false}, kMade + 79 * kDay, {}).remove);
  EXPECT_TRUE(judge_backup(record, {true, false}, kMade + 80 * kDay, {}).remove);
}

TEST(Retention, OneThatLeftFilesOutStandsInForNoWholeOne) {
  const auto made = [](const char* time, bool exclusions, bool live) {
    BackupRecord record;
    record.id = std::string("1823b3a8-") + time;
    record.state = "verified";
    record.receipt.exclusions = exclusions;
    record.receipt.live = live;
    return record;
  };
  const BackupRecord whole = made("20250101T000000Z", false, false), less = made("20250102T000000Z", true, false),
                     less_again = made("20250103T000000Z", true, false), live = made("20250104T000000Z", false, true);
  const std::vector<BackupRecord> all{whole, less, less_again, live};
  EXPECT_FALSE(is_superseded(whole, all)) << "what was left out is only there";
  EXPECT_TRUE(is_superseded(less, all)) << "by the next of its kind";
  EXPECT_FALSE(is_superseded(less_again, all)) << "the live one is no moment";
  const std::vector<BackupRecord> deleted{whole, less, less_again, live, made("20250105T000000Z", false, false)};
  for (const BackupRecord& record : all) EXPECT_TRUE(is_superseded(record, deleted)) << "a delete's holds everything, at rest";
}

TEST(Retention, OnlyALaterGoodOneOfNoLessConsistencyStandsIn) {
  const auto made = [](const char* time, const char* state, bool live) {
    BackupRecord record;
    record.id = std::string("1823b3a8-") + time;
    record.state = state;
    record.receipt.live = live;
    return record;
  };
  const BackupRecord at_rest = made("20250101T000000Z", "verified", false), live = made("20250102T000000Z", "verified", true);
  const std::vector<BackupRecord> with_live{at_rest, live};
  EXPECT_FALSE(is_superseded(at_rest, with_live)) << "a live one may hold half of what was being written";
  EXPECT_FALSE(is_superseded(live, with_live));
  const std::vector<BackupRecord> with_rest{at_rest, live, made("20250103T000000Z", "verified", false)};
  EXPECT_TRUE(is_superseded(at_rest, with_rest));
  EXPECT_TRUE(is_superseded(live, with_rest));
  for (const char* state : {"started", "damaged", "missing", "deleting", "deleted"}) {
    const std::vector<BackupRecord> with_bad{at_rest, made("20250104T000000Z", state, false)};
    EXPECT_FALSE(is_superseded(at_rest, with_bad)) << state;
  }
}

}  // namespace
}  // namespace roost
