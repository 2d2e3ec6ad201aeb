#include "plugins/compute/kubernetes_fixture.hpp"

#include <cstdlib>
#include <random>

namespace roost::kubernetes {

std::string KubernetesTest::cluster_dir() {
  const char* directory = std::getenv("ROOST_TEST_CLUSTER");
  return directory == nullptr ? "" : directory;
}

void KubernetesTest::SetUp() {
  if (cluster_dir().empty()) GTEST_SKIP() << "ROOST_TEST_CLUSTER is not set: run ctest -L cluster, which starts one";
  space_ = "test-" + std::to_string(std::random_device{}());
  Settings settings;
  settings.kubeconfig = cluster_dir() + "/kubeconfig";
  admin_ = std::make_unique<Client>(Credentials::load(settings), sdk::Log());
  post("/api/v1/namespaces", Json::object({{"metadata", Json::object({{"name", space_}})}}));
  ASSERT_TRUE(eventually("the namespace's service account", [&] { return exists(core("serviceaccounts/default")); }));
}

void KubernetesTest::TearDown() {
  if (admin_ != nullptr) destroy("/api/v1/namespaces/" + space_);
}

Json KubernetesTest::config(const Json& over) const {
  return merge(Json::object({{"kubeconfig", cluster_dir() + "/kubeconfig"},
                             {"namespace", space_},
                             {"image", "localhost/workspace:1"},
                             {"agent_image", "localhost/agent:1"}}),
               over);
}

std::unique_ptr<Compute> KubernetesTest::open(const Json& over) const {
  const std::string text = config(over).dump();
  const TestCall call;
  return std::make_unique<Compute>(call, sdk::OpenArgs{"test", text, {}, sdk::Log()});
}

Json KubernetesTest::spec(const std::string& id, std::int64_t generation, const std::string& state, const Json& over) {
  const Json volume = Json::object(
      {{"name", "pvc-" + id}, {"token", "token-of-" + id}, {"uid", ""}, {"create", true}, {"size_bytes", std::int64_t{5} << 30}});
  return merge(Json::object({{"id", id},
                             {"user_id", "user@example.com"},
                             {"generation", generation},
                             {"state", state},
                             {"size", Json::object({{"cpu_millis", 1000}, {"memory_bytes", std::int64_t{1} << 30}})},
                             {"volume", volume},
                             {"login_secret", "login-of-" + id},
                             {"token", "api-token-of-" + id},
                             {"url", "https://vs-code-" + id + ".preview.example.com"}}),
               over);
}

Json KubernetesTest::apply(Compute& compute, const Json& spec) {
  const TestCall call;
  return Json::parse(compute.apply(call, spec.dump()), "workspace");
}

Json KubernetesTest::observe(Compute& compute, const std::string& id, bool live) {
  const TestCall call;
  return Json::parse(compute.observe(call, id, live ? ROOST_OBSERVE_LIVE : 0), "workspace");
}

void KubernetesTest::remove_workload(Compute& compute, const std::string& id, const std::string& incarnation) {
  const TestCall call;
  compute.remove(call, Json::object({{"id", id}, {"part", "workload"}, {"incarnation", incarnation}}).dump());
}

void KubernetesTest::remove_volume(Compute& compute, const std::string& id, const std::string& uid) {
  const TestCall call;
  compute.remove(call, Json::object({{"id", id}, {"part", "volume"}, {"uid", uid}}).dump());
}

roost_code KubernetesTest::code_of(const std::function<void()>& function) {
  try {
    function();
    return ROOST_OK;
  } catch (const sdk::Failure& failure) {
    return failure.code();
  }
}

::testing::AssertionResult KubernetesTest::eventually(const char* what, const std::function<bool()>& holds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > until) return ::testing::AssertionFailure() << "never came: " << what;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return ::testing::AssertionSuccess();
}

Json KubernetesTest::wait_ready(Compute& compute, const std::string& id) {
  Json last;
  EXPECT_TRUE(eventually("a ready workspace", [&] {
    last = observe(compute, id);
    return last["workload"]["ready"].boolean();
  })) << last.dump();
  return last;
}

Json KubernetesTest::get(const std::string& path) {
  const TestCall call;
  return admin_->send(call, Request::get(path));
}

Json KubernetesTest::post(const std::string& path, const Json& object) {
  const TestCall call;
  return admin_->send(call, Request::post(path, object));
}

Json KubernetesTest::patch(const std::string& path, const Json& merge) {
  const TestCall call;
  return admin_->send(call, Request::merge_patch(path, merge));
}

void KubernetesTest::destroy(const std::string& path) {
  const TestCall call;
  admin_->send(call, Request::remove(path, Json::object({{"propagationPolicy", "Background"}})));
}

bool KubernetesTest::exists(const std::string& path) {
  const TestCall call;
  return admin_->send_all(call, {Request::get(path)}).front().error == nullptr;
}

}  // namespace roost::kubernetes
