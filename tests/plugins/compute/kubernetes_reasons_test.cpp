// Why a workspace does not come up, as the platform's own objects tell it.
#include "plugins/compute/kubernetes_fixture.hpp"

namespace roost::kubernetes {
namespace {

class KubernetesReasons : public KubernetesTest {
 protected:
  // Until the workspace shows that reason; its document then.
  static Json wait_reason(Compute& compute, const std::string& id, const std::string& reason) {
    Json last;
    EXPECT_TRUE(eventually(reason.c_str(), [&] {
      last = observe(compute, id);
      return last["workload"]["reason"].str() == reason;
    })) << last.dump();
    return last;
  }
};

TEST_F(KubernetesReasons, ImagePullBackOff) {
  const auto compute = open(Json::object({{"image", "localhost/missing:1"}}));
  apply(*compute, spec("000000c1", 1, "running"));
  const Json failed = wait_reason(*compute, "000000c1", "ImagePullBackOff");
  EXPECT_EQ(failed["workload"]["state"].str(), "failed");
  EXPECT_NE(failed["workload"]["message"].str().find("localhost/missing:1"), std::string::npos);
}

TEST_F(KubernetesReasons, CrashLoopBackOff) {
  const auto compute = open(Json::object({{"image", "localhost/crashing:1"}}));
  apply(*compute, spec("000000c2", 1, "running"));
  EXPECT_NE(wait_reason(*compute, "000000c2", "CrashLoopBackOff")["workload"]["message"].str().find("code 3"), std::string::npos);
}

TEST_F(KubernetesReasons, Unschedulable) {
  const Json selector = Json::object({{"nodeSelector", Json::object({{"no", "such-node"}})}});
  const auto compute = open(Json::object({{"pod_template", Json::object({{"spec", selector}})}}));
  apply(*compute, spec("000000c3", 1, "running"));
  EXPECT_EQ(wait_reason(*compute, "000000c3", "Unschedulable")["workload"]["state"].str(), "starting");
}

TEST_F(KubernetesReasons, StorageClassMissing) {
  const auto compute = open(Json::object({{"storage_class", "no-such-class"}}));
  apply(*compute, spec("000000c4", 1, "running"));
  wait_reason(*compute, "000000c4", "StorageClassMissing");
}

TEST_F(KubernetesReasons, QuotaExceededForPodsAndForVolumes) {
  const Json hard = Json::object({{"pods", "0"}, {"persistentvolumeclaims", "1"}});
  post(core("resourcequotas"),
       Json::object({{"metadata", Json::object({{"name", "small"}})}, {"spec", Json::object({{"hard", hard}})}}));
  ASSERT_TRUE(eventually("the quota in force", [&] { return get(core("resourcequotas/small"))["status"].has("used"); }));
  const auto compute = open();
  apply(*compute, spec("000000c5", 1, "running"));
  wait_reason(*compute, "000000c5", "QuotaExceeded");
  EXPECT_EQ(code_of([&] { apply(*compute, spec("000000c6", 1, "running")); }), ROOST_EXHAUSTED);
}

}  // namespace
}  // namespace roost::kubernetes
