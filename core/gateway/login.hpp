// Login to a workspace: one-use access tokens, and the signed cookie that a redeemed token becomes.
// Thread safety: AccessTokens locks; the cookie functions are pure. Tokens are kept as hashes, in memory only, at most `capacity`
// of them and 16 a session (the oldest gives way); a cookie is valid for one session and one secret_nonce only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.hpp"
#include "base/result.hpp"

namespace roost::gateway {

class AccessTokens {
 public:
  AccessTokens(Clock& clock, Random& random, std::int64_t ttl_ns, std::size_t capacity = 65'536);

  // 43 characters of base64url, 256 bits. EXHAUSTED where `capacity` tokens are open.
  [[nodiscard]] Result<std::string> mint(const std::string& session_id);
  // True once for each token, for its own session, within its time.
  [[nodiscard]] bool redeem(std::string_view token, std::string_view session_id);
  [[nodiscard]] std::size_t size() const;

 private:
  struct Entry {
    std::string session_id;
    std::int64_t expires_ns = 0;
  };
  void sweep();  // REQUIRES: mutex_ held

  Clock& clock_;
  Random& random_;
  const std::int64_t ttl_ns_;
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Entry> entries_;          // by the token's SHA-256
  std::deque<std::pair<std::int64_t, std::string>> order_;  // expiry and hash, oldest first
  std::unordered_map<std::string, std::deque<std::string>> by_session_;
};

// "v1.ISSUED.EXPIRES.MAC", seconds since 1970, MAC = HMAC-SHA256(key, session, nonce, ISSUED, EXPIRES) in base64url.
[[nodiscard]] std::string sign_cookie(std::string_view key, std::string_view session_id, std::string_view secret_nonce,
                                      std::int64_t issued_s, std::int64_t expires_s);
[[nodiscard]] bool verify_cookie(std::string_view value, std::string_view key, std::string_view session_id,
                                 std::string_view secret_nonce, std::int64_t now_s);

// The cookie's name and attributes follow the scheme of the workspace's URL. See login.cpp for what Chromium accepts where.
[[nodiscard]] std::string_view cookie_name(bool secure);
[[nodiscard]] std::string set_cookie(std::string_view value, bool secure, std::int64_t max_age_s);

// The value of that cookie in a Cookie header; "" where there is none, or more than one.
[[nodiscard]] std::string_view find_cookie(std::string_view cookie_header, std::string_view name);

}  // namespace roost::gateway
