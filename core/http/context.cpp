#include "http/context.hpp"

namespace roost::http {

Context::Context(ServerOptions server_options, std::vector<VirtualServer> servers)
    : options(std::move(server_options)), virtual_servers(std::move(servers)), pool(options.pool_threads, options.pool_queue) {
  for (const VirtualServer& server : virtual_servers) {
    const std::size_t count = server.router == nullptr ? 0 : server.router->routes().size();
    late_.push_back(std::make_unique<std::atomic<bool>[]>(count));
  }
}

const VirtualServer* Context::choose(std::string_view host) const {
  for (const VirtualServer& server : virtual_servers) {
    if (!server.accepts || server.accepts(host)) return &server;
  }
  return nullptr;
}

std::atomic<bool>& Context::answers_late(const VirtualServer& server, const Route& route) {
  return late_[static_cast<std::size_t>(&server - virtual_servers.data())]
              [static_cast<std::size_t>(&route - server.router->routes().data())];
}

bool Context::peer_opened(const std::string& peer) {
  const std::lock_guard lock(peers_mutex_);
  int& count = peers_[peer];
  if (count >= options.connections_per_peer) return false;
  ++count;
  return true;
}

void Context::peer_closed(const std::string& peer) {
  const std::lock_guard lock(peers_mutex_);
  const auto found = peers_.find(peer);
  if (found != peers_.end() && --found->second <= 0) peers_.erase(found);
}

}  // namespace roost::http
