// A workspace is a stranger: what its processes can see and reach, asked from inside.
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "plugins/compute/compute_suite.hpp"

namespace roost::test {
namespace {

namespace fs = std::filesystem;

// A TCP listener on every address of this machine.
class Listener {
 public:
  Listener() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {  // not close-on-exec, on purpose: it must not be inherited either
    sockaddr_in address{};
    address.sin_family = AF_INET;
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 8), 0);
    EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(fd_); }
  [[nodiscard]] bool touched() const {
    pollfd entry{fd_, POLLIN, 0};
    return ::poll(&entry, 1, 0) > 0;
  }
  [[nodiscard]] int port() const { return port_; }

 private:
  int fd_;
  int port_ = 0;
};

std::vector<std::string> own_addresses() {
  std::vector<std::string> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    char text[INET_ADDRSTRLEN] = {};
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr, text, sizeof text);
    found.emplace_back(text);
  }
  ::freeifaddrs(list);
  return found;
}

class ComputeProcessIsolation : public ComputeFixture {
 protected:
  void SetUp() override {
    const Quirks quirks = all_quirks().front();
    if (const std::string reason = quirks.unusable(); !reason.empty()) ROOST_SKIP_UNLESS_CI(reason);
    ::setenv("ROOST_TEST_SECRET", "do-not-inherit", 1);
    open(quirks);
  }
  std::string connect_from_inside(const std::string& host, int port) {
    return run(kId, "python3 -c 'import socket\ntry:\n  socket.create_connection((\"" + host + "\"," + std::to_string(port) +
                        "),3)\n  print(\"reached\")\nexcept OSError as e: print(\"no\")'");
  }
};

TEST_F(ComputeProcessIsolation, NothingOfTheHostIsSeenOrInherited) {
  std::ofstream(directory_.path() + "/secret-of-the-host") << "x";
  const Listener listener;
  applied(spec(kId));
  const Json seen = ready(kId);
  EXPECT_EQ(run(kId, "id -u"), "1000\n");
  EXPECT_EQ(run(kId, "ls " + directory_.path() + " /root /home/[!u]* /etc/shadow /var/log /boot /srv /sys 2>/dev/null"), "");
  EXPECT_EQ(run(kId, "for f in /x /etc/x /usr/x /bin/x /run/x /var/x /home/x; do touch $f 2>/dev/null && echo $f; done; true"),
            "");
  EXPECT_EQ(run(kId, "touch /workspace/x ~/x /tmp/x /run/roost/x && echo ok"), "ok\n");
  // Few processes, all its own; no variable of the daemon; no descriptor but the standard ones.
  EXPECT_LT(std::stoi(run(kId, "ls /proc | grep -c '^[0-9]'")), 10);
  EXPECT_EQ(run(kId, "cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c 'ROOST_\\|do-not-inherit'"), "0\n");
  EXPECT_EQ(run(kId, "ls /proc/2/fd | grep -v '^[0-5]$' | wc -l"), "0\n");
  EXPECT_EQ(run(kId, "ls -l /proc/2/fd | grep -c " + directory_.path()), "0\n");
  EXPECT_EQ(run(kId, "grep -c '' /etc/passwd"), "3\n");
  EXPECT_EQ(run(kId, "unshare -Ur true 2>/dev/null && echo made"), "")
      << "a nested user namespace opens the kernel's attack surface";
  EXPECT_EQ(run(kId, "grep NoNewPrivs /proc/self/status | tr -d '\\t'"), "NoNewPrivs:1\n");
  EXPECT_EQ(run(kId, "grep CapEff /proc/self/status | tr -d '\\t'"), "CapEff:0000000000000000\n");
  EXPECT_EQ(seen["isolation"]["sandbox"].as_string(), "bubblewrap");
}

TEST_F(ComputeProcessIsolation, AnotherWorkspaceIsOutOfReach) {
  const std::string other = "ffffffff";
  applied(spec(kId));
  applied(spec(other));
  ready(kId);
  ready(other);
  run(other, "echo private > /workspace/private; chmod -R 777 /workspace");
  EXPECT_EQ(run(kId, "find / -xdev -name private 2>/dev/null"), "");
  EXPECT_EQ(run(kId, "ls /proc/[0-9]*/root/workspace/private 2>/dev/null"), "");
  if (::geteuid() == 0) {
    struct stat mine {};
    struct stat theirs {};
    ASSERT_EQ(::stat((directory_.path() + "/data/volumes/pvc-" + kId + "/data").c_str(), &mine), 0);
    ASSERT_EQ(::stat((directory_.path() + "/data/volumes/pvc-" + other + "/data").c_str(), &theirs), 0);
    EXPECT_NE(mine.st_uid, 0u);
    EXPECT_NE(mine.st_uid, theirs.st_uid);
  }
}

TEST_F(ComputeProcessIsolation, WhatListensOnTheHostCannotBeReached) {
  const Listener listener;
  applied(spec(kId));
  ready(kId);
  std::vector<std::string> hosts = {"127.0.0.1", "10.0.2.2", "10.0.2.3", "0.0.0.0", "255.255.255.255"};
  for (const std::string& address : own_addresses()) hosts.push_back(address);
  for (const std::string& host : hosts) EXPECT_EQ(connect_from_inside(host, listener.port()), "no\n") << host;
  EXPECT_FALSE(listener.touched());
}

// The other half of the proof: the network works, and it is the block that keeps the host out.
TEST_F(ComputeProcessIsolation, WithoutTheBlockTheHostsAddressIsReachedByItsNetwork) {
  std::string address;
  for (const std::string& each : own_addresses()) {
    if (!each.starts_with("127.")) address = each;
  }
  if (address.empty()) GTEST_SKIP() << "this machine has no address but loopback";
  const Quirks quirks = all_quirks().front();
  Quirks open_quirks = quirks;
  open_quirks.config = [quirks](const std::string& directory) {
    Json config = quirks.config(directory);
    config.set("network_block_host", false);
    return config;
  };
  open(open_quirks);
  const Listener listener;
  applied(spec(kId));
  const Json seen = ready(kId);
  if (!seen["isolation"]["network"].as_string().starts_with("own"))
    ROOST_SKIP_UNLESS_CI(seen["isolation"]["network"].as_string());
  EXPECT_EQ(connect_from_inside(address, listener.port()), "reached\n");
  EXPECT_EQ(connect_from_inside("10.0.2.2", listener.port()), "no\n");
}

TEST_F(ComputeProcessIsolation, ASocketSwappedForALinkLeadsNowhere) {
  applied(spec(kId));
  const Json seen = ready(kId);
  const std::string target = directory_.path() + "/host.sock";
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, target.c_str(), sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 8), 0);
  ::chmod(target.c_str(), 0777);
  // The target seems to be the workload's own: it is the link that must not be followed.
  struct stat place {};
  ASSERT_EQ(::stat((directory_.path() + "/data/volumes/pvc-" + kId + "/run").c_str(), &place), 0);
  ASSERT_EQ(::chown(target.c_str(), place.st_uid, place.st_gid), 0);
  run(kId, "rm /run/roost/app.sock; ln -s " + target + " /run/roost/app.sock");
  EXPECT_EQ(http(seen["endpoint"].as_string(), "GET", "/").status, 503);
  EXPECT_LT(::accept(listener, nullptr, nullptr), 0);
  // A socket of the host's that is put there is another user's.
  if (::geteuid() == 0) {
    const std::string inside = directory_.path() + "/data/volumes/pvc-" + kId + "/run/app.sock";
    ASSERT_EQ(::unlink(inside.c_str()), 0);
    ASSERT_EQ(::chown(target.c_str(), 0, 0), 0);
    ASSERT_EQ(::link(target.c_str(), inside.c_str()), 0);
    EXPECT_EQ(http(seen["endpoint"].as_string(), "GET", "/").status, 503);
    EXPECT_LT(::accept(listener, nullptr, nullptr), 0);
  }
  ::close(listener);
}

TEST_F(ComputeProcessIsolation, TheFrontAndTheControlSocketAreNotForTheWorkload) {
  applied(spec(kId));
  ready(kId);
  EXPECT_EQ(run(kId, "find / -name 'control.sock' -o -name 'front.sock' -o -name 'spec.json' 2>/dev/null"), "");
  struct stat info {};
  const std::string run_directory = directory_.path() + "/run/ws/" + kId;
  ASSERT_EQ(::stat(run_directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 077, 0u);
  for (const char* name : {"/control.sock", "/front.sock", "/spec.json", "/lock"}) {
    ASSERT_EQ(::stat((run_directory + name).c_str(), &info), 0) << name;
    EXPECT_EQ(info.st_mode & 077, 0u) << name;
  }
}

TEST_F(ComputeProcessIsolation, WithoutANetworkThereIsNone) {
  const Quirks quirks = all_quirks().front();
  Quirks closed = quirks;
  closed.config = [quirks](const std::string& directory) {
    Json config = quirks.config(directory);
    config.set("network", "none");
    return config;
  };
  open(closed);
  applied(spec(kId));
  const Json seen = ready(kId);
  EXPECT_EQ(seen["isolation"]["network"].as_string(), "none");
  EXPECT_EQ(run(kId, "ls /sys/class/net 2>/dev/null; grep -c : /proc/net/dev"), "1\n");
}

}  // namespace
}  // namespace roost::test
