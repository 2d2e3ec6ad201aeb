// Config: the daemon's configuration as typed values. load() reads a YAML file, applies ROOST_* overrides, checks everything
// against core/config/schema.json and says of each fault where it stands (file:line:column) and which valid key is the nearest.
// Every key, its default and its range: docs/configuration.md. Thread safety: plain values; load() has no state and no side
// effects but reading files, so a reload calls it again and compares with changes(). Invariants: a Config that load() returned is
// valid; it holds secrets, so it is never logged (describe() shows it without them).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::config {

class Positions;  // config/yaml.hpp: JSON pointer to file:line:column

using Environment = std::map<std::string, std::string>;
[[nodiscard]] Environment process_environment();

// The key that the guide prints. Accepted on a loopback address only.
inline constexpr std::string_view kGuideKey = "your-secure-api-key-change-in-production";

struct Http {
  std::string listen;              // HOST:PORT or [v6]:PORT; port 0 picks one
  bool loopback = false;           // derived: `listen` is reachable from this machine only
  std::vector<std::string> hosts;  // names the API answers to; one without a port matches any port
  int loops = 0;
  int pool_threads = 0;
  int pool_queue = 0;
  int connections = 0;
  int connections_per_peer = 0;
  int requests_in_flight = 0;
  std::size_t header_bytes = 0;
  int header_count = 0;
  std::size_t target_bytes = 0;
  std::chrono::milliseconds header_deadline{};
  std::chrono::milliseconds request_deadline{};
  std::chrono::milliseconds idle_timeout{};
  std::chrono::milliseconds proxy_idle_timeout{};
  std::chrono::milliseconds drain_delay{};
  std::chrono::milliseconds drain_deadline{};
  std::size_t stream_buffer = 0;
  bool metrics_open = false;                // /metrics is answered without a key
  std::chrono::milliseconds delete_wait{};  // how long DELETE waits before it answers 202
};

struct Plugins {
  std::vector<std::string> directories;  // absolute; empty: lib/roost/plugins beside the program's bin directory
};

// One backend. `config` is for the plugin: its schema is in its manifest, checked by host against JSON pointers below `pointer`.
struct Backend {
  std::string plugin;  // "store-sqlite"
  Json config;         // an object; "{data_dir}" and "{config_dir}" at the start of its strings are replaced already
  std::vector<std::pair<std::string, std::string>> secrets;  // name and value, resolved
  std::string pointer;                                       // "/store/config"
};

struct Workspaces {
  std::string host_pattern;  // "vs-code-{uuid}.localhost"
  std::string url_pattern;   // "http://vs-code-{uuid}.localhost:{port}"
  std::string landing;       // where a login leads
  std::chrono::milliseconds cookie_ttl{};
  std::chrono::milliseconds access_ttl{};
};

struct Size {
  std::int64_t cpu_millis = 0;
  std::int64_t memory_bytes = 0;
  bool operator==(const Size&) const = default;
};

struct Sessions {
  std::int64_t per_user = 0;
  std::int64_t total = 0;
  std::int64_t volume_bytes = 0;  // sessions.volume_size
  std::int64_t concurrent_starts = 0;
  std::int64_t concurrent_tasks = 0;
  std::chrono::milliseconds backup_every{};  // zero: never by itself
  std::chrono::milliseconds kept_volume{};
  std::chrono::milliseconds tombstone{};
  std::chrono::milliseconds idempotency{};
};

struct Backups {
  std::chrono::milliseconds retention{};
  std::chrono::milliseconds retention_scheduled{};
  std::chrono::milliseconds drill_interval{};
  std::chrono::milliseconds walk{};
};

struct Chat {
  std::int64_t queue_max = 0;
  std::int64_t tries = 0;
  std::chrono::milliseconds history{};
  bool wakes = true;
};

struct Reconciler {     // engine.*
  std::string replica;  // who holds the leader lease; default: the host's name
  std::chrono::milliseconds lease{};
  std::chrono::milliseconds resync{};
  std::chrono::milliseconds poll{};
  std::chrono::milliseconds backoff_first{};
  std::chrono::milliseconds backoff_max{};
};

struct ApiKey {
  std::string name;                 // for the audit trail
  std::string sha256;               // 64 lower-case hex digits
  std::vector<std::string> scopes;  // of "admin", "sessions", "read"
  std::string user;                 // bound to this user; empty: any
  bool guide = false;               // it is kGuideKey
};

struct Auth {
  std::vector<ApiKey> keys;
  std::string secret_key;              // 64 hex digits; empty: a file in data_dir
  bool accept_guide_key_risk = false;  // keep the guide's key even where a workspace could reach the API
};

struct Limits {
  std::int64_t rate = 0;  // requests a second for one key; 0: no limit
  std::int64_t burst = 0;
};

enum class LogLevel { debug, info, warn, error };
enum class LogFormat { text, json };

struct Log {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::text;
};

struct AuditLog {
  std::int64_t file_bytes = 0;  // audit.file_size: then it is rotated
  int files = 0;                // rotated files that are kept
};

struct Config {
  std::string file;      // as it was given
  std::string data_dir;  // absolute
  Http http;
  Plugins plugins;
  Backend store, compute, backup;
  Workspaces workspaces;
  Size size_small, size_large;
  Sessions sessions;
  Backups backups;
  Chat chat;
  Reconciler engine;
  Auth auth;
  Limits limits;
  Log log;
  AuditLog audit;

  std::vector<std::string> warnings;  // for the log: unknown ROOST_*, readable secret files, ...
  Json tree;                          // the checked document with defaults; holds secrets
  std::shared_ptr<const Positions> positions;

  // Every fault in one INVALID, a line each, "FILE:LINE:COLUMN: KEY: what is wrong, what to do"; NOT_FOUND where the file is
  // missing.
  [[nodiscard]] static Result<Config> load(const std::string& path, const Environment& environment);
  // As load(), of text in memory; `name` stands for the file in messages, `directory` is what relative paths are relative to.
  [[nodiscard]] static Result<Config> parse(std::string_view text, const std::string& name, const std::string& directory,
                                            const Environment& environment);

  // "config/roost.yaml:12:9" for a JSON pointer such as "/store/config/path": the value's place, or its nearest parent's; the
  // variable's name where an override set it.
  [[nodiscard]] std::string where(std::string_view pointer) const;
  // The values of secrets and keys, for the log's redaction.
  [[nodiscard]] std::vector<std::string> secret_values() const;
  // The effective configuration as JSON, with "[redacted]" for every secret.
  [[nodiscard]] Json describe() const;
};

struct Change {
  std::string key;       // "http.listen"; never a value
  bool restart = false;  // it has no effect before a restart
};
// The keys that differ, in the schema's order.
[[nodiscard]] std::vector<Change> changes(const Config& from, const Config& to);

}  // namespace roost::config
