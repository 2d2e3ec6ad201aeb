#include "engine/leader.hpp"

#include <algorithm>

namespace roost {

namespace {
constexpr const char* kLease = "leader";
constexpr int kAcquire = 1;  // renews too, where the lease is the holder's own
constexpr int kRelease = 3;
}  // namespace

void Leader::start(std::function<void()> gained) {
  gained_ = std::move(gained);
  started_ = true;
  ask();
}

void Leader::ask() {
  if (!started_) return;
  const std::int64_t asked_ms = context_.mono_ms();
  context_.ports.store->lease(kLease, context_.options.replica, kAcquire, context_.options.lease_ms,
                              context_.counted<Lease>(context_.store_ok, [this, asked_ms](Result<Lease> result) {
                                answered(asked_ms, std::move(result));
                              }));
}

void Leader::answered(std::int64_t asked_ms, Result<Lease> result) {
  if (!started_) return;
  const bool held = valid();
  std::int64_t again_ms = context_.options.lease_ms / 3;
  if (result) {
    failures_ = 0;
    valid_until_ms_ = asked_ms + context_.options.lease_ms;
    const bool fresh = !held || epoch_ != result->epoch;
    epoch_ = result->epoch;
    if (fresh && valid()) {
      context_.log(1, "this replica leads", Json::object({{"epoch", static_cast<std::int64_t>(epoch_)}}));
      gained_();
    }
  } else if (result.error().code == Code::conflict) {
    valid_until_ms_ = 0;
    if (held) context_.log(2, "another replica leads now");
  } else {
    again_ms = std::min(again_ms, context_.backoff_ms(++failures_));  // keeps what it has until it runs out
  }
  context_.after_ms(std::max<std::int64_t>(1, again_ms), [this] { ask(); });
}

void Leader::stop(std::function<void()> released) {
  started_ = false;
  if (!valid()) return released();
  valid_until_ms_ = 0;
  context_.ports.store->lease(kLease, context_.options.replica, kRelease, context_.options.lease_ms,
                              context_.guard([released = std::move(released)](Result<Lease>) { released(); }));
}

}  // namespace roost
