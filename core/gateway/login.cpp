#include "gateway/login.hpp"

#include <algorithm>
#include <charconv>

#include "base/crypto.hpp"

namespace roost::gateway {
namespace {

constexpr std::size_t kTokenBytes = 32;
constexpr std::size_t kOpenPerSession = 16;
constexpr std::string_view kVersion = "v1";

std::string hash_of(std::string_view token) {
  const Sha256 digest = sha256(token);
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

std::string mac(std::string_view key, std::string_view session_id, std::string_view nonce, std::string_view times) {
  // No part can hold a colon (hex digits, numbers and dots), so the parts cannot run into one another.
  std::string text = "roost-cookie:";
  text.append(kVersion).append(":").append(session_id).append(":").append(nonce).append(":").append(times);
  const Sha256 digest = hmac_sha256(key, text);
  return base64url({reinterpret_cast<const char*>(digest.data()), digest.size()});
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

AccessTokens::AccessTokens(Clock& clock, Random& random, std::int64_t ttl_ns, std::size_t capacity)
    : clock_(clock), random_(random), ttl_ns_(ttl_ns), capacity_(capacity) {}

Result<std::string> AccessTokens::mint(const std::string& session_id) {
  unsigned char bytes[kTokenBytes];
  random_.fill(bytes);
  std::string token = base64url({reinterpret_cast<const char*>(bytes), sizeof bytes});
  std::string hash = hash_of(token);
  const std::lock_guard lock(mutex_);
  sweep();
  auto& open = by_session_[session_id];
  if (open.size() >= kOpenPerSession) {
    entries_.erase(open.front());
    open.pop_front();
  } else if (entries_.size() >= capacity_) {
    if (open.empty()) by_session_.erase(session_id);
    return Error{Code::exhausted, "too many access links are open: try again in a minute", 60'000};
  }
  const std::int64_t expires_ns = clock_.monotonic_ns() + ttl_ns_;
  entries_.emplace(hash, Entry{session_id, expires_ns});
  open.push_back(hash);
  order_.emplace_back(expires_ns, std::move(hash));
  return token;
}

bool AccessTokens::redeem(std::string_view token, std::string_view session_id) {
  const std::string hash = hash_of(token);
  const std::lock_guard lock(mutex_);
  sweep();
  const auto found = entries_.find(hash);
  if (found == entries_.end() || found->second.session_id != session_id) return false;
  const auto open = by_session_.find(found->second.session_id);
  if (open != by_session_.end()) {
    std::erase(open->second, hash);
    if (open->second.empty()) by_session_.erase(open);
  }
  entries_.erase(found);
  return true;
}

std::size_t AccessTokens::size() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

void AccessTokens::sweep() {
  const std::int64_t now = clock_.monotonic_ns();
  while (!order_.empty() && order_.front().first <= now) {
    const auto found = entries_.find(order_.front().second);
    if (found != entries_.end()) {
      const auto open = by_session_.find(found->second.session_id);
      if (open != by_session_.end()) {
        std::erase(open->second, order_.front().second);
        if (open->second.empty()) by_session_.erase(open);
      }
      entries_.erase(found);
    }
    order_.pop_front();
  }
}

std::string sign_cookie(std::string_view key, std::string_view session_id, std::string_view secret_nonce, std::int64_t issued_s,
                        std::int64_t expires_s) {
  const std::string times = std::to_string(issued_s) + "." + std::to_string(expires_s);
  return std::string(kVersion) + "." + times + "." + mac(key, session_id, secret_nonce, times);
}

bool verify_cookie(std::string_view value, std::string_view key, std::string_view session_id, std::string_view secret_nonce,
                   std::int64_t now_s) {
  if (value.size() > 128 || value.substr(0, 3) != "v1.") return false;
  const std::string_view rest = value.substr(3);
  const auto first = rest.find('.');
  const auto second = first == std::string_view::npos ? first : rest.find('.', first + 1);
  if (second == std::string_view::npos) return false;
  const std::string_view times = rest.substr(0, second);
  if (!constant_time_equal(rest.substr(second + 1), mac(key, session_id, secret_nonce, times))) return false;
  std::int64_t issued = 0;
  std::int64_t expires = 0;
  if (!parse_seconds(times.substr(0, first), issued) || !parse_seconds(times.substr(first + 1), expires)) return false;
  return now_s < expires;
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
