// FrontActivity: what a workspace's traffic says about its use: interaction (requests, WebSocket messages of a client) apart from
// mere connection. WebSocketMeter: finds the client's data messages in a WebSocket byte stream (RFC 6455 section 5.2), so that
// pings and an editor's tiny keep-alives do not count as use.
// Thread safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace roost::agent {

struct FrontActivity {
  std::int64_t http_request_us = 0;       // last bytes of a request; 0: never
  std::int64_t websocket_message_us = 0;  // last data message of a client above the keep-alive size
  std::int64_t websocket_bytes_us = 0;    // last bytes of a client at all
  std::int64_t connection_us = 0;         // last time a connection was open
  std::int64_t heartbeat_us = 0;          // as the workload's readiness answer says
  int connections = 0;
};

class WebSocketMeter {
 public:
  static constexpr std::uint64_t kKeepAliveBytes = 32;  // a data message up to this size is not taken for interaction
  // Takes the next bytes; answers whether a message above the keep-alive size began in them.
  bool feed(std::string_view data);

 private:
  unsigned char header_[14] = {};
  std::size_t have_ = 0;
  std::uint64_t skip_ = 0;  // payload bytes still to come
};

}  // namespace roost::agent
