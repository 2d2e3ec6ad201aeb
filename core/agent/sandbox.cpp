#include "agent/sandbox.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "agent/sandbox_exec.hpp"

namespace roost::agent {
namespace {

constexpr std::int64_t kStartTimeoutMs = 15'000;

Result<std::vector<std::string>> strings(const Json& json, const char* what) {
  std::vector<std::string> values;
  for (const Json& item : json.items()) {
    if (!item.is_string() || item.as_string().find('\0') != std::string::npos) {
      return Error{Code::invalid, std::string(what) + ": not a list of strings", 0};
    }
    values.push_back(item.as_string());
  }
  return values;
}

// Reads bwrap's --info-fd: {"child-pid": N, …}. 0 where it ended without saying so.
pid_t read_child_pid(int fd, std::int64_t deadline_ms) {
  std::string text;
  while (text.find('}') == std::string::npos && wait_for(fd, POLLIN, deadline_ms)) {
    char buffer[512];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  const auto info = Json::parse(text);
  return info ? static_cast<pid_t>((*info)["child-pid"].as_int()) : 0;
}

struct Child {
  const SandboxSpec& spec;
  Cgroup* cgroup;
  int output;
  pid_t parent;
  int info;
  int hello;
  int go;
};

// Puts descriptors where the program's shell expects them (it knows single digits only), without one covering another.
bool place(std::initializer_list<std::pair<int, int>> moves) {
  std::vector<std::pair<int, int>> high;
  for (const auto& [from, to] : moves) high.emplace_back(::fcntl(from, F_DUPFD_CLOEXEC, 20), to);
  for (const auto& [from, to] : high) {
    if (from < 0 || ::dup2(from, to) < 0) return false;
  }
  return true;
}

// In the child: everything up to the exec. Answers only if something failed, with the message.
std::string become(const Child& child) {
  const SandboxSpec& spec = child.spec;
  const bool root = ::geteuid() == 0;
  if (child.cgroup != nullptr && !child.cgroup->enter()) return "the cgroup cannot be entered";
  std::vector<SandboxMount> mounts = etc_mounts(spec.etc);
  mounts.insert(mounts.end(), spec.mounts.begin(), spec.mounts.end());
  if (spec.kind == SandboxSpec::Kind::bubblewrap && root && !spec.trusted) {
    auto staged = stage_mounts(mounts);
    if (!staged) return staged.error().message;
    mounts = std::move(*staged);
  }
  if (root && !spec.trusted && spec.host_uid >= 0) {
    if (const auto dropped = drop_to(spec.host_uid); !dropped) return dropped.error().message;
  }
  if (!die_with(child.parent)) return "the supervisor is gone";
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (::dup2(nothing, 0) < 0 || ::dup2(child.output, 1) < 0 || ::dup2(child.output, 2) < 0) return "dup2";
  std::vector<std::string> arguments = spec.command;
  if (spec.kind == SandboxSpec::Kind::bubblewrap) {
    arguments = bubblewrap_arguments(spec, mounts, root, 7);
    if (!place({{child.info, 7}, {child.hello, 8}, {child.go, 9}})) return "dup2";
  } else {
    char go = 0;
    if (::write(child.hello, "\n", 1) != 1 || ::read(child.go, &go, 1) != 1) return "the supervisor is gone";
    if (::chdir(spec.directory.c_str()) != 0) return "chdir " + spec.directory;
  }
  return execute(arguments, spec.environment);
}

}  // namespace

Result<SandboxSpec> SandboxSpec::parse(const Json& json) {
  SandboxSpec spec;
  const std::string& kind = json["kind"].as_string();
  if (kind != "bubblewrap" && kind != "none") return Error{Code::invalid, "sandbox.kind: bubblewrap or none", 0};
  spec.kind = kind == "none" ? Kind::none : Kind::bubblewrap;
  const std::string& network = json["network"].as_string();
  if (network != "auto" && network != "none" && network != "host")
    return Error{Code::invalid, "sandbox.network: auto, none or host", 0};
  spec.network = network == "none" ? Network::none : network == "host" ? Network::host : Network::isolated;
  spec.trusted = json["trusted"].as_bool();
  spec.restores = json["restores"].as_bool();
  spec.host_uid = json["host_uid"].as_int(-1);
  spec.block_host = json["block_host"].as_bool(true);
  spec.tmp_bytes = json["tmp_bytes"].as_int();
  spec.etc = json["etc"].as_string();
  if (const Json* directory = json.find("directory")) spec.directory = directory->as_string();
  if (const Json* hostname = json.find("hostname")) spec.hostname = hostname->as_string();
  ROOST_TRY(spec.blocked, strings(json["blocked"], "sandbox.blocked"));
  ROOST_TRY(spec.command, strings(json["command"], "sandbox.command"));
  ROOST_TRY(spec.environment, strings(json["environment"], "sandbox.environment"));
  if (spec.command.empty()) return Error{Code::invalid, "sandbox.command: empty", 0};
  for (const Json& mount : json["mounts"].items()) {
    SandboxMount made{mount["source"].as_string(), mount["target"].as_string(), mount["writable"].as_bool()};
    if (!made.source.starts_with("/") || !made.target.starts_with("/")) {
      return Error{Code::invalid, "sandbox.mounts: source and target must be absolute paths", 0};
    }
    spec.mounts.push_back(std::move(made));
  }
  return spec;
}

Result<SandboxProcess> start_sandbox(const SandboxSpec& spec, Cgroup* cgroup, int output) {
  if (!spec.etc.empty()) ROOST_CHECK(write_etc(spec.etc, spec.hostname, spec.network == SandboxSpec::Network::isolated));
  ROOST_TRY(Pipe info, make_pipe());
  ROOST_TRY(Pipe hello, make_pipe());
  ROOST_TRY(Pipe go, make_pipe());
  ROOST_TRY(Pipe failure, make_pipe());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error("fork");
  if (pid == 0) {
    go.write.reset();  // the child must not hold open what tells it that its parent is gone
    const std::string message = become({spec, cgroup, output, parent, info.write.get(), hello.write.get(), go.read.get()});
    (void)!::write(failure.write.get(), message.data(), message.size());
    ::_exit(127);
  }
  for (Fd* fd : {&info.write, &hello.write, &go.read, &failure.write}) fd->reset();

  SandboxProcess process;
  process.outer = pid;
  process.outer_id = {pid, start_time_of(pid)};
  const auto fail = [&](Code code, const std::string& message) {
    kill_sandbox(process, cgroup);
    ::waitpid(pid, nullptr, 0);
    return Error{code, message, 0};
  };
  const auto reason = [&failure](const char* fallback) {
    char text[256];
    const ssize_t n = wait_for(failure.read.get(), POLLIN, monotonic_ms()) ? ::read(failure.read.get(), text, sizeof text) : 0;
    return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : std::string(fallback);
  };
  const std::int64_t deadline = monotonic_ms() + kStartTimeoutMs;
  if (spec.kind == SandboxSpec::Kind::bubblewrap) {
    const pid_t child = read_child_pid(info.read.get(), deadline);
    if (child == 0)
      return fail(Code::unsupported, reason("bubblewrap could not make the sandbox; docs/isolation.md says what it needs"));
    process.init = {child, start_time_of(child)};
    process.report.sandbox = "bubblewrap";
    process.report.network = spec.network == SandboxSpec::Network::host ? "host (shared: not isolated)" : "none";
  } else {
    process.report = {"none", "", "host (shared: not isolated)"};
  }
  process.report.user = "uid " + std::to_string(spec.host_uid >= 0 ? spec.host_uid : std::int64_t{::geteuid()}) + " on the host";
  char word = 0;
  if (!wait_for(hello.read.get(), POLLIN, deadline) || ::read(hello.read.get(), &word, 1) != 1) {
    return fail(Code::unsupported, reason("bubblewrap could not set up the sandbox"));
  }
  // Only now: bubblewrap gives the loopback its address, and fails where slirp4netns has already brought it up.
  if (process.init.pid != 0 && spec.network == SandboxSpec::Network::isolated) {
    auto network = start_network(process.init.pid, spec);
    if (network) {
      process.network = network->pid;
      process.network_life = std::move(network->life);
      process.report.network = "own, egress by slirp4netns";
    } else {
      process.report.network = "none (" + network.error().message + ")";
    }
  }
  process.go = std::move(go.write);
  return process;
}

Status release_sandbox(SandboxProcess& process) {
  const bool told = ::write(process.go.get(), "\n", 1) == 1;
  process.go.reset();
  if (!told) return Error{Code::unsupported, "the sandbox ended before its program began", 0};
  return {};
}

void ask_to_stop(const SandboxProcess& process) {
  if (process.init.pid == 0) {
    if (alive(process.outer_id)) ::kill(-process.outer, SIGTERM);
    return;
  }
  // bwrap's init would die by the signal and take everything with it: its children are the program.
  const std::string pid = std::to_string(process.init.pid);
  const auto children = read_file("/proc/" + pid + "/task/" + pid + "/children", 4096);
  if (!children || !alive(process.init)) return;
  const char* at = children->c_str();
  for (char* end = nullptr; long child = std::strtol(at, &end, 10); at = end) {
    const auto id = static_cast<pid_t>(child);
    kill_process({id, start_time_of(id)}, SIGTERM);
  }
}

void kill_sandbox(const SandboxProcess& process, Cgroup* cgroup) {
  if (process.init.pid != 0) kill_process(process.init, SIGKILL);
  if (alive(process.outer_id)) {
    if (process.init.pid == 0) ::kill(-process.outer, SIGKILL);
    ::kill(process.outer, SIGKILL);
  }
  if (cgroup != nullptr) cgroup->kill_all();
  if (process.network > 0) ::kill(process.network, SIGKILL);
}

bool kill_container(const std::vector<pid_t>& kept) {
  bool found = false;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", failed)) {
    const auto pid = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
    if (pid <= 1 || start_time_of(pid) == 0) continue;  // not a process, or one that only waits to be reaped
    if (std::find(kept.begin(), kept.end(), pid) != kept.end()) continue;
    ::kill(pid, SIGKILL);
    found = true;
  }
  return found;
}

}  // namespace roost::agent
