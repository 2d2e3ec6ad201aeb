// KubernetesTest: a namespace of its own on the cluster that tests/cluster/fixture started, an admin's client, and a Compute.
// ROOST_TEST_CLUSTER is the cluster's state directory; without it these tests are skipped.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "compute/kubernetes/compute.hpp"
#include "compute/kubernetes/objects.hpp"

namespace roost::kubernetes {

// The circumstances of a call: a deadline from now, and a cancel fd that may be fired.
class TestCall {
 public:
  explicit TestCall(std::chrono::milliseconds limit = std::chrono::seconds(30)) : fd_(::eventfd(0, EFD_CLOEXEC)) {
    raw_.size = sizeof raw_;
    raw_.cancel_fd = fd_;
    raw_.deadline_ns = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch() + limit)
            .count());
  }
  ~TestCall() { ::close(fd_); }
  TestCall(const TestCall&) = delete;
  TestCall& operator=(const TestCall&) = delete;
  void cancel() const {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(fd_, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  }
  operator sdk::Call() const { return sdk::Call(&raw_); }

 private:
  int fd_;
  roost_call raw_{};
};

// Collects what a method emits.
class Records {
 public:
  Records() : raw_{sizeof raw_, 0, this, emit} {}
  const roost_sink* raw() const { return &raw_; }
  std::vector<std::string> keys;
  std::vector<std::string> values;
  std::string resume;

 private:
  static int32_t emit(const roost_sink* sink, const roost_record* record) {
    auto* self = static_cast<Records*>(sink->context);
    if ((record->flags & ROOST_RECORD_RESUME) != 0) {
      self->resume = sdk::view(record->value);
    } else {
      self->keys.emplace_back(sdk::view(record->key));
      self->values.emplace_back(sdk::view(record->value));
    }
    return 0;
  }
  roost_sink raw_;
};

class KubernetesTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // A Compute with that configuration laid over the usual one.
  std::unique_ptr<Compute> open(const Json& over = Json::object()) const;
  Json config(const Json& over = Json::object()) const;
  static std::string cluster_dir();

  static Json spec(const std::string& id, std::int64_t generation, const std::string& state, const Json& over = Json::object());
  static Json apply(Compute& compute, const Json& spec);
  static Json observe(Compute& compute, const std::string& id, bool live = false);
  static void remove_workload(Compute& compute, const std::string& id, const std::string& incarnation);
  static void remove_volume(Compute& compute, const std::string& id, const std::string& uid);
  static roost_code code_of(const std::function<void()>& function);
  // Until it holds; what it is for, for the failure's text. 60 s at most.
  static ::testing::AssertionResult eventually(const char* what, const std::function<bool()>& holds);
  static Json wait_ready(Compute& compute, const std::string& id);

  // ---- as an admin ----
  Json get(const std::string& path);
  Json post(const std::string& path, const Json& object);
  Json patch(const std::string& path, const Json& merge);
  void destroy(const std::string& path);
  bool exists(const std::string& path);
  std::string core(const std::string& rest) const { return "/api/v1/namespaces/" + space_ + "/" + rest; }
  std::string apps(const std::string& rest) const { return "/apis/apps/v1/namespaces/" + space_ + "/" + rest; }
  std::string batch(const std::string& rest) const { return "/apis/batch/v1/namespaces/" + space_ + "/" + rest; }
  std::string networking(const std::string& rest) const { return "/apis/networking.k8s.io/v1/namespaces/" + space_ + "/" + rest; }

  std::string space_;
  std::unique_ptr<Client> admin_;
};

}  // namespace roost::kubernetes
