// Sandbox: runs a program shut away from the host with bubblewrap: own user, process, IPC, host name, cgroup and network
// namespaces, a read-only system, a generated /etc, and nothing else but the mounts that it is given. docs/isolation.md says what
// that keeps out and what it does not.
// Thread safety: none; REQUIRES a process with one thread (it forks). Invariant: when the calling process dies, so does all of
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/sandbox_cgroup.hpp"
#include "agent/serve_posix.hpp"
#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::agent {

struct SandboxMount {
  std::string source;
  std::string target;
  bool writable = false;
};

struct SandboxSpec {
  enum class Kind { none, bubblewrap };
  enum class Network { none, isolated, host };  // isolated: egress by slirp4netns where it works, else none
  Kind kind = Kind::bubblewrap;
  Network network = Network::isolated;
  // Ours: a task that reads foreign data with our own code. As root it keeps root's name and CAP_DAC_READ_SEARCH and nothing
  // else, for it reads files of any owner; everything else about it is the same.
  bool trusted = false;
  bool restores = false;       // trusted, and it writes a user's files for him
  std::int64_t host_uid = -1;  // the unprivileged user and group on the host, where the supervisor is root; -1: its own
  std::vector<SandboxMount> mounts;
  std::vector<std::string> blocked;  // networks in CIDR notation (IPv4) that are unreachable from inside
  bool block_host = true;            // the host's own addresses too
  std::vector<std::string> command;
  std::vector<std::string> environment;  // NAME=value; the only ones
  std::string directory = "/";
  std::string hostname = "workspace";
  std::string etc;             // where the generated /etc is kept on the host; empty: none
  std::int64_t tmp_bytes = 0;  // of /tmp; 0: the kernel's default

  [[nodiscard]] static Result<SandboxSpec> parse(const Json& json);
};

// What is in force, for people.
struct SandboxReport {
  std::string sandbox;
  std::string user;
  std::string network;
};

// A running sandbox. `outer` is a child of this process: its end is the program's end, with its exit status.
struct SandboxProcess {
  pid_t outer = -1;
  ProcessId outer_id;
  ProcessId init;      // of the process namespace: once it is gone, so is everything in there. pid 0: no namespace
  pid_t network = -1;  // slirp4netns, also a child
  Fd network_life;     // closing it ends slirp4netns
  Fd go;               // until a word goes through it the program waits; if it closes first, the program never begins
  SandboxReport report;
};

// Makes everything up to the program, which waits for release_sandbox: so its identity can be recorded before it does anything.
// `output` becomes its standard output and error. UNSUPPORTED: bubblewrap is missing or not allowed here; the message says what
// to do.
[[nodiscard]] Result<SandboxProcess> start_sandbox(const SandboxSpec& spec, Cgroup* cgroup, int output);
[[nodiscard]] Status release_sandbox(SandboxProcess& process);

// SIGTERM to the program itself (not to the namespace's init, which would take everything with it).
void ask_to_stop(const SandboxProcess& process);
// SIGKILL to all of it. It is gone when `outer` was reaped, `init` is not alive and the cgroup is empty.
void kill_sandbox(const SandboxProcess& process, Cgroup* cgroup);
// For the first process of a container: kills every other process in it but those; whether there was one.
bool kill_container(const std::vector<pid_t>& kept);

// ---- its parts --------------------------------------------------------------------------------------------------------

// Writes passwd, group, hosts, resolv.conf and nsswitch.conf into `directory`.
[[nodiscard]] Status write_etc(const std::string& directory, const std::string& hostname, bool network);
[[nodiscard]] std::vector<SandboxMount> etc_mounts(const std::string& directory);  // of what write_etc wrote; none for ""

// bwrap's arguments, from argv[0] on. `mounts` are where the sources are visible to it.
[[nodiscard]] std::vector<std::string> bubblewrap_arguments(const SandboxSpec& spec, const std::vector<SandboxMount>& mounts,
                                                            bool root, int info_fd);

// In the forked child of a root supervisor: makes every source reachable for an unprivileged user by binding it below a private
// tmpfs, and answers where they are then. Only this process and its children see it.
[[nodiscard]] Result<std::vector<SandboxMount>> stage_mounts(const std::vector<SandboxMount>& mounts);

// In a forked child: becomes that user for good, without any privilege.
[[nodiscard]] Status drop_to(std::int64_t uid);

// Gives the sandbox, whose init is `pid`, a way out; then blocks what it must not reach. Answers slirp4netns's pid.
struct NetworkProcess {
  pid_t pid = -1;
  Fd life;
};
[[nodiscard]] Result<NetworkProcess> start_network(pid_t pid, const SandboxSpec& spec);

}  // namespace roost::agent
