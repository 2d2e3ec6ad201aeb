// A raw HTTP client for tests: it sends exactly the bytes it is told to, and reads with a deadline. Also a socket server that
// stands for an upstream, with a thread a connection. Thread safety: one thread each.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace roost::test {

constexpr int kPatienceMs = 20'000;

inline std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// Waits for a condition that another thread brings about.
inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// A connected socket with a buffer; used on both sides.
class Wire {
 public:
  explicit Wire(int descriptor = -1) : descriptor_(descriptor) {}
  ~Wire() { close(); }
  Wire(Wire&& other) noexcept : buffer(std::move(other.buffer)), descriptor_(std::exchange(other.descriptor_, -1)) {}
  Wire& operator=(Wire&&) = delete;

  static Wire to_port(std::uint16_t port, int receive_buffer = 0) {
    Wire wire(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_buffer > 0) ::setsockopt(wire.descriptor_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(wire.descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) wire.close();
    return wire;
  }

  [[nodiscard]] bool valid() const { return descriptor_ >= 0; }
  [[nodiscard]] int descriptor() const { return descriptor_; }
  bool send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t sent = ::send(descriptor_, data.data(), data.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // What fits without waiting.
  std::size_t send_without_waiting(std::string_view data) {
    const ssize_t sent = ::send(descriptor_, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  void finish_sending() { ::shutdown(descriptor_, SHUT_WR); }
  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
  }
  // One read into `buffer`. False: the end, an error, or nothing within the deadline.
  bool fill(int patience_ms = kPatienceMs) {
    pollfd poller{descriptor_, POLLIN, 0};
    if (::poll(&poller, 1, patience_ms) <= 0) return false;
    char chunk[65536];
    const ssize_t received = ::recv(descriptor_, chunk, sizeof chunk, 0);
    if (received <= 0) {
      ended = true;
      return false;
    }
    buffer.append(chunk, static_cast<std::size_t>(received));
    return true;
  }
  bool fill_until(const std::function<bool(const std::string&)>& enough) {
    while (!enough(buffer)) {
      if (!fill()) return false;
    }
    return true;
  }
  std::string take(std::size_t size) {
    if (!fill_until([&](const std::string& b) { return b.size() >= size; })) return {};
    std::string taken = buffer.substr(0, size);
    buffer.erase(0, size);
    return taken;
  }
  std::string take_line() {
    if (!fill_until([](const std::string& b) { return b.find("\r\n") != std::string::npos; })) return {};
    std::string line = take(buffer.find("\r\n") + 2);
    line.resize(line.size() - 2);
    return line;
  }
  // Everything until the peer ends. False where it does not end within the deadline.
  bool drain() {
    while (fill()) {
    }
    return ended;
  }

  std::string buffer;
  bool ended = false;

 private:
  int descriptor_;
};

struct Message {
  std::string start;  // the first line
  int status = 0;
  std::map<std::string, std::string> headers;
  std::vector<std::pair<std::string, std::string>> all;
  std::string body;
  bool complete = false;
};

inline Message take_head(Wire& wire) {
  Message message;
  message.start = wire.take_line();
  if (message.start.rfind("HTTP/1.1 ", 0) == 0) message.status = std::stoi(message.start.substr(9, 3));
  while (true) {
    const std::string line = wire.take_line();
    if (line.empty()) break;
    const auto colon = line.find(": ");
    if (colon == std::string::npos) break;
    message.headers[lower(line.substr(0, colon))] = line.substr(colon + 2);
    message.all.emplace_back(lower(line.substr(0, colon)), line.substr(colon + 2));
  }
  return message;
}

inline void take_chunks(Wire& wire, Message& message) {
  while (true) {
    const std::string size_line = wire.take_line();
    if (size_line.empty()) return;
    const std::size_t size = std::stoul(size_line, nullptr, 16);
    message.body += wire.take(size);
    const bool ended_well = wire.take(2) == "\r\n";
    if (size == 0 || !ended_well) {
      message.complete = ended_well;
      return;
    }
  }
}

// One message; of an answer to HEAD only the head.
inline Message take_message(Wire& wire, bool head_only = false) {
  Message message = take_head(wire);
  if (message.start.empty()) return message;
  if (head_only || message.status == 204 || message.status == 304) {
    message.complete = true;
  } else if (message.headers.count("transfer-encoding") != 0) {
    take_chunks(wire, message);
  } else if (message.headers.count("content-length") != 0) {
    const std::size_t size = std::stoul(message.headers["content-length"]);
    message.body = wire.take(size);
    message.complete = message.body.size() == size;
  } else {
    message.complete = true;
  }
  return message;
}

inline Message ask(std::uint16_t port, std::string_view bytes) {
  Wire wire = Wire::to_port(port);
  wire.send(bytes);
  return take_message(wire);
}

// Listens and serves each connection on a thread of its own.
class SocketServer {
 public:
  using Serve = std::function<void(Wire&)>;

  explicit SocketServer(Serve serve) : SocketServer(std::move(serve), {}) {}
  // On a unix socket where `path` is not empty.
  SocketServer(Serve serve, const std::string& path) : serve_(std::move(serve)) {
    if (path.empty()) {
      listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      ::bind(listener_, reinterpret_cast<sockaddr*>(&address), size);
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
      address_ = "tcp:127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    } else {
      listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
      ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
      address_ = "unix:" + path;
    }
    ::listen(listener_, 1024);
    acceptor_ = std::thread([this] { accept(); });
  }
  ~SocketServer() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
      const std::lock_guard lock(mutex_);
      for (const int descriptor : open_) ::shutdown(descriptor, SHUT_RDWR);
    }
    for (std::thread& thread : threads_) thread.join();
  }
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] int accepted() const { return accepted_; }

 private:
  void accept() {
    while (true) {
      const int descriptor = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (descriptor < 0) return;
      ++accepted_;
      const std::lock_guard lock(mutex_);
      open_.push_back(descriptor);
      threads_.emplace_back([this, descriptor] {
        Wire wire(descriptor);
        serve_(wire);
        const std::lock_guard inner(mutex_);
        open_.remove(descriptor);
      });
    }
  }

  Serve serve_;
  int listener_ = -1;
  std::string address_;
  std::atomic<int> accepted_{0};
  std::mutex mutex_;
  std::list<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace roost::test
