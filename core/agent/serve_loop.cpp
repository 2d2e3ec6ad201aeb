#include "agent/serve_loop.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>

namespace roost::agent {

Loop::Loop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

void Loop::add(int fd, std::uint32_t events, Handler handler) {
  const std::uint64_t token = next_++;
  entries_[fd] = Entry{token, std::make_shared<Handler>(std::move(handler))};
  tokens_[token] = fd;
  epoll_event event{};
  event.events = events;
  event.data.u64 = token;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void Loop::modify(int fd, std::uint32_t events) {
  const auto found = entries_.find(fd);
  if (found == entries_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = found->second.token;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Loop::remove(int fd) {
  const auto found = entries_.find(fd);
  if (found == entries_.end()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  tokens_.erase(found->second.token);
  entries_.erase(found);
}

Loop::TimerId Loop::after(std::int64_t delay_ms, std::function<void()> work) {
  const TimerId id = next_++;
  timers_.emplace(std::pair{monotonic_ms() + delay_ms, id}, std::move(work));
  return id;
}

void Loop::cancel(TimerId timer) {
  std::erase_if(timers_, [timer](const auto& entry) { return entry.first.second == timer; });
}

void Loop::run_timers() {
  const std::int64_t now = monotonic_ms();
  while (running_ && !timers_.empty() && timers_.begin()->first.first <= now) {
    auto work = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    work();
  }
}

void Loop::run() {
  epoll_event events[64];
  while (running_) {
    std::int64_t wait = -1;
    if (!timers_.empty()) wait = std::clamp<std::int64_t>(timers_.begin()->first.first - monotonic_ms(), 0, 3'600'000);
    const int count = ::epoll_wait(epoll_.get(), events, 64, static_cast<int>(wait));
    if (count < 0 && errno != EINTR) return;
    for (int i = 0; i < count && running_; ++i) {
      const auto token = tokens_.find(events[i].data.u64);
      if (token == tokens_.end()) continue;
      const std::shared_ptr<Handler> handler = entries_.at(token->second).handler;  // it may remove itself
      (*handler)(events[i].events);
    }
    run_timers();
  }
}

}  // namespace roost::agent
