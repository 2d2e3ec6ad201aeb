#include "gateway/login.hpp"

#include <charconv>

#include "base/crypto.hpp"

namespace roost::gateway {
namespace {

constexpr std::size_t kNonceBytes = 16;
constexpr std::size_t kMaxSigned = 128;  // characters of a token or a cookie

// `what` keeps a cookie from being taken for a token. No part can hold a colon (hex digits, numbers, base64url and dots), so the
// parts cannot run into one another.
std::string mac(std::string_view what, std::string_view secret, std::string_view session_id, std::string_view said) {
  std::string text("roost-");
  text.append(what).append(":v1:").append(session_id).append(":").append(said);
  const Sha256 digest = hmac_sha256(secret, text);
  return base64url({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string sign(std::string_view what, std::string_view secret, std::string_view session_id, const std::string& said) {
  return "v1." + said + "." + mac(what, secret, session_id, said);
}

// The two parts of what was signed; false where it was not signed so.
bool verify(std::string_view what, std::string_view value, std::string_view secret, std::string_view session_id,
            std::string_view& first, std::string_view& second) {
  if (value.size() > kMaxSigned || !value.starts_with("v1.")) return false;
  const std::string_view rest = value.substr(3);
  const auto end = rest.rfind('.');
  if (end == std::string_view::npos) return false;
  const std::string_view said = rest.substr(0, end);
  const auto middle = said.find('.');
  if (middle == std::string_view::npos) return false;
  if (!constant_time_equal(rest.substr(end + 1), mac(what, secret, session_id, said))) return false;
  first = said.substr(0, middle);
  second = said.substr(middle + 1);
  return true;
}

bool parse_seconds(std::string_view text, std::int64_t& out) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), out);
  return !text.empty() && text.size() <= 12 && result.ec == std::errc{} && result.ptr == text.data() + text.size() && out >= 0;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

std::string sign_token(std::string_view secret, std::string_view session_id, Random& random, std::int64_t expires_s) {
  unsigned char nonce[kNonceBytes];
  random.fill(nonce);
  return sign("access", secret, session_id,
              std::to_string(expires_s) + "." + base64url({reinterpret_cast<const char*>(nonce), sizeof nonce}));
}

bool UsedTokens::redeem(std::string_view token, std::string_view secret, std::string_view session_id, std::int64_t now_s) {
  std::string_view expires;
  std::string_view nonce;
  std::int64_t expires_s = 0;
  if (!verify("access", token, secret, session_id, expires, nonce)) return false;
  if (!parse_seconds(expires, expires_s) || now_s >= expires_s) return false;
  const std::string key(token.substr(token.rfind('.') + 1));
  const std::lock_guard lock(mutex_);
  while (!expiry_.empty() && expiry_.begin()->first <= now_s) {
    used_.erase(expiry_.begin()->second);
    expiry_.erase(expiry_.begin());
  }
  if (used_.size() >= capacity_ || !used_.insert(key).second) return false;
  expiry_.emplace(expires_s, key);
  return true;
}

std::size_t UsedTokens::size() const {
  const std::lock_guard lock(mutex_);
  return used_.size();
}

std::string sign_cookie(std::string_view secret, std::string_view session_id, std::int64_t issued_s, std::int64_t expires_s) {
  return sign("cookie", secret, session_id, std::to_string(issued_s) + "." + std::to_string(expires_s));
}

bool verify_cookie(std::string_view value, std::string_view secret, std::string_view session_id, std::int64_t now_s) {
  std::string_view issued;
  std::string_view expires;
  std::int64_t issued_s = 0;
  std::int64_t expires_s = 0;
  if (!verify("cookie", value, secret, session_id, issued, expires)) return false;
  return parse_seconds(issued, issued_s) && parse_seconds(expires, expires_s) && now_s < expires_s;
}

// A `__Host-` cookie must be Secure, and a browser takes it only from an origin that it trusts. Chromium 156 and Firefox trust
// http://localhost and http://*.localhost as much as https (tried: the cookie is kept and sent back), so the prefix holds for
// local workspaces too. On plain http anywhere else they drop a Secure cookie; there the name has no prefix.
std::string_view cookie_name(bool secure) { return secure ? "__Host-roost" : "roost"; }

std::string set_cookie(std::string_view value, bool secure, std::int64_t max_age_s) {
  std::string text(cookie_name(secure));
  text.append("=")
      .append(value)
      .append("; Path=/; Max-Age=")
      .append(std::to_string(max_age_s))
      .append("; HttpOnly; SameSite=Lax");
  if (secure) text.append("; Secure");
  return text;
}

std::string_view find_cookie(std::string_view header, std::string_view name) {
  std::string_view found;
  bool seen = false;
  while (!header.empty()) {
    const auto end = header.find(';');
    const std::string_view pair = trim(header.substr(0, end));
    const auto equals = pair.find('=');
    if (equals != std::string_view::npos && trim(pair.substr(0, equals)) == name) {
      if (seen) return {};
      seen = true;
      found = trim(pair.substr(equals + 1));
    }
    if (end == std::string_view::npos) break;
    header.remove_prefix(end + 1);
  }
  return found;
}

}  // namespace roost::gateway
