// What the parts of one server share: options, virtual servers, the pool, counters.
// Thread safety: options, servers and observer do not change once the server started; the rest locks or is atomic.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "http/loop.hpp"
#include "http/pool.hpp"
#include "http/server.hpp"

namespace roost::http {

class Connection;

inline constexpr char kNoPlace[] = "too many connections: try again shortly";

struct Counters {
  std::atomic<std::int64_t> accepted{0}, open{0}, idle{0}, requests{0}, rejected{0}, timeouts{0};
  std::atomic<std::int64_t> in_flight{0}, streams{0}, proxied{0}, tunnels{0};
};

// One of the counters above, held for as long as this lives.
class Held {
 public:
  Held() = default;
  ~Held() { release(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  void hold(std::atomic<std::int64_t>& counter) {
    release();
    counter_ = &counter;
    counter.fetch_add(1, std::memory_order_relaxed);
  }
  void release() {
    if (counter_ != nullptr) counter_->fetch_sub(1, std::memory_order_relaxed);
    counter_ = nullptr;
  }
  [[nodiscard]] bool held() const { return counter_ != nullptr; }

 private:
  std::atomic<std::int64_t>* counter_ = nullptr;
};

struct Context {
  Context(ServerOptions server_options, std::vector<VirtualServer> servers);

  // Null: no virtual server answers that host.
  [[nodiscard]] const VirtualServer* choose(std::string_view host) const;
  // A route whose handler has answered later than its call counts against requests_in_flight; one that always answers at once
  // (/health) is served whatever the load.
  [[nodiscard]] std::atomic<bool>& answers_late(const VirtualServer& server, const Route& route);
  [[nodiscard]] bool overloaded() const {
    return counters.in_flight.load(std::memory_order_relaxed) >= options.requests_in_flight;
  }
  // False: this peer has as many connections as it may.
  [[nodiscard]] bool peer_opened(const std::string& peer);
  void peer_closed(const std::string& peer);

  const ServerOptions options;
  const std::vector<VirtualServer> virtual_servers;
  Server::Observer observer;
  Counters counters;
  Pool pool;
  std::atomic<bool> draining{false};

 private:
  std::vector<std::unique_ptr<std::atomic<bool>[]>> late_;
  std::mutex peers_mutex_;
  std::unordered_map<std::string, int> peers_;
};

// A loop with the connections that live on it; `connections` is touched on the loop's thread only.
struct LoopState {
  explicit LoopState(int index) : loop(std::make_shared<Loop>(index)) {}
  std::shared_ptr<Loop> loop;
  std::unordered_set<Connection*> connections;
};

}  // namespace roost::http
