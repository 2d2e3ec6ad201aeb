#include "agent/serve_posix.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

namespace roost::agent {

void Fd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Error errno_error(const std::string& what) {
  const int error = errno;
  Code code = Code::internal;
  if (error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE || error == ENOMEM) code = Code::exhausted;
  if (error == ENOENT || error == ESRCH) code = Code::not_found;
  if (error == EACCES || error == EPERM || error == EROFS) code = Code::denied;
  return Error{code, what + ": " + std::strerror(error), 0};
}

Result<Pipe> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return errno_error("pipe");
  return Pipe{Fd(fds[0]), Fd(fds[1])};
}

Result<std::string> read_file(const std::string& path, std::size_t limit) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.open()) return errno_error(path);
  std::string text;
  char buffer[4096];
  while (text.size() <= limit) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(path);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return Error{Code::invalid, path + ": larger than " + std::to_string(limit) + " bytes", 0};
}

namespace {

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(path);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

Status write_file(const std::string& path, std::string_view text, mode_t mode) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd.open()) return errno_error(path);
  return write_all(fd.get(), text, path);
}

Status replace_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd.open()) return errno_error(temporary);
  ROOST_CHECK(write_all(fd.get(), text, temporary));
  if (::fsync(fd.get()) != 0) return errno_error(temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_error(path);
  Fd directory(::open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.open() && ::fsync(directory.get()) != 0) return errno_error(path);
  return {};
}

Status make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return {};
  struct stat info {};
  const int error = errno;
  if (error == EEXIST && ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
  errno = error;
  return errno_error(path);
}

std::uint64_t start_time_of(pid_t pid) {
  if (pid <= 0) return 0;
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return 0;
  // The second field is the command in parentheses and may hold anything: count from its end. The state is field 3, the start 22.
  const std::size_t end = text->rfind(')');
  if (end == std::string::npos || end + 2 >= text->size() || (*text)[end + 2] == 'Z' || (*text)[end + 2] == 'X') return 0;
  std::size_t at = end + 2;
  for (int field = 3; field < 22; ++field) {
    at = text->find(' ', at);
    if (at == std::string::npos) return 0;
    ++at;
  }
  return std::strtoull(text->c_str() + at, nullptr, 10);
}

bool alive(const ProcessId& process) { return process.start_time != 0 && start_time_of(process.pid) == process.start_time; }

void kill_process(const ProcessId& process, int signal) {
  // The descriptor pins the process first, then its identity is checked: the pid cannot be reused in between.
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pidfd.open() || !alive(process)) return;
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
}

std::string boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id", 64).value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::int64_t monotonic_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

std::int64_t wall_us() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

bool wait_for(int fd, short events, std::int64_t deadline_ms) {
  while (true) {
    const std::int64_t left = std::max<std::int64_t>(0, deadline_ms - monotonic_ms());
    pollfd entry{fd, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (left == 0) return false;
  }
}

}  // namespace roost::agent
