// The sandbox's way out: slirp4netns in user space, and unreachable routes for what must not be reached.
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/sandbox.hpp"
#include "agent/sandbox_exec.hpp"

namespace roost::agent {
namespace {

struct Destination {
  in_addr address{};
  unsigned char bits = 32;
};

Result<Destination> parse_cidr(const std::string& text) {
  Destination destination;
  const std::size_t slash = text.find('/');
  if (slash != std::string::npos) {
    const long bits = std::strtol(text.c_str() + slash + 1, nullptr, 10);
    if (bits < 0 || bits > 32) return Error{Code::invalid, text + ": not a network in CIDR notation", 0};
    destination.bits = static_cast<unsigned char>(bits);
  }
  if (::inet_pton(AF_INET, text.substr(0, slash).c_str(), &destination.address) != 1) {
    return Error{Code::invalid, text + ": not an IPv4 network in CIDR notation", 0};
  }
  return destination;
}

// slirp4netns connects from the host: without these a workspace would reach what listens on the host's own addresses.
std::vector<Destination> own_addresses() {
  std::vector<Destination> found;
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return found;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET) continue;
    const in_addr address = reinterpret_cast<const sockaddr_in*>(entry->ifa_addr)->sin_addr;
    if ((ntohl(address.s_addr) >> 24) != 127) found.push_back({address, 32});
  }
  ::freeifaddrs(list);
  return found;
}

bool add_unreachable(int netlink, const Destination& destination) {
  struct {
    nlmsghdr header;
    rtmsg route;
    rtattr attribute;
    in_addr address;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = RTM_NEWROUTE;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK;
  request.route.rtm_family = AF_INET;
  request.route.rtm_dst_len = destination.bits;
  request.route.rtm_table = RT_TABLE_MAIN;
  request.route.rtm_protocol = RTPROT_STATIC;
  request.route.rtm_type = RTN_UNREACHABLE;
  request.attribute.rta_len = RTA_LENGTH(sizeof request.address);
  request.attribute.rta_type = RTA_DST;
  request.address = destination.address;
  if (::send(netlink, &request, sizeof request, 0) != static_cast<ssize_t>(sizeof request)) return false;
  struct {
    nlmsghdr header;
    nlmsgerr error;
    char rest[256];
  } answer{};
  return ::recv(netlink, &answer, sizeof answer, 0) >= static_cast<ssize_t>(sizeof(nlmsghdr) + sizeof(int)) &&
         answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error == 0;
}

bool block_in_namespace(int user, int net, const std::vector<Destination>& destinations) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::setns(user, CLONE_NEWUSER) != 0 || ::setns(net, CLONE_NEWNET) != 0) ::_exit(1);
    const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    for (const Destination& destination : destinations) {
      if (!add_unreachable(netlink, destination)) ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  while (pid > 0 && ::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Where only root may open /dev/net/tun: a copy of the node in a mount namespace of slirp4netns's own.
bool open_up_tun() {
  struct stat info {};
  if (::stat("/dev/net/tun", &info) != 0) return false;
  if ((info.st_mode & 06) == 06) return true;
  const std::string stage = ::access("/mnt", F_OK) == 0 ? "/mnt" : "/srv";
  const std::string node = stage + "/tun";
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0 &&
         ::mount("roost", stage.c_str(), "tmpfs", MS_NOSUID, "mode=0755,size=64k") == 0 &&
         ::mknod(node.c_str(), S_IFCHR | 0666, info.st_rdev) == 0 && ::chmod(node.c_str(), 0666) == 0 &&
         ::mount(node.c_str(), "/dev/net/tun", nullptr, MS_BIND, nullptr) == 0;
}

Result<NetworkProcess> run_slirp(const SandboxSpec& spec, int user, int net, const std::vector<std::string>& options) {
  const std::string program = find_program("slirp4netns");
  if (program.empty()) return Error{Code::unsupported, "slirp4netns is not installed", 0};
  ROOST_TRY(Pipe ready, make_pipe());
  ROOST_TRY(Pipe life, make_pipe());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork");
  if (pid == 0) {
    if (::geteuid() == 0 && spec.host_uid >= 0) {
      if (!open_up_tun() || !drop_to(spec.host_uid)) ::_exit(126);
    }
    if (!die_with(parent)) ::_exit(126);
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; ++fd) ::dup2(nothing, fd);
    for (const int fd : {user, net, ready.write.get(), life.read.get()}) ::fcntl(fd, F_SETFD, 0);
    std::vector<std::string> arguments = {program, "--configure", "--mtu=1500", "--disable-host-loopback"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.push_back("--ready-fd=" + std::to_string(ready.write.get()));
    arguments.push_back("--exit-fd=" + std::to_string(life.read.get()));
    arguments.push_back("--netns-type=path");
    arguments.push_back("--userns-path=/proc/self/fd/" + std::to_string(user));
    arguments.push_back("/proc/self/fd/" + std::to_string(net));
    arguments.push_back("tap0");
    (void)execute(arguments, {});
    ::_exit(127);
  }
  ready.write.reset();
  life.read.reset();
  char one = 0;
  if (wait_for(ready.read.get(), POLLIN, monotonic_ms() + 5000) && ::read(ready.read.get(), &one, 1) == 1) {
    return NetworkProcess{pid, std::move(life.write)};
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  return Error{Code::unsupported, "slirp4netns does not work here; does /dev/net/tun exist?", 0};
}

}  // namespace

Result<NetworkProcess> start_network(pid_t pid, const SandboxSpec& spec) {
  std::vector<Destination> blocked;
  for (const std::string& text : spec.blocked) {
    ROOST_TRY(blocked.emplace_back(), parse_cidr(text));
  }
  if (spec.block_host) {
    for (const Destination& address : own_addresses()) blocked.push_back(address);
  }
  Fd net(::open(("/proc/" + std::to_string(pid) + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
  if (!net.open()) return errno_error("the sandbox's network namespace");
  // The program may live in a user namespace below the one that owns the network: take the owner.
  Fd user(::ioctl(net.get(), NS_GET_USERNS));
  if (!user.open()) return errno_error("the sandbox's user namespace");
  ::fcntl(user.get(), F_SETFD, FD_CLOEXEC);
  if (!block_in_namespace(user.get(), net.get(), blocked)) {
    return Error{Code::unsupported, "the host's own addresses cannot be blocked", 0};  // then rather no network
  }
  // Its --enable-sandbox needs a mapping of root in the namespace, which a workspace does not have.
  const std::vector<std::vector<std::string>> attempts = {{"--enable-seccomp"}, {}};
  Result<NetworkProcess> made = Error{Code::unsupported, "", 0};
  for (const auto& options : attempts) {
    made = run_slirp(spec, user.get(), net.get(), options);
    if (made) return made;
  }
  return made;
}

}  // namespace roost::agent
