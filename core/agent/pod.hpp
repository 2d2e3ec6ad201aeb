// PodSpec: what `roost-agent serve --pod DIRECTORY` is told: the session's Secret as a mounted directory (serve.json,
// login-secret, token, and api-url where there is a local API; compute-kubernetes writes it), the arguments, and the image's
// environment. Thread safety: plain values and pure functions.
#pragma once

#include <string>
#include <vector>

#include "agent/pod_api.hpp"
#include "agent/pod_door.hpp"
#include "agent/serve_spec.hpp"
#include "base/result.hpp"

namespace roost::agent {

struct PodSpec {
  ServeSpec serve;
  DoorSpec door;
  PodApiSpec api;

  // `run`: a directory of the agent's own, writable, short (its sockets lie there). `command` empty: code-server, where the
  // environment says (ROOST_NODE_BIN, ROOST_CODE_SERVER), else the one on PATH. In a command {socket} stands for the socket on
  // which it is to listen and {workspace} for the workspace's directory.
  [[nodiscard]] static Result<PodSpec> load(const std::string& directory, const std::string& run,
                                            const std::vector<std::string>& command, const std::vector<std::string>& environment);
};

}  // namespace roost::agent
