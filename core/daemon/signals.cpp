#include "daemon/signals.hpp"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <initializer_list>

#include "base/clock.hpp"

namespace roost::daemon {
namespace {

sigset_t daemon_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

}  // namespace

void block_signals() {
  const sigset_t set = daemon_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int wait_for_signal(std::int64_t timeout_ms) {
  const sigset_t set = daemon_signals();
  const Clock& clock = system_clock();
  const std::int64_t end_ns = clock.monotonic_ns() + timeout_ms * 1'000'000;
  for (;;) {
    const std::int64_t left_ns = std::max<std::int64_t>(0, end_ns - clock.monotonic_ns());
    const timespec timeout{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
    const int signal = sigtimedwait(&set, nullptr, &timeout);
    if (signal > 0) return signal;
    if (errno != EINTR) return 0;  // a debugger or a leak checker that stops the threads interrupts it
  }
}

}  // namespace roost::daemon
