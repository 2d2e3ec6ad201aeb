// ChangeLog: what changed lately, for watch. It is a hint and lives in memory only: a token of another process, or one that has
// fallen too far behind, is EXPIRED. Thread safety: any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "roost/plugin.hpp"

namespace roost::store_sqlite {

struct Changed {
  std::string name;  // partition + '\n' + key
  std::uint64_t revision = 0;
};

class ChangeLog {
 public:
  ChangeLog();
  ChangeLog(const ChangeLog&) = delete;
  ChangeLog& operator=(const ChangeLog&) = delete;

  void publish(std::vector<Changed> changes);
  // Waits for changes after the token, emits them (at most 1,024) and the next token. Returns without any at the deadline.
  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink);

 private:
  class Watcher;
  [[nodiscard]] std::uint64_t position(std::string_view token) const;  // REQUIRES: mutex_
  [[nodiscard]] std::string token(std::uint64_t position) const;

  const std::string epoch_;  // random: one life of this log
  mutable std::mutex mutex_;
  std::uint64_t first_ = 1;  // position of entries_.front()
  std::deque<Changed> entries_;
  std::set<Watcher*> watchers_;
};

}  // namespace roost::store_sqlite
