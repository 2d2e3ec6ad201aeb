// Waiting for asynchronous answers, with a deadline instead of a sleep.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>

#include "base/result.hpp"
#include "engine/ports.hpp"

namespace roost::test {

inline constexpr auto kPatience = std::chrono::seconds(60);

// The answer of one asynchronous call.
template <class T>
class Answer {
 public:
  Done<T> done() {
    return [promise = promise_](Result<T> result) { promise->set_value(std::move(result)); };
  }
  [[nodiscard]] bool arrived() const { return future_.wait_for(std::chrono::seconds(0)) == std::future_status::ready; }
  Result<T> get() {
    if (future_.wait_for(kPatience) != std::future_status::ready) return Error{Code::internal, "the test waited in vain", 0};
    return future_.get();
  }

 private:
  std::shared_ptr<std::promise<Result<T>>> promise_ = std::make_shared<std::promise<Result<T>>>();
  std::future<Result<T>> future_ = promise_->get_future();
};

inline bool eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

}  // namespace roost::test
