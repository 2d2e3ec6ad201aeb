// Loop: one epoll instance and its timers, for a program with one thread.
// Thread safety: none; everything happens on the thread that runs it. Callbacks may add and remove anything, themselves too.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>

#include "agent/serve_posix.hpp"

namespace roost::agent {

class Loop {
 public:
  using Handler = std::function<void(std::uint32_t events)>;
  using TimerId = std::uint64_t;

  Loop();
  [[nodiscard]] bool valid() const { return epoll_.open(); }

  // REQUIRES: the descriptor is removed before it is closed. events: EPOLLIN, EPOLLOUT; level-triggered.
  void add(int fd, std::uint32_t events, Handler handler);
  void modify(int fd, std::uint32_t events);
  void remove(int fd);

  TimerId after(std::int64_t delay_ms, std::function<void()> work);
  void cancel(TimerId timer);

  void run();  // until stop()
  void stop() { running_ = false; }

 private:
  struct Entry {
    std::uint64_t token;
    std::shared_ptr<Handler> handler;
  };
  void run_timers();

  Fd epoll_;
  bool running_ = true;
  std::uint64_t next_ = 1;
  std::unordered_map<int, Entry> entries_;
  std::unordered_map<std::uint64_t, int> tokens_;  // of a live entry: an event of a removed one is not delivered to its successor
  std::map<std::pair<std::int64_t, TimerId>, std::function<void()>> timers_;
};

}  // namespace roost::agent
