// Door: the port of a workspace's pod, an HTTP server before the supervisor's front: visitors log in by an access link and keep a
// cookie, as at roostd's gateway (gateway.hpp, whose code this is); `/.roost/healthz` answers kubelet's probes, and
// `/.roost/activity` says to a holder of the session's token what the front saw.
// Thread safety: run_door is called in a process of its own, for its server has threads and the supervisor forks.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "gateway/gateway.hpp"

namespace roost::agent {

struct DoorSpec {
  std::string id;
  std::string url;  // of the workspace, with the id in its host name
  std::string listen = "0.0.0.0:1111";
  std::string front;         // the front's socket
  std::string control;       // the supervisor's socket
  std::string login_secret;  // secret
  std::string token;         // secret
  const std::atomic<bool>* ready = nullptr;
};

// Until SIGTERM or SIGINT; then it lets what it is answering end for two seconds. UNAVAILABLE where it cannot listen.
[[nodiscard]] Status run_door(const DoorSpec& spec);

// How the gateway is set up for that one session. INVALID: the URL has no host name, or not the id in it once. Pure.
[[nodiscard]] Result<gateway::Options> door_options(const DoorSpec& spec);

}  // namespace roost::agent
