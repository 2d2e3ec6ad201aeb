// What a workspace's use looks like from outside: a real agent answers at the address that its pod is said to have.
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "plugins/compute/kubernetes_fixture.hpp"

namespace roost::kubernetes {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = R"(import http.server, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *ignored): pass
socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever())";

class KubernetesActivity : public KubernetesTest {
 protected:
  void SetUp() override {
    KubernetesTest::SetUp();
    std::string pattern = (fs::temp_directory_path() / "ka-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    // An address of this machine's that nobody else listens on: every port of a workspace is 1111.
    const int own = ::getpid() % 60'000;
    address_ = "127.77." + std::to_string(own / 250) + "." + std::to_string(own % 250 + 1);
  }
  void TearDown() override {
    if (agent_ > 0) {
      ::kill(agent_, SIGTERM);
      ::waitpid(agent_, nullptr, 0);
    }
    fs::remove_all(directory_);
    KubernetesTest::TearDown();
  }
  // With the files that the pod would have of the session's Secret.
  void start_agent(const Json& data) {
    for (const char* name : {"secret", "workspace", "run"}) fs::create_directory(directory_ / name);
    for (const char* key : {"login-secret", "token", "serve.json"}) std::ofstream(directory_ / "secret" / key) << data[key].str();
    const std::string agent = ROOST_BINARY_DIR "/bin/roost-agent";
    const std::vector<std::string> words = {agent,      "serve",
                                            "--pod",    directory_ / "secret",
                                            "--run",    directory_ / "run",
                                            "--listen", address_ + ":1111",
                                            "--",       "/usr/bin/python3",
                                            "-c",       kProgram,
                                            "{socket}"};
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const std::string place = "ROOST_WORKSPACE_DIRECTORY=" + (directory_ / "workspace").string();
    char* environment[] = {const_cast<char*>(place.c_str()), const_cast<char*>("PATH=/usr/bin:/bin"), nullptr};
    ASSERT_EQ(::posix_spawn(&agent_, agent.c_str(), nullptr, nullptr, arguments.data(), environment), 0);
  }
  // A request to the program, by the front that sees it.
  bool visit() const {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (directory_ / "run/agent/front.sock").c_str(), sizeof address.sun_path - 1);
    char answer[16] = {};
    constexpr std::string_view kRequest = "GET / HTTP/1.0\r\n\r\n";
    const bool done = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                      ::send(fd, kRequest.data(), kRequest.size(), MSG_NOSIGNAL) > 0 && ::recv(fd, answer, 12, MSG_WAITALL) == 12;
    ::close(fd);
    return done && std::string_view(answer).substr(9, 3) == "200";
  }
  static std::string activity(Compute& compute, const std::string& id) {
    const TestCall call;
    return compute.activity(call, id);
  }
  void set_address(const std::string& name, const std::string& address) {
    const Json ips = Json::array({Json::object({{"ip", address}})});
    patch(core("pods/" + name + "/status"), Json::object({{"status", Json::object({{"podIP", address}, {"podIPs", ips}})}}));
  }

  fs::path directory_;
  std::string address_;
  pid_t agent_ = -1;
};

TEST_F(KubernetesActivity, IsAskedOfThePodsAgentWithTheSessionsToken) {
  const auto compute = open();
  const Json secrets = Json::object({{"login_secret", std::string(64, '1')}, {"token", std::string(64, '2')}});
  const Json running = spec("0000ac01", 1, "running", secrets);
  const std::string nothing = R"({"id":"0000ac01","signals":[]})";
  EXPECT_EQ(activity(*compute, "0000ac01"), nothing) << "there is no pod";
  apply(*compute, running);
  wait_ready(*compute, "0000ac01");
  const std::string name = get(core("pods?labelSelector=uuid%3D0000ac01"))["items"].items().front()["metadata"]["name"].str();
  set_address(name, address_);
  ASSERT_TRUE(
      eventually("its address", [&] { return observe(*compute, "0000ac01")["endpoint"].str() == "tcp:" + address_ + ":1111"; }));
  EXPECT_EQ(activity(*compute, "0000ac01"), nothing) << "nobody listens there";

  start_agent(secret(Settings::parse(config().dump()), Spec::parse(running.dump()))["stringData"]);
  ASSERT_TRUE(eventually("a visit", [&] { return visit(); }));
  ASSERT_TRUE(eventually("what it saw", [&] { return activity(*compute, "0000ac01").find("http_request") != std::string::npos; }))
      << activity(*compute, "0000ac01");

  // A token that is not the agent's: it does not say a word.
  patch(core("secrets/user-0000ac01"), Json::object({{"stringData", Json::object({{"token", std::string(64, '3')}})}}));
  ASSERT_TRUE(eventually("no answer", [&] { return activity(*compute, "0000ac01") == nothing; }));
}

}  // namespace
}  // namespace roost::kubernetes
