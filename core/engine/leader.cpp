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
constexpr std::int64_t kReleaseMs = 3'000, kReleaseAgainMs = 500;
}  // namespace

void Leader::start(std::function<void()> gained) {
  if (context_.stopping) return;
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
    if (!released_.empty()) give_back();
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

// Whoever asks while it is under way waits with the first: the daemon that ends now would take the call from under it.
void Leader::release(std::function<void()> released) {
  released_.push_back(std::move(released));
  if (released_.size() > 1) return;
  release_until_ms_ = context_.mono_ms() + kReleaseMs;
  if (!asking_) give_back();  // else a late answer would be a lease that nobody uses
}

void Leader::give_back() {
  if (context_.mono_ms() >= held_until_ms_) return released();
  context_.ports.store->lease(kLease, context_.options.replica, kRelease, context_.options.lease_ms,
                              context_.guard([this](const Result<Lease>& result) { given_back(result); }));
}

void Leader::given_back(const Result<Lease>& result) {
  const bool over = result.ok() || result.error().code == Code::conflict;  // conflict: it was not ours any more
  if (over) held_until_ms_ = 0;
  if (result.ok() && context_.replicated) return announce();
  if (over || context_.mono_ms() >= release_until_ms_) return released();
  context_.after_ms(std::min(kReleaseAgainMs, context_.backoff_ms(++failures_)), [this] { give_back(); });
}

// The other replicas ask for the lease now and then; the watch tells them of this document, and they ask at once.
void Leader::announce() {
  Commit commit;
  commit.partition = documents::kLeaderPartition;
  commit.operations.push_back({StoreOperation::Kind::put, std::string(documents::kHandOverKey),
                               Json::object({{"replica", context_.options.replica}}).dump(), kAnnouncedMs});
  context_.ports.store->commit(std::move(commit), context_.guard([this](const Result<CommitResult>&) { released(); }));
}

void Leader::released() {
  for (auto& done : std::exchange(released_, {})) done();
}

}  // namespace roost
