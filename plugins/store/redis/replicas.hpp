// Replicas: who must have a change before it is acknowledged, by what the master and a Sentinel say. Pure. WAIT counts
// confirmations and does not say whose they are: so whoever could confirm must, or one that is never promoted would stand in for
// one that is. Thread safety: functions of their arguments.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "store/redis/settings.hpp"

namespace roost::store_redis {

// "HOST:PORT" of each, as the master names them: a Sentinel has their names from it.
using Names = std::set<std::string>;

// Those that follow the master, by its INFO replication. What gives no port of its own is no server, but a tool that takes a
// copy.
[[nodiscard]] Names connected_replicas(const std::string& info);

// What a Sentinel says of the replicas.
struct Promotable {
  Names up;     // a failover could make one of them the master now
  Names known;  // these, and those that are down
};
// One list of names and values for each replica, as SENTINEL REPLICAS answers.
[[nodiscard]] Promotable promotable_replicas(const std::vector<std::vector<std::string>>& replicas);

// How many confirmations mean that each of `promotable` has a change, whoever of `connected` confirms first. A host's name may be
// an address elsewhere: one that is connected under a name counts for one of `promotable`.
[[nodiscard]] int needed(const Names& connected, const Names& promotable);

}  // namespace roost::store_redis
