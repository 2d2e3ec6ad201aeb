// TreeCount: counts a tree while it is being saved, so that progress has something to be measured against. It is quicker than the
// saving, and a courtesy: what is too deep or too much for it leaves the totals unknown. Thread safety: one owner.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "agent/task_thread.hpp"
#include "agent/walk.hpp"
#include "base/result.hpp"

namespace roost::agent {

class TreeCount {
 public:
  // REQUIRES: root outlives it.
  static Result<std::unique_ptr<TreeCount>> start(int root, WalkOptions options);
  ~TreeCount();  // whether or not it has come to its end
  TreeCount(const TreeCount&) = delete;
  TreeCount& operator=(const TreeCount&) = delete;

  [[nodiscard]] bool known() const { return known_.load(std::memory_order_acquire); }
  // REQUIRES: known(). Entries of every kind, and the bytes of files.
  [[nodiscard]] std::int64_t files() const { return files_; }
  [[nodiscard]] std::int64_t bytes() const { return bytes_; }

 private:
  class Visitor;
  explicit TreeCount(WalkOptions options) : options_(std::move(options)) {}

  WalkOptions options_;
  std::int64_t files_ = 0;
  std::int64_t bytes_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> known_{false};
  TaskThread thread_;
};

}  // namespace roost::agent
