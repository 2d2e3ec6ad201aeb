// What Roost writes, byte for byte, and how it reads what the cluster answers. Pure functions: no cluster.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "compute/kubernetes/documents.hpp"
#include "compute/kubernetes/objects.hpp"
#include "compute/kubernetes/quantity.hpp"
#include "compute/kubernetes/view.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {
namespace {

Settings settings(const std::string& more = "") {
  return Settings::parse(R"({"image":"workspace:1","agent_image":"agent:1")" + more + "}");
}

const char* kSpec = R"({"id":"1823b3a8","user_id":"john@example.com","generation":7,"state":"running",
  "size":{"cpu_millis":1000,"memory_bytes":1073741824},
  "volume":{"name":"pvc-1823b3a8","token":"mark","uid":"","create":true,"size_bytes":5368709120},
  "login_secret":"login","token":"api","url":"https://vs-code-1823b3a8.preview.example.com/"})";

const char* kTask =
    R"({"id":"1823b3a8","user_id":"u","operation":"0badcafe","attempt":1,"kind":"backup","archive":"a.zip","backup_id":"b",
  "volume":{"name":"pvc-1823b3a8","token":"mark","uid":"x"},
  "backup":{"manifest":"/m.json","config":{},"secrets":{"key":"hidden"},"mounts":[{"path":"/backups","writable":true,"claim":"backups"}]}})";

// The objects as they were when somebody last read them through: tests/plugins/compute/kubernetes_golden/NAME.json. To accept a
// change, run with ROOST_GOLDEN=write and read the difference.
void expect_golden(const std::string& name, const Json& object) {
  const std::string path = std::string(ROOST_SOURCE_DIR) + "/tests/plugins/compute/kubernetes_golden/" + name + ".json";
  if (std::getenv("ROOST_GOLDEN") != nullptr) std::ofstream(path) << object.dump() << '\n';
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(object.dump() + "\n", text) << path;
}

TEST(KubernetesObjects, AreAsRead) {
  const Settings s = settings(R"(,"ingress":{"tls_secret":"wildcard","class":"nginx"})");
  const Spec spec = Spec::parse(kSpec);
  expect_golden("persistentvolumeclaim", volume_claim(s, spec));
  expect_golden("deployment", deployment(s, spec));
  expect_golden("service", service(s, spec.id));
  expect_golden("ingress", route(s, spec.id, host_of(spec.url)));
  expect_golden("secret", secret(s, spec));
  expect_golden("httproute", route(settings(R"(,"exposure":"gateway","gateway":{"name":"public","namespace":"edge"})"), spec.id,
                                   host_of(spec.url)));
  const Task backup = Task::parse(kTask);
  Task verify = backup;
  verify.kind = "verify";
  verify.volume = {};
  expect_golden("backup-job", job(s, backup));
  expect_golden("verify-job", job(s, verify));
  expect_golden("task-secret", task_secret(s, backup, "job-uid"));
}

TEST(KubernetesObjects, TheSecretHasTheApisUrlWhereThereIsOne) {
  const Spec spec = Spec::parse(kSpec);
  const Json without = secret(settings(), spec);
  const Json with = secret(settings(R"(,"api_url":"http://session-manager.roost.svc")"), spec);
  EXPECT_FALSE(without["stringData"].has("api-url"));
  EXPECT_EQ(with["stringData"]["api-url"].str(), "http://session-manager.roost.svc");
  EXPECT_NE(secret_digest(with["stringData"]), secret_digest(without["stringData"])) << "a change is to reach the Secret";
}

TEST(KubernetesObjects, WhereAVolumeCanBeSharedItsPodsKeepApart) {
  const Spec spec = Spec::parse(kSpec);
  EXPECT_FALSE(pod_template(settings(), spec)["spec"].has("affinity"));
  for (const char* mode : {"ReadWriteOnce", "ReadWriteMany"}) {
    const Json pod = pod_template(settings(R"(,"access_mode":")" + std::string(mode) + "\""), spec);
    const Json& terms = pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    ASSERT_EQ(terms.items().size(), 1u) << mode;
    EXPECT_EQ(terms.items()[0]["labelSelector"]["matchLabels"]["app"].str(), "user-1823b3a8");
  }
  const Settings with_more =
      settings(R"(,"access_mode":"ReadWriteOnce","pod_template":{"spec":{"affinity":{"nodeAffinity":{"a":1},
    "podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"theirs"}]}}}})");
  const Json pod = pod_template(with_more, spec);
  const Json& affinity = pod["spec"]["affinity"];
  EXPECT_TRUE(affinity["nodeAffinity"].has("a"));
  const Json& both = affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
  ASSERT_EQ(both.items().size(), 2u) << "a template that is laid over takes it away from nobody";
  EXPECT_EQ(both.items()[0]["topologyKey"].str(), "theirs");
  EXPECT_EQ(both.items()[1]["topologyKey"].str(), "kubernetes.io/os");
}

TEST(KubernetesObjects, AnIssuerGivesEachSessionACertificateOfItsOwn) {
  const Json ingress =
      route(settings(R"(,"ingress":{"issuer":"letsencrypt","tls_secret":"wildcard"})"), "1823b3a8", "h.example.com");
  EXPECT_EQ(ingress["metadata"]["annotations"]["cert-manager.io/cluster-issuer"].str(), "letsencrypt");
  EXPECT_EQ(ingress["spec"]["tls"].items().at(0)["secretName"].str(), "tls-1823b3a8");
}

TEST(KubernetesObjects, ATemplateIsLaidOverButOurLabelsWin) {
  const Settings s = settings(R"(,"pod_template":{"metadata":{"labels":{"app":"other","team":"x"}},
    "spec":{"nodeSelector":{"pool":"w"},"enableServiceLinks":null,"containers":[{"name":"workspace","env":[{"name":"A","value":"1"}]},{"name":"side","image":"s"}]}})");
  const Json pod = pod_template(s, Spec::parse(kSpec));
  EXPECT_EQ(pod["metadata"]["labels"]["app"].str(), "user-1823b3a8");
  EXPECT_EQ(pod["metadata"]["labels"]["team"].str(), "x");
  EXPECT_EQ(pod["spec"]["nodeSelector"]["pool"].str(), "w");
  EXPECT_FALSE(pod["spec"].has("enableServiceLinks"));
  ASSERT_EQ(pod["spec"]["containers"].items().size(), 2u);
  EXPECT_EQ(pod["spec"]["containers"].items()[0]["image"].str(), "workspace:1");
  EXPECT_EQ(pod["spec"]["containers"].items()[0]["env"].items().size(), 3u);
}

TEST(KubernetesObjects, AMountWithoutAClaimIsRefused) {
  Task task = Task::parse(kTask);
  task.document.at("backup").set("mounts", Json::array({Json::object({{"path", "/backups"}})}));
  EXPECT_THROW(job(settings(), task), sdk::Failure);
}

TEST(KubernetesObjects, NamesThatWouldLeaveTheirPlaceInAUrlAreRefused) {
  const auto with_name = [](const std::string& name) {
    std::string text = kSpec;
    text.replace(text.find("pvc-1823b3a8"), 12, name);
    return text;
  };
  EXPECT_NO_THROW(Spec::parse(with_name("pvc-1823b3a8-g12")));
  for (const char* name : {"pvc-1823b3a8/../x", "pvc-00000000", "pvc-1823b3a8-g", "pvc-1823b3a8-gx", "other"}) {
    EXPECT_THROW(Spec::parse(with_name(name)), sdk::Failure) << name;
  }
  EXPECT_THROW(check_id("1823b3a8/"), sdk::Failure);
  EXPECT_THROW(check_id("1823B3A8"), sdk::Failure);
}

TEST(KubernetesQuantity, ReadsAndWritesAsTheServerDoes) {
  EXPECT_EQ(cpu_millis("1"), 1000);
  EXPECT_EQ(cpu_millis("250m"), 250);
  EXPECT_EQ(cpu_millis("0.5"), 500);
  EXPECT_EQ(cpu_millis("x"), -1);
  EXPECT_EQ(memory_bytes("1Gi"), 1073741824);
  EXPECT_EQ(memory_bytes("1e3"), 1000);
  EXPECT_EQ(memory_bytes("1500M"), 1500000000);
  EXPECT_EQ(memory_bytes("-1"), -1);
  EXPECT_EQ(memory_bytes("1Zi"), -1);
  EXPECT_EQ(cpu_text(1500), "1500m");
  EXPECT_EQ(cpu_text(2000), "2");
  EXPECT_EQ(memory_text(std::int64_t{3} << 29), "1536Mi");
}

TEST(KubernetesJson, MergesComparesAndEscapes) {
  const Json base = Json::parse(R"({"a":{"b":1,"c":2},"l":[{"name":"x","v":1}],"p":[1,2]})", "base");
  const Json merged = merge(base, Json::parse(R"({"a":{"b":null,"d":3},"l":[{"name":"x","w":2},{"name":"y"}],"p":[3]})", "over"));
  EXPECT_EQ(merged.dump(), R"({"a":{"c":2,"d":3},"l":[{"name":"x","v":1,"w":2},{"name":"y"}],"p":[3]})");
  EXPECT_TRUE(contains(merged, Json::parse(R"({"a":{"d":3}})", "wanted")));
  EXPECT_FALSE(contains(merged, Json::parse(R"({"p":[3,4]})", "wanted")));
  const std::string odd = "q\"b\\n\nt\tc\x01";
  EXPECT_EQ(Json::parse(Json::object({{"k", odd}}).dump(), "odd")["k"].str(), odd);
  EXPECT_THROW(Json::parse("[1]", "x"), sdk::Failure);
  EXPECT_THROW(Json::parse("{\"a\":", "x"), sdk::Failure);
  EXPECT_THROW(Json::parse(std::string(100'000, '[') + "]", "x"), sdk::Failure);
  EXPECT_FALSE(Json::parse(R"({"metadata":{"managedFields":[{"a":1}],"name":"n"}})", "x")["metadata"].has("managedFields"));
}

// The host refuses a document that is not, and a whole list with it: one container's last words would hide all sessions.
TEST(KubernetesJson, WhatItWritesIsUtf8WithoutANul) {
  const auto written = [](std::string_view text) { return Json::object({{"k", text}}).dump(); };
  const std::string odd = "\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x90\x93";
  EXPECT_EQ(written(odd), "{\"k\":\"" + odd + "\"}");
  const std::string replaced = "{\"k\":\"a\xEF\xBF\xBD.\"}";
  EXPECT_EQ(written(std::string_view("a\0.", 3)), replaced);
  for (const char* wrong : {"a\xFF.", "a\x80.", "a\xC3."}) EXPECT_EQ(written(wrong), replaced);
  EXPECT_EQ(written("a\xE2\x82"), "{\"k\":\"a\xEF\xBF\xBD\xEF\xBF\xBD\"}") << "cut within a character";
  EXPECT_EQ(written("\xED\xA0\x80").find("\xED"), std::string::npos) << "half of a surrogate pair";
}

Json volume(const std::string& uid, const std::string& version) {
  const Json metadata = Json::object(
      {{"name", "pvc-1823b3a8"}, {"uid", uid}, {"resourceVersion", version}, {"annotations", Json::object({{kToken, "mark"}})}});
  return Json::object({{"metadata", metadata}, {"spec", Json::object()}});
}

TEST(KubernetesView, AnObjectIsNeverReplacedByAnOlderOneNorRevived) {
  const Settings s = settings();
  View view(s);
  view.put(Kind::volume, volume("a", "100"));
  Json older = volume("a", "99");
  older.at("metadata").at("annotations").set(kToken, "stale");
  view.put(Kind::volume, older);
  EXPECT_EQ(view.session("1823b3a8").volumes.at(0).token, "mark");
  view.remove(Kind::volume, volume("a", "101"));
  view.put(Kind::volume, volume("a", "100"));
  EXPECT_TRUE(view.session("1823b3a8").empty());
  EXPECT_TRUE(view.ids("", 10).empty());
  view.put(Kind::volume, volume("a", "101"));
  EXPECT_EQ(view.session("1823b3a8").volumes.size(), 1u) << "it only lost the label by which it is watched";
  view.absent(Kind::volume, "1823b3a8", "a");
  view.put(Kind::volume, volume("a", "102"));
  EXPECT_TRUE(view.session("1823b3a8").empty());
  view.put(Kind::volume, volume("b", "98"));
  EXPECT_EQ(view.session("1823b3a8").volumes.at(0).uid, "b") << "another object of that name";
}

TEST(KubernetesView, AListDropsWhatItDoesNotShowButNotWhatWasWrittenAfterIt) {
  const Settings s = settings();
  View view(s);
  view.put(Kind::volume, volume("a", "100"));
  view.listed(Kind::volume, {}, "99");
  EXPECT_EQ(view.session("1823b3a8").volumes.size(), 1u);
  view.listed(Kind::volume, {}, "150");
  EXPECT_TRUE(view.session("1823b3a8").empty());
}

// The circumstances of a call: half a minute, and nobody cancels it.
roost_call half_a_minute() {
  roost_call call{};
  call.size = sizeof call;
  call.cancel_fd = -1;
  const auto end = std::chrono::steady_clock::now().time_since_epoch() + std::chrono::seconds(30);
  call.deadline_ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(end).count());
  return call;
}

TEST(KubernetesView, AWaitEndsWithTheChangeThatItWaitsForOrAtItsLimit) {
  const Settings s = settings();
  View view(s);
  const roost_call raw = half_a_minute();
  const auto there = [](const SessionState& now) { return !now.volumes.empty(); };
  EXPECT_FALSE(view.wait_for(sdk::Call(&raw), "1823b3a8", std::chrono::milliseconds(10), there));
  std::thread other([&] {
    view.put(Kind::storage_class, Json::object({{"metadata", Json::object({{"name", "of nobody"}})}}));
    view.put(Kind::volume, volume("a", "100"));
  });
  EXPECT_TRUE(view.wait_for(sdk::Call(&raw), "1823b3a8", std::chrono::minutes(10), there));
  other.join();
  EXPECT_TRUE(view.wait_for(sdk::Call(&raw), "1823b3a8", std::chrono::milliseconds(0), there)) << "it holds already";
}

PodState pod(const std::string& uid) {
  PodState made;
  made.name = made.uid = uid;
  made.phase = "Running";
  made.ready = made.started = true;
  made.address = "10.0.0.1";
  return made;
}

SessionState awake() {
  SessionState session;
  WorkloadState workload;
  workload.name = "user-1823b3a8";
  workload.replicas = 1;
  workload.claim = "pvc-1823b3a8";
  session.workloads.push_back(workload);
  session.services.resize(1);
  session.routes.resize(1);
  session.secrets.resize(1);
  session.pods.push_back(pod("one"));
  return session;
}

std::string state_of(const SessionState& session) {
  return workspace_document("1823b3a8", session, {})["workload"]["state"].str();
}

TEST(KubernetesDocuments, OfAnAgentsAnswerOnlyNamesAndTimesThatHaveBeenAreTaken) {
  const auto read = [](const std::string& text) { return read_signals(text, 1000).dump(); };
  EXPECT_EQ(read(R"({"signals":[{"name":"http_request","at":999},{"name":"heartbeat","at":5000,"x":1}]})"),
            R"([{"name":"http_request","at":999},{"name":"heartbeat","at":1000}])");
  EXPECT_EQ(read(R"({"signals":[{"name":"A\n","at":1},{"name":"a","at":"1"},{"name":"a","at":0},{"at":1},7]})"), "[]");
  EXPECT_EQ(read(R"({"signals":{"name":"a"}})"), "[]");
  std::string many = R"({"signals":[)";
  for (int i = 0; i < 100; ++i) many += R"({"name":"a","at":1},)";
  EXPECT_EQ(read_signals(many + R"({"name":"a","at":1}]})", 1000).items().size(), 16u);
  EXPECT_THROW((void)read("<html>"), sdk::Failure);
}

TEST(KubernetesDocuments, OnlyAVerifyingJobThatIsKeptIsNoSession) {
  SessionState session;
  JobState verify;
  verify.task = "verify";
  verify.succeeded = true;
  session.jobs.push_back(verify);
  PodState finished;
  finished.task = finished.ended = true;
  session.pods.push_back(finished);
  EXPECT_TRUE(session.is_record());
  const auto other = [&session](const std::function<void(SessionState&)>& change) {
    SessionState changed = session;
    change(changed);
    return !changed.is_record();
  };
  EXPECT_TRUE(other([](SessionState& s) { s.jobs[0].task = "backup"; }));
  EXPECT_TRUE(other([](SessionState& s) { s.jobs[0].succeeded = false; }));
  EXPECT_TRUE(other([](SessionState& s) { s.pods[0].ended = false; }));
  EXPECT_TRUE(other([](SessionState& s) { s.pods[0].task = false; }));
  EXPECT_TRUE(other([](SessionState& s) { s.pods[0].claim = "pvc-1823b3a8"; }));
  EXPECT_TRUE(other([](SessionState& s) { s.volumes.resize(1); }));
  EXPECT_TRUE(other([](SessionState& s) { s.secrets.resize(1); }));
}

TEST(KubernetesDocuments, APodThatEndsIsStoppingNotRunning) {
  SessionState session = awake();
  EXPECT_EQ(state_of(session), "running");
  EXPECT_EQ(workspace_document("1823b3a8", session, {})["endpoint"].str(), "tcp:10.0.0.1:1111");
  session.pods[0].deleting = true;
  EXPECT_EQ(state_of(session), "stopping");
  session.pods.push_back(pod("two"));
  EXPECT_EQ(workspace_document("1823b3a8", session, {})["workload"]["incarnation"].str(), "two");
  session.pods.clear();
  EXPECT_EQ(state_of(session), "starting");
  session.workloads[0].replicas = 0;
  EXPECT_EQ(state_of(session), "none");
  session.pods.push_back(pod("left"));
  EXPECT_EQ(state_of(session), "stopping");
}

// A node that is short of something evicts pods, and leaves them there; their ReplicaSet makes others and forgets them.
TEST(KubernetesDocuments, APodThatIsOverIsNoWorkspace) {
  const auto evicted = [] {
    return read_pod(Json::parse(
        R"({"metadata":{"name":"one","uid":"one"},"status":{"phase":"Failed","reason":"Evicted","message":"low on memory"}})",
        "a pod"));
  };
  SessionState session = awake();
  session.pods = {evicted()};
  const Json alone = workspace_document("1823b3a8", session, {})["workload"];
  EXPECT_EQ(alone["state"].str(), "failed");
  EXPECT_EQ(alone["reason"].str(), "Evicted");
  EXPECT_FALSE(alone.has("incarnation"));
  session.workloads[0].trouble = "FailedCreate";
  session.workloads[0].message = "exceeded quota: small";
  EXPECT_EQ(workspace_document("1823b3a8", session, {})["workload"]["reason"].str(), "QuotaExceeded") << "why no other one comes";
  session.workloads[0].trouble.clear();
  session.pods.push_back(pod("two"));
  const Json replaced = workspace_document("1823b3a8", session, {})["workload"];
  EXPECT_EQ(replaced["state"].str(), "running");
  EXPECT_EQ(replaced["incarnation"].str(), "two");
  session.pods.pop_back();
  session.workloads[0].replicas = 0;
  EXPECT_EQ(state_of(session), "none");
  EXPECT_FALSE(has_workspace_pod(session)) << "the next start does not wait for it";
}

TEST(KubernetesDocuments, ATaskWhoseContainerEndedHasNoReasonBeforeTheJobHasOne) {
  JobState job;
  job.operation = "0badcafe";
  const auto reason = [&job](const char* state) {
    const PodState task = read_pod(Json::parse(
        std::string(
            R"({"metadata":{"labels":{"roost.dev/role":"task"}},"status":{"phase":"Running","containerStatuses":[{"name":"task","state":)") +
            state + "}]}}",
        "a pod"));
    return task_document(job, &task)["reason"].str();
  };
  EXPECT_EQ(reason(R"({"waiting":{"reason":"ErrImagePull"}})"), "ErrImagePull");
  EXPECT_EQ(reason(R"({"terminated":{"reason":"Error","exitCode":1}})"), "");
  EXPECT_EQ(reason(R"({"terminated":{"reason":"Completed","exitCode":0}})"), "");
}

TEST(KubernetesDocuments, OnlyAResultThatAgreesWithTheJobIsBelieved) {
  JobState job;
  job.operation = "0badcafe";
  job.attempt = 1;
  PodState task = pod("t");
  task.result = R"({"state":"succeeded","receipt":{"archive":"a"}})";
  EXPECT_EQ(task_document(job, &task)["state"].str(), "running");
  job.succeeded = true;
  EXPECT_EQ(task_document(job, &task)["receipt"]["archive"].str(), "a");
  task.result = "Backup completed";
  EXPECT_EQ(task_document(job, &task)["reason"].str(), "NoResult");
  EXPECT_EQ(task_document(job, nullptr)["state"].str(), "failed");
  job.succeeded = false;
  job.failed = true;
  task.result = R"({"state":"succeeded"})";
  EXPECT_EQ(task_document(job, &task)["state"].str(), "failed");
}

}  // namespace
}  // namespace roost::kubernetes
