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
  EXPECT_EQ(*receipt_from_json(to_json(r)), r);
  BackupRecord record{"id", "1823b3a8", "u", "a.zip", 5, "verified", r};
  EXPECT_EQ(*backup_record_from_json(to_json(record)), record);
  Json wrong = to_json(r);
  wrong.set("files", "3");
  EXPECT_EQ(receipt_from_json(wrong).error().code, Code::data_loss);
}

}  // namespace
}  // namespace roost
