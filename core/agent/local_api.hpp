// LocalApi: the chat consumer's API inside a workspace, on a unix socket: POST /messages/claim and POST /messages/{id}/ack,
// passed on to this very session's at the daemon with the session's token, which the workload never sees. Nothing else is
// reachable: no header, path or query of the client's goes further than the body. The daemon's URL and the token are read from
// their files for each request, so a daemon that comes back elsewhere is found. Thread safety: none; it lives on one Loop, a
// waiting claim is two descriptors there. Bounds: kMaxExchanges at once, kMaxBody.
#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "agent/serve_loop.hpp"
#include "base/result.hpp"

namespace roost::agent {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

struct LocalApiSpec {
  std::string id;          // the session's
  std::string url_file;    // holds the daemon's http://HOST[:PORT]; HOST: IPv4, IPv6 in brackets, or a name
  std::string token_file;  // holds the session's token
  // Finds a name's address; as it may block, the Loop then serves nothing else. Empty: a name is refused.
  std::function<Result<SocketAddress>(const std::string& name, std::uint16_t port)> look_up;
};

// The daemon's path for a client's, "" where there is none. Pure.
[[nodiscard]] std::string consumer_path(std::string_view id, std::string_view method, std::string_view target);

class LocalApi {
 public:
  static constexpr std::size_t kMaxExchanges = 64;
  static constexpr std::size_t kMaxBody = 256 << 10;

  LocalApi(Loop& loop, LocalApiSpec spec);
  ~LocalApi();
  LocalApi(const LocalApi&) = delete;
  LocalApi& operator=(const LocalApi&) = delete;

  // The socket belongs to `owner` (-1: this process's user) and is for that user only.
  [[nodiscard]] Status listen(const std::string& path, std::int64_t owner);

 private:
  class Exchange;
  void accept_some();

  Loop& loop_;
  const LocalApiSpec spec_;
  Fd listener_;
  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, std::unique_ptr<Exchange>> exchanges_;
};

}  // namespace roost::agent
