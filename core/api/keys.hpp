// KeyRing: the API keys, as SHA-256 only, and what each may do. Principal: who a request comes from.
// Thread safety: immutable after it is made (a reload makes a new one); the buckets inside are safe by themselves.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "api/rate_limit.hpp"
#include "base/crypto.hpp"
#include "base/result.hpp"

namespace roost::api {

// Each contains the ones before it. A workspace's own token stands apart: see Principal::session.
enum class Scope { read, sessions, admin };

[[nodiscard]] std::string_view to_string(Scope);

struct KeySpec {
  std::string name;                 // for logs and the audit trail
  std::string sha256;               // 64 hex digits
  std::vector<std::string> scopes;  // "read", "sessions", "admin"
  std::string user;                 // not empty: sees and creates this user's sessions only
};

struct Principal {
  std::string name;
  Scope scope = Scope::read;
  std::string user;       // not empty: bound to this user
  std::string session;    // not empty: a workspace's token; claims and acknowledges this session's messages, nothing else
  bool unproven = false;  // a key that only the store can tell anything of: no handler may see it
  std::shared_ptr<RateBucket> bucket;

  [[nodiscard]] bool may(Scope needed) const { return !unproven && session.empty() && scope >= needed; }
  [[nodiscard]] bool sees(std::string_view user_id) const { return !unproven && (user.empty() || user == user_id); }
};
using PrincipalView = std::shared_ptr<const Principal>;

class KeyRing {
 public:
  // INVALID naming the key and what is wrong with it: no name, no scope, an unknown one, a digest of another form, a duplicate.
  [[nodiscard]] static Result<std::shared_ptr<const KeyRing>> make(const std::vector<KeySpec>& keys, Rate rate);

  // Null: no such key. The digest's first bytes find the candidates, the whole of it is compared in constant time: a caller who
  // measures learns about digests at most, and cannot choose those.
  // Each thread remembers the key that it accepted last, so that a busy client's key is not hashed for every request.
  [[nodiscard]] PrincipalView find(std::string_view presented) const;
  [[nodiscard]] std::size_t size() const { return keys_.size(); }

 private:
  struct Key {
    Sha256 digest;
    PrincipalView principal;
  };
  [[nodiscard]] PrincipalView look_up(std::string_view presented) const;

  std::unordered_multimap<std::uint64_t, Key> keys_;
  const std::uint64_t id_ = next_id();  // tells rings apart in the threads' memories
  [[nodiscard]] static std::uint64_t next_id();
};

}  // namespace roost::api
