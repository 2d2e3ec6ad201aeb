// Small pieces of POSIX for the supervisor: owned descriptors, durable files, processes that cannot be mistaken for others.
// Thread safety: none needed; the agent has one thread. Every descriptor made here is close-on-exec.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace roost::agent {

// A file descriptor that is closed by its owner's end.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    reset(std::exchange(other.fd_, -1));
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool open() const { return fd_ >= 0; }
  void reset(int fd = -1);
  int release() { return std::exchange(fd_, -1); }  // it stays open

 private:
  int fd_ = -1;
};

struct Pipe {
  Fd read;
  Fd write;
};

[[nodiscard]] Error errno_error(
    const std::string& what);  // by errno: EXHAUSTED for a full disk, NOT_FOUND, DENIED, else INTERNAL
[[nodiscard]] Result<Pipe> make_pipe();
[[nodiscard]] Result<std::string> read_file(const std::string& path, std::size_t limit = 1 << 20);
[[nodiscard]] Status write_file(const std::string& path, std::string_view text,
                                mode_t mode = 0644);  // in place: for kernel files, lists
// Either the old content or the new one is seen, also after a crash.
[[nodiscard]] Status replace_file(const std::string& path, std::string_view text, mode_t mode = 0600);
[[nodiscard]] Status make_directory(const std::string& path, mode_t mode);  // its parent exists; existing is success

// A process by its pid and the time it was started at, in clock ticks since boot: together they are never used again until then.
struct ProcessId {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
};
[[nodiscard]] std::uint64_t start_time_of(pid_t pid);  // 0: no such process, or a zombie
[[nodiscard]] bool alive(const ProcessId& process);
void kill_process(const ProcessId& process, int signal);  // that one or none
[[nodiscard]] std::string boot_id();

[[nodiscard]] std::int64_t monotonic_ms();
[[nodiscard]] std::int64_t wall_us();

// Waits for POLLIN (or the given events) on fd; false at the deadline.
[[nodiscard]] bool wait_for(int fd, short events, std::int64_t deadline_ms);

}  // namespace roost::agent
