// The engine's sessions as the gateway sees them. Thread safety: as gateway.hpp says of Workspaces; the engine outlives it.
#pragma once

#include "engine/engine.hpp"
#include "gateway/gateway.hpp"

namespace roost::gateway {

[[nodiscard]] Workspaces engine_workspaces(Engine& engine);
[[nodiscard]] Workspace workspace_of(const Session& session);  // pure

}  // namespace roost::gateway
