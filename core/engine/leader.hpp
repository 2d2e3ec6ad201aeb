// Leader: the lease without which this replica does not reconcile. It is valid for its length from the moment of asking, on the
// monotonic clock, so that this replica stops believing in it before the store gives it to another.
// Thread safety: the engine's thread only, but for valid().
#pragma once

#include <atomic>
#include <functional>

#include "engine/context.hpp"

namespace roost {

class Leader {
 public:
  explicit Leader(Context& context) : context_(context) {}
  void start(std::function<void()> gained);  // called each time the lease is new, or was lost in between
  void stop(std::function<void()> released);
  [[nodiscard]] bool valid() const { return context_.mono_ms() < valid_until_ms_.load(); }

 private:
  void ask();
  void answered(std::int64_t asked_ms, Result<Lease> result);

  Context& context_;
  std::function<void()> gained_;
  std::atomic<std::int64_t> valid_until_ms_{0};
  std::uint64_t epoch_ = 0;
  std::int64_t failures_ = 0;
  bool started_ = false;
};

}  // namespace roost
