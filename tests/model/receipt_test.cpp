#include "model/receipt.hpp"

#include <gtest/gtest.h>

namespace roost {
namespace {

Receipt good() {
  Receipt r;
  r.backup_id = "1823b3a8-20251115T035136Z";
  r.archive = "workspace-1823b3a8-20251115T035136Z.zip";
  r.session_id = "1823b3a8";
  r.operation_id = "op";
  r.volume_uid = "uid";
  r.files = 3;
  r.bytes = 10;
  r.archive_bytes = 20;
  r.archive_sha256 = std::string(64, 'a');
  r.tree_hash = std::string(64, 'b');
  r.made_at_us = 1;
  r.verified_at_us = 2;
  return r;
}

TEST(Receipt, AGoodOneReleasesItsOwnVolumeOnly) {
  EXPECT_EQ(release_blocker(good(), "op", "uid", false), "");
  EXPECT_NE(release_blocker(good(), "other", "uid", false), "");
  EXPECT_NE(release_blocker(good(), "op", "other", false), "");
  EXPECT_NE(release_blocker(good(), "", "uid", false), "");
  Receipt unnamed = good();
  unnamed.volume_uid.clear();
  EXPECT_NE(release_blocker(unnamed, "op", "", false), "") << "two unknown volumes are not the same volume";
}

TEST(Receipt, EachWeaknessBlocks) {
  const auto blocked = [](auto&& change) {
    Receipt r = good();
    change(r);
    return !release_blocker(r, "op", "uid", true).empty();
  };
  EXPECT_TRUE(blocked([](Receipt& r) { r.verified_at_us = 0; }));
  EXPECT_TRUE(blocked([](Receipt& r) { r.live = true; }));
  EXPECT_TRUE(blocked([](Receipt& r) { r.exclusions = true; }));
  EXPECT_TRUE(blocked([](Receipt& r) { r.archive.clear(); }));
  EXPECT_TRUE(blocked([](Receipt& r) { r.archive_sha256.clear(); }));
  EXPECT_TRUE(blocked([](Receipt& r) { r.tree_hash = "x"; }));
  EXPECT_TRUE(blocked([](Receipt& r) { r.files = 0; }));
  EXPECT_FALSE(blocked([](Receipt& r) {
    r.files = 0;
    r.empty_volume = true;
  }));
}

TEST(Receipt, SkippedFilesBlockUntilTheLossIsAcceptedAndSocketsNever) {
  for (const char* kind : {"file", "directory", "symlink", "hardlink", "a kind of a later version"}) {
    Receipt r = good();
    r.skipped.push_back({kind, "unreadable", 1, "a"});
    EXPECT_NE(release_blocker(r, "op", "uid", false).find("skip 1"), std::string::npos);
    EXPECT_EQ(release_blocker(r, "op", "uid", true), "");
  }
  Receipt r = good();
  r.skipped.push_back({"socket", "unsupported", 1, "a"});
  EXPECT_EQ(release_blocker(r, "op", "uid", false), "");
}

TEST(Receipt, SurvivesTheStoreAndSaysWhatIsWrong) {
  Receipt r = good();
  r.skipped.push_back({"file", "changed", 2, "b"});
  r.not_restored.push_back({"directory", "permissions", 1, "c"});
  EXPECT_EQ(*receipt_from_json(to_json(r)), r);
  BackupRecord record{"id", "1823b3a8", "u", "a.zip", 5, "request", "verified", r, 6, 7, 8, 9, "0badcafe"};
  record.hold = BackupHold{10, "an audit", "admin", 11};
  record.note = BackupNote{"why", "who", 12};
  EXPECT_EQ(*backup_record_from_json(to_json(record)), record);
  Json wrong = to_json(r);
  wrong.set("files", "3");
  EXPECT_EQ(receipt_from_json(wrong).error().code, Code::data_loss);
}

TEST(BackupRecord, OfAnEarlierVersionReadsAsOneOfADelete) {
  const Json old = Json::object({{"id", "1823b3a8-20251115T035136Z"},
                                 {"session_id", "1823b3a8"},
                                 {"user_id", "u"},
                                 {"archive", "a.zip"},
                                 {"created_at_us", 5},
                                 {"state", "verified"},
                                 {"receipt", to_json(good())}});
  const auto record = backup_record_from_json(old);
  ASSERT_TRUE(record.ok()) << record.error().message;
  EXPECT_EQ(record->trigger, "delete");
  EXPECT_FALSE(record->hold || record->note);
  EXPECT_EQ(last_proven_us(*record), good().verified_at_us);
}

TEST(BackupRecord, ItsIdNamesItsSession) {
  EXPECT_TRUE(valid_backup_id("1823b3a8-20251115T035136Z"));
  for (const char* id : {"", "1823b3a8", "1823b3a8-", "1823B3A8-2025", "1823b3a8-20/../x", "1823b3a8_20251115T035136Z"})
    EXPECT_FALSE(valid_backup_id(id)) << id;
}

}  // namespace
}  // namespace roost
