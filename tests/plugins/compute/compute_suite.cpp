#include "plugins/compute/compute_suite.hpp"

#include <algorithm>

namespace roost::test {
namespace {

class ComputeSuite : public ComputeFixture, public testing::WithParamInterface<Quirks> {
 protected:
  void SetUp() override {
    if (const std::string reason = GetParam().unusable(); !reason.empty()) ROOST_SKIP_UNLESS_CI(reason);
    open(GetParam());
  }
};

TEST_P(ComputeSuite, AWorkspaceOfWhichNothingExistsIsNotAnError) {
  const auto seen = client_->observe(kId);
  ASSERT_TRUE(seen.ok()) << seen.error().message;
  EXPECT_EQ((*seen)["volume"]["state"].as_string(), "missing");
  EXPECT_EQ((*seen)["workload"]["state"].as_string(), "none");
  EXPECT_TRUE(client_->list("", 10)->empty());
  EXPECT_TRUE(client_->remove(workload_request(kId, "")).ok());
  EXPECT_TRUE(client_->remove(volume_request(kId, "whatever")).ok());
  EXPECT_TRUE(client_->list("", 10)->empty());
}

TEST_P(ComputeSuite, ApplyMakesVolumeAndWorkloadAndItBecomesReady) {
  const Json made = applied(spec(kId));
  EXPECT_EQ(made["volume"]["state"].as_string(), "present");
  EXPECT_EQ(made["volume"]["token"].as_string(), std::string("token-of-") + kId);
  EXPECT_FALSE(made["volume"]["uid"].as_string().empty());
  EXPECT_EQ(made["generation"].as_int(), 1);
  const Json seen = ready(kId);
  EXPECT_EQ(seen["workload"]["state"].as_string(), "running");
  EXPECT_FALSE(seen["workload"]["incarnation"].as_string().empty());
  EXPECT_EQ(seen["workload"]["size"]["cpu_millis"].as_int(), 1000);
  EXPECT_EQ(seen["workload"]["size"]["memory_bytes"].as_int(), 256 << 20);
  EXPECT_EQ(run(kId, "echo hello"), "hello\n");
}

TEST_P(ComputeSuite, ARepeatedApplyFindsItsOwnWork) {
  applied(spec(kId));
  const Json first = ready(kId);
  applied(spec(kId));
  const Json second = ready(kId);
  EXPECT_EQ(first["volume"]["uid"].as_string(), second["volume"]["uid"].as_string());
  EXPECT_EQ(first["workload"]["incarnation"].as_string(), second["workload"]["incarnation"].as_string());
}

TEST_P(ComputeSuite, AnOlderGenerationIsAConflictForANewInstanceToo) {
  applied(spec(kId, 5, false));
  EXPECT_EQ(client_->apply(spec(kId, 4)).error().code, Code::conflict);
  client_ = another();
  EXPECT_EQ(client_->apply(spec(kId, 4)).error().code, Code::conflict);
  EXPECT_TRUE(client_->apply(spec(kId, 5, false)).ok());
  EXPECT_EQ(client_->observe(kId)->operator[]("generation").as_int(), 5);
  EXPECT_EQ((*client_->observe(kId))["workload"]["state"].as_string(), "none");
}

TEST_P(ComputeSuite, WithoutCreateNoVolumeIsMadeAndNothingRuns) {
  Json wanted = spec(kId);
  Json volume = wanted["volume"];
  volume.set("create", false);
  wanted.set("volume", volume);
  const Json made = applied(wanted);
  EXPECT_EQ(made["volume"]["state"].as_string(), "missing");
  EXPECT_EQ(made["workload"]["state"].as_string(), "none");
}

TEST_P(ComputeSuite, AVolumeThatHadAnIdentityIsNeverMadeAnew) {
  Json wanted = spec(kId);
  Json volume = wanted["volume"];
  volume.set("uid", "one-that-is-gone");
  wanted.set("volume", volume);
  const Json made = applied(wanted);
  EXPECT_EQ(made["volume"]["state"].as_string(), "missing");
  EXPECT_EQ(made["workload"]["state"].as_string(), "none");
}

TEST_P(ComputeSuite, AForeignVolumeIsAConflict) {
  const Json made = applied(spec(kId, 1, false));
  Json wanted = spec(kId, 2);
  Json volume = wanted["volume"];
  volume.set("token", "another");
  wanted.set("volume", volume);
  EXPECT_EQ(client_->apply(wanted).error().code, Code::conflict);
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "foreign");
  wanted = spec(kId, 2);
  volume = wanted["volume"];
  volume.set("uid", made["volume"]["uid"].as_string() + "x");
  wanted.set("volume", volume);
  EXPECT_EQ(client_->apply(wanted).error().code, Code::conflict);
  EXPECT_TRUE(client_->apply(spec(kId, 2, false)).ok());
}

TEST_P(ComputeSuite, FilesStayOverSleepAndEachStartIsAnotherIncarnation) {
  applied(spec(kId));
  const Json first = ready(kId);
  run(kId, "echo kept > /workspace/file; mkdir -p ~/.config; echo mine > ~/.config/setting");
  applied(spec(kId, 2, false));
  const Json asleep = stopped(kId);
  EXPECT_EQ(asleep["volume"]["uid"].as_string(), first["volume"]["uid"].as_string());
  applied(spec(kId, 3));
  const Json second = ready(kId);
  EXPECT_NE(first["workload"]["incarnation"].as_string(), second["workload"]["incarnation"].as_string());
  EXPECT_EQ(run(kId, "cat /workspace/file ~/.config/setting"), "kept\nmine\n");
}

TEST_P(ComputeSuite, AResizeHappensInPlace) {
  applied(spec(kId));
  const Json before = ready(kId);
  Json wanted = spec(kId, 2);
  wanted.set("size", Json::object({{"cpu_millis", 2000}, {"memory_bytes", 512 << 20}}));
  applied(wanted);
  const Json after = ready(kId);
  EXPECT_EQ(after["workload"]["size"]["cpu_millis"].as_int(), 2000);
  EXPECT_EQ(after["workload"]["size"]["memory_bytes"].as_int(), 512 << 20);
  EXPECT_EQ(after["workload"]["incarnation"].as_string(), before["workload"]["incarnation"].as_string());
}

TEST_P(ComputeSuite, OnlyTheNamedIncarnationIsRemoved) {
  applied(spec(kId));
  const std::string incarnation = ready(kId)["workload"]["incarnation"].as_string();
  EXPECT_EQ(client_->remove(workload_request(kId, incarnation + "x")).error().code, Code::conflict);
  EXPECT_TRUE((*client_->observe(kId))["workload"]["ready"].as_bool());
  const Status removed = client_->remove(workload_request(kId, incarnation));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ((*client_->observe(kId))["workload"]["state"].as_string(), "none");
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "present");
  EXPECT_TRUE(client_->remove(workload_request(kId, incarnation)).ok());
}

TEST_P(ComputeSuite, AVolumeGoesOnlyUnusedAndByItsUid) {
  const std::string uid = applied(spec(kId))["volume"]["uid"].as_string();
  ready(kId);
  EXPECT_EQ(client_->remove(volume_request(kId, uid)).error().code, Code::conflict) << "a workload uses it";
  ASSERT_TRUE(client_->remove(workload_request(kId, "")).ok());
  EXPECT_EQ(client_->remove(volume_request(kId, uid + "x")).error().code, Code::conflict) << "another volume is meant";
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "present");
  const Status removed = client_->remove(volume_request(kId, uid));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "missing");
  EXPECT_TRUE(client_->remove(volume_request(kId, uid)).ok());
  EXPECT_TRUE(client_->list("", 10)->empty());
}

TEST_P(ComputeSuite, ListPagesThroughEverythingInOrder) {
  const std::vector<std::string> ids = {"00000001", "00000002", "7fffffff", "fffffffe"};
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) applied(spec(*id, 1, false));
  std::vector<std::string> seen;
  for (std::string after;;) {
    const auto page = client_->list(after, 3);
    ASSERT_TRUE(page.ok());
    for (const auto& [id, workspace] : *page) {
      EXPECT_EQ(workspace["id"].as_string(), id);
      seen.push_back(id);
    }
    if (page->size() < 3) break;
    after = page->back().first;
  }
  EXPECT_EQ(seen, ids);
}

TEST_P(ComputeSuite, WatchTellsOfAChangeAndATokenOfAnotherTimeIsExpired) {
  const auto begun = client_->watch("", 50);
  ASSERT_TRUE(begun.ok());
  ASSERT_FALSE(begun->second.empty());
  applied(spec(kId));
  std::string token = begun->second;
  EXPECT_TRUE(eventually([&] {
    const auto seen = client_->watch(token, 1000);
    EXPECT_TRUE(seen.ok());
    if (!seen.ok()) return true;
    token = seen->second;
    return std::find(seen->first.begin(), seen->first.end(), kId) != seen->first.end();
  }));
  EXPECT_EQ(client_->watch("not-a-token", 50).error().code, Code::expired);
}

TEST_P(ComputeSuite, UseShowsAsActivity) {
  EXPECT_TRUE((*client_->activity(kId))["signals"].items().empty());
  applied(spec(kId));
  ready(kId);
  run(kId, "true");
  const auto activity = client_->activity(kId);
  ASSERT_TRUE(activity.ok());
  bool request = false;
  for (const Json& signal : (*activity)["signals"].items())
    request = request || (signal["name"].as_string() == "http_request" && signal["at"].as_int() > 0);
  EXPECT_TRUE(request) << activity->dump();
}

TEST_P(ComputeSuite, WhatIsNotASpecIsInvalid) {
  const auto with = [](const char* key, Json value) {
    Json made = spec(kId);
    made.set(key, std::move(value));
    return made;
  };
  for (const Json& wrong :
       {Json::object(), with("id", "../../etc"), with("id", "ABCDEF01"), with("generation", 0), with("state", "dancing"),
        with("size", Json::object()), with("volume", Json::object({{"name", "../x"}, {"token", "t"}})),
        with("volume", Json::object({{"name", "pvc-ffffffff"}, {"token", "t"}}))}) {
    EXPECT_EQ(client_->apply(wrong).error().code, Code::invalid) << wrong.dump();
  }
  EXPECT_EQ(client_->observe("../x").error().code, Code::invalid);
  EXPECT_EQ(client_->remove(Json::object({{"id", kId}, {"part", "everything"}})).error().code, Code::invalid);
  EXPECT_TRUE(client_->list("", 10)->empty());
}

INSTANTIATE_TEST_SUITE_P(Plugins, ComputeSuite, testing::ValuesIn(all_quirks()),
                         [](const testing::TestParamInfo<Quirks>& each) { return each.param.name; });

}  // namespace
}  // namespace roost::test
