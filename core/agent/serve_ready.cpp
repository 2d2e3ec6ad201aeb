#include "agent/serve_ready.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "agent/front.hpp"

namespace roost::agent {

void ReadyProbe::ask(Done done) {
  abandon();
  done_ = std::move(done);
  auto connection = open_workload_socket(directory_, socket_, owner_);
  if (!connection) return finish(false);
  if (path_.empty()) return finish(true);
  connection_ = std::move(*connection);
  request_ = "GET " + path_ + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  loop_.add(connection_.get(), EPOLLOUT, [this](std::uint32_t events) { on_events(events); });
  timer_ = loop_.after(kTimeoutMs, [this] {
    timer_ = 0;
    finish(false);
  });
}

void ReadyProbe::abandon() {
  if (connection_.open()) {
    loop_.remove(connection_.get());
    connection_.reset();
  }
  if (timer_ != 0) loop_.cancel(std::exchange(timer_, 0));
  answer_.clear();
  done_ = nullptr;
}

void ReadyProbe::finish(bool ready) {
  std::int64_t heartbeat_us = 0;
  if (const std::size_t at = answer_.find("\"lastHeartbeat\":"); at != std::string::npos) {
    heartbeat_us = std::strtoll(answer_.c_str() + at + 16, nullptr, 10);
    heartbeat_us = heartbeat_us > 0 && heartbeat_us < INT64_MAX / 1000 ? heartbeat_us * 1000 : 0;
  }
  const Done done = std::move(done_);
  abandon();
  if (done) done(ready, heartbeat_us);
}

void ReadyProbe::on_events(std::uint32_t events) {
  if (!request_.empty() && (events & EPOLLOUT) != 0) {
    const ssize_t n = ::send(connection_.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return finish(false);
    if (n > 0) request_.erase(0, static_cast<std::size_t>(n));
    if (request_.empty()) loop_.modify(connection_.get(), EPOLLIN);
    return;
  }
  char buffer[2048];
  const ssize_t n = ::recv(connection_.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) answer_.append(buffer, static_cast<std::size_t>(n));
  if (n > 0 && answer_.size() < 8192) return;
  const bool ok = (answer_.starts_with("HTTP/1.1 200") || answer_.starts_with("HTTP/1.0 200"));
  finish(ok);
}

}  // namespace roost::agent
