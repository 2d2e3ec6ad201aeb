#include "agent/front.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace roost::agent {
namespace {

constexpr const char* kNotThere =
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

bool set_address(sockaddr_un& address, const std::string& path) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  return true;
}

}  // namespace

Result<Fd> open_workload_socket(int directory, const std::string& name, uid_t owner) {
  Fd node(::openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!node.open()) return errno_error("the workload's socket");
  struct stat info {};
  if (::fstat(node.get(), &info) != 0) return errno_error("the workload's socket");
  if (!S_ISSOCK(info.st_mode)) return Error{Code::denied, "the workload's socket is not a socket", 0};
  if (info.st_uid != owner) return Error{Code::denied, "the workload's socket belongs to another user", 0};
  Fd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection.open()) return errno_error("socket");
  sockaddr_un address{};
  // By way of the descriptor: what was checked is what is connected to, whatever the directory says now.
  if (!set_address(address, "/proc/self/fd/" + std::to_string(node.get()))) return Error{Code::internal, "address", 0};
  if (::connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return Error{Code::unavailable, std::string("the workload's socket: ") + std::strerror(errno), 0};
  }
  return connection;
}

Result<Fd> listen_unix(const std::string& path, mode_t mode) {
  sockaddr_un address{};
  if (!set_address(address, path)) {
    return Error{Code::invalid, path + ": a socket's path has at most 107 bytes; configure a shorter run_dir", 0};
  }
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.open()) return errno_error("socket");
  ::unlink(path.c_str());
  const mode_t old = ::umask(0777 & ~mode);
  const int bound = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  ::umask(old);
  if (bound != 0 || ::listen(fd.get(), 512) != 0) return errno_error(path);
  return fd;
}

Front::~Front() {
  close_all();
  if (listener_.open()) loop_.remove(listener_.get());
}

Status Front::listen(const std::string& path) {
  ROOST_TRY(listener_, listen_unix(path, 0600));
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_some(); });
  return {};
}

void Front::close_all() {
  while (!connections_.empty()) close(connections_.begin()->first);
}

const FrontActivity& Front::activity() {
  activity_.connections = static_cast<int>(connections_.size());
  if (activity_.connections > 0) activity_.connection_us = wall_us();
  return activity_;
}

void Front::accept_some() {
  for (int i = 0; i < 64; ++i) {
    Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.open()) return;
    auto workload = connections_.size() < kMaxConnections ? open_workload_socket(directory_, name_, owner_)
                                                          : Result<Fd>(Code::exhausted, "too many connections");
    if (!workload) {
      (void)!::send(client.get(), kNotThere, std::strlen(kNotThere), MSG_NOSIGNAL);
      continue;
    }
    const std::uint64_t id = next_++;
    auto connection = std::make_unique<Connection>();
    connection->client.fd = std::move(client);
    connection->workload.fd = std::move(*workload);
    connection->workload.answers = true;
    Connection& made = *connection;
    connections_.emplace(id, std::move(connection));
    activity_.connection_us = wall_us();
    watch(id, made);
  }
}

void Front::serve(std::uint64_t id, bool from_client, std::uint32_t events) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  Side& self = from_client ? connection.client : connection.workload;
  Side& other = from_client ? connection.workload : connection.client;
  bool good = self.answers || (events & EPOLLERR) == 0;
  if (good && (events & EPOLLOUT) != 0) good = flush(self, other.ended);
  if (good && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) good = pump(connection, self, other, from_client);
  // A peer that is wholly gone cannot be written to; it would report EPOLLHUP for ever while the other side drains.
  if (good && (events & (EPOLLHUP | EPOLLERR)) != 0 && self.ended) {
    self.shut = self.gone = true;
    loop_.remove(self.fd.get());
  }
  if (!good || (connection.client.shut && connection.workload.shut)) return close(id);
  watch(id, connection);
}

bool Front::pump(Connection& connection, Side& from, Side& to, bool from_client) {
  char buffer[16 * 1024];
  while (!from.ended && to.out.size() < kBufferBytes) {
    const std::size_t room = std::min(sizeof buffer, kBufferBytes - to.out.size());
    const ssize_t n = ::recv(from.fd.get(), buffer, room, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0 && !from.answers) return false;
    if (n <= 0) {
      from.ended = true;
      break;
    }
    const std::string_view data(buffer, static_cast<std::size_t>(n));
    note(connection, data, from_client);
    to.out.append(data);
    if (!flush(to, from.ended)) return false;
  }
  return flush(to, from.ended);
}

bool Front::flush(Side& side, bool other_ended) {
  if (side.deaf) side.out.clear();
  std::size_t done = 0;
  while (done < side.out.size()) {
    const ssize_t n = ::send(side.fd.get(), side.out.data() + done, side.out.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n < 0 && !side.answers) return false;
    if (n < 0) {
      side.deaf = side.shut = true;
      done = side.out.size();
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  if (done == side.out.size()) {
    std::string().swap(side.out);  // an idle connection keeps no buffer
    if (other_ended && !side.shut) {
      side.shut = true;
      ::shutdown(side.fd.get(), SHUT_WR);
    }
  } else {
    side.out.erase(0, done);
  }
  return true;
}

void Front::watch(std::uint64_t id, Connection& connection) {
  for (const bool client : {true, false}) {
    Side& self = client ? connection.client : connection.workload;
    const Side& other = client ? connection.workload : connection.client;
    const bool waits = !self.ended && other.out.size() >= kBufferBytes;
    const std::uint32_t wanted = (self.ended || waits ? 0u : EPOLLIN) | (self.out.empty() ? 0u : EPOLLOUT);
    if (self.gone) continue;
    if (waits && wanted == 0) {  // not at all: a peer that has left, with bytes still to be read, is reported whatever is asked
      loop_.remove(self.fd.get());
      self.watched = false;
    } else if (self.watched) {
      loop_.modify(self.fd.get(), wanted);
    } else {
      self.watched = true;
      loop_.add(self.fd.get(), wanted, [this, id, client](std::uint32_t events) { serve(id, client, events); });
    }
  }
}

void Front::close(std::uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  loop_.remove(found->second->client.fd.get());
  loop_.remove(found->second->workload.fd.get());
  activity_.connection_us = wall_us();
  connections_.erase(found);
}

void Front::note(Connection& connection, std::string_view data, bool from_client) {
  if (!from_client) {
    // The answer that switches protocols opens a burst of its own; from then on the client speaks frames.
    if (!connection.websocket && data.starts_with("HTTP/1.1 101")) connection.websocket = true;
    return;
  }
  const std::int64_t now = wall_us();
  if (!connection.websocket) {
    activity_.http_request_us = now;
    return;
  }
  activity_.websocket_bytes_us = now;
  if (connection.meter.feed(data)) activity_.websocket_message_us = now;
}

}  // namespace roost::agent
