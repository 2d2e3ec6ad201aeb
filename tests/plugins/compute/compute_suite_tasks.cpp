// The suite's second half: tasks beside a volume, with the real agent and the real backup-directory.
#include <filesystem>
#include <fstream>

#include "plugins/compute/compute_suite.hpp"

namespace roost::test {
namespace {

constexpr const char* kId = "0a1b2c3d";
constexpr const char* kOperation = "0badcafe";

class ComputeTasks : public ComputeFixture, public testing::WithParamInterface<Quirks> {
 protected:
  void SetUp() override {
    if (const std::string reason = GetParam().unusable(); !reason.empty()) ROOST_SKIP_UNLESS_CI(reason);
    open(GetParam());
    std::filesystem::create_directory(directory_.path() + "/backups");
  }

  Json task(const std::string& kind, std::int64_t attempt, const Json& volume) {
    const std::string place = directory_.path() + "/backups";
    Json mounts = Json::array();
    mounts.push(Json::object({{"path", place}, {"writable", true}}));
    Json made =
        Json::object({{"id", kId},
                      {"user_id", "tester"},
                      {"operation", kOperation},
                      {"attempt", attempt},
                      {"kind", kind},
                      {"archive", std::string("workspace-") + kId + "-20260101T000000Z.zip"},
                      {"backup_id", std::string(kId) + "-20260101T000000Z"},
                      {"backup", Json::object({{"manifest", std::string(ROOST_PLUGIN_DIR) + "/backup-directory.roost.json"},
                                               {"config", Json::object({{"path", place}})},
                                               {"secrets", Json::object()},
                                               {"mounts", mounts}})}});
    if (volume.is_object()) {
      made.set("volume", Json::object({{"name", volume["name"]}, {"token", volume["token"]}, {"uid", volume["uid"]}}));
    }
    return made;
  }
  static Json request(std::int64_t attempt) {
    return Json::object({{"id", kId}, {"operation", kOperation}, {"attempt", attempt}});
  }

  Json ended(std::int64_t attempt) {
    Json last;
    EXPECT_TRUE(eventually([&] {
      const auto seen = client_->task_observe(request(attempt));
      EXPECT_TRUE(seen.ok());
      if (seen.ok()) last = *seen;
      return last["state"].as_string() != "running";
    })) << last.dump();
    return last;
  }
};

TEST_P(ComputeTasks, OfAnUnknownTaskNothingIsKnown) {
  EXPECT_EQ((*client_->task_observe(request(1)))["state"].as_string(), "none");
  EXPECT_TRUE(client_->task_remove(request(1)).ok());
  EXPECT_EQ(client_->task_observe(Json::object({{"id", "x"}})).error().code, Code::invalid);
}

TEST_P(ComputeTasks, ABackupIsMadeAndReadBackBesideTheVolume) {
  applied(spec(kId));
  ready(kId);
  run(kId, "mkdir -p /workspace/dir; echo precious > /workspace/dir/file; chmod 600 /workspace/dir/file");
  applied(spec(kId, 2, false));
  const Json volume = stopped(kId)["volume"];
  const auto started = client_->task_start(task("backup", 1, volume));
  ASSERT_TRUE(started.ok()) << started.error().message;
  const Json done = ended(1);
  ASSERT_EQ(done["state"].as_string(), "succeeded") << done.dump();
  EXPECT_EQ(done["receipt"]["volume_uid"].as_string(), volume["uid"].as_string());
  EXPECT_GE(done["receipt"]["files"].as_int(), 2);
  EXPECT_TRUE(done["receipt"]["skipped"].items().empty()) << done.dump();
  EXPECT_TRUE(std::filesystem::exists(directory_.path() + "/backups/workspace-" + kId + "-20260101T000000Z.zip"));

  ASSERT_TRUE(client_->task_start(task("verify", 2, Json())).ok());
  const Json verified = ended(2);
  ASSERT_EQ(verified["state"].as_string(), "succeeded") << verified.dump();
  EXPECT_EQ(verified["receipt"]["tree_hash"].as_string(), done["receipt"]["tree_hash"].as_string());
  EXPECT_GT(verified["receipt"]["verified_at_us"].as_int(), 0);
}

TEST_P(ComputeTasks, ARepeatedStartFindsTheFirstAlsoAfterItsEnd) {
  const Json volume = applied(spec(kId, 1, false))["volume"];
  ASSERT_TRUE(client_->task_start(task("backup", 1, volume)).ok());
  const Json first = ended(1);
  client_ = another();
  const auto again = client_->task_start(task("backup", 1, volume));  // a second run would answer Exists
  ASSERT_TRUE(again.ok());
  EXPECT_EQ((*again)["state"].as_string(), first["state"].as_string());
  EXPECT_EQ(ended(1).dump(), first.dump());
  ASSERT_TRUE(client_->task_remove(request(1)).ok());
  EXPECT_EQ((*client_->task_observe(request(1)))["state"].as_string(), "none");
}

TEST_P(ComputeTasks, OnlyTheExpectedVolumeIsSaved) {
  const Json volume = applied(spec(kId, 1, false))["volume"];
  Json other = volume;
  other.set("uid", volume["uid"].as_string() + "x");
  EXPECT_EQ(client_->task_start(task("backup", 1, other)).error().code, Code::conflict);
  other = volume;
  other.set("token", "another");
  EXPECT_EQ(client_->task_start(task("backup", 1, other)).error().code, Code::conflict);
  EXPECT_EQ((*client_->task_observe(request(1)))["state"].as_string(), "none");
}

TEST_P(ComputeTasks, AFailedTaskSaysWhy) {
  const Json volume = applied(spec(kId, 1, false))["volume"];
  Json broken = task("verify", 1, Json());  // there is no such archive
  ASSERT_TRUE(client_->task_start(broken).ok());
  const Json failed = ended(1);
  EXPECT_EQ(failed["state"].as_string(), "failed");
  EXPECT_FALSE(failed["reason"].as_string().empty());
  EXPECT_NE(failed["reason"].as_string(), "Killed") << failed.dump();
}

INSTANTIATE_TEST_SUITE_P(Plugins, ComputeTasks, testing::ValuesIn(all_quirks()),
                         [](const testing::TestParamInfo<Quirks>& each) { return each.param.name; });

}  // namespace
}  // namespace roost::test
