// Rate limits as token buckets, kept as one number each (GCRA: the time at which the bucket is full again).
// Thread safety: every function may be called from any thread. Invariants: PeerLimiter's memory is bounded: when it is full and
// nothing has drained, strangers share one bucket.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace roost::api {

struct Rate {
  double per_second = 0;  // 0: no limit
  double burst = 1;       // how many at once; at least 1
  bool operator==(const Rate&) const = default;
};

class RateBucket {
 public:
  explicit RateBucket(Rate rate) : rate_(rate) {}
  // 0: taken; else how many nanoseconds until one can be taken.
  [[nodiscard]] std::int64_t take(std::int64_t now_ns);

 private:
  const Rate rate_;
  std::atomic<std::int64_t> full_at_ns_{0};
};

// One bucket for each peer: an IPv4 address, or the /64 of an IPv6 one, which is what one caller has at will.
class PeerLimiter {
 public:
  explicit PeerLimiter(Rate rate) : rate_(rate) {}
  [[nodiscard]] std::int64_t take(std::string_view peer, std::int64_t now_ns);
  [[nodiscard]] std::size_t size() const;

 private:
  static constexpr std::size_t kShards = 16, kPeersPerShard = 4096;
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<std::string, std::int64_t> full_at_ns;
    std::int64_t swept_at_ns = 0;
  };
  const Rate rate_;
  std::array<Shard, kShards> shards_;
};

// How many of one kind a name has under way at once.
class ConcurrencyLimiter {
 public:
  explicit ConcurrencyLimiter(int most) : most_(most), counts_(std::make_shared<Counts>()) {}
  // Holds a place until the last copy is gone; null: there are as many already.
  [[nodiscard]] std::shared_ptr<const void> enter(const std::string& name) const;

 private:
  struct Counts {
    std::mutex mutex;
    std::unordered_map<std::string, int> by_name;
  };
  const int most_;
  const std::shared_ptr<Counts> counts_;
};

// "192.0.2.7" as it is; "2001:db8:1:2:3::9" as the 8 bytes of its network.
[[nodiscard]] std::string peer_bucket_name(std::string_view peer);

}  // namespace roost::api
