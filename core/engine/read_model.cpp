#include "engine/read_model.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

namespace roost {

namespace {

constexpr std::size_t kShards = 64;
constexpr std::size_t kPhases = static_cast<std::size_t>(Phase::failed) + 1;

// An id as a number, so that an entry costs no string; nothing for what is not an id.
std::optional<std::uint32_t> number_of(std::string_view id) {
  if (!valid_session_id(id)) return std::nullopt;
  std::uint32_t number = 0;
  for (char c : id) number = number << 4 | static_cast<std::uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
  return number;
}

std::size_t hash_of(std::string_view user) { return std::hash<std::string_view>{}(user); }

}  // namespace

// The shards cut the range of ids in order, so that a walk over them is a walk in order of id. `users` is apart: it is sharded
// by user, and holds numbers only.
struct ReadModel::Shard {
  struct Entry {
    std::uint32_t number;
    SessionView view;
  };
  mutable std::shared_mutex mutex;
  std::vector<Entry> entries;  // sorted by number

  mutable std::shared_mutex users_mutex;
  std::unordered_multimap<std::size_t, std::uint32_t> users;  // hash of the user to ids

  std::array<std::atomic<std::size_t>, kPhases> phases{};

  [[nodiscard]] auto at(std::uint32_t number) {
    return std::lower_bound(entries.begin(), entries.end(), number, [](const Entry& e, std::uint32_t n) { return e.number < n; });
  }
  [[nodiscard]] SessionView find(std::uint32_t number) {
    std::shared_lock lock(mutex);
    auto it = at(number);
    return it != entries.end() && it->number == number ? it->view : nullptr;
  }
  void forget_user(std::size_t hash, std::uint32_t number) {
    std::unique_lock lock(users_mutex);
    auto [first, last] = users.equal_range(hash);
    for (auto it = first; it != last; ++it) {
      if (it->second != number) continue;
      users.erase(it);
      return;
    }
  }
};

namespace {
std::size_t shard_of(std::uint32_t number) { return number >> 26; }
std::size_t slot(Phase phase) { return static_cast<std::size_t>(phase); }
}  // namespace

ReadModel::ReadModel() : shards_(new Shard[kShards]) {}
ReadModel::~ReadModel() = default;

SessionView ReadModel::find(std::string_view id) const {
  auto number = number_of(id);
  return number ? shards_[shard_of(*number)].find(*number) : nullptr;
}

std::vector<SessionView> ReadModel::list(std::string_view after, std::size_t limit, std::string_view user_id) const {
  std::vector<SessionView> found;
  if (!user_id.empty()) {
    std::vector<std::uint32_t> numbers;
    {
      const std::size_t hash = hash_of(user_id);
      const Shard& shard = shards_[hash % kShards];
      std::shared_lock lock(shard.users_mutex);
      auto [first, last] = shard.users.equal_range(hash);
      for (auto it = first; it != last; ++it) numbers.push_back(it->second);
    }
    std::sort(numbers.begin(), numbers.end());
    for (std::uint32_t number : numbers) {
      if (found.size() >= limit) break;
      SessionView view = shards_[shard_of(number)].find(number);
      if (view && view->session.user_id == user_id && view->session.id > after) found.push_back(std::move(view));
    }
    return found;
  }
  auto start = number_of(after);
  for (std::size_t i = start ? shard_of(*start) : 0; i < kShards && found.size() < limit; ++i) {
    Shard& shard = shards_[i];
    std::shared_lock lock(shard.mutex);
    auto it = start ? shard.at(*start) : shard.entries.begin();
    for (; it != shard.entries.end() && found.size() < limit; ++it) {
      if (it->view->session.id > after) found.push_back(it->view);
    }
  }
  return found;
}

std::size_t ReadModel::size() const {
  std::size_t total = 0;
  for (std::size_t count : count_by_phase()) total += count;
  return total;
}

std::vector<std::size_t> ReadModel::count_by_phase() const {
  std::vector<std::size_t> counts(kPhases);
  for (std::size_t i = 0; i < kShards; ++i) {
    for (std::size_t p = 0; p < kPhases; ++p) counts[p] += shards_[i].phases[p].load(std::memory_order_relaxed);
  }
  return counts;
}

void ReadModel::put(SessionView view) {
  auto number = number_of(view->session.id);
  if (!number) return;
  Shard& shard = shards_[shard_of(*number)];
  const std::size_t hash = hash_of(view->session.user_id);
  SessionView old;
  shard.phases[slot(view->session.phase)].fetch_add(1, std::memory_order_relaxed);
  {
    std::unique_lock lock(shard.mutex);
    auto it = shard.at(*number);
    if (it != shard.entries.end() && it->number == *number) {
      old = std::exchange(it->view, view);
    } else {
      if (shard.entries.size() == shard.entries.capacity())
        shard.entries.reserve(shard.entries.size() + shard.entries.size() / 4 + 4);
      shard.entries.insert(shard.at(*number), {*number, view});
    }
  }
  if (old) shard.phases[slot(old->session.phase)].fetch_sub(1, std::memory_order_relaxed);
  if (old && old->session.user_id == view->session.user_id) return;
  if (old) {
    const std::size_t old_hash = hash_of(old->session.user_id);
    shards_[old_hash % kShards].forget_user(old_hash, *number);
  }
  Shard& users = shards_[hash % kShards];
  std::unique_lock lock(users.users_mutex);
  users.users.emplace(hash, *number);
}

void ReadModel::erase(std::string_view id) {
  auto number = number_of(id);
  if (!number) return;
  Shard& shard = shards_[shard_of(*number)];
  SessionView old;
  {
    std::unique_lock lock(shard.mutex);
    auto it = shard.at(*number);
    if (it == shard.entries.end() || it->number != *number) return;
    old = std::move(it->view);
    shard.entries.erase(it);
  }
  shard.phases[slot(old->session.phase)].fetch_sub(1, std::memory_order_relaxed);
  const std::size_t hash = hash_of(old->session.user_id);
  shards_[hash % kShards].forget_user(hash, *number);
}

}  // namespace roost
