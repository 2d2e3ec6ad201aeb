// ReadModel: compact immutable snapshots of every session, replaced whenever a commit is acknowledged. API reads come from here
// and touch no backend. Thread safety: reads from any thread; writes on the engine's thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/session.hpp"

namespace roost {

struct SessionSnapshot {
  Session session;
  std::uint64_t revision = 0;  // of the document; the API's ETag
  std::string commits;         // marks of the last few commits, newest first: tells whether one whose answer was lost has landed
};
using SessionView = std::shared_ptr<const SessionSnapshot>;

class ReadModel {
 public:
  ReadModel();
  ~ReadModel();
  [[nodiscard]] SessionView find(std::string_view id) const;  // null: not here
  // Up to `limit` sessions in order of id from after `after`; of one user where user_id is not empty.
  [[nodiscard]] std::vector<SessionView> list(std::string_view after, std::size_t limit, std::string_view user_id = {}) const;
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::vector<std::size_t> count_by_phase() const;  // indexed by Phase

  void put(SessionView view);
  void erase(std::string_view id);

 private:
  struct Shard;
  std::unique_ptr<Shard[]> shards_;
};

}  // namespace roost
