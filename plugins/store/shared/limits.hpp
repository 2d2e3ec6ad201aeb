// The limits of plugin.h on what a caller passes to a store, checked alike in every store plugin. Each function throws INVALID
// naming what is wrong. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "roost/plugin.hpp"

namespace roost::store {

inline constexpr std::size_t kPartitionMax = 64;
inline constexpr std::size_t kKeyMax = 512;
inline constexpr std::size_t kValueMax = std::size_t{1} << 20;
inline constexpr std::size_t kSequenceDigits = 16;
inline constexpr std::size_t kItemsMax = 1'024;                   // conditions, and operations, of one commit
inline constexpr std::size_t kCommitMax = std::size_t{16} << 20;  // bytes of one commit

void check_partition(std::string_view partition);
void check_key(std::string_view key, const char* what, bool may_be_empty);
void check_commit(std::string_view partition, const std::vector<sdk::Condition>& conditions,
                  const std::vector<sdk::Operation>& operations);
void check_lease(std::string_view name, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms);

}  // namespace roost::store
