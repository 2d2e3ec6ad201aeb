// The engine's sessions as the gateway sees them. Thread safety: as gateway.hpp says of Workspaces; the engine and what `secret`
// refers to outlive it.
#pragma once

#include <functional>

#include "engine/engine.hpp"
#include "gateway/gateway.hpp"

namespace roost::daemon {

using LoginSecret = std::function<std::string(const Session&)>;  // pure

[[nodiscard]] gateway::Workspaces engine_workspaces(Engine& engine, LoginSecret secret);
[[nodiscard]] gateway::Workspace workspace_of(const Session& session);  // pure; without its secret

}  // namespace roost::daemon
