// Exposure: whether a workspace could reach the API on the loopback address, because it shares the host's network. Then the
// guide's key, which everybody knows, must not be accepted. Thread safety: pure functions.
#pragma once

#include "base/json.hpp"
#include "engine/read_model.hpp"

namespace roost::daemon {

// What the compute plugin is told: {"network": "host"} or {"sandbox": "none"}.
[[nodiscard]] bool settings_share_host_network(const Json& compute_config);
// What compute says of a workspace's isolation ("network": "host", see core/abi/schemas/workspace.json).
[[nodiscard]] bool shares_host_network(const Json& isolation);
[[nodiscard]] bool any_shares_host_network(const ReadModel& sessions);

}  // namespace roost::daemon
