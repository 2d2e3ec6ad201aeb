#include "store/shared/limits.hpp"

#include <algorithm>
#include <string>

namespace roost::store {
namespace {

constexpr std::uint64_t kLeaseMaxMs = 365ull * 24 * 3600 * 1000;

[[noreturn]] void invalid(const std::string& why) { throw sdk::Failure(ROOST_INVALID, "store: " + why); }

}  // namespace

void check_partition(std::string_view partition) {
  if (partition.empty() || partition.size() > kPartitionMax) invalid("a partition has 1 to 64 bytes");
}

void check_key(std::string_view key, const char* what, bool may_be_empty) {
  if ((key.empty() && !may_be_empty) || key.size() > kKeyMax) invalid(std::string(what) + " has 1 to 512 bytes");
  if (!std::all_of(key.begin(), key.end(), [](unsigned char c) { return c >= 0x20 && c <= 0x7E; })) {
    invalid(std::string(what) + " is printable ASCII");
  }
}

void check_commit(std::string_view partition, const std::vector<sdk::Condition>& conditions,
                  const std::vector<sdk::Operation>& operations) {
  check_partition(partition);
  if (conditions.size() > kItemsMax || operations.size() > kItemsMax)
    invalid("a commit has at most 1024 conditions and 1024 operations");
  for (const sdk::Condition& condition : conditions) {
    if (condition.kind < ROOST_IF_ABSENT || condition.kind > ROOST_IF_REVISION) invalid("unknown kind of condition");
    check_key(condition.key, "a condition's key", false);
  }
  std::size_t bytes = 0;
  for (const sdk::Operation& operation : operations) {
    if (operation.kind < ROOST_PUT || operation.kind > ROOST_APPEND) invalid("unknown kind of operation");
    const bool append = operation.kind == ROOST_APPEND;
    check_key(operation.key, append ? "an append's prefix" : "an operation's key", append);
    if (append && operation.key.size() > kKeyMax - kSequenceDigits) invalid("an append's prefix has at most 496 bytes");
    if (operation.value.size() > kValueMax) invalid("a value has at most 1 MiB");
    bytes += operation.key.size() + operation.value.size();
    if (bytes > kCommitMax) invalid("a commit has at most 16 MiB");
  }
}

void check_lease(std::string_view name, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms) {
  if (name.empty() || name.size() > kKeyMax) invalid("a lease's name has 1 to 512 bytes");
  if (holder.empty() || holder.size() > kKeyMax) invalid("a lease's holder has 1 to 512 bytes");
  if (action < ROOST_LEASE_ACQUIRE || action > ROOST_LEASE_RELEASE) invalid("unknown lease action");
  if (action != ROOST_LEASE_RELEASE && (ttl_ms == 0 || ttl_ms > kLeaseMaxMs)) invalid("a lease lasts from 1 ms to 365 days");
}

}  // namespace roost::store
