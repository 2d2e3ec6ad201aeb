#include "plugins/store/redis/proxy.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace roost::store_suite {
namespace {

constexpr int kTickMs = 20;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

bool send_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = ::send(fd, data, size, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data += sent;
    size -= static_cast<std::size_t>(sent);
  }
  return true;
}

}  // namespace

Proxy::Proxy(std::string listen, std::string target) : target_(std::move(target)) {
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(listen);
  (void)::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  (void)::listen(listener_, 64);
  acceptor_ = std::thread([this] { run(); });
}

Proxy::~Proxy() {
  stop_ = true;
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  ::close(listener_);
}

void Proxy::arm(Fault fault) {
  const std::lock_guard lock(mutex_);
  if (fault.hold || fault.delay) held_ = true;
  fault_ = std::move(fault);
}

void Proxy::release() {
  const std::lock_guard lock(mutex_);
  fault_.reset();
  held_ = false;
}

void Proxy::rewrite(std::string from, std::string to) {
  const std::lock_guard lock(mutex_);
  from_ = std::move(from);
  to_ = std::move(to);
}

std::optional<Fault> Proxy::take(const std::string& request) {
  const std::lock_guard lock(mutex_);
  if (!fault_ || request.find(fault_->match) == std::string::npos) return std::nullopt;
  const Fault met = *fault_;
  if (--fault_->times <= 0) fault_.reset();
  ++met_;
  return met;
}

void Proxy::run() {
  while (!stop_) {
    pollfd fd{listener_, POLLIN, 0};
    if (::poll(&fd, 1, kTickMs) <= 0) continue;
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) threads_.emplace_back([this, client] { serve(client); });
  }
}

void Proxy::serve(int client) {
  const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(target_);
  bool open = ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  std::optional<Fault> fault;
  std::vector<char> buffer(256 * 1024);
  while (open && !stop_) {
    const bool holding = fault && fault->hold && held_;
    if (fault && fault->hold && !held_) fault.reset();
    pollfd fds[2] = {{client, POLLIN, 0}, {server, static_cast<short>(holding ? 0 : POLLIN), 0}};
    if (::poll(fds, 2, kTickMs) <= 0) continue;
    if (fds[0].revents != 0) {
      const ssize_t got = ::recv(client, buffer.data(), buffer.size(), 0);
      if (got <= 0) break;
      if (!fault) fault = take(std::string(buffer.data(), static_cast<std::size_t>(got)));
      if (fault && fault->before_request) break;
      if (fault && fault->delay) {
        while (held_ && !stop_) std::this_thread::sleep_for(std::chrono::milliseconds(kTickMs));
        fault.reset();
      }
      open = send_all(server, buffer.data(), static_cast<std::size_t>(got));
    }
    if (fds[1].revents != 0 && !(fault && fault->hold && held_)) {
      const ssize_t got = ::recv(server, buffer.data(), buffer.size(), 0);
      if (got <= 0) break;
      std::string reply(buffer.data(), static_cast<std::size_t>(got));
      {
        const std::lock_guard lock(mutex_);
        for (std::size_t at = 0; !from_.empty() && (at = reply.find(from_, at)) != std::string::npos; at += to_.size())
          reply.replace(at, from_.size(), to_);
      }
      if (fault && !fault->hold) {
        const bool enough = reply.size() >= fault->reply_bytes;
        reply.resize(std::min(reply.size(), fault->reply_bytes));
        fault->reply_bytes -= reply.size();
        (void)send_all(client, reply.data(), reply.size());
        if (enough) break;
      } else {
        open = send_all(client, reply.data(), reply.size());
      }
    }
  }
  ::close(client);
  ::close(server);
}

}  // namespace roost::store_suite
