#include "agent/serve_handover.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace roost::agent {
namespace {

// What a root supervisor still needs: to stage mounts, change users, enter and signal what it started, own its files, and what it
// gives on to a restore: bubblewrap leaves out without a word what is not in this set.
void drop_capabilities() {
  constexpr int kKept[] = {CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID,     CAP_KILL,  CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_CHOWN,
                           CAP_FOWNER,    CAP_FSETID, CAP_SYS_PTRACE, CAP_MKNOD, CAP_NET_ADMIN,    CAP_SETPCAP};
  std::uint64_t kept = 0;
  for (const int capability : kKept) kept |= std::uint64_t{1} << capability;
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if ((kept >> capability & 1) == 0) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return;
  for (int i = 0; i < 2; ++i) {
    const auto mask = static_cast<std::uint32_t>(kept >> (32 * i));
    data[i].effective &= mask;
    data[i].permitted &= mask;
    data[i].inheritable = 0;
  }
  ::syscall(SYS_capset, &header, data);
}

void detach_standard_streams() {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) ::dup2(nothing, fd);
  if (nothing > 2) ::close(nothing);
}

// The caller's half: waits for "+" (0), or for a code and a message.
int wait_for_word(int fd) {
  std::string word;
  char buffer[512];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    word.append(buffer, static_cast<std::size_t>(n));
  }
  if (word == "+") return 0;
  std::fprintf(stderr, "%s\n", word.size() > 1 ? word.c_str() + 1 : "the supervisor ended before it was ready");
  return word.empty() ? 1 : word[0] - '0';
}

}  // namespace

Status take_lock(const std::string& path, const std::string& run) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.open()) return errno_error(path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return Error{Code::conflict, path + " is held by another process", 0};
  const std::string text = std::to_string(::getpid()) + " " + std::to_string(start_time_of(::getpid())) + " " + run + "\n";
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return errno_error(path);
  }
  fd.release();
  return {};
}

int hand_over(int argc, char** argv, const std::function<int(const HandOver&)>& body) {
  HandOver given;
  bool foreground = false;
  for (int i = 0; i < argc; ++i) {
    if (std::strcmp(argv[i], "--spec") == 0 && i + 1 < argc) {
      given.spec = argv[++i];
    } else if (std::strcmp(argv[i], "--foreground") == 0) {
      foreground = true;
    } else {
      std::fprintf(stderr, "unknown argument: %s\n", argv[i]);
      return 2;
    }
  }
  if (given.spec.empty()) {
    std::fputs("--spec FILE is missing\n", stderr);
    return 2;
  }
  ::umask(077);
  ::syscall(SYS_close_range, 3U, ~0U, 0U);
  auto word = make_pipe();
  if (!word) return 1;
  if (!foreground) {
    const pid_t pid = ::fork();
    if (pid < 0) return 1;
    if (pid > 0) {
      word->write.reset();
      return wait_for_word(word->read.get());
    }
    word->read.reset();
    ::setsid();
    detach_standard_streams();
    if (::chdir("/") != 0) return 1;
  }
  if (::geteuid() == 0) drop_capabilities();
  Fd& out = word->write;
  given.ready = [&out, foreground] {
    if (!foreground) (void)!::write(out.get(), "+", 1);
    out.reset();
  };
  given.refuse = [&out, foreground](const Error& error) {
    const int code = error.code == Code::conflict ? 3 : 1;
    const std::string text = std::to_string(code) + error.message;
    if (foreground) {
      std::fprintf(stderr, "%s\n", error.message.c_str());
    } else {
      (void)!::write(out.get(), text.data(), text.size());
    }
    return code;
  };
  return body(given);
}

}  // namespace roost::agent
