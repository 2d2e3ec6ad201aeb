// Gateway: the virtual server of the workspaces. It decides by the Host header which session a visitor means, logs visitors in by
// one-use links, wakes sleeping sessions, and passes everything else on to the session's front, WebSockets included.
// It knows sessions only through `Workspaces`. Thread safety: every function may be called from any thread; the Gateway outlives
// the server that got its virtual_server().
// Invariants: nothing is forwarded without a valid cookie of that very session; the cookie and X-API-Key are never forwarded; a
// visitor who is not logged in cannot tell whether a session exists.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "http/server.hpp"

namespace roost::gateway {

// What the gateway needs to know of one session.
struct Workspace {
  enum class State {
    ready,        // `endpoint` answers
    starting,     // on its way up
    asleep,       // asleep, or on its way there: a visit wakes it
    unavailable,  // being deleted, or its volume is lost: `reason` says it to a logged-in visitor
  };
  State state = State::starting;
  std::string endpoint;           // "unix:PATH" or "tcp:HOST:PORT" of the front
  std::string login_secret;       // of the session: access links and cookies are signed with it
  std::string reason;             // for people
  http::Headers forward_headers;  // set on every forwarded request (what the front demands)
};

// The sessions as the gateway sees them. Called on event loops and API threads: memory only, must not block. `lookup` takes the
// same time for a session that does not exist.
struct Workspaces {
  std::function<std::optional<Workspace>(const std::string& id)> lookup;  // none: no such session
  std::function<void(const std::string& id)> wake;
  std::function<void(const std::string& id)> touch;  // somebody used it; called at most once a second for a connection
};

struct Options {
  std::string host_pattern = "vs-code-{uuid}.localhost";               // lower case, no port; exactly one {uuid}
  std::string url_pattern = "http://vs-code-{uuid}.localhost:{port}";  // what the visitor's browser shows; {port} is optional
  std::uint16_t port = 8080;                                           // stands for {port}; see set_port
  std::int64_t cookie_ttl_s = 30LL * 24 * 3600;
  std::int64_t token_ttl_s = 60;                // of an access link
  std::string landing = "/?folder=/workspace";  // where a login leads
};

class Gateway {
 public:
  Gateway(Options options, Workspaces workspaces, Clock& clock, Random& random);  // clock and random outlive it
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // INVALID naming what is wrong: a pattern without {uuid}, a scheme that is not http or https, a landing that is no path.
  [[nodiscard]] static Status validate(const Options& options);

  [[nodiscard]] http::VirtualServer virtual_server();

  // A one-use link that logs its visitor in: "http://vs-code-ID.localhost:8080/.roost/login?token=…". NOT_FOUND: no such session.
  [[nodiscard]] Result<std::string> access_url(const std::string& id);
  // "http://vs-code-ID.localhost:8080".
  [[nodiscard]] std::string workspace_url(const std::string& id) const;

  void set_port(std::uint16_t port);  // once the server knows it

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace roost::gateway
