// Settings: what each part of the daemon is told, out of one configuration. Thread safety: pure functions.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "api/api.hpp"
#include "config/config.hpp"
#include "engine/engine.hpp"
#include "gateway/gateway.hpp"
#include "host/backends.hpp"
#include "http/server.hpp"
#include "telemetry/log.hpp"

namespace roost::daemon {

// Everything but the functions, which the daemon adds.
[[nodiscard]] EngineOptions engine_options(const config::Config& config);
[[nodiscard]] http::ServerOptions server_options(const config::Config& config);
[[nodiscard]] gateway::Options gateway_options(const config::Config& config);
[[nodiscard]] BackendsSpec backends_spec(const config::Config& config);
[[nodiscard]] telemetry::log::Options log_options(const config::Config& config);

// `replacement`: not empty where the guide's key must not be used; then this key stands in its place. INVALID.
[[nodiscard]] Result<api::Options> api_options(const config::Config& config, std::string_view replacement);
[[nodiscard]] bool has_guide_key(const config::Config& config);

// How this machine reaches a daemon that listens there: http.listen with the loopback address for "any", and the port that it
// got.
[[nodiscard]] std::string local_url(std::string_view listen, std::uint16_t port);

// The names that the API answers to: http.hosts, the host of http.listen and that of local_url. An entry without a port matches
// any port.
class ApiHosts {
 public:
  explicit ApiHosts(const config::Config& config);
  [[nodiscard]] bool contains(std::string_view host) const;  // a Host header in lower case

 private:
  std::vector<std::string> names_;
};

// Everything that can be wrong and found without running a plugin's code, a line each as config::Config::load says it; empty:
// fine.
[[nodiscard]] std::string check(const config::Config& config);

// ../lib/roost/plugins of this program.
[[nodiscard]] std::string default_plugin_directory();
// The configuration that is used where none is named: config/roost.yaml in the tree, /etc/roost/roost.yaml for an installed
// program.
[[nodiscard]] std::string default_config_file();

}  // namespace roost::daemon
