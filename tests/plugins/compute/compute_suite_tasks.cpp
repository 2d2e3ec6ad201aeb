// The suite's second half: tasks beside a volume, with the real agent and the real backup-directory.
#include <filesystem>
#include <fstream>

#include "plugins/compute/compute_suite.hpp"

namespace roost::test {
namespace {

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

// What a restore fills: made by the start, told of in `volumes`, used by the next apply that names it.
class ComputeRestores : public ComputeTasks {
 protected:
  // A stopped session with a backup of /workspace/file; its volume.
  Json saved() {
    applied(spec(kId));
    ready(kId);
    run(kId, "mkdir -p /workspace/dir; echo precious > /workspace/dir/file; chmod 640 /workspace/dir/file");
    applied(spec(kId, 2, false));
    const Json volume = stopped(kId)["volume"];
    EXPECT_TRUE(client_->task_start(task("backup", 1, volume)).ok());
    EXPECT_EQ(ended(1)["state"].as_string(), "succeeded");
    EXPECT_TRUE(client_->task_remove(request(1)).ok());
    return volume;
  }
  Json restore(std::int64_t attempt, std::int64_t generation = 2, const std::string& token = "token-of-g1") {
    const std::string name = std::string("pvc-") + kId + "-g1";
    Json made = task("restore", attempt, Json::object({{"name", name}, {"token", token}, {"uid", ""}}));
    made.set("volume", Json::object({{"name", name}, {"token", token}, {"uid", ""}, {"create", true}, {"size_bytes", 1 << 30}}));
    return made.set("generation", generation).set("bytes", 9);
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    const auto seen = client_->observe(kId);
    for (const Json& volume : (*seen)["volumes"].items()) found.push_back(volume["name"].as_string());
    return found;
  }
};

TEST_P(ComputeRestores, FillsANewVolumeThatTheNextApplyUses) {
  const Json old = saved();
  const auto started = client_->task_start(restore(2));
  ASSERT_TRUE(started.ok()) << started.error().message;
  ASSERT_TRUE(client_->task_start(restore(2)).ok()) << "a repeated start finds the volume and the task";
  const Json done = ended(2);
  ASSERT_EQ(done["state"].as_string(), "succeeded") << done.dump();
  EXPECT_GT(done["receipt"]["verified_at_us"].as_int(), 0);
  ASSERT_EQ(names(), (std::vector<std::string>{old["name"].as_string(), old["name"].as_string() + "-g1"}));
  const Json filled = (*client_->observe(kId))["volumes"].items().at(1);
  EXPECT_EQ(filled["token"].as_string(), "token-of-g1");
  EXPECT_NE(filled["uid"].as_string(), old["uid"].as_string());
  ASSERT_TRUE(client_->task_remove(request(2)).ok());

  Json next = spec(kId, 3);
  next.set("volume", Json::object({{"name", filled["name"]},
                                   {"token", filled["token"]},
                                   {"uid", filled["uid"]},
                                   {"create", false},
                                   {"size_bytes", 1 << 30}}));
  applied(next);
  ready(kId);
  EXPECT_NE(run(kId, "cat /workspace/dir/file; stat -c %a /workspace/dir/file").find("precious\n640"), std::string::npos);
  run(kId, "echo more >> /workspace/dir/file");  // it is the user's own
  const Json gone =
      Json::object({{"id", kId}, {"part", "volume"}, {"uid", old["uid"]}, {"name", old["name"]}, {"token", old["token"]}});
  ASSERT_TRUE(client_->remove(gone).ok());
  ASSERT_TRUE(client_->remove(gone).ok()) << "again";
  EXPECT_EQ(names(), std::vector<std::string>{filled["name"].as_string()});
}

TEST_P(ComputeRestores, AnotherAttemptOfTheSameOneBeginsAgainInTheSameVolume) {
  saved();
  Json broken = restore(2);
  broken.set("archive", "workspace-0a1b2c3d-20990101T000000Z.zip");
  ASSERT_TRUE(client_->task_start(broken).ok());
  EXPECT_EQ(ended(2)["reason"].as_string(), "NotFound");
  const std::string uid = (*client_->observe(kId))["volumes"].items().at(1)["uid"].as_string();
  ASSERT_TRUE(client_->task_remove(request(2)).ok());
  ASSERT_TRUE(client_->task_start(restore(3)).ok());
  EXPECT_EQ(ended(3)["state"].as_string(), "succeeded");
  EXPECT_EQ((*client_->observe(kId))["volumes"].items().at(1)["uid"].as_string(), uid);
}

TEST_P(ComputeRestores, WhatIsNotItsOwnIsNotFilled) {
  const Json old = saved();
  EXPECT_EQ(client_->task_start(restore(2, 1)).error().code, Code::conflict) << "a later generation was applied";
  Json own = restore(2);
  own.set("volume",
          Json::object({{"name", old["name"]}, {"token", "another"}, {"uid", ""}, {"create", true}, {"size_bytes", 1 << 30}}));
  EXPECT_EQ(client_->task_start(own).error().code, Code::conflict) << "another's volume";
  ASSERT_TRUE(client_->task_start(restore(2)).ok());
  ended(2);
  EXPECT_EQ(client_->task_start(restore(3, 2, "another")).error().code, Code::conflict);
  Json known = restore(3);
  known.set("volume", Json::object({{"name", std::string("pvc-") + kId + "-g2"},
                                    {"token", "t"},
                                    {"uid", "was-there"},
                                    {"create", true},
                                    {"size_bytes", 1 << 30}}));
  EXPECT_EQ(client_->task_start(known).error().code, Code::conflict) << "one that had an identity is not made anew";
  EXPECT_EQ(names().size(), 2U);
}

TEST_P(ComputeRestores, WithoutRoomNothingIsMade) {
  saved();
  const auto refused = client_->task_start(restore(2).set("bytes", std::int64_t{1} << 60));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  EXPECT_NE(refused.error().message.find(std::to_string(std::int64_t{1} << 60)), std::string::npos) << refused.error().message;
  EXPECT_EQ(names().size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Plugins, ComputeRestores, testing::ValuesIn(all_quirks()),
                         [](const testing::TestParamInfo<Quirks>& each) { return each.param.name; });
INSTANTIATE_TEST_SUITE_P(Plugins, ComputeTasks, testing::ValuesIn(all_quirks()),
                         [](const testing::TestParamInfo<Quirks>& each) { return each.param.name; });

}  // namespace
}  // namespace roost::test
