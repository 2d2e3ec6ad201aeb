// Leader: the lease without which this replica does not reconcile. It is valid for its length from the moment of asking, on the
// monotonic clock, so that this replica stops believing in it before the store gives it to another.
// Thread safety: the engine's thread only, but for valid().
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "engine/context.hpp"

namespace roost {

class Leader {
 public:
  explicit Leader(Context& context) : context_(context) {}
  void start(std::function<void()> gained);  // called each time the lease is new, or was lost in between
  void ask_now();                            // it may be free
  void renounce();                           // it may have been lost where it is kept: not valid before it is granted anew
  void resign();                             // not valid from now on, and not asked for again
  // After resign(): lets another replica have it at once. Call it when nothing that was begun under it is under way. Answers
  // once nobody is held up by it, or where the store does not take it back: then it runs out by itself.
  void release(std::function<void()> released);
  [[nodiscard]] bool valid() const { return context_.mono_ms() < valid_until_ms_.load(); }
  // Valid, and for so long that nothing which whoever led before had sent is still on its way.
  [[nodiscard]] bool is_settled() const { return valid() && context_.mono_ms() - gained_ms_ >= kStragglersMs; }

  // What a process that was killed or paused had sent may arrive so long after it.
  static constexpr std::int64_t kStragglersMs = 30'000;

 private:
  void ask();
  void answered(std::int64_t asked_ms, Result<Lease> result);
  void give_back();
  void given_back(const Result<Lease>& result);
  void announce();
  void released();

  Context& context_;
  std::function<void()> gained_;
  std::vector<std::function<void()>> released_;  // who waits for the release that is under way
  std::int64_t release_until_ms_ = 0;            // so long it is tried again
  std::atomic<std::int64_t> valid_until_ms_{0};
  std::int64_t held_until_ms_ = 0;  // in the store, as far as is known
  std::uint64_t epoch_ = 0;
  std::int64_t gained_ms_ = 0;
  std::int64_t failures_ = 0;
  Scheduler::TimerId timer_ = 0;
  bool started_ = false;
  bool asking_ = false;
  bool again_ = false;      // ask once more when the answer is there
  bool renounced_ = false;  // what is under way was asked before: its answer is not believed
};

}  // namespace roost
