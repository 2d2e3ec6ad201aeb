#include "agent/sandbox_cgroup.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <sstream>

namespace roost::agent {
namespace {

constexpr std::int64_t kPeriodUs = 100'000;
constexpr const char* kSupervisors = "roost-supervisors";

struct Hierarchy {
  std::string mount;  // where it is mounted
  std::string path;   // the present process's group below it
};

// Of each v1 controller by name, and of the unified one by "".
std::map<std::string, Hierarchy> hierarchies() {
  std::map<std::string, Hierarchy> found;
  std::istringstream mounts(read_file("/proc/self/mountinfo", 4 << 20).value_or(""));
  for (std::string line; std::getline(mounts, line);) {
    // Fields: id parent device root mountpoint options [optional…] - type source superoptions
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream left(line.substr(0, dash));
    std::istringstream right(line.substr(dash + 3));
    std::string skip, root, point, type, source, options;
    left >> skip >> skip >> skip >> root >> point;
    right >> type >> source >> options;
    if (type == "cgroup2") found[""].mount = point;
    if (type != "cgroup") continue;
    std::istringstream names(options);
    for (std::string name; std::getline(names, name, ',');) found[name].mount = point;
  }
  std::istringstream groups(read_file("/proc/self/cgroup").value_or(""));
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::istringstream names(line.substr(first + 1, second - first - 1));
    std::string name;
    if (line.starts_with("0::")) found[""].path = line.substr(second + 1);
    while (std::getline(names, name, ',')) found[name].path = line.substr(second + 1);
  }
  return found;
}

// The directory of the present process's group; the mount's own where a container's view does not show it.
std::string own_group(const Hierarchy& hierarchy) {
  std::string path = hierarchy.mount + (hierarchy.path == "/" ? "" : hierarchy.path);
  if (path.ends_with(std::string("/") + kSupervisors)) path.resize(path.size() - std::string(kSupervisors).size() - 1);
  return ::access(path.c_str(), F_OK) == 0 ? path : hierarchy.mount;
}

bool delegated(const std::string& directory) {
  char value[2];
  return ::getxattr(directory.c_str(), "trusted.delegate", value, sizeof value) > 0 ||
         ::getxattr(directory.c_str(), "user.delegate", value, sizeof value) > 0;
}

bool has_controllers(const std::string& directory, const char* file) {
  const std::string text = " " + read_file(directory + file).value_or("") + " ";
  return text.find("memory") != std::string::npos && text.find("cpu") != std::string::npos &&
         text.find("pids") != std::string::npos;
}

// A group whose children may have the controllers. v2 allows them only where the group itself holds no process, so those of a
// group that was delegated to us (systemd's Delegate=) move one level down.
Result<std::string> unified_base(const Hierarchy& hierarchy) {
  std::string base = own_group(hierarchy);
  if (!delegated(base)) {
    if (::geteuid() != 0) {
      return Error{Code::unsupported, "cgroup v2: this process's group is not delegated to it (systemd: Delegate=yes)", 0};
    }
    base = hierarchy.mount;
  }
  if (!has_controllers(base, "/cgroup.controllers"))
    return Error{Code::unsupported, "cgroup v2: no memory, cpu and pids controllers", 0};
  const auto enable = [&base] { return write_file(base + "/cgroup.subtree_control", "+cpu +memory +pids"); };
  if (!enable() && base != hierarchy.mount) {
    const std::string supervisors = base + "/" + kSupervisors;
    ROOST_CHECK(make_directory(supervisors, 0755));
    std::istringstream pids(read_file(base + "/cgroup.procs").value_or(""));
    for (std::string pid; std::getline(pids, pid);) (void)write_file(supervisors + "/cgroup.procs", pid);
    ROOST_CHECK(enable());
  }
  base += "/roost";
  ROOST_CHECK(make_directory(base, 0755));
  ROOST_CHECK(write_file(base + "/cgroup.subtree_control", "+cpu +memory +pids"));
  return base;
}

}  // namespace

Result<Cgroup> Cgroup::create(const std::string& name) {
  const auto all = hierarchies();
  Cgroup group;
  Error reason{Code::unsupported, "no cgroup hierarchy is mounted", 0};
  if (const auto unified = all.find(""); unified != all.end() && has_controllers(unified->second.mount, "/cgroup.controllers")) {
    const auto base = unified_base(unified->second);
    if (base) {
      const std::string directory = *base + "/" + name;
      ROOST_CHECK(make_directory(directory, 0755));
      group.directories_.push_back(directory);
      group.unified_ = true;
      return group;
    }
    reason = base.error();
  }
  for (const char* controller : {"memory", "cpu", "pids", "freezer"}) {
    const auto found = all.find(controller);
    if (found == all.end() || found->second.mount.empty()) continue;
    const std::string base = own_group(found->second) + "/roost";
    const std::string directory = base + "/" + name;
    auto made = make_directory(base, 0755);
    if (made) made = make_directory(directory, 0755);
    if (!made) {
      reason = made.error();
      continue;
    }
    // Hierarchies may be mounted together: one directory then serves several controllers.
    if (std::find(group.directories_.begin(), group.directories_.end(), directory) == group.directories_.end()) {
      group.directories_.push_back(directory);
    }
  }
  if (group.directories_.empty()) return Error{Code::unsupported, "no limits: " + reason.message, 0};
  return group;
}

Cgroup Cgroup::adopt(std::vector<std::string> directories) {
  Cgroup group;
  group.directories_ = std::move(directories);
  group.unified_ = group.directories_.size() == 1 && ::access((group.directories_[0] + "/cgroup.events").c_str(), F_OK) == 0;
  return group;
}

bool Cgroup::enter() const {
  return std::all_of(directories_.begin(), directories_.end(),
                     [](const std::string& directory) { return write_file(directory + "/cgroup.procs", "0").ok(); });
}

std::string Cgroup::with(const std::string& controller) const {
  static const std::map<std::string, std::pair<const char*, const char*>> files = {
      {"memory", {"memory.max", "memory.limit_in_bytes"}},
      {"cpu", {"cpu.max", "cpu.cfs_quota_us"}},
      {"pids", {"pids.max", "pids.max"}}};
  const auto& [v2, v1] = files.at(controller);
  for (const std::string& directory : directories_) {
    if (::access((directory + "/" + (unified_ ? v2 : v1)).c_str(), W_OK) == 0) return directory;
  }
  return "";
}

Status Cgroup::limit_memory(std::int64_t bytes) {
  const std::string directory = with("memory");
  if (directory.empty()) return {};
  if (unified_) {
    ROOST_CHECK(write_file(directory + "/memory.max", bytes > 0 ? std::to_string(bytes) : "max"));
    (void)write_file(directory + "/memory.swap.max", "0");
    return {};
  }
  const std::string value = bytes > 0 ? std::to_string(bytes) : "-1";
  const std::string both = directory + "/memory.memsw.limit_in_bytes";
  // Memory plus swap may never be below memory: raise it first, lower it last.
  const bool swap = ::access(both.c_str(), W_OK) == 0;
  auto first = write_file(directory + "/memory.limit_in_bytes", value);
  if (swap) {
    const auto second = write_file(both, value);
    if (!first && second) first = write_file(directory + "/memory.limit_in_bytes", value);
    if (!second) return second;
  }
  return first;
}

Status Cgroup::limit(const Limits& limits) {
  if (const auto status = limit_memory(limits.memory_bytes); !status) {
    return Error{Code::exhausted, "the memory limit cannot be put in force: " + status.error().message, 0};
  }
  if (const std::string cpu = with("cpu"); !cpu.empty()) {
    const std::int64_t quota = limits.cpu_millis * kPeriodUs / 1000;
    if (unified_) {
      ROOST_CHECK(write_file(cpu + "/cpu.max", (quota > 0 ? std::to_string(quota) : "max") + " " + std::to_string(kPeriodUs)));
    } else {
      ROOST_CHECK(write_file(cpu + "/cpu.cfs_period_us", std::to_string(kPeriodUs)));
      ROOST_CHECK(write_file(cpu + "/cpu.cfs_quota_us", quota > 0 ? std::to_string(quota) : "-1"));
    }
  }
  if (const std::string pids = with("pids"); !pids.empty()) {
    ROOST_CHECK(write_file(pids + "/pids.max", limits.pids > 0 ? std::to_string(limits.pids) : "max"));
  }
  return {};
}

void Cgroup::kill_all() {
  if (directories_.empty()) return;
  if (unified_ && write_file(directories_[0] + "/cgroup.kill", "1")) return;
  // Without cgroup.kill a fork may escape one round of signals: freeze what can be frozen, signal, thaw, and the caller comes
  // back until it is empty.
  for (const std::string& directory : directories_) (void)write_file(directory + "/freezer.state", "FROZEN");
  if (unified_) (void)write_file(directories_[0] + "/cgroup.freeze", "1");
  for (const std::string& directory : directories_) {
    std::istringstream pids(read_file(directory + "/cgroup.procs").value_or(""));
    for (pid_t pid = 0; pids >> pid;) {
      if (pid > 1 && pid != ::getpid()) ::kill(pid, SIGKILL);
    }
  }
  for (const std::string& directory : directories_) (void)write_file(directory + "/freezer.state", "THAWED");
  if (unified_) (void)write_file(directories_[0] + "/cgroup.freeze", "0");
}

bool Cgroup::empty() const {
  return std::all_of(directories_.begin(), directories_.end(), [](const std::string& directory) {
    const auto pids = read_file(directory + "/cgroup.procs");
    return !pids ? pids.error().code == Code::not_found : pids->empty();
  });
}

void Cgroup::remove() {
  for (const std::string& directory : directories_) ::rmdir(directory.c_str());
}

std::string Cgroup::describe() const {
  std::string text;
  for (const char* controller : {"cpu", "memory", "pids"}) {
    if (!with(controller).empty()) text += (text.empty() ? "" : ", ") + std::string(controller);
  }
  return (unified_ ? "cgroup v2: " : "cgroup v1: ") + text;
}

}  // namespace roost::agent
