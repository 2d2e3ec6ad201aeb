// What the writer does for one caller: a commit, or a lease's step. Each owns copies of what it needs, because it may run after
// its caller has left. Thread safety: made on the caller's thread, run on the writer's.
#pragma once

#include <string_view>
#include <vector>

#include "store/sqlite/database.hpp"

namespace roost::store_sqlite {

inline constexpr std::size_t kPartitionMax = 64;
inline constexpr std::size_t kKeyMax = 512;
inline constexpr std::size_t kValueMax = std::size_t{1} << 20;
inline constexpr std::size_t kSequenceDigits = 16;
inline constexpr std::size_t kItemsMax = 1'024;                   // conditions, and operations, of one commit
inline constexpr std::size_t kCommitMax = std::size_t{16} << 20;  // bytes of one commit

// Throw INVALID naming what is wrong.
void check_partition(std::string_view partition);
void check_key(std::string_view key, const char* what, bool may_be_empty);

[[nodiscard]] Part make_commit(const StoreClock& clock, std::string_view partition, const std::vector<sdk::Condition>& conditions,
                               const std::vector<sdk::Operation>& operations);
[[nodiscard]] Part make_lease(const StoreClock& clock, std::string_view name, std::string_view holder, std::int32_t action,
                              std::uint64_t ttl_ms);

}  // namespace roost::store_sqlite
