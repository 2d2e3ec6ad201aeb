#include "daemon/runtime.hpp"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "api/api.hpp"
#include "daemon/data_directory.hpp"
#include "daemon/exposure.hpp"
#include "daemon/http_metrics.hpp"
#include "daemon/process_metrics.hpp"
#include "daemon/settings.hpp"
#include "daemon/workspaces.hpp"
#include "engine/engine.hpp"
#include "gateway/gateway.hpp"
#include "host/backends.hpp"
#include "host/host_api.hpp"
#include "host/loop.hpp"
#include "http/server.hpp"
#include "telemetry/audit.hpp"
#include "telemetry/log.hpp"
#include "telemetry/metrics.hpp"

namespace roost::daemon {
namespace {

namespace log = telemetry::log;

constexpr std::int64_t kReloadDrainMs = 10'000;
constexpr std::chrono::seconds kEngineStop{15};
constexpr std::int64_t kBackendDrainNs = 10'000'000'000;
constexpr int kHeartbeatTicks = 15;

log::Level level_of(int level) {
  switch (level) {
    case 0: return log::Level::debug;
    case 1: return log::Level::info;
    case 2: return log::Level::warn;
    default: return log::Level::error;
  }
}

}  // namespace

// Plugins keep the pointer for as long as the process lives, so this is never destroyed.
const HostApi& host_api() {
  static const HostApi* const api = new HostApi(
      [](int level, std::string_view message, std::string_view fields) {
        auto parsed = Json::parse(fields);
        log::write(level_of(level), message, parsed.ok() ? *parsed : Json::object());
      },
      [](std::string_view plugin, std::string_view what) {
        log::error("plugin_misbehaving", Json::object({{"plugin", plugin}, {"what", what}}));
      });
  return *api;
}

class Runtime::Impl {
 public:
  Impl(config::Config configuration, DataDirectory data)
      : config(std::move(configuration)), directory(std::move(data)), http_metrics(metrics) {}

  Status start();
  Status reload();
  void tick();
  bool alive();
  std::string banner() const;
  bool stop();

  config::Config config;
  DataDirectory directory;
  telemetry::Metrics metrics;
  HttpMetrics http_metrics;
  std::unique_ptr<telemetry::Audit> audit;
  Loop loop;
  std::unique_ptr<Backends> backends;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<gateway::Gateway> gateway;  // asked by the engine for URLs from start() on
  std::unique_ptr<api::Api> api;
  http::Router router;
  // Read for each request; a reload's old ones are kept, so that a reader needs neither lock nor count.
  std::atomic<const ApiHosts*> hosts{nullptr};
  std::vector<std::unique_ptr<const ApiHosts>> all_hosts;
  std::unique_ptr<http::Server> server;

 private:
  EngineOptions engine_settings() const;
  api::Hooks hooks();
  Status record(const api::AuditNote& note);
  Status make_api();
  void make_server();
  bool guide_key_is_a_risk() const;
  void refuse_guide_key();
  void warn_of_restarts(const config::Config& next) const;

  std::string replacement_key;       // stands for the guide's key where a workspace could use that
  bool replicated = false;           // other daemons may use the store too
  std::atomic<bool> exposed{false};  // a workspace shares the host's network
  bool looked_at_all = false;
  int ticks = 0;
  std::atomic<bool> beat{true};  // the engine's thread ran since it was last asked
};

EngineOptions Runtime::Impl::engine_settings() const {
  EngineOptions options = engine_options(config);
  options.replicated = replicated;
  options.identity = to_hex(directory.derived_key("identity"));
  options.login_secret = [this](const Session& session) { return directory.login_secret(session); };
  options.workspace_token = [this](const Session& session) { return directory.workspace_token(session); };
  options.workspace_url = [this](const std::string& id) { return gateway->workspace_url(id); };
  options.log = [](int level, const std::string& message, const Json& fields) { log::write(level_of(level), message, fields); };
  return options;
}

Status Runtime::Impl::record(const api::AuditNote& note) {
  const auto durability = note.durable ? telemetry::Durability::durable : telemetry::Durability::buffered;
  const Status written = audit->record({note.actor, note.action, note.target, note.outcome, note.details}, durability);
  if (!written.ok()) log::error("the audit trail cannot be written", written.error(), Json::object({{"action", note.action}}));
  return written;
}

api::Hooks Runtime::Impl::hooks() {
  api::Hooks hooks;
  hooks.access_url = [this](const std::string& id) { return gateway->access_url(id); };
  hooks.access_ttl_s = gateway_options(config).token_ttl_s;
  hooks.workspace_url = [this](const std::string& id) { return gateway->workspace_url(id); };
  hooks.workspace_token = [this](const Session& session) { return directory.workspace_token(session); };
  hooks.metrics = [this] { return metrics.text(); };
  hooks.audit = [this](const api::AuditNote& note) { return record(note); };
  hooks.version = ROOST_VERSION;
  hooks.read_archive = [this](const std::string& archive, std::int64_t offset, std::int64_t length, Done<std::string> done) {
    backends->read_archive(archive, offset, length, std::move(done));
  };
  hooks.backup_place = [this] { return backends->backup_plugin(); };
  return hooks;
}

Status Runtime::Impl::make_api() {
  exposed = settings_share_host_network(config.compute.config);
  if (guide_key_is_a_risk()) refuse_guide_key();
  ROOST_TRY(api::Options options, api_options(config, replacement_key));
  api = std::make_unique<api::Api>(*engine, system_clock(), system_random(), hooks(), std::move(options));
  api->register_routes(router);
  engine->on_event([this](const Event& event) {
    api->publish(event);
    const SessionView view = engine->reads().find(event.session_id);
    if (view && shares_host_network(view->session.observed.isolation)) exposed = true;
  });
  return {};
}

void Runtime::Impl::make_server() {
  hosts = all_hosts.emplace_back(std::make_unique<const ApiHosts>(config)).get();
  http::VirtualServer api_server;
  api_server.accepts = [this](std::string_view host) { return hosts.load()->contains(host); };
  api_server.router = &router;
  api_server.gatekeeper = api->gatekeeper();
  api_server.response_headers = api::Api::response_headers();
  std::vector<http::VirtualServer> virtual_servers;
  virtual_servers.push_back(gateway->virtual_server());
  virtual_servers.push_back(std::move(api_server));
  server = std::make_unique<http::Server>(server_options(config), std::move(virtual_servers));
  server->on_request([this](const http::Request& request, std::string_view route, int status, std::chrono::nanoseconds took) {
    http_metrics.record(request.method, route, status, took);
    if (!log::enabled(log::Level::debug)) return;
    // The path only: a query may hold a login's token.
    log::debug("request", Json::object({{"method", request.method},
                                        {"host", request.host},
                                        {"path", request.path},
                                        {"status", status},
                                        {"peer", request.peer},
                                        {"trace_id", request.trace_id},
                                        {"took_us", static_cast<std::int64_t>(took.count() / 1000)}}));
  });
}

Status Runtime::Impl::start() {
  ROOST_TRY(audit, telemetry::Audit::open({directory.path() + "/audit.log", config.audit.file_bytes, config.audit.files},
                                          system_clock()));
  loop.start();
  ROOST_TRY(backends, Backends::open(backends_spec(config), host_api(), loop));
  replicated = backends->store_is_shared();
  const Ports ports{&backends->store(), &backends->compute(), &backends->backup(), &system_clock(), &system_random(), &loop};
  ROOST_CHECK(gateway::Gateway::validate(gateway_options(config)));
  engine = std::make_unique<Engine>(ports, engine_settings());
  const auto login_secret = [this](const Session& session) { return directory.login_secret(session); };
  gateway = std::make_unique<gateway::Gateway>(gateway_options(config), engine_workspaces(*engine, login_secret), system_clock(),
                                               system_random());
  ROOST_CHECK(make_api());
  make_server();
  register_process_metrics(metrics,
                           {engine.get(), server.get(), backends.get(), [this] { return api->event_streams(); }, ROOST_VERSION});
  ROOST_CHECK(server->start());
  gateway->set_port(server->port());  // before any session is applied: its URL goes with it
  ROOST_CHECK(directory.publish_url(local_url(config.http.listen, server->port())));
  engine->start();
  return {};
}

void Runtime::Impl::warn_of_restarts(const config::Config& next) const {
  Json changed = Json::array(), later = Json::array();
  for (const config::Change& change : config::changes(config, next)) (change.restart ? later : changed).push(change.key);
  log::info("the configuration was read again", Json::object({{"changed", std::move(changed)}}));
  if (!later.items().empty())
    log::warn("these changes have no effect before a restart", Json::object({{"keys", std::move(later)}}));
}

Status Runtime::Impl::reload() {
  ROOST_TRY(config::Config next, config::Config::load(config.file, config::process_environment()));
  if (const std::string faults = check(next); !faults.empty()) return Error{Code::invalid, faults, 0};
  ROOST_TRY(api::Options options, api_options(next, replacement_key));  // a risk that is new is seen by the next tick
  log::register_secrets(next.secret_values());
  ROOST_CHECK(backends->reload(backends_spec(next), kReloadDrainMs));  // what may fail comes first; the rest cannot
  warn_of_restarts(next);
  for (const std::string& warning : next.warnings) log::warn(warning);
  config = std::move(next);
  if (settings_share_host_network(config.compute.config)) exposed = true;
  log::configure(log_options(config));
  hosts = all_hosts.emplace_back(std::make_unique<const ApiHosts>(config)).get();
  engine->reconfigure(engine_settings());
  api->reconfigure(std::move(options));
  return {};
}

bool Runtime::Impl::guide_key_is_a_risk() const {
  return exposed && replacement_key.empty() && !config.auth.accept_guide_key_risk && has_guide_key(config);
}

// The new key is derived, so that it is the same after a restart and stored nowhere.
void Runtime::Impl::refuse_guide_key() {
  replacement_key = to_hex(directory.derived_key("instead-of-the-guides-key"));
  log::register_secrets({replacement_key});
  log::warn(
      "workspaces share the host's network and could reach the API: the guide's key is refused, and a key of its own is printed "
      "on "
      "standard output; auth.accept_guide_key_risk accepts the risk");
}

void Runtime::Impl::tick() {
  if (++ticks % kHeartbeatTicks == 0) api->heartbeat();
  if (!looked_at_all && engine->ready().ok()) {
    looked_at_all = true;
    if (any_shares_host_network(engine->reads())) exposed = true;
  }
  if (!guide_key_is_a_risk()) return;
  refuse_guide_key();
  if (auto options = api_options(config, replacement_key); options.ok()) api->reconfigure(*std::move(options));
  std::fputs(banner().c_str(), stdout);
  std::fflush(stdout);
}

bool Runtime::Impl::alive() {
  if (!beat.exchange(false)) return false;
  loop.post([this] { beat = true; });
  return true;
}

std::string Runtime::Impl::banner() const {
  const std::string listen = config.http.listen;
  const std::string base = "http://" + listen.substr(0, listen.rfind(':')) + ":" + std::to_string(server->port());
  std::string text = "Roost " ROOST_VERSION " listens on " + base + "\n";
  std::string key = "$KEY";
  if (!replacement_key.empty()) {
    key = replacement_key;
    text += "Key: " + key + "\n";
  } else if (has_guide_key(config)) {
    key = config::kGuideKey;
    text += "Key: " + key + "  (the guide's; everybody knows it, so it works on this machine only)\n";
  } else {
    text += "Keys: auth.keys of " + config.file + "\n";
  }
  return text + "Try: curl -X POST " + base + "/session/create -H 'X-API-Key: " + key +
         "' -H 'Content-Type: application/json' -d '{\"user_id\": \"user@example.com\"}'\n";
}

bool Runtime::Impl::stop() {
  if (api) api->drain();
  if (engine) engine->hand_over();  // another replica leads while this one answers what is under way
  if (server) std::this_thread::sleep_for(replicated ? config.http.drain_delay : std::chrono::milliseconds(0));
  if (server) server->stop();
  bool clean = true;
  if (engine) {
    auto stopped = std::make_shared<std::promise<void>>();
    engine->stop([stopped] { stopped->set_value(); });
    clean = stopped->get_future().wait_for(kEngineStop) == std::future_status::ready;
  }
  if (backends) clean = backends->drain(system_clock().monotonic_ns() + kBackendDrainNs) && clean;
  loop.stop();
  return clean;
}

Runtime::Runtime(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Runtime::~Runtime() = default;

Result<std::unique_ptr<Runtime>> Runtime::start(config::Config config) {
  ROOST_TRY(DataDirectory directory, DataDirectory::open(config.data_dir, config.auth.secret_key, system_random()));
  auto impl = std::make_unique<Impl>(std::move(config), std::move(directory));
  if (const Status started = impl->start(); !started.ok()) {
    (void)impl->stop();
    return started.error();
  }
  return std::unique_ptr<Runtime>(new Runtime(std::move(impl)));
}

Status Runtime::reload() { return impl_->reload(); }
void Runtime::tick() { impl_->tick(); }
bool Runtime::alive() { return impl_->alive(); }
Status Runtime::ready() const { return impl_->engine->ready(); }
std::string Runtime::banner() const { return impl_->banner(); }
bool Runtime::stop() { return impl_->stop(); }

std::int64_t Runtime::stop_deadline_ms() const {
  return impl_->config.http.drain_delay.count() + impl_->config.http.drain_deadline.count() +
         std::chrono::milliseconds(kEngineStop).count() + kBackendDrainNs / 1'000'000 + 5'000;
}

}  // namespace roost::daemon
