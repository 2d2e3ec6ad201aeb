// Api: the REST API over the engine: the contract's handlers, authentication, scopes, rate limits, events. It knows no backend
// and no configuration file; what it needs besides the engine comes as functions, so that a test needs nothing else. Thread
// safety: register_routes before the server starts; everything else from any thread. The Api outlives the server and the engine's
// last event. Invariants: no handler blocks; every route is refused unless its access says otherwise; no answer or audit entry
// holds a key; a caller bound to a user cannot tell another's session from one that does not exist.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/event_hub.hpp"
#include "api/keys.hpp"
#include "base/clock.hpp"
#include "engine/engine.hpp"
#include "http/http.hpp"
#include "http/server.hpp"

namespace roost::api {

// For the audit trail. `details` is an object and never holds a key.
struct AuditNote {
  std::string actor, action, target, outcome;
  Json details;
  bool durable = false;  // on disk before the action begins
};

struct Options {
  std::shared_ptr<const KeyRing> keys;
  Rate peer_failures{5, 30};             // failed authentications of one peer: past it 429 instead of 401
  bool open_metrics = true;              // /metrics without a key
  std::int64_t delete_wait_ms = 50'000;  // then DELETE answers 202
};

// What the API needs of the rest of the daemon. Called from any thread.
struct Hooks {
  std::function<Result<std::string>(const std::string& id)> access_url;  // a one-use link that logs in
  std::int64_t access_ttl_s = 60;
  std::function<std::string(const std::string& id)> workspace_url;
  std::function<std::string(const Session&)> workspace_token;  // the key of scope workspace of that session; pure
  std::function<std::string()> metrics;                        // the exposition's text
  std::function<Status(const AuditNote&)> audit;               // may block shortly where durable
  std::string version;
  // The bytes [offset, offset + length) of an archive, length at most 8 MiB; answers once, on any thread. Empty: not offered.
  std::function<void(const std::string& archive, std::int64_t offset, std::int64_t length, Done<std::string>)> read_archive;
  std::function<std::string()> backup_place;  // the plugin that keeps the archives
};

class Api {
 public:
  Api(Engine& engine, Clock& clock, Random& random, Hooks hooks, Options options);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  void register_routes(http::Router& router);
  [[nodiscard]] http::Gatekeeper gatekeeper();
  // Added to every answer: nothing is cached, nothing is guessed.
  [[nodiscard]] static http::Headers response_headers();

  // New keys and limits. Event streams end and come back with the keys that now hold.
  void reconfigure(Options options);
  // Give it to Engine::on_event.
  void publish(const Event& event);
  // Call it every few seconds: keeps event streams alive.
  void heartbeat();
  // From now on /ready says no. Event streams end.
  void drain();
  [[nodiscard]] std::size_t event_streams() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// The OpenAPI description as JSON, made from openapi.yaml when the project was built.
[[nodiscard]] std::string_view openapi_json();

}  // namespace roost::api
