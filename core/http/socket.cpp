#include "http/socket.hpp"

#include <Poco/Net/ServerSocketImpl.h>
#include <Poco/Net/StreamSocketImpl.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

namespace roost::http {
namespace {

std::string errno_text(int error) { return std::generic_category().message(error); }

class StreamAdopter : public Poco::Net::StreamSocket {
 public:
  explicit StreamAdopter(int descriptor) : StreamSocket(new Poco::Net::StreamSocketImpl(descriptor)) {}
};

class ListenerImpl : public Poco::Net::ServerSocketImpl {
 public:
  explicit ListenerImpl(int descriptor) { reset(descriptor); }
};

class ListenerAdopter : public Poco::Net::ServerSocket {
 public:
  explicit ListenerAdopter(int descriptor) : ServerSocket(new ListenerImpl(descriptor), true) {}
};

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

std::optional<Address> parse_address(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  std::string host = text.substr(0, colon);
  const std::string port_text = text.substr(colon + 1);
  if (port_text.empty() || port_text.size() > 5 || port_text.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  const int port = std::stoi(port_text);
  if (port > 65535) return std::nullopt;
  if (host == "localhost") host = "127.0.0.1";
  Address address;
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<std::uint16_t>(port));
    address.size = sizeof(sockaddr_in6);
    if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) != 1) return std::nullopt;
    return address;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(static_cast<std::uint16_t>(port));
  address.size = sizeof(sockaddr_in);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) != 1) return std::nullopt;
  return address;
}

void set_option(int descriptor, int level, int option, int value) {
  // Best effort: every option set through here is a matter of speed or of noticing dead peers.
  (void)::setsockopt(descriptor, level, option, &value, sizeof value);
}

void tune(int descriptor) {
  set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

Connecting failed(std::string message) { return {-1, false, Error{Code::unavailable, std::move(message), 0}}; }

// A path longer than sun_path, and one that is swapped for a link meanwhile, are both dealt with by connecting through the
// descriptor of the socket that was looked at.
Connecting connect_unix(const std::string& path) {
  const int handle = ::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (handle < 0) return failed("cannot reach the upstream socket: " + errno_text(errno));
  struct stat status {};
  if (::fstat(handle, &status) != 0 || !S_ISSOCK(status.st_mode)) {
    ::close(handle);
    return failed("the upstream's path is not a socket");
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string via = "/proc/self/fd/" + std::to_string(handle);
  std::memcpy(address.sun_path, via.c_str(), via.size() + 1);
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) {
    const int error = errno;
    ::close(handle);
    return failed("cannot make a socket: " + errno_text(error));
  }
  const int result = ::connect(descriptor, reinterpret_cast<sockaddr*>(&address), sizeof address);
  const int error = errno;
  ::close(handle);
  if (result == 0 || error == EINPROGRESS) return {descriptor, false, {}};
  ::close(descriptor);
  Connecting answer = failed("cannot connect to the upstream socket: " + errno_text(error));
  answer.busy = error == EAGAIN;
  return answer;
}

Connecting connect_tcp(const std::string& text) {
  const auto address = parse_address(text);
  if (!address) return failed("the upstream's address is not HOST:PORT with a numeric host");
  const int descriptor = ::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return failed("cannot make a socket: " + errno_text(errno));
  tune(descriptor);
  if (::connect(descriptor, reinterpret_cast<const sockaddr*>(&address->storage), address->size) == 0 || errno == EINPROGRESS) {
    return {descriptor, false, {}};
  }
  const int error = errno;
  ::close(descriptor);
  return failed("cannot connect to the upstream: " + errno_text(error));
}

}  // namespace

// Poco 1.11's sendBytes throws where a non-blocking socket would block, and its receiveBytes throws for a reset: both are
// everyday events here, so the two calls are made on the descriptor.
Io send_some(Poco::Net::StreamSocket& socket, std::string_view data) {
  while (true) {
    const ssize_t sent = ::send(socket.impl()->sockfd(), data.data(), data.size(), MSG_NOSIGNAL);
    if (sent >= 0) return {Io::State::moved, static_cast<std::size_t>(sent)};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {Io::State::blocked, 0};
    if (errno != EINTR) return {Io::State::failed, 0};
  }
}

Io receive_some(Poco::Net::StreamSocket& socket, char* buffer, std::size_t size) {
  while (true) {
    const ssize_t received = ::recv(socket.impl()->sockfd(), buffer, size, 0);
    if (received > 0) return {Io::State::moved, static_cast<std::size_t>(received)};
    if (received == 0) return {Io::State::ended, 0};
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {Io::State::blocked, 0};
    if (errno != EINTR) return {Io::State::failed, 0};
  }
}

void shutdown_send(Poco::Net::StreamSocket& socket) {
  // Poco's shutdownSend throws where the peer is gone already, which is no news here.
  (void)::shutdown(socket.impl()->sockfd(), SHUT_WR);
}

Poco::Net::StreamSocket adopt_stream(int descriptor) {
  StreamAdopter socket(descriptor);
  socket.setBlocking(false);
  return socket;
}

Poco::Net::ServerSocket adopt_listener(int descriptor) {
  ListenerAdopter socket(descriptor);
  socket.setBlocking(false);
  return socket;
}

Result<Poco::Net::ServerSocket> listen_on(const std::string& text) {
  const auto address = parse_address(text);
  if (!address)
    return Error{Code::invalid, "'" + text + "' is not an address: write HOST:PORT with a numeric host, e.g. 127.0.0.1:8080", 0};
  const auto cannot = [&](const char* what) {
    return Error{Code::unavailable, std::string("cannot ") + what + " " + text + ": " + errno_text(errno), 0};
  };
  const int descriptor = ::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return cannot("make a socket for");
  // No SO_REUSEPORT: a second daemon on the same address must fail, not take half of the connections.
  set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address->storage);
  if (::bind(descriptor, raw, address->size) != 0 || ::listen(descriptor, 4096) != 0) {
    Error error = cannot("listen on");
    ::close(descriptor);
    return error;
  }
  return adopt_listener(descriptor);
}

Accepted accept_one(Poco::Net::ServerSocket& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  Accepted accepted;
  accepted.descriptor =
      ::accept4(listener.impl()->sockfd(), reinterpret_cast<sockaddr*>(&address), &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (accepted.descriptor < 0) {
    accepted.error = errno;
    return accepted;
  }
  tune(accepted.descriptor);
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
    accepted.loopback = (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  } else if (address.ss_family == AF_INET6) {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
    accepted.loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
  }
  accepted.peer = text;
  return accepted;
}

Connecting begin_connect(const std::string& address) {
  if (address.rfind("unix:", 0) == 0) return connect_unix(address.substr(5));
  if (address.rfind("tcp:", 0) == 0) return connect_tcp(address.substr(4));
  return failed("the upstream's address begins with neither unix: nor tcp:");
}

int connect_error(const Poco::Net::StreamSocket& socket) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(socket.impl()->sockfd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

}  // namespace roost::http
