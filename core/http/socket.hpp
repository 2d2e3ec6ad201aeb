// Poco's sockets as the server uses them: adopted from descriptors that were made CLOEXEC, non-blocking, without exceptions.
// Thread safety: one thread a socket.
#pragma once

#include <Poco/Net/ServerSocket.h>
#include <Poco/Net/StreamSocket.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost::http {

struct Io {
  enum class State { moved, blocked, ended, failed };
  State state = State::failed;
  std::size_t bytes = 0;
};

[[nodiscard]] Io send_some(Poco::Net::StreamSocket& socket, std::string_view data);
[[nodiscard]] Io receive_some(Poco::Net::StreamSocket& socket, char* buffer, std::size_t size);
void shutdown_send(Poco::Net::StreamSocket& socket);

// Take ownership of a descriptor.
[[nodiscard]] Poco::Net::StreamSocket adopt_stream(int descriptor);
[[nodiscard]] Poco::Net::ServerSocket adopt_listener(int descriptor);

// "HOST:PORT" or "[v6]:PORT", numeric, or "localhost". UNAVAILABLE naming the address; INVALID where it is not an address.
[[nodiscard]] Result<Poco::Net::ServerSocket> listen_on(const std::string& address);

struct Accepted {
  int descriptor = -1;  // -1: see error
  int error = 0;        // an errno
  std::string peer;
  bool loopback = false;
};
[[nodiscard]] Accepted accept_one(Poco::Net::ServerSocket& listener);

// Begins a non-blocking connection to "unix:PATH" (the last component must be a socket, no link is followed) or
// "tcp:HOST:PORT" (numeric). Connected or under way: wait until it is writable, then ask connect_error().
struct Connecting {
  int descriptor = -1;
  bool busy = false;  // the listener's queue is full: try again a little later
  Error error;        // where descriptor is -1
};
[[nodiscard]] Connecting begin_connect(const std::string& address);
[[nodiscard]] int connect_error(const Poco::Net::StreamSocket& socket);  // an errno; 0: connected

}  // namespace roost::http
