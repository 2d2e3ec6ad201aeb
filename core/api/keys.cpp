#include "api/keys.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <optional>
#include <set>

namespace roost::api {
namespace {

constexpr std::size_t kMaxKey = 512;  // bytes of a presented key; longer ones are nobody's

std::uint64_t prefix_of(const Sha256& digest) {
  std::uint64_t prefix = 0;
  std::memcpy(&prefix, digest.data(), sizeof prefix);
  return prefix;
}

std::string_view text_of(const Sha256& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

std::optional<Scope> scope_named(std::string_view name) {
  for (const Scope scope : {Scope::read, Scope::sessions, Scope::admin}) {
    if (to_string(scope) == name) return scope;
  }
  return std::nullopt;
}

Result<Scope> widest(const KeySpec& key) {
  if (key.scopes.empty())
    return Error{Code::invalid, "the key \"" + key.name + "\" has no scopes; give it read, sessions or admin", 0};
  Scope widest = Scope::read;
  for (const std::string& name : key.scopes) {
    const auto scope = scope_named(name);
    if (!scope)
      return Error{Code::invalid,
                   "the key \"" + key.name + "\" has the unknown scope \"" + name + "\"; there are read, sessions, admin", 0};
    widest = std::max(widest, *scope);
  }
  return widest;
}

}  // namespace

std::string_view to_string(Scope scope) {
  switch (scope) {
    case Scope::read: return "read";
    case Scope::sessions: return "sessions";
    case Scope::admin: return "admin";
  }
  return "";
}

Result<std::shared_ptr<const KeyRing>> KeyRing::make(const std::vector<KeySpec>& keys, Rate rate) {
  auto ring = std::make_shared<KeyRing>();
  std::set<std::string> names;
  for (const KeySpec& key : keys) {
    if (key.name.empty()) return Error{Code::invalid, "an API key has no name", 0};
    if (!names.insert(key.name).second) return Error{Code::invalid, "two API keys are named \"" + key.name + "\"", 0};
    const auto raw = from_hex(key.sha256);
    if (!raw || raw->size() != 32) return Error{Code::invalid, "the key \"" + key.name + "\": sha256 must be 64 hex digits", 0};
    ROOST_TRY(const Scope scope, widest(key));
    Sha256 digest{};
    std::memcpy(digest.data(), raw->data(), digest.size());
    const auto [first, last] = ring->keys_.equal_range(prefix_of(digest));
    if (std::any_of(first, last, [&](const auto& entry) { return entry.second.digest == digest; })) {
      return Error{Code::invalid, "the key \"" + key.name + "\" is the same as another one", 0};
    }
    auto principal = std::make_shared<Principal>();
    principal->name = key.name;
    principal->scope = scope;
    principal->user = key.user;
    principal->bucket = std::make_shared<RateBucket>(rate);
    ring->keys_.emplace(prefix_of(digest), Key{digest, std::move(principal)});
  }
  return std::shared_ptr<const KeyRing>(std::move(ring));
}

std::uint64_t KeyRing::next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

PrincipalView KeyRing::look_up(std::string_view presented) const {
  const Sha256 digest = sha256(presented);
  const auto [first, last] = keys_.equal_range(prefix_of(digest));
  for (auto entry = first; entry != last; ++entry) {
    if (constant_time_equal(text_of(entry->second.digest), text_of(digest))) return entry->second.principal;
  }
  return nullptr;
}

PrincipalView KeyRing::find(std::string_view presented) const {
  struct Remembered {
    std::uint64_t ring = 0;
    std::string key;
    PrincipalView principal;
  };
  thread_local Remembered last;
  if (presented.empty() || presented.size() > kMaxKey) return nullptr;
  if (last.ring == id_ && constant_time_equal(last.key, presented)) return last.principal;
  PrincipalView principal = look_up(presented);
  if (principal) last = {id_, std::string(presented), principal};
  return principal;
}

}  // namespace roost::api
