// The parts of a sandbox that bubblewrap needs: its arguments, the generated /etc, and for root the staging of the mounts.
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "agent/sandbox.hpp"
#include "agent/sandbox_exec.hpp"

namespace roost::agent {
namespace {

// What programs expect of /etc and what tells nothing about the host's users or its configuration.
constexpr std::array kPublicEtc = {"/etc/alternatives",  "/etc/ssl/certs",      "/etc/ssl/openssl.cnf", "/etc/ca-certificates",
                                   "/etc/pki/tls/certs", "/etc/ld.so.cache",    "/etc/ld.so.conf",      "/etc/ld.so.conf.d",
                                   "/etc/localtime",     "/etc/timezone",       "/etc/mime.types",      "/etc/bash.bashrc",
                                   "/etc/inputrc",       "/etc/debian_version", "/etc/os-release",      "/etc/terminfo",
                                   "/etc/magic",         "/etc/services",       "/etc/protocols",       "/etc/fonts"};

constexpr std::array kGeneratedEtc = {"passwd", "group", "hostname", "hosts", "nsswitch.conf", "resolv.conf"};

}  // namespace

std::vector<SandboxMount> etc_mounts(const std::string& directory) {
  std::vector<SandboxMount> mounts;
  if (directory.empty()) return mounts;
  for (const char* name : kGeneratedEtc) mounts.push_back({directory + "/" + name, std::string("/etc/") + name, false});
  return mounts;
}

Status write_etc(const std::string& directory, const std::string& hostname, bool network) {
  ROOST_CHECK(make_directory(directory, 0755));
  const auto write_file = [](const std::string& path, const std::string& text) -> Status {
    ROOST_CHECK(roost::agent::write_file(path, text, 0644));
    if (::chmod(path.c_str(), 0644) != 0) return errno_error(path);  // whatever the umask is: another user reads it
    return {};
  };
  ROOST_CHECK(write_file(directory + "/passwd",
                         "root:x:0:0:root:/root:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/bash\n"
                         "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"));
  ROOST_CHECK(write_file(directory + "/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"));
  ROOST_CHECK(write_file(directory + "/hostname", hostname + "\n"));
  ROOST_CHECK(write_file(directory + "/hosts", "127.0.0.1 localhost " + hostname + "\n::1 localhost\n"));
  ROOST_CHECK(write_file(directory + "/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"));
  return write_file(directory + "/resolv.conf", network ? "nameserver 10.0.2.3\n" : "");  // slirp4netns's own forwarder
}

std::vector<std::string> bubblewrap_arguments(const SandboxSpec& spec, const std::vector<SandboxMount>& mounts, bool root,
                                              int info_fd) {
  std::vector<std::string> arguments = {find_program("bwrap"),  "--die-with-parent", "--new-session",
                                        "--unshare-pid",        "--unshare-ipc",     "--unshare-uts",
                                        "--unshare-cgroup-try", "--hostname",        spec.hostname};
  const auto add = [&arguments](std::initializer_list<std::string> more) { arguments.insert(arguments.end(), more); };
  if (arguments[0].empty()) arguments[0] = "bwrap";  // its absence is the exec's message
  if (spec.trusted && root) {
    add({"--cap-drop", "ALL", "--cap-add", "CAP_DAC_READ_SEARCH"});
    if (spec.restores)
      add({"--cap-add", "CAP_DAC_OVERRIDE", "--cap-add", "CAP_CHOWN", "--cap-add", "CAP_FOWNER", "--cap-add", "CAP_FSETID"});
  } else {
    add({"--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns"});
  }
  if (spec.network != SandboxSpec::Network::host) add({"--unshare-net"});
  add({"--info-fd", std::to_string(info_fd), "--ro-bind", "/usr", "/usr"});
  for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::array<char, 256> target{};
    const ssize_t n = ::readlink(name, target.data(), target.size() - 1);
    if (n > 0) {
      add({"--symlink", std::string(target.data(), static_cast<std::size_t>(n)), name});
    } else {
      add({"--ro-bind-try", name, name});
    }
  }
  add({"--proc", "/proc", "--dev", "/dev", "--perms", "1777"});
  if (spec.tmp_bytes > 0) add({"--size", std::to_string(spec.tmp_bytes)});
  add({"--tmpfs", "/tmp", "--dir", "/run", "--dir", "/var/tmp", "--symlink", "/run", "/var/run", "--dir", "/etc"});
  for (const char* path : kPublicEtc) add({"--ro-bind-try", path, path});
  add({"--symlink", "/proc/self/mounts", "/etc/mtab"});
  for (const SandboxMount& mount : mounts) add({mount.writable ? "--bind" : "--ro-bind", mount.source, mount.target});
  add({"--remount-ro", "/", "--chdir", spec.directory, "--"});
  // bubblewrap binds the namespace's life to its own only when it has set everything up. Until the supervisor has heard that (8)
  // and said go (9), nothing runs; if it dies before, the read ends and so does all of it.
  add({"/bin/sh", "-c", "echo >&8 && read -r go <&9 && exec \"$@\" 8>&- 9<&-", "sh"});
  arguments.insert(arguments.end(), spec.command.begin(), spec.command.end());
  return arguments;
}

Result<std::vector<SandboxMount>> stage_mounts(const std::vector<SandboxMount>& mounts) {
  if (::unshare(CLONE_NEWNS) != 0) return errno_error("a mount namespace of its own (CAP_SYS_ADMIN is needed)");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return errno_error("mount /");
  // Opened as root, before the stage covers some: the unprivileged user could not even walk to most of them.
  std::vector<Fd> sources;
  std::vector<bool> directories;
  for (const SandboxMount& mount : mounts) {
    sources.emplace_back(::open(mount.source.c_str(), O_PATH | O_CLOEXEC));
    struct stat info {};
    if (!sources.back().open() || ::fstat(sources.back().get(), &info) != 0) return errno_error(mount.source);
    directories.push_back(S_ISDIR(info.st_mode));
  }
  const std::string stage = ::access("/mnt", F_OK) == 0 ? "/mnt" : "/srv";
  if (::mount("roost", stage.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k") != 0)
    return errno_error("mount " + stage);
  std::vector<SandboxMount> staged;
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const std::string target = stage + "/" + std::to_string(i);
    if (directories[i]) {
      ROOST_CHECK(make_directory(target, 0755));
    } else {
      ROOST_CHECK(write_file(target, "", 0644));
    }
    const std::string source = "/proc/self/fd/" + std::to_string(sources[i].get());
    if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
      return errno_error("bind " + mounts[i].source);
    staged.push_back({target, mounts[i].target, mounts[i].writable});
  }
  return staged;
}

Status drop_to(std::int64_t uid) {
  const auto id = static_cast<uid_t>(uid);
  if (::setgroups(0, nullptr) != 0) return errno_error("setgroups");
  if (::setresgid(id, id, id) != 0) return errno_error("setresgid");
  if (::setresuid(id, id, id) != 0) return errno_error("setresuid");
  return {};
}

}  // namespace roost::agent
