// The suite that every compute plugin must pass, through the C ABI. A plugin joins by its Quirks: how to configure it, how to
// read and write what is inside a workspace, and what its platform cannot do.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "plugins/compute/compute_client.hpp"

namespace roost::test {

inline constexpr const char* kId = "0a1b2c3d";  // of the session that a test needs

struct Quirks {
  std::string name;
  std::string manifest;
  std::function<Json(const std::string& directory)> config;  // a platform of the test's own below the directory
  std::function<std::string()> unusable;                     // why it cannot run on this machine; empty: it can
  // Runs a shell command inside a running workspace; its output, "" where it cannot be reached.
  std::function<std::string(const Json& workspace, const std::string& command)> run;
  std::function<void(const std::string& directory)> clean_up;  // whatever a failed test left
};

// The plugins that this program tests.
std::vector<Quirks> all_quirks();

class ComputeFixture : public testing::Test {
 protected:
  void open(const Quirks& quirks);
  void TearDown() override;
  std::unique_ptr<ComputeClient> another();  // a new instance over the same platform

  // A spec for the id, running, small, that makes its volume.
  static Json spec(const std::string& id, std::int64_t generation = 1, bool running = true);
  static Json volume_request(const std::string& id, const std::string& uid);
  static Json workload_request(const std::string& id, const std::string& incarnation);

  Json applied(const Json& spec);       // it must succeed
  Json ready(const std::string& id);    // waits until it is
  Json stopped(const std::string& id);  // waits until its workload is "none"
  bool until(const std::string& id, const std::string& state);
  std::string run(const std::string& id, const std::string& command);

  Quirks quirks_;
  TestDirectory directory_;
  std::unique_ptr<ComputeClient> client_;
};

// Under CI a missing tool is a failure, on a laptop a reason to skip.
#define ROOST_SKIP_UNLESS_CI(reason)                                        \
  do {                                                                      \
    if (std::getenv("CI") != nullptr) FAIL() << "not under CI: " << reason; \
    GTEST_SKIP() << reason;                                                 \
  } while (false)

}  // namespace roost::test
