// How roostd starts, what it refuses, and what it says then.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include "daemon/daemon_process.hpp"

namespace roost::daemon {
namespace {

constexpr const char* kGuide = "your-secure-api-key-change-in-production";

class StartTest : public testing::Test {
 protected:
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
  std::string file() const { return directory.path() + "/roost.yaml"; }
  TemporaryDirectory directory;
  DaemonProcess daemon{directory};
};

TEST_F(StartTest, OptionsThatMeanNothingEndItWith2) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"--nope"}, {"--daemon"}, {"--config"}, {"--pidfile=x"}, {"word"}}) {
    const Exit ended = daemon.run(arguments);
    EXPECT_EQ(ended.code, 2) << arguments[0] << ended.output;
    EXPECT_TRUE(has(ended.output, "roostd: ")) << ended.output;
  }
  EXPECT_EQ(daemon.run({"--version"}).code, 0);
  EXPECT_TRUE(has(daemon.output(), "roostd 0.")) << daemon.output();
}

TEST_F(StartTest, CheckConfigTouchesNothing) {
  const Exit fine = daemon.run({"--config", file(), "--check-config"});
  EXPECT_EQ(fine.code, 0) << fine.output;
  EXPECT_NE(::access((directory.path() + "/data").c_str(), F_OK), 0);
}

TEST_F(StartTest, CheckConfigNamesLineColumnAndTheNearestKey) {
  daemon.configure(DaemonProcess::minimal(directory, "[]", "limits:\n  rte: 5\n"));
  const Exit wrong = daemon.run({"--config", file(), "--check-config"});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_TRUE(has(wrong.output, "roost.yaml:8:3: ")) << wrong.output;
  EXPECT_TRUE(has(wrong.output, "rate")) << wrong.output;
  EXPECT_EQ(daemon.run({}).code, 1) << "and it does not start with it";
  EXPECT_EQ(daemon.run({"--config", directory.path() + "/none.yaml", "--check-config"}).code, 1);
  EXPECT_TRUE(has(daemon.output(), "none.yaml")) << daemon.output();
}

TEST_F(StartTest, ListensMakesItsDirectoryAndIsReady) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  struct stat status {};
  ASSERT_EQ(::stat((directory.path() + "/data").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
  EXPECT_EQ(directory.read("data/secret.key").size(), 65u);
  EXPECT_EQ(directory.read("data/roostd.lock"), std::to_string(daemon.pid()) + "\n");
  EXPECT_EQ(daemon.get("/sessions").status, 401);
  EXPECT_EQ(daemon.get("/sessions", "the-key-of-this-test").status, 200);
  EXPECT_FALSE(has(daemon.output(), "the-key-of-this-test"));
}

TEST_F(StartTest, OnlyItsOwnNamesAreAnswered) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  const std::string port = std::to_string(daemon.port());
  for (const std::string& host : {"localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port}) {
    EXPECT_EQ(daemon.get("/health", "", host).status, 200) << host;
  }
  for (const char* host : {"evil.example", "localhost.evil.example", "127.0.0.1.nip.io"}) {
    EXPECT_EQ(daemon.get("/health", "", host).status, 421) << host;
  }
}

TEST_F(StartTest, ASecondOneOnTheSameDataIsRefusedAndNamesTheFirst) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  const TemporaryDirectory elsewhere;
  elsewhere.write("roost.yaml", directory.read("roost.yaml"));
  DaemonProcess second(elsewhere);
  second.configure(directory.read("roost.yaml"));
  const Exit refused = second.run({});
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(has(refused.output,
                  "data directory " + directory.path() + "/data is in use by the process " + std::to_string(daemon.pid())))
      << refused.output;
  EXPECT_EQ(daemon.get("/health").status, 200);
}

TEST_F(StartTest, AfterAKillItStartsAgainWithTheSameKey) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  const std::string key = directory.read("data/secret.key");
  daemon.signal(SIGKILL);
  EXPECT_EQ(daemon.wait().code, 128 + SIGKILL);
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  EXPECT_EQ(directory.read("data/secret.key"), key);
}

TEST_F(StartTest, AnAddressInUseIsSaid) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  const TemporaryDirectory elsewhere;
  DaemonProcess second(elsewhere);
  second.environment["ROOST_HTTP__LISTEN"] = "127.0.0.1:" + std::to_string(daemon.port());
  const Exit refused = second.run({});
  EXPECT_EQ(refused.code, 1) << refused.output;
  EXPECT_TRUE(has(refused.output, std::to_string(daemon.port()))) << refused.output;
}

TEST_F(StartTest, TheGuidesKeyIsForLoopback) {
  daemon.configure(DaemonProcess::minimal(directory, "[{name: guide, key: " + std::string(kGuide) + "}]"));
  daemon.environment["ROOST_HTTP__LISTEN"] = "0.0.0.0:0";
  const Exit refused = daemon.run({});
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(has(refused.output, "0.0.0.0")) << refused.output;
  daemon.environment.clear();
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  EXPECT_TRUE(has(daemon.output(), std::string("X-API-Key: ") + kGuide)) << "a command to try is printed";
  EXPECT_EQ(daemon.get("/sessions", kGuide).status, 200);
}

TEST_F(StartTest, WhereWorkspacesCouldReachTheApiTheGuidesKeyIsReplacedByOneThatStays) {
  daemon.configure(DaemonProcess::minimal(directory, "[{name: guide, key: " + std::string(kGuide) + "}]"));
  daemon.environment["ROOST_COMPUTE__CONFIG__SANDBOX"] = "none";
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  EXPECT_EQ(daemon.get("/sessions", kGuide).status, 401);
  const std::string banner = daemon.output();
  const std::size_t at = banner.find("Key: ");
  ASSERT_NE(at, std::string::npos) << banner;
  const std::string key = banner.substr(at + 5, 64);
  EXPECT_EQ(daemon.get("/sessions", key).status, 200) << banner;
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().code, 0);
  ASSERT_TRUE(daemon.start_ready());
  EXPECT_EQ(daemon.get("/sessions", key).status, 200) << "the same after a restart";
  daemon.signal(SIGTERM);
  daemon.wait();
  daemon.environment["ROOST_AUTH__ACCEPT_GUIDE_KEY_RISK"] = "true";
  ASSERT_TRUE(daemon.start_ready());
  EXPECT_EQ(daemon.get("/sessions", kGuide).status, 200);
}

TEST_F(StartTest, ADamagedKeyFileIsNotReplaced) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  daemon.signal(SIGTERM);
  EXPECT_EQ(daemon.wait().code, 0);
  directory.write("data/secret.key", "damaged");
  const Exit refused = daemon.run({});
  EXPECT_EQ(refused.code, 1);
  EXPECT_TRUE(has(refused.output, "secret.key")) << refused.output;
}

TEST_F(StartTest, KeysAreInNoLogLineEvenAtDebug) {
  daemon.environment["ROOST_LOG__LEVEL"] = "debug";
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  EXPECT_EQ(daemon.get("/sessions?token=query-secret", "a-wrong-key-to-find").status, 401);
  EXPECT_EQ(daemon.get("/sessions", "the-key-of-this-test").status, 200);
  daemon.signal(SIGTERM);
  const Exit ended = daemon.wait();
  EXPECT_TRUE(has(ended.output, "/sessions"));
  for (const char* secret : {"a-wrong-key-to-find", "the-key-of-this-test", "query-secret"})
    EXPECT_FALSE(has(ended.output, secret)) << secret;
  EXPECT_FALSE(has(directory.read("data/audit.log"), "a-wrong-key-to-find"));
}

}  // namespace
}  // namespace roost::daemon
