// What goes wrong between Roost and an API server: lost answers, overload, expired watches, refused tokens, a restart.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "plugins/compute/kubernetes_fixture.hpp"

extern char** environ;

namespace roost::kubernetes {
namespace {

std::string read_all(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_all(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  ASSERT_EQ(std::rename((path + ".new").c_str(), path.c_str()), 0);
}

// Starts a program that prints the port it listens on, and goes on.
pid_t start_with_port(std::vector<std::string> words, int* port) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  int output[2];
  EXPECT_EQ(::pipe(output), 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, output[1], 1);
  pid_t pid = -1;
  EXPECT_EQ(::posix_spawnp(&pid, words.front().c_str(), &actions, nullptr, arguments.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(output[1]);
  FILE* lines = ::fdopen(output[0], "r");
  EXPECT_EQ(std::fscanf(lines, "%d", port), 1);
  std::fclose(lines);
  return pid;
}

// https://HOST:PORT of the test's API server.
std::string server_of(const std::string& cluster) {
  const std::string config = read_all(cluster + "/kubeconfig");
  const std::size_t begin = config.find("server: ") + 8;
  return config.substr(begin, config.find('\n', begin) - begin);
}

void write_kubeconfig(const std::string& directory, const std::string& cluster, int port) {
  write_all(directory + "/token", read_all(cluster + "/token"));
  write_all(directory + "/kubeconfig",
            "current-context: test\ncontexts: [{name: test, context: {cluster: test, user: test}}]\n"
            "clusters: [{name: test, cluster: {server: \"https://127.0.0.1:" +
                std::to_string(port) + "\", certificate-authority: " + cluster +
                "/ca.crt}}]\nusers: [{name: test, user: {tokenFile: token}}]\n");
}

// tests/cluster/fault_proxy.py before the test's API server, in a directory of its own.
class FaultProxy {
 public:
  explicit FaultProxy(const std::string& cluster) {
    char name[] = "/tmp/roost-faults-XXXXXX";
    directory_ = ::mkdtemp(name);
    rules("[]");
    write_all(directory_ + "/rules.token", read_all(cluster + "/token"));
    int port = 0;
    pid_ = start_with_port({"python3", std::string(ROOST_SOURCE_DIR) + "/tests/cluster/fault_proxy.py", server_of(cluster),
                            cluster + "/server.crt", cluster + "/server.key", cluster + "/ca.crt", directory_ + "/rules"},
                           &port);
    write_kubeconfig(directory_, cluster, port);
  }
  ~FaultProxy() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;
  [[nodiscard]] Json config() const { return Json::object({{"kubeconfig", directory_ + "/kubeconfig"}}); }
  void rules(const std::string& json) const { write_all(directory_ + "/rules", json); }
  void token(const std::string& token) const { write_all(directory_ + "/token", token); }
  [[nodiscard]] bool used() const { return std::filesystem::exists(directory_ + "/rules.used"); }
  [[nodiscard]] bool holds() const { return std::filesystem::exists(directory_ + "/rules.held"); }
  void release() const { write_all(directory_ + "/rules.release", ""); }

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

// tests/cluster/stall_relay.py before the test's API server: on what passes through it everybody speaks HTTP/2.
class StallRelay {
 public:
  explicit StallRelay(const std::string& cluster) {
    char name[] = "/tmp/roost-stall-XXXXXX";
    directory_ = ::mkdtemp(name);
    const std::string authority = server_of(cluster).substr(std::string("https://").size());
    const std::size_t colon = authority.rfind(':');
    int port = 0;
    pid_ = start_with_port({"python3", std::string(ROOST_SOURCE_DIR) + "/tests/cluster/stall_relay.py",
                            authority.substr(0, colon), authority.substr(colon + 1)},
                           &port);
    write_kubeconfig(directory_, cluster, port);
  }
  ~StallRelay() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    std::filesystem::remove_all(directory_);
  }
  StallRelay(const StallRelay&) = delete;
  StallRelay& operator=(const StallRelay&) = delete;
  [[nodiscard]] Json config() const { return Json::object({{"kubeconfig", directory_ + "/kubeconfig"}}); }
  void stall() const { ASSERT_EQ(::kill(pid_, SIGUSR1), 0); }

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

class KubernetesFaults : public KubernetesTest {};

TEST_F(KubernetesFaults, OverloadAndPassingErrorsAreRepeated) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000d1");
  proxy.rules(R"([{"match":"POST /api/v1","do":"answer","status":429,"retry_after":0,"times":2},
                  {"match":"POST /apis/apps","do":"answer","status":503,"times":1},
                  {"match":"POST /apis/apps","do":"answer","status":500,"reason":"InternalError","times":1}])");
  apply(*compute, spec("000000d1", 1, "running"));
  wait_ready(*compute, "000000d1");
}

TEST_F(KubernetesFaults, AnOverloadThatLastsIsUnavailable) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000d2");
  proxy.rules(R"([{"match":"POST ","do":"answer","status":429,"retry_after":2}])");
  try {
    const TestCall call(std::chrono::seconds(1));
    compute->apply(call, spec("000000d2", 1, "running").dump());
    FAIL() << "it was applied";
  } catch (const sdk::Failure& failure) {
    EXPECT_EQ(failure.code(), ROOST_UNAVAILABLE);
    EXPECT_EQ(failure.retry_after_ms(), 2000u);
  }
}

TEST_F(KubernetesFaults, ALostAnswerIsUnknownAndTheRepeatFindsItsOwnWork) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000d3");
  proxy.rules(R"([{"match":"POST /api/v1/namespaces/)" + space_ + R"(/persistentvolumeclaims","do":"lose"}])");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000d3", 1, "running")); }), ROOST_OUTCOME_UNKNOWN);
  EXPECT_TRUE(exists(core("persistentvolumeclaims/pvc-000000d3")));
  EXPECT_FALSE(exists(apps("deployments/user-000000d3"))) << "nothing is started before the volume is known to be ours";
  const std::string uid = get(core("persistentvolumeclaims/pvc-000000d3"))["metadata"]["uid"].str();
  proxy.rules(R"([{"match":"POST /apis/apps/v1/namespaces/)" + space_ + R"(/deployments","do":"lose"}])");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000d3", 1, "running")); }), ROOST_OUTCOME_UNKNOWN);
  proxy.rules("[]");
  apply(*compute, spec("000000d3", 1, "running"));
  EXPECT_EQ(wait_ready(*compute, "000000d3")["volume"]["uid"].str(), uid);
  EXPECT_EQ(get(core("pods?labelSelector=uuid%3D000000d3"))["items"].items().size(), 1u);
}

TEST_F(KubernetesFaults, WhatLeadsToAPodComesAfterIt) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000da");
  proxy.rules(R"([{"match":"POST /apis/apps/v1","do":"answer","status":403}])");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000da", 1, "running")); }), ROOST_DENIED);
  EXPECT_FALSE(exists(core("services/user-000000da")));
  EXPECT_FALSE(exists(networking("ingresses/user-000000da")));
  proxy.rules(R"([{"match":"/services","do":"answer","status":403}])");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000da", 1, "running")); }), ROOST_DENIED);
  EXPECT_TRUE(eventually("a pod", [&] { return get(core("pods?labelSelector=uuid%3D000000da"))["items"].items().size() == 1; }))
      << "it starts all the same";
  proxy.rules("[]");
  apply(*compute, spec("000000da", 1, "running"));
  wait_ready(*compute, "000000da");
}

TEST_F(KubernetesFaults, ADeadlineAndACancelEndACallThatHangs) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000d4");
  proxy.rules(R"([{"match":"/persistentvolumeclaims","do":"hang"}])");
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of([&] {
              const TestCall call(std::chrono::milliseconds(300));
              compute->apply(call, spec("000000d4", 1, "running").dump());
            }),
            ROOST_OUTCOME_UNKNOWN);
  EXPECT_EQ(code_of([&] {
              const TestCall call(std::chrono::milliseconds(300));
              compute->observe(call, "000000d4", ROOST_OBSERVE_LIVE);
            }),
            ROOST_DEADLINE);
  const TestCall call;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    call.cancel();
  });
  EXPECT_EQ(code_of([&] { compute->observe(call, "000000d4", ROOST_OBSERVE_LIVE); }), ROOST_CANCELLED);
  canceller.join();
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

TEST_F(KubernetesFaults, AnUnreachableServerIsUnavailableAndNothingWasDone) {
  auto proxy = std::make_unique<FaultProxy>(cluster_dir());
  const auto compute = open(proxy->config());
  observe(*compute, "000000d5");
  proxy.reset();
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000d5", 1, "running")); }), ROOST_UNAVAILABLE);
  EXPECT_EQ(observe(*compute, "000000d5")["workload"]["state"].str(), "none") << "the view still answers";
}

TEST_F(KubernetesFaults, AnExpiredWatchListsAgain) {
  const FaultProxy proxy(cluster_dir());
  // Every watch of pods that begins is told once, inside a 200, that its version is too old.
  proxy.rules(R"([{"match":"/pods?watch=1","do":"event","times":2,
                   "body":{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}}])");
  const auto compute = open(proxy.config());
  apply(*compute, spec("000000d6", 1, "running"));
  wait_ready(*compute, "000000d6");
}

TEST_F(KubernetesFaults, WhatVanishedWhileNobodyWatchedIsGoneAfterTheNextList) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  apply(*compute, spec("000000d7", 1, "stopped"));
  apply(*compute, spec("000000d8", 1, "stopped"));
  ASSERT_EQ(observe(*compute, "000000d7")["volume"]["state"].str(), "present");
  const auto late = open(Json::object({{"kubeconfig", proxy.config()["kubeconfig"]}}));
  ASSERT_TRUE(eventually("the volume seen", [&] { return observe(*late, "000000d7")["volume"]["state"].str() == "present"; }));
  proxy.rules(
      R"([{"match":"watch=1","do":"answer","status":410,"reason":"Expired","times":14},{"match":"watch=1","do":"cut","times":14}])");
  destroy(core("persistentvolumeclaims/pvc-000000d7"));
  ASSERT_TRUE(eventually("its end seen", [&] { return observe(*late, "000000d7")["volume"]["state"].str() == "missing"; }));
  EXPECT_EQ(observe(*late, "000000d8")["volume"]["state"].str(), "present");
}

TEST_F(KubernetesFaults, ARotatedTokenIsReadAgainWhenTheOldOneIsRefused) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000d9");
  proxy.rules(R"([{"match":"/api","do":"token","token":"the-new-one"}])");
  proxy.token("the-new-one\n");
  apply(*compute, spec("000000d9", 1, "running"));
  wait_ready(*compute, "000000d9");
  proxy.token("a-wrong-one\n");
  proxy.rules(R"([{"match":"/api","do":"token","token":"the-third"}])");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000d9", 2, "stopped")); }), ROOST_DENIED);
}

TEST_F(KubernetesFaults, ARotatedTokenFailsNoneOfTheRequestsThatGoTogetherAndNoList) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  apply(*compute, spec("000000db", 1, "stopped"));
  proxy.rules(R"([{"match":"/user-000000db","do":"token","token":"the-new-one"}])");
  proxy.token("the-new-one\n");
  EXPECT_EQ(code_of([&] { observe(*compute, "000000db", true); }), ROOST_OK);
  proxy.rules(R"([{"match":"/pods?labelSelector","do":"token","token":"the-third"}])");
  proxy.token("the-third\n");
  EXPECT_EQ(code_of([&] { observe(*compute, "000000db", true); }), ROOST_OK);
}

TEST_F(KubernetesFaults, AListIsRepeatedLikeAnyOtherRequest) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  observe(*compute, "000000dc");
  proxy.rules(R"([{"match":"/pods?labelSelector","do":"answer","status":429,"retry_after":0,"times":2},
                  {"match":"/pods?labelSelector","do":"answer","status":503,"times":1}])");
  EXPECT_EQ(code_of([&] { observe(*compute, "000000dc", true); }), ROOST_OK);
  proxy.rules(R"([{"match":"/pods?labelSelector","do":"answer","status":429,"retry_after":7}])");
  try {
    const TestCall call(std::chrono::seconds(2));
    compute->observe(call, "000000dc", ROOST_OBSERVE_LIVE);
    FAIL() << "it was read";
  } catch (const sdk::Failure& failure) {
    EXPECT_EQ(failure.code(), ROOST_UNAVAILABLE) << "told at once: there is no time to wait for so long";
    EXPECT_EQ(failure.retry_after_ms(), 7000u);
  }
}

TEST_F(KubernetesFaults, WhatIsInvalidIsNoConflictUnlessItIsAboutAnotherObject) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  apply(*compute, spec("000000dd", 1, "running"));
  wait_ready(*compute, "000000dd");
  const auto answered = [&](const std::string& causes, int times) {
    proxy.rules(R"([{"match":"PATCH ","do":"answer","status":422,"reason":"Invalid","times":)" + std::to_string(times) +
                R"(,"details":{"causes":[)" + causes + "]}}]");
  };
  answered(R"({"field":"spec.replicas"})", 1);
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000dd", 2, "stopped")); }), ROOST_INVALID) << "not looked at again";
  answered("", 100);
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000dd", 2, "stopped")); }), ROOST_INVALID) << "a patch that never fits";
  answered(R"({"field":"spec.replicas"},{"field":"metadata.uid"})", 2);
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000dd", 2, "stopped")); }), ROOST_OK) << "a look finds the new one";
}

// What a watch shows while a list is on its way is newer than the list.
TEST_F(KubernetesFaults, ALateListTakesNothingForGoneThatCameMeanwhile) {
  const FaultProxy proxy(cluster_dir());
  const auto compute = open(proxy.config());
  apply(*compute, spec("000000de", 1, "running"));
  const std::string first = wait_ready(*compute, "000000de")["workload"]["incarnation"].str();
  proxy.rules(R"([{"match":"/pods?labelSelector","do":"late","times":1}])");
  std::thread live([&] { EXPECT_EQ(code_of([&] { observe(*compute, "000000de", true); }), ROOST_OK); });
  EXPECT_TRUE(eventually("the list's answer held", [&] { return proxy.holds(); }));
  const std::string pods = core("pods?labelSelector=uuid%3D000000de");
  destroy(core("pods/" + get(pods)["items"].items().front()["metadata"]["name"].str()));
  std::string second;
  EXPECT_TRUE(eventually("another pod", [&] {
    second = observe(*compute, "000000de")["workload"]["incarnation"].str();
    return second != first && !second.empty();
  }));
  proxy.release();
  live.join();
  EXPECT_EQ(observe(*compute, "000000de")["workload"]["incarnation"].str(), second);
  EXPECT_EQ(observe(*compute, "000000de", true)["workload"]["incarnation"].str(), second);
  EXPECT_TRUE(eventually("the old one's end", [&] {
    const Json list = get(pods);
    return list["items"].items().size() == 1;
  }));
  // Hidden it would not keep the next start waiting: two on one volume.
  patch(core("pods/" + get(pods)["items"].items().front()["metadata"]["name"].str()),
        Json::object({{"metadata", Json::object({{"finalizers", Json::array({"test.example.com/hold"})}})}}));
  apply(*compute, spec("000000de", 2, "stopped"));
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000de", 3, "running")); }), ROOST_CONFLICT);
  patch(core("pods/" + get(pods)["items"].items().front()["metadata"]["name"].str()),
        Json::object({{"metadata", Json::object({{"finalizers", Json()}})}}));
}

// It stays with HTTP/2 when a request on it is given up: the next ones must not wait on it as well, one after the other.
TEST_F(KubernetesFaults, AConnectionWhosePeerIsGoneIsNotUsedAgain) {
  const StallRelay relay(cluster_dir());
  const auto compute = open(relay.config());
  observe(*compute, "000000df", true);
  const auto look = [&] {
    return code_of([&] {
      const TestCall call(std::chrono::seconds(2));
      compute->observe(call, "000000df", ROOST_OBSERVE_LIVE);
    });
  };
  relay.stall();
  EXPECT_EQ(look(), ROOST_DEADLINE);
  EXPECT_TRUE(eventually("a connection of today", [&] { return look() == ROOST_OK; }));
}

// The volume keeps the generation where there is no Deployment; a leader that was paused must not put it back.
TEST_F(KubernetesFaults, ALateStopDoesNotTakeAVolumesGenerationBack) {
  const FaultProxy proxy(cluster_dir());
  const auto paused = open(proxy.config());
  apply(*paused, spec("000000d0", 1, "stopped"));
  proxy.rules(R"([{"match":"PATCH ","do":"hold","times":1}])");
  std::thread late([&] { EXPECT_EQ(code_of([&] { apply(*paused, spec("000000d0", 2, "stopped")); }), ROOST_CONFLICT); });
  const auto leader = open();
  EXPECT_TRUE(eventually("the volume", [&] { return observe(*leader, "000000d0")["generation"].integer() == 1; }));
  EXPECT_TRUE(eventually("the patch held", [&] { return proxy.used(); }));
  apply(*leader, spec("000000d0", 5, "stopped"));
  proxy.release();
  late.join();
  EXPECT_EQ(get(core("persistentvolumeclaims/pvc-000000d0"))["metadata"]["annotations"][kGeneration].str(), "5");
}

TEST_F(KubernetesFaults, AnApiServersRestartIsRiddenOut) {
  const auto compute = open();
  apply(*compute, spec("000000da", 1, "running"));
  wait_ready(*compute, "000000da");
  const std::string restart =
      std::string(ROOST_SOURCE_DIR) + "/tests/cluster/cluster restart_apiserver " + cluster_dir() + " >/dev/null 2>&1";
  ASSERT_EQ(std::system(restart.c_str()), 0);
  ASSERT_TRUE(eventually("sleep", [&] { return code_of([&] { apply(*compute, spec("000000da", 2, "stopped")); }) == ROOST_OK; }));
  ASSERT_TRUE(
      eventually("the watch is back", [&] { return observe(*compute, "000000da")["workload"]["state"].str() == "none"; }));
  apply(*compute, spec("000000da", 3, "running"));
  wait_ready(*compute, "000000da");
}

}  // namespace
}  // namespace roost::kubernetes
