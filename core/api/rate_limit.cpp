#include "api/rate_limit.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <functional>

namespace roost::api {
namespace {

constexpr std::int64_t kSweepNs = 1'000'000'000;

// The state after taking one at `now`, or how long to wait: both sides of one decision.
struct Taken {
  std::int64_t full_at_ns = 0;
  std::int64_t wait_ns = 0;
};

Taken take_one(const Rate& rate, std::int64_t full_at_ns, std::int64_t now_ns) {
  const auto interval_ns = static_cast<std::int64_t>(1e9 / rate.per_second);
  const auto depth_ns = static_cast<std::int64_t>(static_cast<double>(interval_ns) * std::max(1.0, rate.burst));
  const std::int64_t next = std::max(full_at_ns, now_ns) + interval_ns;
  if (next - now_ns > depth_ns) return {full_at_ns, next - now_ns - depth_ns};
  return {next, 0};
}

}  // namespace

std::int64_t RateBucket::take(std::int64_t now_ns) {
  if (rate_.per_second <= 0) return 0;
  std::int64_t seen = full_at_ns_.load(std::memory_order_relaxed);
  for (;;) {
    const Taken taken = take_one(rate_, seen, now_ns);
    if (taken.wait_ns > 0) return taken.wait_ns;
    if (full_at_ns_.compare_exchange_weak(seen, taken.full_at_ns, std::memory_order_relaxed)) return 0;
  }
}

std::int64_t PeerLimiter::take(std::string_view peer, std::int64_t now_ns) {
  if (rate_.per_second <= 0) return 0;
  std::string name = peer_bucket_name(peer);
  Shard& shard = shards_[std::hash<std::string>{}(name) % kShards];
  const std::lock_guard lock(shard.mutex);
  auto& peers = shard.full_at_ns;
  auto found = peers.find(name);
  if (found == peers.end()) {
    if (peers.size() >= kPeersPerShard &&
        now_ns >= shard.swept_at_ns + kSweepNs) {  // a sweep for each stranger would be a flood's lever
      std::erase_if(peers, [&](const auto& entry) { return entry.second <= now_ns; });
      shard.swept_at_ns = now_ns;
    }
    if (peers.size() >= kPeersPerShard) name.clear();  // the strangers' common bucket
    found = peers.try_emplace(std::move(name), 0).first;
  }
  const Taken taken = take_one(rate_, found->second, now_ns);
  found->second = taken.full_at_ns;
  return taken.wait_ns;
}

std::size_t PeerLimiter::size() const {
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    count += shard.full_at_ns.size();
  }
  return count;
}

std::shared_ptr<const void> ConcurrencyLimiter::enter(const std::string& name) const {
  const std::lock_guard lock(counts_->mutex);
  const auto place = counts_->by_name.try_emplace(name, 0).first;
  if (place->second >= most_) return nullptr;
  ++place->second;
  return {&counts_->by_name, [counts = counts_, name](const void*) {
            const std::lock_guard inner(counts->mutex);
            const auto held = counts->by_name.find(name);
            if (--held->second == 0) counts->by_name.erase(held);
          }};
}

std::string peer_bucket_name(std::string_view peer) {
  if (peer.find(':') == std::string_view::npos) return std::string(peer);
  in6_addr address{};
  const std::string text(peer.substr(0, peer.find('%')));
  if (inet_pton(AF_INET6, text.c_str(), &address) != 1) return std::string(peer);
  const auto* bytes = reinterpret_cast<const char*>(address.s6_addr);
  if (IN6_IS_ADDR_V4MAPPED(&address)) return std::string(bytes + 12, 4);
  return std::string(bytes, 8);
}

}  // namespace roost::api
