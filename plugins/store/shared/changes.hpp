// ChangeLog: what changed lately, for watch. It is a hint and lives in memory only: a token of another process, of the time
// before a restart(), or one that has fallen too far behind, is EXPIRED. Thread safety: any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "roost/plugin.hpp"

namespace roost::store {

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
  // Something may have been missed: every token given out so far is EXPIRED, and who waits is told so at once.
  void restart();
  // While the source of changes is out of reach nothing can be said: every watch fails as UNAVAILABLE with this text, those that
  // wait too, until it is resumed.
  void suspend(const std::string& why);
  void resume();
  // Waits for changes after the token, emits them (at most 1,024) and the next token. Returns without any at the deadline.
  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink);

 private:
  class Watcher;
  [[nodiscard]] std::uint64_t position(std::string_view token) const;  // REQUIRES: mutex_
  void check_running() const;                                          // REQUIRES: mutex_
  [[nodiscard]] static std::string token(const std::string& epoch, std::uint64_t position);

  std::string epoch_;  // random: one life of this log
  mutable std::mutex mutex_;
  std::uint64_t first_ = 1;  // position of entries_.front()
  std::deque<Changed> entries_;
  std::set<Watcher*> watchers_;
  std::string suspended_;  // why; empty: it is not
};

}  // namespace roost::store
