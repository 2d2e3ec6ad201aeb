#include "cli/interrupt.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.hpp"

namespace roost::cli {
namespace {

volatile sig_atomic_t g_interrupted = 0;
int g_pipe[2] = {-1, -1};

void on_signal(int) {
  const int saved = errno;
  g_interrupted = 1;
  [[maybe_unused]] const ssize_t written = ::write(g_pipe[1], "", 1);
  errno = saved;
}

}  // namespace

void catch_interrupts() {
  if (g_pipe[0] >= 0 || ::pipe2(g_pipe, O_CLOEXEC | O_NONBLOCK) != 0) return;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // without SA_RESTART: a read from the terminal ends too
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return g_interrupted != 0; }
int interrupt_fd() { return g_pipe[0]; }
Error interruption() { return Error{Code::cancelled, "interrupted", 0}; }

Status sleep_ms(std::int64_t ms) {
  const std::int64_t end_ns = system_clock().monotonic_ns() + ms * 1'000'000;
  while (!interrupted()) {
    const std::int64_t left_ms = (end_ns - system_clock().monotonic_ns() + 999'999) / 1'000'000;
    if (left_ms <= 0) return {};
    pollfd wake{interrupt_fd(), POLLIN, 0};
    ::poll(&wake, interrupt_fd() >= 0 ? 1 : 0, static_cast<int>(std::min<std::int64_t>(left_ms, 60'000)));
  }
  return interruption();
}

}  // namespace roost::cli
