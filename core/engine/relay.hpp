// Relay: says on this replica what chat did on another one: hints of the store's watch name messages that were queued or ended;
// they are read, and the events go to this replica's listeners, each once. A message that was answered before it could be read in
// the queue shows as answered only. Thread safety: the engine's thread only.
// Invariant: it remembers the last kRemembered messages that were told of, those of this replica included.
#pragma once

#include <deque>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/context.hpp"

namespace roost {

class Relay {
 public:
  explicit Relay(Context& context) : context_(context) {}

  // Notes that this replica tells of the key's change itself; false where somebody did before.
  bool first(const std::string& key);
  void take(const std::vector<Change>& changes);

 private:
  static constexpr std::size_t kRemembered = 8192;
  void read(std::vector<Change> changes, std::size_t at);
  void tell(const Document& document);

  Context& context_;
  std::unordered_set<std::string> told_;
  std::deque<std::string> order_;
};

}  // namespace roost
