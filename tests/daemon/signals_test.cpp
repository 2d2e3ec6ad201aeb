// Stop, reload and the service manager's protocol.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/clock.hpp"
#include "daemon/daemon_process.hpp"
#include "daemon/signals.hpp"

namespace roost::daemon {
namespace {

constexpr const char* kKey = "the-key-of-this-test";

class SignalsTest : public testing::Test {
 protected:
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
  TemporaryDirectory directory;
  DaemonProcess daemon{directory};
};

TEST_F(SignalsTest, TermAndIntEndItCleanly) {
  for (const int number : {SIGTERM, SIGINT}) {
    ASSERT_TRUE(daemon.start_ready()) << daemon.output();
    daemon.signal(number);
    const Exit ended = daemon.wait();
    EXPECT_EQ(ended.code, 0) << ended.output;
    EXPECT_TRUE(has(ended.output, "stopped")) << ended.output;
  }
}

TEST_F(SignalsTest, AStopEndsEventStreams) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  const int stream = daemon.open_stream("/events", kKey);
  ASSERT_GE(stream, 0);
  char buffer[4096];
  ASSERT_GT(::recv(stream, buffer, sizeof buffer, 0), 0);
  daemon.signal(SIGTERM);
  while (::recv(stream, buffer, sizeof buffer, 0) > 0) {
  }
  ::close(stream);
  EXPECT_EQ(daemon.wait().code, 0);
}

TEST_F(SignalsTest, AReloadTakesOverKeysAndHosts) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  EXPECT_EQ(daemon.get("/health", "", "api.example.com").status, 421);
  std::string yaml = DaemonProcess::minimal(directory, "[{name: other, key: another-key-of-this-test, scopes: [admin]}]");
  yaml.replace(yaml.find("\"127.0.0.1:0\""), 13, "\"127.0.0.1:0\", hosts: [localhost, api.example.com]");
  daemon.configure(yaml);
  daemon.signal(SIGHUP);
  ASSERT_TRUE(eventually([&] { return daemon.get("/sessions", "another-key-of-this-test").status == 200; })) << daemon.output();
  EXPECT_EQ(daemon.get("/sessions", kKey).status, 401);
  EXPECT_EQ(daemon.get("/health", "", "api.example.com").status, 200);
  EXPECT_TRUE(has(daemon.output(), "auth.keys")) << "the log names what changed: " << daemon.output();
}

TEST_F(SignalsTest, ABadConfigurationLeavesTheOldOneInForceAndIsSaidLoudly) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  for (const std::string& bad : {std::string("{"), DaemonProcess::minimal(directory, "[]", "nonsense: 1\n"),
                                 DaemonProcess::minimal(directory, "[]", "plugins: {directories: [/nowhere]}\n")}) {
    const std::size_t before = daemon.output().size();
    daemon.configure(bad);
    daemon.signal(SIGHUP);
    ASSERT_TRUE(eventually([&] { return has(daemon.output().substr(before), "the old one stays in force"); })) << daemon.output();
    EXPECT_EQ(daemon.get("/sessions", kKey).status, 200);
  }
}

TEST_F(SignalsTest, AReloadThatCannotOpenABackendKeepsTheOldOne) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  directory.write("file", "not a directory");
  std::string yaml = DaemonProcess::minimal(directory, "[{name: other, key: another-key-of-this-test}]");
  const std::string path = directory.path() + "/backups";
  yaml.replace(yaml.find(path), path.size(), directory.path() + "/file/backups");
  daemon.configure(yaml);
  daemon.signal(SIGHUP);
  ASSERT_TRUE(daemon.wait_output("the old one stays in force")) << daemon.output();
  EXPECT_EQ(daemon.get("/sessions", kKey).status, 200);
  EXPECT_TRUE(eventually([&] { return daemon.get("/ready").status == 200; }));
}

TEST_F(SignalsTest, WhatNeedsARestartIsNamed) {
  ASSERT_TRUE(daemon.start_ready()) << daemon.output();
  daemon.configure(DaemonProcess::minimal(directory, "[{name: test, key: the-key-of-this-test, scopes: [admin]}]",
                                          "workspaces: {cookie_ttl: 1h}\n"));
  daemon.signal(SIGHUP);
  ASSERT_TRUE(daemon.wait_output("before a restart")) << daemon.output();
  EXPECT_TRUE(has(daemon.output(), "workspaces.cookie_ttl")) << daemon.output();
}

TEST(WaitForSignal, AnInterruptionIsNotTheEndOfTheWait) {
  std::atomic<bool> over{false};
  pthread_t waiting = pthread_self();
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &action, nullptr);
  std::thread disturber([&] {
    while (!over) {
      pthread_kill(waiting, SIGUSR1);
      sleep_a_little();
    }
  });
  const std::int64_t before_ns = system_clock().monotonic_ns();
  EXPECT_EQ(wait_for_signal(200), 0);
  over = true;
  disturber.join();
  EXPECT_GE(system_clock().monotonic_ns() - before_ns, 200'000'000);
}

class NotifyTest : public SignalsTest {
 protected:
  NotifyTest() : path_(directory.path() + "/notify") {
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const timeval limit{30, 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    daemon.environment["NOTIFY_SOCKET"] = path_;
  }
  ~NotifyTest() override { ::close(socket_); }

  // Waits for a message that holds this line.
  bool told(const std::string& line) {
    char buffer[4096];
    for (ssize_t n; (n = ::recv(socket_, buffer, sizeof buffer, 0)) > 0;) {
      if (("\n" + std::string(buffer, static_cast<std::size_t>(n)) + "\n").find("\n" + line) != std::string::npos) return true;
    }
    return false;
  }

 private:
  const std::string path_;
  int socket_ = -1;
};

TEST_F(NotifyTest, TheServiceManagerIsTold) {
  daemon.start();
  EXPECT_TRUE(told("READY=1"));
  EXPECT_GT(daemon.port(), 0) << "READY is said once it listens";
  daemon.signal(SIGHUP);
  EXPECT_TRUE(told("RELOADING=1"));
  EXPECT_TRUE(told("READY=1"));
  daemon.signal(SIGTERM);
  EXPECT_TRUE(told("STOPPING=1"));
  EXPECT_EQ(daemon.wait().code, 0);
}

TEST_F(NotifyTest, TheWatchdogIsFedWhileTheEngineWorks) {
  daemon.environment["WATCHDOG_USEC"] = "200000";
  daemon.start();
  EXPECT_TRUE(told("WATCHDOG=1"));
  EXPECT_TRUE(told("WATCHDOG=1"));
}

}  // namespace
}  // namespace roost::daemon
