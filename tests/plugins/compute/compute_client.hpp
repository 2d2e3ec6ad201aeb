// ComputeClient: a compute plugin, called through the C ABI as the host calls it, with JSON on both sides.
// Thread safety: calls from several threads are fine, as they are for the plugin.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "host/loader.hpp"

namespace roost::test {

class ComputeClient {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ComputeClient>> open(const std::string& manifest, const Json& config);

  Result<Json> apply(const Json& spec);
  Result<Json> observe(const std::string& id);
  Result<std::vector<std::pair<std::string, Json>>> list(const std::string& after, std::uint32_t limit);
  Result<std::pair<std::vector<std::string>, std::string>> watch(const std::string& resume, std::int64_t timeout_ms);
  Status remove(const Json& request, std::int64_t timeout_ms = 60'000);
  Result<Json> task_start(const Json& spec);
  Result<Json> task_observe(const Json& request);
  Status task_remove(const Json& request);
  Result<Json> activity(const std::string& id);

 private:
  explicit ComputeClient(std::shared_ptr<Instance> instance) : instance_(std::move(instance)) {}
  template <class Function>
  Result<Json> document(const Function& function);
  std::shared_ptr<Instance> instance_;
};

// Waits until the condition holds; false at the deadline.
bool eventually(const std::function<bool()>& condition, std::int64_t timeout_ms = 30'000);

struct HttpAnswer {
  int status = 0;  // 0: nobody answered
  std::string body;
};
// One request over an endpoint ("unix:PATH").
HttpAnswer http(const std::string& endpoint, const std::string& method, const std::string& target, const std::string& body = "");

// A directory of a test's own: gone with it, whatever modes its content has.
class TestDirectory {
 public:
  TestDirectory();
  ~TestDirectory();
  TestDirectory(const TestDirectory&) = delete;
  TestDirectory& operator=(const TestDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string read_text(const std::string& path);  // "" where there is none

}  // namespace roost::test
