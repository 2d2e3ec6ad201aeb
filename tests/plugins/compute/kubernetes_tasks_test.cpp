// Tasks as Jobs on a real API server. The fake nodes leave the results that roost-agent would (tests/cluster/stages.yaml).
#include "plugins/compute/kubernetes_fixture.hpp"

namespace roost::kubernetes {
namespace {

class KubernetesTasks : public KubernetesTest {
 protected:
  // A session that is asleep, with its volume.
  std::string sleeping(Compute& compute, const std::string& id) {
    return apply(compute, spec(id, 1, "stopped"))["volume"]["uid"].str();
  }
  static Json task(const std::string& id, const std::string& kind, std::int64_t attempt, const std::string& uid) {
    const Json mount = Json::object({{"path", "/backups"}, {"writable", true}, {"claim", "backups"}});
    Json document = Json::object({{"id", id},
                                  {"user_id", "user@example.com"},
                                  {"operation", "0badcafe"},
                                  {"attempt", attempt},
                                  {"kind", kind},
                                  {"archive", "workspace-" + id + "-20260101T000000Z.zip"},
                                  {"backup_id", id + "-20260101T000000Z"},
                                  {"backup", Json::object({{"manifest", "/usr/lib/roost/plugins/backup-directory.roost.json"},
                                                           {"config", Json::object({{"path", "/backups"}})},
                                                           {"mounts", Json::array({mount})}})}});
    if (kind != "verify")
      document.set("volume", Json::object({{"name", "pvc-" + id}, {"token", "token-of-" + id}, {"uid", uid}}));
    return document;
  }
  void SetUp() override {
    KubernetesTest::SetUp();
    if (IsSkipped()) return;
    const Json size = Json::object({{"requests", Json::object({{"storage", "50Gi"}})}});
    post(core("persistentvolumeclaims"),
         Json::object({{"metadata", Json::object({{"name", "backups"}})},
                       {"spec", Json::object({{"accessModes", Json::array({"ReadWriteMany"})}, {"resources", size}})}}));
  }
  static Json start(Compute& compute, const Json& spec) {
    const TestCall call;
    return Json::parse(compute.task_start(call, spec.dump()), "task");
  }
  static std::string name(const Json& task) {
    return Json::object({{"id", task["id"]}, {"operation", task["operation"]}, {"attempt", task["attempt"]}}).dump();
  }
  static Json look(Compute& compute, const Json& task) {
    const TestCall call;
    return Json::parse(compute.task_observe(call, name(task)), "task");
  }
  static Json wait_end(Compute& compute, const Json& task) {
    Json last;
    EXPECT_TRUE(eventually("the task's end", [&] {
      last = look(compute, task);
      return last["state"].str() != "running";
    })) << last.dump();
    return last;
  }
  static std::vector<std::string> listed(Compute& compute) {
    const TestCall call;
    Records records;
    sdk::Sink sink(records.raw());
    compute.list(call, "", 100, sink);
    return records.keys;
  }
  static void forget(Compute& compute, const Json& task) {
    const TestCall call;
    compute.task_remove(call, name(task));
  }
};

TEST_F(KubernetesTasks, CopiesVerifiesAndReleasesTheVolume) {
  const auto compute = open();
  const std::string uid = sleeping(*compute, "0000beef");
  const Json backup = task("0000beef", "backup", 1, uid);
  EXPECT_EQ(look(*compute, backup)["state"].str(), "none");
  EXPECT_EQ(start(*compute, backup)["state"].str(), "running");
  EXPECT_EQ(start(*compute, backup)["attempt"].integer(), 1) << "a repeated start finds it";
  const Json copied = wait_end(*compute, backup);
  EXPECT_EQ(copied["state"].str(), "succeeded") << copied.dump();
  EXPECT_EQ(copied["receipt"]["operation_id"].str(), "0badcafe");
  EXPECT_EQ(get(batch("jobs?labelSelector=session-uuid"))["items"].items().size(), 0u) << "the guide shows one Job only";
  EXPECT_EQ(code_of([&] { remove_volume(*compute, "0000beef", uid); }), ROOST_CONFLICT)
      << "its finished pod still names the claim";
  forget(*compute, backup);
  EXPECT_FALSE(exists(batch("jobs/backup-0000beef-0badcafe")));
  EXPECT_EQ(look(*compute, backup)["state"].str(), "none");

  const Json verify = task("0000beef", "verify", 2, "");
  start(*compute, verify);
  EXPECT_EQ(wait_end(*compute, verify)["state"].str(), "succeeded");
  EXPECT_TRUE(exists(core("secrets/backup-0000beef")));
  forget(*compute, verify);
  EXPECT_FALSE(exists(core("secrets/backup-0000beef")))
      << "it may hold the keys of the backup's storage, and the Job stays a day";
  const Json jobs = get(batch("jobs?labelSelector=session-uuid%3D0000beef%2Cjob-type%3Dbackup"));
  ASSERT_EQ(jobs["items"].items().size(), 1u);
  EXPECT_EQ(listed(*compute).size(), 1u);
  remove_volume(*compute, "0000beef", uid);
  EXPECT_TRUE(eventually("a list without it", [&] { return listed(*compute).empty(); })) << "the Job is a record, no session";
  EXPECT_FALSE(exists(core("persistentvolumeclaims/pvc-0000beef"))) << "the verifying pod, which stays, does not mount it";
  EXPECT_EQ(jobs["items"].items()[0]["metadata"]["name"].str(), "backup-0000beef");
  EXPECT_EQ(jobs["items"].items()[0]["spec"]["ttlSecondsAfterFinished"].integer(), 86400);
}

TEST_F(KubernetesTasks, AVerifyMakesRoomForTheNextOne) {
  const auto compute = open();
  sleeping(*compute, "0000bee2");
  Json verify = task("0000bee2", "verify", 2, "");
  start(*compute, verify);
  EXPECT_EQ(wait_end(*compute, verify)["state"].str(), "succeeded");
  verify.set("operation", "0badcaff");
  EXPECT_EQ(look(*compute, verify)["state"].str(), "none") << "only this operation's outcome counts";
  start(*compute, verify);
  const Json second = wait_end(*compute, verify);
  EXPECT_EQ(second["receipt"]["operation_id"].str(), "0badcaff") << second.dump();
}

TEST_F(KubernetesTasks, ASecretThatAnEarlierJobLeftIsNotGivenToTheNextOne) {
  const auto compute = open();
  sleeping(*compute, "0000beed");
  const Json left = post(core("secrets"), Json::object({{"metadata", Json::object({{"name", "backup-0000beed"}})},
                                                        {"stringData", Json::object({{"spec.json", "of the earlier one"}})}}));
  const Json verify = task("0000beed", "verify", 1, "");
  start(*compute, verify);
  const auto owned = [&] {
    const Json metadata = get(core("secrets/backup-0000beed"))["metadata"];
    EXPECT_NE(metadata["uid"].str(), left["metadata"]["uid"].str());
    const std::string job = get(batch("jobs/backup-0000beed"))["metadata"]["uid"].str();
    const auto& owners = metadata["ownerReferences"].items();
    EXPECT_TRUE(owners.size() == 1 && owners.front()["uid"].str() == job) << metadata.dump();
    return metadata["uid"].str();
  };
  const std::string made = owned();
  start(*compute, verify);
  EXPECT_EQ(owned(), made) << "a repeated start keeps its own";
  EXPECT_EQ(wait_end(*compute, verify)["state"].str(), "succeeded");
}

TEST_F(KubernetesTasks, ALiveBackupRunsOnTheWorkspacesNode) {
  const auto compute = open(Json::object({{"access_mode", "ReadWriteOnce"}}));
  const std::string uid = apply(*compute, spec("0000bee9", 1, "running"))["volume"]["uid"].str();
  wait_ready(*compute, "0000bee9");
  const Json backup = task("0000bee9", "backup", 1, uid).set("live", true);
  start(*compute, backup);
  const Json made = get(batch("jobs/backup-0000bee9-0badcafe"));
  const Json& term =
      made["spec"]["template"]["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
  ASSERT_EQ(term.items().size(), 1u) << made.dump();
  EXPECT_EQ(term.items()[0]["topologyKey"].str(), "kubernetes.io/hostname");
  EXPECT_EQ(term.items()[0]["labelSelector"]["matchLabels"]["app"].str(), "user-0000bee9");
  EXPECT_EQ(wait_end(*compute, backup)["state"].str(), "succeeded");
  forget(*compute, backup);
}

TEST_F(KubernetesTasks, AVolumeForOnePodIsNotBackedUpWhileItsWorkspaceRuns) {
  const auto compute = open(Json::object({{"access_mode", "ReadWriteOncePod"}}));
  const std::string uid = apply(*compute, spec("0000beea", 1, "running"))["volume"]["uid"].str();
  const Json backup = task("0000beea", "backup", 1, uid).set("live", true);
  EXPECT_EQ(code_of([&] { start(*compute, backup); }), ROOST_UNSUPPORTED);
  EXPECT_FALSE(exists(batch("jobs/backup-0000beea-0badcafe")));
}

TEST_F(KubernetesTasks, ARestoreFillsAVolumeOfItsOwnThatTheNextStartUses) {
  const auto compute = open();
  const std::string id = "0000beeb", old = sleeping(*compute, id);
  Json restore = task(id, "restore", 1, "").set("generation", 1).set("bytes", 5);
  restore.set("volume", Json::object({{"name", "pvc-" + id + "-g1"},
                                      {"token", "token-1"},
                                      {"uid", ""},
                                      {"create", true},
                                      {"size_bytes", std::int64_t{6} << 30}}));
  EXPECT_EQ(start(*compute, restore)["state"].str(), "running");
  EXPECT_EQ(start(*compute, restore)["attempt"].integer(), 1) << "a repeated start finds both";
  const Json claim = get(core("persistentvolumeclaims/pvc-" + id + "-g1"));
  EXPECT_EQ(claim["metadata"]["labels"]["uuid"].str(), id);
  EXPECT_EQ(claim["metadata"]["annotations"]["roost.dev/token"].str(), "token-1");
  EXPECT_EQ(claim["spec"]["resources"]["requests"]["storage"].str(), "6Gi");
  const Json made = get(batch("jobs/restore-" + id + "-0badcafe"));
  const Json& pod = made["spec"]["template"]["spec"];
  const Json& container = pod["containers"].items().front();
  EXPECT_EQ(container["command"].items().at(1)["restore"].str(), "");
  bool writes = false, reads = false;
  for (const Json& mount : container["volumeMounts"].items()) {
    writes |= mount["mountPath"].str() == "/workspace" && !mount["readOnly"].boolean();
    reads |= mount["mountPath"].str() == "/backups" && mount["readOnly"].boolean();
  }
  EXPECT_TRUE(writes && reads) << made.dump();
  EXPECT_EQ(wait_end(*compute, restore)["state"].str(), "succeeded");
  const Json seen = observe(*compute, id, true);
  ASSERT_EQ(seen["volumes"].items().size(), 2u) << seen.dump();
  const std::string uid = claim["metadata"]["uid"].str();
  EXPECT_EQ(code_of([&] { remove_volume(*compute, id, uid); }), ROOST_CONFLICT) << "its finished pod still names the claim";
  forget(*compute, restore);

  Json next = spec(id, 2, "running");
  next.set("volume", Json::object({{"name", "pvc-" + id + "-g1"},
                                   {"token", "token-1"},
                                   {"uid", uid},
                                   {"create", false},
                                   {"size_bytes", std::int64_t{6} << 30}}));
  apply(*compute, next);
  wait_ready(*compute, id);
  EXPECT_EQ(get(apps("deployments/user-" + id))["spec"]["template"]["spec"]["volumes"]
                .items()
                .front()["persistentVolumeClaim"]["claimName"]
                .str(),
            "pvc-" + id + "-g1");
  EXPECT_EQ(code_of([&] { start(*compute, Json(restore).set("attempt", 2)); }), ROOST_CONFLICT)
      << "a later generation was applied";
  remove_volume(*compute, id, old);
  EXPECT_FALSE(exists(core("persistentvolumeclaims/pvc-" + id)));
  remove_volume(*compute, id, old);  // again
  EXPECT_EQ(observe(*compute, id, true)["volumes"].items().size(), 1u);
}

// Deleting a Job by kubectl deletes its pod after it, which has a grace period to write in.
TEST_F(KubernetesTasks, ARestoreWhoseJobSomebodyDeletedWaitsForTheEndOfItsPod) {
  const Json held = Json::object({{"roost.test/end", "held"}});
  const auto compute = open(Json::object({{"labels", held}, {"task", Json::object({{"command", Json::array({"hang"})}})}}));
  const std::string id = "0000bef0";
  sleeping(*compute, id);
  Json restore = task(id, "restore", 1, "").set("generation", 1).set("bytes", 5);
  restore.set("volume", Json::object({{"name", "pvc-" + id + "-g1"},
                                      {"token", "token-1"},
                                      {"uid", ""},
                                      {"create", true},
                                      {"size_bytes", std::int64_t{6} << 30}}));
  start(*compute, restore);
  const std::string job = batch("jobs/restore-" + id + "-0badcafe");
  const std::string pods = core("pods?labelSelector=batch.kubernetes.io%2Fjob-name%3Drestore-" + id + "-0badcafe");
  const auto running = [&](std::size_t count) {
    return eventually("its pod", [&] {
      const Json list = get(pods);
      const auto& items = list["items"].items();
      return items.size() == count && items.front()["status"]["phase"].str() == "Running";
    });
  };
  ASSERT_TRUE(running(1));
  const std::string first = core("pods/" + get(pods)["items"].items().front()["metadata"]["name"].str());
  destroy(job);
  ASSERT_TRUE(eventually("the pod's ending", [&] { return !exists(job) && get(first)["metadata"].has("deletionTimestamp"); }));
  EXPECT_EQ(look(*compute, restore)["state"].str(), "none");
  EXPECT_EQ(code_of([&] { start(*compute, restore); }), ROOST_CONFLICT) << "there would be two that write";
  EXPECT_FALSE(exists(job));
  const Json let_go = Json::object({{"labels", Json::object({{"roost.test/end", Json()}})}});
  patch(first, Json::object({{"metadata", let_go}}));
  ASSERT_TRUE(eventually("the next start", [&] { return code_of([&] { start(*compute, restore); }) == ROOST_OK; }));
  EXPECT_FALSE(exists(first));
  ASSERT_TRUE(running(1));
  const std::string second = core("pods/" + get(pods)["items"].items().front()["metadata"]["name"].str());
  EXPECT_EQ(start(*compute, restore)["state"].str(), "running") << "its own pod is in nobody's way";
  patch(second, Json::object({{"metadata", let_go}}));
  ASSERT_TRUE(eventually("its end", [&] { return code_of([&] { forget(*compute, restore); }) == ROOST_OK; }));
}

// The Job itself does not say why it has no pod, only its events do.
TEST_F(KubernetesTasks, AJobWhosePodIsRefusedSaysThatItHasNone) {
  const auto compute = open();
  const std::string uid = sleeping(*compute, "0000bef1");
  const Json hard = Json::object({{"pods", "0"}});
  post(core("resourcequotas"),
       Json::object({{"metadata", Json::object({{"name", "none"}})}, {"spec", Json::object({{"hard", hard}})}}));
  ASSERT_TRUE(eventually("the quota in force", [&] { return get(core("resourcequotas/none"))["status"].has("used"); }));
  const Json backup = task("0000bef1", "backup", 1, uid);
  start(*compute, backup);
  EXPECT_FALSE(look(*compute, backup).has("reason")) << "it may be on its way";
  Json seen;
  ASSERT_TRUE(eventually("the reason", [&] { return (seen = look(*compute, backup))["reason"].str() == "NoPod"; }))
      << seen.dump();
  EXPECT_EQ(seen["state"].str(), "running");
  EXPECT_NE(seen["message"].str().find("kubectl describe job backup-0000bef1-0badcafe"), std::string::npos) << seen.dump();
}

TEST_F(KubernetesTasks, ARestoreThatCannotFitIsRefusedWithTheNumbers) {
  const auto compute = open();
  const std::string id = "0000beec";
  sleeping(*compute, id);
  Json restore = task(id, "restore", 1, "").set("generation", 1).set("bytes", std::int64_t{2} << 30);
  restore.set("volume", Json::object({{"name", "pvc-" + id + "-g1"},
                                      {"token", "token-1"},
                                      {"uid", ""},
                                      {"create", true},
                                      {"size_bytes", std::int64_t{1} << 30}}));
  EXPECT_EQ(code_of([&] { start(*compute, restore); }), ROOST_EXHAUSTED);
  EXPECT_FALSE(exists(core("persistentvolumeclaims/pvc-" + id + "-g1")));
}

TEST_F(KubernetesTasks, TellsWhyATaskFailed) {
  const auto compute = open(Json::object({{"task", Json::object({{"command", Json::array({"fail"})}})}}));
  const Json backup = task("0000bee3", "backup", 1, sleeping(*compute, "0000bee3"));
  start(*compute, backup);
  const Json failed = wait_end(*compute, backup);
  EXPECT_EQ(failed["state"].str(), "failed");
  EXPECT_EQ(failed["reason"].str(), "NoSpace");
}

TEST_F(KubernetesTasks, AVanishedPodIsAFailureAndTheNextAttemptGoesOn) {
  const auto hanging = open(Json::object({{"task", Json::object({{"command", Json::array({"hang"})}})}}));
  const std::string uid = sleeping(*hanging, "0000bee4");
  const Json first = task("0000bee4", "backup", 1, uid);
  start(*hanging, first);
  const std::string pods = core("pods?labelSelector=batch.kubernetes.io%2Fjob-name%3Dbackup-0000bee4-0badcafe");
  ASSERT_TRUE(eventually("its pod", [&] { return !get(pods)["items"].items().empty(); }));
  destroy(core("pods/" + get(pods)["items"].items()[0]["metadata"]["name"].str()));
  const Json lost = wait_end(*hanging, first);
  EXPECT_EQ(lost["state"].str(), "failed") << lost.dump();
  EXPECT_EQ(lost["reason"].str(), "Killed");
  forget(*hanging, first);
  const auto compute = open();
  const Json second = task("0000bee4", "backup", 2, uid);
  start(*compute, second);
  EXPECT_EQ(wait_end(*compute, second)["state"].str(), "succeeded");
  EXPECT_TRUE(exists(core("persistentvolumeclaims/pvc-0000bee4")));
}

TEST_F(KubernetesTasks, StopsARunningTask) {
  const auto compute = open(Json::object({{"task", Json::object({{"command", Json::array({"hang"})}})}}));
  const Json backup = task("0000bee5", "backup", 1, sleeping(*compute, "0000bee5"));
  start(*compute, backup);
  EXPECT_EQ(look(*compute, backup)["state"].str(), "running");
  forget(*compute, backup);
  EXPECT_FALSE(exists(batch("jobs/backup-0000bee5-0badcafe")));
  EXPECT_EQ(get(core("pods?labelSelector=roost.dev%2Fsession%3D0000bee5"))["items"].items().size(), 0u);
  EXPECT_TRUE(eventually("its Secret's end", [&] { return !exists(core("secrets/backup-0000bee5-0badcafe")); }));
  forget(*compute, backup);  // unknown is success
}

// What holds an object back may do so for long: the call says so and leaves its worker, and the next one goes on from there.
TEST_F(KubernetesTasks, ARemovalThatIsHeldBackIsToldAndAskedForAgain) {
  const auto compute = open(Json::object({{"task", Json::object({{"command", Json::array({"hang"})}})}}));
  const std::string uid = sleeping(*compute, "0000bee8");
  const Json held = Json::object({{"metadata", Json::object({{"finalizers", Json::array({"test.example.com/hold"})}})}});
  const Json freed = Json::object({{"metadata", Json::object({{"finalizers", Json()}})}});
  const auto told = [](const std::function<void(const TestCall&)>& removal) {
    const TestCall call;
    try {
      removal(call);
    } catch (const sdk::Failure& failure) {
      const bool early = static_cast<sdk::Call>(call).remaining().count() > 0;
      return early && failure.code() == ROOST_OUTCOME_UNKNOWN && failure.retry_after_ms() > 0;
    }
    return false;
  };
  const Json backup = task("0000bee8", "backup", 1, uid);
  start(*compute, backup);
  const std::string pods = core("pods?labelSelector=batch.kubernetes.io%2Fjob-name%3Dbackup-0000bee8-0badcafe");
  ASSERT_TRUE(eventually("its pod", [&] { return !get(pods)["items"].items().empty(); }));
  const std::string pod = core("pods/" + get(pods)["items"].items()[0]["metadata"]["name"].str());
  patch(pod, held);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(told([&](const TestCall& call) { compute->task_remove(call, name(backup)); })) << i;
  }
  EXPECT_TRUE(exists(batch("jobs/backup-0000bee8-0badcafe")));
  patch(pod, freed);
  ASSERT_TRUE(eventually("the Job's end", [&] { return code_of([&] { forget(*compute, backup); }) == ROOST_OK; }));
  EXPECT_FALSE(exists(pod));

  const std::string claim = core("persistentvolumeclaims/pvc-0000bee8");
  patch(claim, held);
  const std::string request = Json::object({{"id", "0000bee8"}, {"part", "volume"}, {"uid", uid}}).dump();
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(told([&](const TestCall& call) { compute->remove(call, request); })) << i;
  }
  EXPECT_TRUE(exists(claim));
  EXPECT_EQ(observe(*compute, "0000bee8", true)["volume"]["uid"].str(), uid) << "it is not taken for gone";
  patch(claim, freed);
  ASSERT_TRUE(eventually("its end", [&] { return code_of([&] { remove_volume(*compute, "0000bee8", uid); }) == ROOST_OK; }));
  EXPECT_FALSE(exists(claim));
}

TEST_F(KubernetesTasks, RefusesAnotherVolume) {
  const auto compute = open();
  sleeping(*compute, "0000bee6");
  EXPECT_EQ(code_of([&] { start(*compute, task("0000bee6", "backup", 1, "not-its-uid")); }), ROOST_CONFLICT);
  EXPECT_EQ(code_of([&] { start(*compute, task("0000bee7", "backup", 1, "gone")); }), ROOST_CONFLICT);
  EXPECT_EQ(get(batch("jobs"))["items"].items().size(), 0u);
}

}  // namespace
}  // namespace roost::kubernetes
