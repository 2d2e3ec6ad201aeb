// compute-process in the suite, and the fixture's own functions.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/crypto.hpp"
#include "plugins/compute/compute_suite.hpp"

namespace roost::test {
namespace {

std::string workload_script() { return read_text(std::string(ROOST_SOURCE_DIR) + "/tests/support/workload.py"); }

Json process_config(const std::string& directory) {
  Json command = Json::array();
  for (const std::string& word : {std::string("/usr/bin/python3"), std::string("-c"), workload_script(), std::string("{socket}"),
                                  std::string("{workspace}")}) {
    command.push(word);
  }
  Json config = Json::object({{"data_dir", directory + "/data"},
                              {"run_dir", directory + "/run"},
                              {"agent", std::string(ROOST_BINARY_DIR) + "/bin/roost-agent"}});
  config.set("command", command);
  config.set("stop_grace_ms", 2000);
  config.set("pids", 64);
  config.set("restart", Json::object({{"ready_interval_ms", 20}, {"backoff_ms", 20}, {"max_quick_exits", 3}}));
  return config;
}

std::string process_unusable() {
  for (const char* tool : {"/usr/bin/bwrap", "/usr/bin/python3"}) {
    if (::access(tool, X_OK) != 0) return std::string(tool) + " is not installed";
  }
  if (std::system("/usr/bin/bwrap --unshare-user --unshare-pid --ro-bind / / true >/dev/null 2>&1") != 0) {
    return "bubblewrap may not make namespaces here (docs/isolation.md)";
  }
  return "";
}

std::string process_run(const Json& workspace, const std::string& command) {
  Json words = Json::array();
  for (const char* word : {"/bin/sh", "-c"}) words.push(word);
  words.push(command);
  const HttpAnswer answer = http(workspace["endpoint"].as_string(), "POST", "/exec", words.dump());
  const auto json = Json::parse(answer.body);
  return json ? (*json)["output"].as_string() : "";
}

void process_clean_up(const std::string& directory) {
  // A test that failed half-way leaves supervisors: they are told by the directory on their command line.
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string line = read_text("/proc/" + name + "/cmdline");
    if (line.find("roost-agent") != std::string::npos && line.find(directory) != std::string::npos)
      ::kill(std::atoi(name.c_str()), SIGKILL);
  }
}

}  // namespace

std::vector<Quirks> all_quirks() {
  return {{"process", std::string(ROOST_PLUGIN_DIR) + "/compute-process.roost.json", process_config, process_unusable,
           process_run, process_clean_up}};
}

void ComputeFixture::open(const Quirks& quirks) {
  quirks_ = quirks;
  client_ = another();
}

std::unique_ptr<ComputeClient> ComputeFixture::another() {
  auto opened = ComputeClient::open(quirks_.manifest, quirks_.config(directory_.path()));
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? std::move(*opened) : nullptr;
}

void ComputeFixture::TearDown() {
  if (client_) {
    const auto all = client_->list("", 1000);
    for (const auto& [id, workspace] : all.ok() ? *all : std::vector<std::pair<std::string, Json>>{})
      (void)client_->remove(workload_request(id, ""));
  }
  client_.reset();
  if (quirks_.clean_up) quirks_.clean_up(directory_.path());
}

Json ComputeFixture::spec(const std::string& id, std::int64_t generation, bool running) {
  return Json::object(
      {{"id", id},
       {"user_id", "tester"},
       {"generation", generation},
       {"state", running ? "running" : "stopped"},
       {"size", Json::object({{"cpu_millis", 1000}, {"memory_bytes", 256 << 20}})},
       {"volume",
        Json::object(
            {{"name", "pvc-" + id}, {"token", "token-of-" + id}, {"uid", ""}, {"create", true}, {"size_bytes", 1 << 30}})}});
}

Json ComputeFixture::volume_request(const std::string& id, const std::string& uid) {
  return Json::object({{"id", id}, {"part", "volume"}, {"uid", uid}});
}

Json ComputeFixture::workload_request(const std::string& id, const std::string& incarnation) {
  return Json::object({{"id", id}, {"part", "workload"}, {"incarnation", incarnation}});
}

Json ComputeFixture::applied(const Json& spec) {
  auto answer = client_->apply(spec);
  EXPECT_TRUE(answer.ok()) << answer.error().message;
  return answer.ok() ? *answer : Json::object();
}

Json ComputeFixture::ready(const std::string& id) {
  Json last;
  EXPECT_TRUE(eventually([&] {
    auto seen = client_->observe(id);
    if (seen.ok()) last = *seen;
    return last["workload"]["ready"].as_bool();
  })) << last.dump();
  return last;
}

bool ComputeFixture::until(const std::string& id, const std::string& state) {
  Json last;
  const bool reached = eventually([&] {
    auto seen = client_->observe(id);
    if (seen.ok()) last = *seen;
    return last["workload"]["state"].as_string() == state;
  });
  EXPECT_TRUE(reached) << last.dump();
  return reached;
}

Json ComputeFixture::stopped(const std::string& id) {
  until(id, "none");
  return client_->observe(id).value_or(Json::object());
}

std::string ComputeFixture::run(const std::string& id, const std::string& command) {
  const auto workspace = client_->observe(id);
  return workspace.ok() ? quirks_.run(*workspace, command) : "";
}

}  // namespace roost::test
