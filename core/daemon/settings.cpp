#include "daemon/settings.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "base/crypto.hpp"

namespace roost::daemon {
namespace {

std::filesystem::path program() {
  std::error_code failed;
  return std::filesystem::read_symlink("/proc/self/exe", failed);
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// "/store/config/path" as people write it in YAML: "store.config.path".
std::string dotted(std::string_view pointer) {
  std::string key(pointer.substr(std::min<std::size_t>(1, pointer.size())));
  std::replace(key.begin(), key.end(), '/', '.');
  return key;
}

BackendSpec backend(const config::Backend& from) { return {from.plugin, from.config, from.secrets}; }

}  // namespace

std::string default_plugin_directory() { return (program().parent_path().parent_path() / "lib/roost/plugins").string(); }

std::string default_config_file() {
  const std::filesystem::path self = program();
  if (self.string().starts_with("/usr/")) return "/etc/roost/roost.yaml";
  std::error_code failed;
  if (std::filesystem::exists("config/roost.yaml", failed)) return "config/roost.yaml";
  // build/PRESET/bin/roostd, started from elsewhere
  const auto beside = self.parent_path().parent_path().parent_path().parent_path() / "config/roost.yaml";
  return std::filesystem::exists(beside, failed) ? beside.string() : "/etc/roost/roost.yaml";
}

EngineOptions engine_options(const config::Config& config) {
  EngineOptions options;
  options.replica = config.engine.replica;
  options.lease_ms = config.engine.lease.count();
  options.resync_ms = config.engine.resync.count();
  options.poll_ms = config.engine.poll.count();
  options.backoff_first_ms = config.engine.backoff_first.count();
  options.backoff_max_ms = config.engine.backoff_max.count();
  options.sessions_per_user = config.sessions.per_user;
  options.sessions_total = config.sessions.total;
  options.concurrent_starts = config.sessions.concurrent_starts;
  options.concurrent_tasks = config.sessions.concurrent_tasks;
  options.backup_every_ms = config.sessions.backup_every.count();
  options.kept_volume_ms = config.sessions.kept_volume.count();
  options.tombstone_ms = config.sessions.tombstone.count();
  options.idempotency_ms = config.sessions.idempotency.count();
  options.volume_bytes = config.sessions.volume_bytes;
  options.backup_retention_ms = config.backups.retention.count();
  options.backup_retention_scheduled_ms = config.backups.retention_scheduled.count();
  options.backup_drill_ms = config.backups.drill_interval.count();
  options.backup_walk_ms = config.backups.walk.count();
  options.queue_max = config.chat.queue_max;
  options.message_tries = config.chat.tries;
  options.history_ms = config.chat.history.count();
  options.chat_wakes = config.chat.wakes;
  options.size_small = {config.size_small.cpu_millis, config.size_small.memory_bytes};
  options.size_large = {config.size_large.cpu_millis, config.size_large.memory_bytes};
  return options;
}

http::ServerOptions server_options(const config::Config& config) {
  const config::Http& from = config.http;
  http::ServerOptions options;
  options.listen = from.listen;
  options.loops = from.loops;
  options.pool_threads = from.pool_threads;
  options.pool_queue = from.pool_queue;
  options.connections = from.connections;
  options.connections_per_peer = from.connections_per_peer;
  options.requests_in_flight = from.requests_in_flight;
  options.header_bytes = from.header_bytes;
  options.header_count = from.header_count;
  options.target_bytes = from.target_bytes;
  options.header_deadline = from.header_deadline;
  options.request_deadline = from.request_deadline;
  options.idle_timeout = from.idle_timeout;
  options.proxy_idle_timeout = from.proxy_idle_timeout;
  options.drain_deadline = from.drain_deadline;
  options.stream_buffer = from.stream_buffer;
  return options;
}

gateway::Options gateway_options(const config::Config& config) {
  gateway::Options options;
  options.host_pattern = config.workspaces.host_pattern;
  options.url_pattern = config.workspaces.url_pattern;
  options.landing = config.workspaces.landing;
  options.cookie_ttl_s = std::chrono::duration_cast<std::chrono::seconds>(config.workspaces.cookie_ttl).count();
  options.token_ttl_s = std::chrono::duration_cast<std::chrono::seconds>(config.workspaces.access_ttl).count();
  return options;
}

BackendsSpec backends_spec(const config::Config& config) {
  BackendsSpec spec;
  for (const std::string& directory : config.plugins.directories) spec.directories.emplace_back(directory);
  if (spec.directories.empty()) spec.directories.emplace_back(default_plugin_directory());
  spec.store = backend(config.store);
  spec.compute = backend(config.compute);
  spec.backup = backend(config.backup);
  return spec;
}

telemetry::log::Options log_options(const config::Config& config) {
  using telemetry::log::Format;
  using telemetry::log::Level;
  telemetry::log::Options options;
  switch (config.log.level) {
    case config::LogLevel::debug: options.level = Level::debug; break;
    case config::LogLevel::info: options.level = Level::info; break;
    case config::LogLevel::warn: options.level = Level::warn; break;
    case config::LogLevel::error: options.level = Level::error; break;
  }
  options.format = config.log.format == config::LogFormat::json ? Format::json : Format::text;
  return options;
}

bool has_guide_key(const config::Config& config) {
  return std::any_of(config.auth.keys.begin(), config.auth.keys.end(), [](const config::ApiKey& key) { return key.guide; });
}

Result<api::Options> api_options(const config::Config& config, std::string_view replacement) {
  std::vector<api::KeySpec> keys;
  for (const config::ApiKey& key : config.auth.keys) {
    const bool replaced = key.guide && !replacement.empty();
    keys.push_back({key.name, replaced ? to_hex(sha256(replacement)) : key.sha256, key.scopes, key.user});
  }
  const api::Rate rate{static_cast<double>(config.limits.rate), static_cast<double>(config.limits.burst)};
  api::Options options;
  ROOST_TRY(options.keys, api::KeyRing::make(keys, rate));
  options.delete_wait_ms = config.http.delete_wait.count();
  options.open_metrics = config.http.metrics_open;
  return options;
}

std::string local_url(std::string_view listen, std::uint16_t port) {
  std::string host(listen.substr(0, listen.rfind(':')));
  if (host == "localhost" || host == "0.0.0.0") host = "127.0.0.1";
  if (host == "[::]") host = "[::1]";
  return "http://" + host + ":" + std::to_string(port);
}

ApiHosts::ApiHosts(const config::Config& config) : names_(config.http.hosts) {
  names_.push_back(config.http.listen.substr(0, config.http.listen.rfind(':')));
  const std::string url = local_url(config.http.listen, 0);
  constexpr std::string_view kScheme = "http://";
  names_.push_back(url.substr(kScheme.size(), url.rfind(':') - kScheme.size()));
  for (std::string& name : names_) name = lower(name);
}

bool ApiHosts::contains(std::string_view host) const {
  const std::size_t colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && host.find(']', colon) == std::string_view::npos;
  const std::string_view name = has_port ? host.substr(0, colon) : host;
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& known) { return known == host || known == name; });
}

std::string check(const config::Config& config) {
  std::string faults;
  for (const SchemaProblem& problem : Backends::check(backends_spec(config))) {
    faults += config.where(problem.pointer) + ": " + dotted(problem.pointer) + ": " + problem.message + "\n";
  }
  if (const Status valid = gateway::Gateway::validate(gateway_options(config)); !valid.ok()) {
    faults += config.where("/workspaces") + ": workspaces: " + valid.error().message + "\n";
  }
  if (const auto keys = api_options(config, {}); !keys.ok()) {
    faults += config.where("/auth/keys") + ": auth.keys: " + keys.error().message + "\n";
  }
  return faults;
}

}  // namespace roost::daemon
