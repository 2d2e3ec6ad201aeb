#include "engine/leader.hpp"

#include <algorithm>
#include <utility>

#include "engine/documents.hpp"

namespace roost {

namespace {
constexpr const char* kLease = "leader";
constexpr int kAcquire = 1;  // renews too, where the lease is the holder's own
constexpr int kRelease = 3;
constexpr std::int64_t kAnnouncedMs = 60'000;
}  // namespace

void Leader::start(std::function<void()> gained) {
  gained_ = std::move(gained);
  started_ = true;
  ask();
}

void Leader::ask_now() {
  if (!started_ || valid()) return;
  again_ = asking_;
  if (asking_) return;
  if (timer_) context_.ports.scheduler->cancel(std::exchange(timer_, 0));
  ask();
}

void Leader::renounce() {
  if (valid()) context_.log(2, "the store lost the thread: the lease is taken anew");
  valid_until_ms_ = 0;
  renounced_ = asking_;
  ask_now();
}

void Leader::ask() {
  if (!started_ || asking_) return;
  asking_ = true;
  const std::int64_t asked_ms = context_.mono_ms();
  held_until_ms_ = asked_ms + context_.options.lease_ms;  // the question may be answered with yes, whatever becomes of the answer
  context_.ports.store->lease(kLease, context_.options.replica, kAcquire, context_.options.lease_ms,
                              context_.counted<Lease>(context_.store_ok, [this, asked_ms](Result<Lease> result) {
                                asking_ = false;
                                answered(asked_ms, std::move(result));
                              }));
}

void Leader::answered(std::int64_t asked_ms, Result<Lease> result) {
  if (!result && result.error().code == Code::conflict) held_until_ms_ = 0;
  if (!started_) {
    if (auto returned = std::exchange(returned_, nullptr)) returned();
    return;
  }
  const bool held = valid();
  std::int64_t again_ms = context_.options.lease_ms / 3;
  const bool old = std::exchange(renounced_, false);
  if (result && !old) {
    failures_ = 0;
    valid_until_ms_ = asked_ms + context_.options.lease_ms;
    const bool fresh = !held || epoch_ != result->epoch;
    epoch_ = result->epoch;
    if (fresh && valid()) {
      gained_ms_ = context_.mono_ms();
      context_.log(1, "this replica leads", Json::object({{"epoch", static_cast<std::int64_t>(epoch_)}}));
      gained_();
    }
  } else if (old) {
    again_ms = 1;
  } else if (result.error().code == Code::conflict) {
    valid_until_ms_ = 0;
    if (held) context_.log(2, "another replica leads now");
  } else {
    again_ms = std::min(again_ms, context_.backoff_ms(++failures_));  // keeps what it has until it runs out
  }
  if (std::exchange(again_, false)) again_ms = 1;
  timer_ = context_.after_ms(std::max<std::int64_t>(1, again_ms), [this] {
    timer_ = 0;
    ask();
  });
}

void Leader::resign() {
  started_ = false;
  valid_until_ms_ = 0;
}

void Leader::release(std::function<void()> released) {
  if (asking_) {  // its late answer would be a lease that nobody uses
    auto earlier = std::exchange(returned_, nullptr);
    returned_ = [this, earlier = std::move(earlier), released = std::move(released)]() mutable {
      if (earlier) earlier();
      release(std::move(released));
    };
    return;
  }
  if (context_.mono_ms() >= std::exchange(held_until_ms_, 0)) return released();
  context_.ports.store->lease(kLease, context_.options.replica, kRelease, context_.options.lease_ms,
                              context_.guard([this, released = std::move(released)](Result<Lease> result) mutable {
                                if (!result || !context_.replicated) return released();
                                announce(std::move(released));
                              }));
}

// The other replicas ask for the lease now and then; the watch tells them of this document, and they ask at once.
void Leader::announce(std::function<void()> released) {
  Commit commit;
  commit.partition = documents::kLeaderPartition;
  commit.operations.push_back({StoreOperation::Kind::put, std::string(documents::kHandOverKey),
                               Json::object({{"replica", context_.options.replica}}).dump(), kAnnouncedMs});
  context_.ports.store->commit(std::move(commit),
                               context_.guard([released = std::move(released)](const Result<CommitResult>&) { released(); }));
}

}  // namespace roost
