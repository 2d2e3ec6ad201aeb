// How many writes a session costs, by the API server's own metrics; and many sessions at once.
#include <algorithm>
#include <cstdlib>

#include "plugins/compute/kubernetes_fixture.hpp"

namespace roost::kubernetes {
namespace {

class KubernetesWrites : public KubernetesTest {
 protected:
  // POST, PATCH and APPLY of the kinds that Roost writes. The cluster's controllers write these kinds with PUT only, or their
  // status; other clients of this cluster would be counted too.
  std::int64_t writes() {
    std::int64_t sum = 0;
    const TestCall call;
    admin_->stream(call, "/metrics", std::chrono::seconds(30), [&](std::string_view line) {
      if (counts(line)) sum += std::strtoll(std::string(line.substr(line.rfind(' ') + 1)).c_str(), nullptr, 10);
      return true;
    });
    return sum;
  }

 private:
  static bool counts(std::string_view line) {
    if (line.substr(0, 24) != "apiserver_request_total{") return false;
    const auto has = [&](const char* name, std::initializer_list<const char*> values) {
      return std::any_of(values.begin(), values.end(), [&](const char* value) {
        return line.find(std::string(name) + "=\"" + value + "\"") != std::string_view::npos;
      });
    };
    const bool kind = has(",resource", {"persistentvolumeclaims", "deployments", "services", "secrets", "ingresses"}) &&
                      has("subresource", {""});
    const bool resize = has(",resource", {"pods"}) && has("subresource", {"resize"});
    return has("verb", {"POST", "PATCH", "APPLY"}) && (kind || resize);
  }
};

TEST_F(KubernetesWrites, CreateFiveScaleSleepAndWakeOneAndTheSteadyStateNone) {
  const auto compute = open();
  observe(*compute, "000000e1");
  const auto cost = [&](const std::function<void()>& step) {
    const std::int64_t before = writes();
    step();
    return writes() - before;
  };
  EXPECT_EQ(cost([&] {
              apply(*compute, spec("000000e1", 1, "running"));
              wait_ready(*compute, "000000e1");
            }),
            5);
  EXPECT_EQ(cost([&] { apply(*compute, spec("000000e1", 1, "running")); }), 0) << "what is so already is not written";
  const Json large = Json::object({{"size", Json::object({{"cpu_millis", 2000}, {"memory_bytes", std::int64_t{2} << 30}})}});
  EXPECT_EQ(cost([&] { apply(*compute, spec("000000e1", 2, "running", large)); }), 1);
  ASSERT_TRUE(eventually("the size in force",
                         [&] { return observe(*compute, "000000e1")["workload"]["size"]["cpu_millis"].integer() == 2000; }));
  EXPECT_EQ(
      cost([&] {
        apply(*compute, spec("000000e1", 3, "stopped", large));
        EXPECT_TRUE(eventually("sleep", [&] { return observe(*compute, "000000e1")["workload"]["state"].str() == "none"; }));
      }),
      1);
  EXPECT_EQ(cost([&] {
              apply(*compute, spec("000000e1", 4, "running", large));
              wait_ready(*compute, "000000e1");
            }),
            1);
  EXPECT_EQ(cost([&] {
              for (int i = 0; i < 50; ++i) observe(*compute, "000000e1");
            }),
            0);
}

TEST_F(KubernetesWrites, ManySessionsAtOnceAllBecomeReadyAndGo) {
  constexpr int kSessions = 120;
  const auto compute = open();
  std::vector<std::string> ids;
  for (int i = 0; i < kSessions; ++i) {
    char id[9];
    std::snprintf(id, sizeof id, "00001%03x", static_cast<unsigned>(i));
    ids.emplace_back(id);
  }
  const auto in_parallel = [&](const std::function<void(const std::string&)>& work) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 16; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = static_cast<std::size_t>(t); i < ids.size(); i += 16) work(ids[i]);
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  const auto began = std::chrono::steady_clock::now();
  in_parallel(
      [&](const std::string& id) { EXPECT_EQ(code_of([&] { apply(*compute, spec(id, 1, "running")); }), ROOST_OK) << id; });
  const auto written = std::chrono::steady_clock::now();
  for (const std::string& id : ids) wait_ready(*compute, id);
  const auto ready = std::chrono::steady_clock::now();
  const auto per_second = [&](std::chrono::steady_clock::time_point until) {
    return std::to_string(kSessions / std::chrono::duration<double>(until - began).count());
  };
  RecordProperty("created_per_second", per_second(written));
  RecordProperty("ready_per_second", per_second(ready));
  std::printf("sessions: %s created/s, %s ready/s\n", per_second(written).c_str(), per_second(ready).c_str());
  in_parallel([&](const std::string& id) {
    EXPECT_EQ(code_of([&] { apply(*compute, spec(id, 2, "stopped")); }), ROOST_OK) << id;
    EXPECT_TRUE(eventually("sleep", [&] { return observe(*compute, id, true)["workload"]["state"].str() == "none"; }));
    // One that takes longer than a call may look is asked for again, as the host does.
    EXPECT_TRUE(eventually("the workload's end", [&] { return code_of([&] { remove_workload(*compute, id, ""); }) == ROOST_OK; }))
        << id;
    const std::string uid = observe(*compute, id)["volume"]["uid"].str();
    EXPECT_TRUE(eventually("the volume's end", [&] { return code_of([&] { remove_volume(*compute, id, uid); }) == ROOST_OK; }))
        << id;
  });
  for (const std::string& path : {core("pods"), core("persistentvolumeclaims"), core("services"), core("secrets"),
                                  apps("deployments"), networking("ingresses")}) {
    EXPECT_TRUE(get(path)["items"].items().empty()) << path;
  }
}

}  // namespace
}  // namespace roost::kubernetes
