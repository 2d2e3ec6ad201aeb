// Login to a workspace: one-use access tokens, and the signed cookie that a redeemed token becomes. Both are signed with the
// session's login secret, which whoever makes a link and whoever lets its visitor in share: roostd with itself for a local
// workspace, with the agent in the pod on Kubernetes.
// Thread safety: UsedTokens locks; the rest are pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "base/clock.hpp"

namespace roost::gateway {

// An access token, "v1.EXPIRES.NONCE.MAC": 128 random bits, good for that session until EXPIRES (seconds since 1970).
[[nodiscard]] std::string sign_token(std::string_view secret, std::string_view session_id, Random& random,
                                     std::int64_t expires_s);

// Makes access tokens good once, where they are redeemed. It remembers those that were used until they expire, at most
// `capacity` of them; then it refuses more. A restart forgets them: within its minute a token is then good once more.
class UsedTokens {
 public:
  explicit UsedTokens(std::size_t capacity = 65'536) : capacity_(capacity) {}

  // True once for each token, for its own session, under the secret that signed it, within its time.
  [[nodiscard]] bool redeem(std::string_view token, std::string_view secret, std::string_view session_id, std::int64_t now_s);
  [[nodiscard]] std::size_t size() const;

 private:
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::set<std::string, std::less<>> used_;          // their MACs; guarded by mutex_
  std::multimap<std::int64_t, std::string> expiry_;  // the same by their end; guarded by mutex_
};

// "v1.ISSUED.EXPIRES.MAC", seconds since 1970, MAC = HMAC-SHA256(secret, session, ISSUED, EXPIRES) in base64url.
[[nodiscard]] std::string sign_cookie(std::string_view secret, std::string_view session_id, std::int64_t issued_s,
                                      std::int64_t expires_s);
[[nodiscard]] bool verify_cookie(std::string_view value, std::string_view secret, std::string_view session_id,
                                 std::int64_t now_s);

// The cookie's name and attributes follow the scheme of the workspace's URL. See login.cpp for what Chromium accepts where.
[[nodiscard]] std::string_view cookie_name(bool secure);
[[nodiscard]] std::string set_cookie(std::string_view value, bool secure, std::int64_t max_age_s);

// The value of that cookie in a Cookie header; "" where there is none, or more than one.
[[nodiscard]] std::string_view find_cookie(std::string_view cookie_header, std::string_view name);

}  // namespace roost::gateway
