// The life of a workspace against a real API server, with nodes that only pretend to run pods.
#include "plugins/compute/kubernetes_fixture.hpp"

namespace roost::kubernetes {
namespace {

const Json kLarge = Json::object({{"size", Json::object({{"cpu_millis", 2000}, {"memory_bytes", std::int64_t{2} << 30}})}});

class KubernetesLifecycle : public KubernetesTest {};

TEST_F(KubernetesLifecycle, CreatesWhatTheGuideNames) {
  const auto compute = open(Json::object({{"ingress", Json::object({{"tls_secret", "wildcard"}})}}));
  const Json made = apply(*compute, spec("1823b3a8", 1, "running"));
  EXPECT_EQ(made["volume"]["state"].str(), "present");
  EXPECT_NE(made["workload"]["state"].str(), "none");
  EXPECT_EQ(made["generation"].integer(), 1);
  const Json ready = wait_ready(*compute, "1823b3a8");
  EXPECT_EQ(ready["workload"]["state"].str(), "running");
  EXPECT_EQ(ready["endpoint"].str().substr(0, 4), "tcp:");
  EXPECT_EQ(get(core("persistentvolumeclaims/pvc-1823b3a8"))["spec"]["resources"]["requests"]["storage"].str(), "5Gi");
  EXPECT_EQ(get(apps("deployments/user-1823b3a8"))["spec"]["strategy"]["type"].str(), "Recreate");
  const Json port = get(core("services/user-1823b3a8"))["spec"]["ports"].items().front();
  EXPECT_EQ(port["port"].integer(), 80);
  EXPECT_EQ(port["targetPort"].integer(), 1111);
  const Json rule = get(networking("ingresses/user-1823b3a8"))["spec"]["rules"].items().front();
  EXPECT_EQ(rule["host"].str(), "vs-code-1823b3a8.preview.example.com");
  EXPECT_EQ(get(core("pods?labelSelector=app%3Duser-1823b3a8"))["items"].items().size(), 1u);
  EXPECT_EQ(get(core("pods?labelSelector=uuid"))["items"].items().size(), 1u);
}

TEST_F(KubernetesLifecycle, SleepsWakesAndIsRemovedWithNothingLeft) {
  const auto compute = open();
  apply(*compute, spec("00000001", 1, "running"));
  const std::string first = wait_ready(*compute, "00000001")["workload"]["incarnation"].str();
  const std::string uid = observe(*compute, "00000001")["volume"]["uid"].str();

  EXPECT_EQ(apply(*compute, spec("00000001", 2, "stopped"))["workload"]["state"].str(), "stopping");
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, "00000001", true)["workload"]["state"].str() == "none"; }));
  EXPECT_EQ(observe(*compute, "00000001")["volume"]["uid"].str(), uid);

  apply(*compute, spec("00000001", 3, "running"));
  const Json awake = wait_ready(*compute, "00000001");
  EXPECT_NE(awake["workload"]["incarnation"].str(), first);
  EXPECT_EQ(awake["generation"].integer(), 3);

  apply(*compute, spec("00000001", 4, "stopped"));
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, "00000001", true)["workload"]["state"].str() == "none"; }));
  remove_workload(*compute, "00000001", "");
  remove_volume(*compute, "00000001", uid);
  for (const std::string& path :
       {apps("deployments/user-00000001"), core("services/user-00000001"), core("secrets/user-00000001"),
        networking("ingresses/user-00000001"), core("persistentvolumeclaims/pvc-00000001")}) {
    EXPECT_FALSE(exists(path)) << path;
  }
  EXPECT_EQ(observe(*compute, "00000001", true)["volume"]["state"].str(), "missing");
  remove_workload(*compute, "00000001", "");  // gone already is success
  remove_volume(*compute, "00000001", uid);
}

TEST_F(KubernetesLifecycle, ResizesThePodInPlace) {
  const auto compute = open();
  apply(*compute, spec("00000002", 1, "running"));
  const std::string incarnation = wait_ready(*compute, "00000002")["workload"]["incarnation"].str();
  apply(*compute, spec("00000002", 2, "running", kLarge));
  const Json pod = get(core("pods?labelSelector=uuid%3D00000002"))["items"].items().front();
  EXPECT_EQ(pod["metadata"]["uid"].str(), incarnation);
  EXPECT_EQ(pod["spec"]["containers"].items().front()["resources"]["limits"]["memory"].str(), "2Gi");
  const Json live = get(apps("deployments/user-00000002"));
  EXPECT_EQ(live["spec"]["template"]["spec"]["containers"].items().front()["resources"]["limits"]["memory"].str(), "1Gi")
      << "a change of the template would roll the pod";

  // The template catches up at the next sleep.
  apply(*compute, spec("00000002", 3, "stopped", kLarge));
  const Json asleep = get(apps("deployments/user-00000002"));
  EXPECT_EQ(asleep["spec"]["template"]["spec"]["containers"].items().front()["resources"]["limits"]["memory"].str(), "2Gi");
}

TEST_F(KubernetesLifecycle, ANewPodOfTheOldSizeIsResizedAgain) {
  const auto compute = open();
  const Json large = Json::object({{"size", Json::object({{"cpu_millis", 2000}, {"memory_bytes", std::int64_t{2} << 30}})}});
  apply(*compute, spec("0000002a", 1, "running"));
  const Json first = wait_ready(*compute, "0000002a");
  apply(*compute, spec("0000002a", 2, "running", large));
  EXPECT_EQ(observe(*compute, "0000002a")["generation"].integer(), 2) << "an engine takes a lower one for a view from before";
  const std::string pods = core("pods?labelSelector=uuid%3D0000002a");
  destroy(core("pods/" + get(pods)["items"].items().at(0)["metadata"]["name"].str()));
  ASSERT_TRUE(eventually("the news of a pod of the template's size",
                         [&] { return observe(*compute, "0000002a")["workload"]["reason"].str() == "SizeChanged"; }));
  apply(*compute, spec("0000002a", 2, "running", large));
  ASSERT_TRUE(eventually("its size", [&] {
    const Json workload = observe(*compute, "0000002a")["workload"];
    return workload["ready"].boolean() && workload["size"]["cpu_millis"].integer() == 2000;
  }));
  EXPECT_NE(observe(*compute, "0000002a")["workload"]["incarnation"].str(), first["workload"]["incarnation"].str());
}

TEST_F(KubernetesLifecycle, AnUpgradeRollsNobody) {
  auto compute = open();
  apply(*compute, spec("00000003", 1, "running"));
  const std::string incarnation = wait_ready(*compute, "00000003")["workload"]["incarnation"].str();
  const std::int64_t generation = get(apps("deployments/user-00000003"))["metadata"]["generation"].integer();
  compute = open(Json::object({{"image", "localhost/workspace:2"}}));
  EXPECT_EQ(apply(*compute, spec("00000003", 1, "running"))["workload"]["incarnation"].str(), incarnation);
  EXPECT_EQ(get(apps("deployments/user-00000003"))["metadata"]["generation"].integer(), generation);
  apply(*compute, spec("00000003", 2, "stopped"));
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, "00000003", true)["workload"]["state"].str() == "none"; }));
  apply(*compute, spec("00000003", 3, "running"));
  wait_ready(*compute, "00000003");
  const Json pod = get(core("pods?labelSelector=uuid%3D00000003"))["items"].items().front();
  EXPECT_EQ(pod["spec"]["containers"].items().front()["image"].str(), "localhost/workspace:2");
}

TEST_F(KubernetesLifecycle, RefusesAnOlderGenerationAlsoFromAnotherInstance) {
  const auto leader = open();
  const auto paused = open();
  apply(*paused, spec("00000004", 1, "running"));
  wait_ready(*leader, "00000004");
  apply(*leader, spec("00000004", 3, "stopped"));
  EXPECT_EQ(code_of([&] { apply(*paused, spec("00000004", 2, "running")); }), ROOST_CONFLICT);
  EXPECT_EQ(get(apps("deployments/user-00000004"))["spec"]["replicas"].integer(-1), 0);
}

TEST_F(KubernetesLifecycle, WakeWaitsForTheOldPodsEnd) {
  const auto compute = open();
  apply(*compute, spec("00000005", 1, "running"));
  const std::string name = [&] {
    wait_ready(*compute, "00000005");
    return get(core("pods?labelSelector=uuid%3D00000005"))["items"].items().front()["metadata"]["name"].str();
  }();
  patch(core("pods/" + name),
        Json::object({{"metadata", Json::object({{"finalizers", Json::array({"test.example.com/hold"})}})}}));
  apply(*compute, spec("00000005", 2, "stopped"));
  ASSERT_TRUE(eventually("a pod that ends", [&] { return get(core("pods/" + name))["metadata"].has("deletionTimestamp"); }));
  EXPECT_EQ(observe(*compute, "00000005", true)["workload"]["state"].str(), "stopping");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("00000005", 3, "running")); }), ROOST_CONFLICT);
  EXPECT_EQ(get(core("pods?labelSelector=uuid%3D00000005"))["items"].items().size(), 1u);
  patch(core("pods/" + name), Json::object({{"metadata", Json::object({{"finalizers", Json()}})}}));
  ASSERT_TRUE(
      eventually("a wake", [&] { return code_of([&] { apply(*compute, spec("00000005", 3, "running")); }) == ROOST_OK; }));
  wait_ready(*compute, "00000005");
}

// A node that is short of memory or disk ends a pod, which stays in the list as Failed; its ReplicaSet makes another.
TEST_F(KubernetesLifecycle, AnEvictedPodThatStaysHoldsNothingUp) {
  const auto compute = open();
  const std::string id = "0000002b";
  apply(*compute, spec(id, 1, "running"));
  const Json first = wait_ready(*compute, id);
  const std::string evicted =
      core("pods/" + get(core("pods?labelSelector=uuid%3D" + id))["items"].items().front()["metadata"]["name"].str());
  patch(evicted + "/status",
        Json::object({{"status", Json::object({{"phase", "Failed"}, {"reason", "Evicted"}, {"message", "low on memory"}})}}));
  Json now;
  ASSERT_TRUE(eventually("the pod that takes its place", [&] {
    now = observe(*compute, id)["workload"];
    return now["ready"].boolean() && now["incarnation"].str() != first["workload"]["incarnation"].str();
  })) << now.dump();
  EXPECT_EQ(now["reason"].str(), "");

  apply(*compute, spec(id, 2, "stopped"));
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, id, true)["workload"]["state"].str() == "none"; }));
  EXPECT_TRUE(exists(evicted)) << "nobody has removed it";
  apply(*compute, spec(id, 3, "running"));
  wait_ready(*compute, id);

  apply(*compute, spec(id, 4, "stopped"));
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, id, true)["workload"]["state"].str() == "none"; }));
  ASSERT_TRUE(
      eventually("the workload's end", [&] { return code_of([&] { remove_workload(*compute, id, "none"); }) == ROOST_OK; }));
  EXPECT_FALSE(exists(evicted)) << "it would keep the volume from going";
  remove_volume(*compute, id, first["volume"]["uid"].str());
  EXPECT_FALSE(exists(core("persistentvolumeclaims/pvc-" + id)));
}

TEST_F(KubernetesLifecycle, WhatTheServerFindsInvalidIsToldInItsWords) {
  const Json never = Json::object({{"spec", Json::object({{"restartPolicy", "Never"}})}});
  const auto compute = open(Json::object({{"pod_template", never}}));
  try {
    apply(*compute, spec("0000002c", 1, "running"));
    FAIL() << "it was applied";
  } catch (const sdk::Failure& failure) {
    EXPECT_EQ(failure.code(), ROOST_INVALID) << "a conflict would be tried again for ever";
    EXPECT_NE(std::string(failure.what()).find("restartPolicy"), std::string::npos) << failure.what();
  }
}

TEST_F(KubernetesLifecycle, NeverTakesAForeignVolume) {
  const auto compute = open();
  Json claim = volume_claim(Settings::parse(config().dump()), Spec::parse(spec("00000006", 1, "running").dump()));
  claim.at("metadata").at("annotations").set(kToken, "somebody else's");
  post(core("persistentvolumeclaims"), claim);
  EXPECT_EQ(code_of([&] { apply(*compute, spec("00000006", 1, "running")); }), ROOST_CONFLICT);
  EXPECT_FALSE(exists(apps("deployments/user-00000006")));
  EXPECT_EQ(observe(*compute, "00000006")["volume"]["state"].str(), "foreign");
}

TEST_F(KubernetesLifecycle, AGenerationIsKeptAlsoWhereNothingRuns) {
  auto compute = open();
  apply(*compute, spec("0000000c", 5, "stopped"));
  EXPECT_EQ(apply(*compute, spec("0000000c", 6, "stopped"))["generation"].integer(), 6);
  compute = open();
  EXPECT_EQ(code_of([&] { apply(*compute, spec("0000000c", 5, "running")); }), ROOST_CONFLICT);
  EXPECT_FALSE(exists(apps("deployments/user-0000000c")));
}

// An engine that has seen a generation applied takes a lower one for a view from before.
TEST_F(KubernetesLifecycle, AGenerationIsToldAlsoAfterTheDeploymentIsGone) {
  const auto compute = open();
  apply(*compute, spec("00000029", 1, "running"));
  apply(*compute, spec("00000029", 2, "stopped"));
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, "00000029")["workload"]["state"].str() == "none"; }));
  remove_workload(*compute, "00000029", "");
  EXPECT_EQ(observe(*compute, "00000029")["generation"].integer(), 2);
  EXPECT_EQ(observe(*compute, "00000029", true)["generation"].integer(), 2);
  remove_volume(*compute, "00000029", observe(*compute, "00000029")["volume"]["uid"].str());
  EXPECT_EQ(observe(*compute, "00000029")["generation"].integer(), 0) << "nothing of it is left";
}

TEST_F(KubernetesLifecycle, AVanishedVolumeIsNotMadeAgain) {
  const auto compute = open();
  apply(*compute, spec("00000007", 1, "running"));
  const std::string uid = wait_ready(*compute, "00000007")["volume"]["uid"].str();
  apply(*compute, spec("00000007", 2, "stopped"));
  ASSERT_TRUE(eventually("sleep", [&] { return observe(*compute, "00000007", true)["workload"]["state"].str() == "none"; }));
  destroy(core("persistentvolumeclaims/pvc-00000007"));
  ASSERT_TRUE(
      eventually("the volume's end", [&] { return observe(*compute, "00000007")["volume"]["state"].str() == "missing"; }));
  const Json known = Json::object({{"volume", Json::object({{"uid", uid}, {"create", false}})}});
  EXPECT_EQ(apply(*compute, spec("00000007", 3, "running", known))["volume"]["state"].str(), "missing");
  EXPECT_EQ(get(apps("deployments/user-00000007"))["spec"]["replicas"].integer(-1), 0);
  // Nor when the caller asks for one: it had an identity.
  const Json again = Json::object({{"volume", Json::object({{"uid", uid}})}});
  EXPECT_EQ(apply(*compute, spec("00000007", 3, "running", again))["volume"]["state"].str(), "missing");
  EXPECT_FALSE(exists(core("persistentvolumeclaims/pvc-00000007")));
}

TEST_F(KubernetesLifecycle, KeepsAVolumeThatIsInUse) {
  const auto compute = open();
  apply(*compute, spec("00000008", 1, "running"));
  const std::string uid = wait_ready(*compute, "00000008")["volume"]["uid"].str();
  EXPECT_EQ(code_of([&] { remove_volume(*compute, "00000008", uid); }), ROOST_CONFLICT);
  EXPECT_EQ(code_of([&] { remove_volume(*compute, "00000008", "not-its-uid"); }), ROOST_CONFLICT);
  EXPECT_EQ(code_of([&] { remove_workload(*compute, "00000008", "not-its-incarnation"); }), ROOST_CONFLICT);
  EXPECT_FALSE(get(core("persistentvolumeclaims/pvc-00000008"))["metadata"].has("deletionTimestamp"));
  remove_workload(*compute, "00000008", "");  // whichever runs
  EXPECT_EQ(get(core("pods?labelSelector=uuid%3D00000008"))["items"].items().size(), 0u);
}

TEST_F(KubernetesLifecycle, PutsBackWhatSomebodyDeletedOrEdited) {
  const auto compute = open();
  apply(*compute, spec("00000009", 1, "running"));
  wait_ready(*compute, "00000009");
  destroy(core("services/user-00000009"));
  patch(networking("ingresses/user-00000009"),
        Json::object({{"spec", Json::object({{"rules", Json::array({Json::object({{"host", "evil.example.com"}})})}})}}));
  patch(core("secrets/user-00000009"), Json::object({{"stringData", Json::object({{"token", "edited"}})}}));
  ASSERT_TRUE(eventually("the edits seen", [&] { return observe(*compute, "00000009")["workload"]["state"].str() == "failed"; }));
  ASSERT_TRUE(eventually("all put back", [&] {
    apply(*compute, spec("00000009", 1, "running"));
    return observe(*compute, "00000009", true)["workload"]["ready"].boolean();
  }));
  EXPECT_TRUE(exists(core("services/user-00000009")));
  EXPECT_EQ(get(networking("ingresses/user-00000009"))["spec"]["rules"].items().front()["host"].str(),
            "vs-code-00000009.preview.example.com");
  EXPECT_EQ(get(core("secrets/user-00000009"))["data"]["token"].str(), "YXBpLXRva2VuLW9mLTAwMDAwMDA5");
  destroy(apps("deployments/user-00000009"));
  ASSERT_TRUE(eventually("its end seen", [&] { return observe(*compute, "00000009")["workload"]["state"].str() == "none"; }));
  ASSERT_TRUE(eventually("it is put back",
                         [&] { return code_of([&] { apply(*compute, spec("00000009", 1, "running")); }) == ROOST_OK; }));
  wait_ready(*compute, "00000009");
}

TEST_F(KubernetesLifecycle, HintsNameWhatChangedAndListsShowAll) {
  const auto compute = open();
  Records first;
  {
    sdk::Sink sink(first.raw());
    const TestCall call(std::chrono::milliseconds(100));
    compute->watch(call, "", sink);
  }
  ASSERT_FALSE(first.resume.empty());
  apply(*compute, spec("0000000a", 1, "running"));
  apply(*compute, spec("0000000b", 1, "running"));
  Records second;
  {
    sdk::Sink sink(second.raw());
    const TestCall call;
    compute->watch(call, first.resume, sink);
  }
  EXPECT_EQ(second.keys.size(), 2u);
  Records all;
  {
    sdk::Sink sink(all.raw());
    const TestCall call;
    compute->list(call, "0000000a", 10, sink);
  }
  EXPECT_EQ(all.keys, std::vector<std::string>{"0000000b"});
  Records other;
  sdk::Sink sink(other.raw());
  const TestCall call;
  EXPECT_EQ(code_of([&] { compute->watch(call, "another:7", sink); }), ROOST_EXPIRED);
}

}  // namespace
}  // namespace roost::kubernetes
