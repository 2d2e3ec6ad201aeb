#include "agent/task_thread.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>

#include "agent/walk_beneath.hpp"

namespace roost::agent {

namespace {

constexpr std::size_t kThreadStack = 1u << 20;
constexpr unsigned kThreadsMax = 4;

// cgroup v2 as a container sees its own: "max 100000", or microseconds of time in each such period.
unsigned container_share() {
  std::ifstream in("/sys/fs/cgroup/cpu.max");
  long quota = 0;
  long period = 0;
  if (!(in >> quota >> period) || quota <= 0 || period <= 0) return kThreadsMax;
  return static_cast<unsigned>(std::clamp((quota + period - 1) / period, 1L, static_cast<long>(kThreadsMax)));
}

}  // namespace

Status TaskThread::start(std::function<void()> body) {
  body_ = std::move(body);
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, kThreadStack);
  const int error = ::pthread_create(
      &thread_, &attributes,
      [](void* self) -> void* {
        static_cast<TaskThread*>(self)->body_();
        return nullptr;
      },
      this);
  ::pthread_attr_destroy(&attributes);
  if (error != 0) return errno_error(error, "cannot start a thread");
  started_ = true;
  return {};
}

void TaskThread::join() {
  if (std::exchange(started_, false)) ::pthread_join(thread_, nullptr);
}

unsigned task_threads() {
  cpu_set_t set;
  CPU_ZERO(&set);
  // It fails on machines with more processors than the set has room for.
  const unsigned here = ::sched_getaffinity(0, sizeof set, &set) == 0 ? static_cast<unsigned>(CPU_COUNT(&set)) : kThreadsMax;
  return std::clamp(std::min(here, container_share()), 1u, kThreadsMax);
}

}  // namespace roost::agent
