// What the writer does for one caller: a commit, or a lease's step. Each owns copies of what it needs, because it may run after
// its caller has left. Thread safety: made on the caller's thread, run on the writer's.
#pragma once

#include <string_view>
#include <vector>

#include "store/sqlite/database.hpp"

namespace roost::store_sqlite {

[[nodiscard]] Part make_commit(const StoreClock& clock, std::string_view partition, const std::vector<sdk::Condition>& conditions,
                               const std::vector<sdk::Operation>& operations);
[[nodiscard]] Part make_lease(const StoreClock& clock, std::string_view name, std::string_view holder, std::int32_t action,
                              std::uint64_t ttl_ms);

}  // namespace roost::store_sqlite
