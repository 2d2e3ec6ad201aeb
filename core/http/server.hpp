// Server: a few event loops over Poco's sockets and PollSet, Boost.Beast's parser, a bounded handler pool, limits on everything.
// An idle, slow or streaming connection holds no thread. Virtual servers are chosen by the Host header before any routing.
// Thread safety: start and stop from one thread; the rest as said at each.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "http/http.hpp"

namespace roost::http {

struct ServerOptions {
  std::string listen = "127.0.0.1:8080";  // HOST:PORT; [v6]:PORT; port 0 picks one
  int loops = 2;
  int pool_threads = 4;
  int pool_queue = 256;                                // waiting pooled requests; more is 503 with Retry-After
  int connections = 20'000;                            // a few past it are let in for Run::probe; the rest is 503
  int connections_per_peer = 10'000;                   // loopback is not limited
  int requests_in_flight = 4'096;                      // unanswered requests, streams not counted; more is 503
  std::size_t header_bytes = 16 << 10;                 // 431
  int header_count = 100;                              // 431
  std::size_t target_bytes = 8 << 10;                  // 414
  std::chrono::milliseconds header_deadline{10'000};   // for the whole header: 408
  std::chrono::milliseconds request_deadline{60'000};  // for header and body: 408
  std::chrono::milliseconds idle_timeout{75'000};      // keep-alive
  std::chrono::milliseconds drain_deadline{10'000};
  std::chrono::milliseconds proxy_answer_deadline{300'000};     // proxied: from the last byte it took to its answer's head
  std::chrono::milliseconds proxy_idle_timeout{4 * 3'600'000};  // proxied answers and tunnels: no byte either way
  std::size_t stream_buffer = 64 << 10;  // a stream whose client does not read more than this behind is cut off
};

// Where a proxied request goes.
struct Upstream {
  std::string address;                      // "unix:PATH" or "tcp:HOST:PORT"
  Headers set_headers;                      // replace what the client sent
  std::vector<std::string> remove_headers;  // lower case, besides the hop-by-hop ones
  std::string remove_cookie;                // this cookie is taken out of Cookie; empty: none
  std::function<void(std::int64_t bytes_up, std::int64_t bytes_down)> on_traffic;  // at most once a second; on the loop
};

// What a virtual server does with a request whose header has been read: answer it, or pass it on (WebSockets included).
struct ProxyDecision {
  std::optional<Response> answer;
  std::optional<Upstream> upstream;
  std::function<Response(const Error&)> on_upstream_error;  // before anything was answered; null: 502
};
using ProxyHandler = std::function<ProxyDecision(const Request&)>;  // on the loop: memory only

struct VirtualServer {
  // True where this virtual server answers that Host ("name:port", lower case). The first that says so is chosen; none: 421.
  std::function<bool(std::string_view host)> accepts;
  const Router* router = nullptr;  // either a router ...
  Gatekeeper gatekeeper;           // ... with its gatekeeper, asked for each matched route
  ProxyHandler proxy;              // ... or a proxy
  Headers response_headers;        // added to every answer of its own
};

struct ServerStatistics {
  std::int64_t accepted = 0, open_connections = 0, idle_connections = 0, requests = 0, rejected = 0, timeouts = 0;
  std::int64_t in_flight = 0, streams = 0, proxied = 0, tunnels = 0;
};

class Server {
 public:
  Server(ServerOptions options, std::vector<VirtualServer> virtual_servers);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Called on a loop or pool thread for each answered request, for metrics and the access log. `route` is the pattern, or "".
  using Observer = std::function<void(const Request&, std::string_view route, int status, std::chrono::nanoseconds took)>;
  void on_request(Observer observer);  // before start

  Status start();  // UNAVAILABLE naming the address where it cannot listen
  [[nodiscard]] std::uint16_t port() const;
  // Stops accepting, answers what is in flight with Connection: close, ends streams, then closes what is left at the deadline.
  void stop();
  [[nodiscard]] ServerStatistics statistics() const;  // any thread

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost::http
