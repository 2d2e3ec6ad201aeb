// The pieces of a request that need more than the grammar: target, path, Host, traceparent. RFC 9110, RFC 9112, W3C Trace
// Context. Thread safety: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace roost::http {

// Decodes %XX once; '+' becomes a space where `plus_is_space`. None where a percent sign is not followed by two hex digits.
[[nodiscard]] std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);

// Decodes once and collapses "//". Returns why it refuses: an encoded slash, a backslash, NUL or another control character, a "."
// or ".." segment (plain or encoded), bytes that are not UTF-8. Empty: `path` is set. REQUIRES: raw begins with '/'.
[[nodiscard]] std::string_view normalise_path(std::string_view raw, std::string& path);

// A Host header's value: a name, an IPv4 or a bracketed IPv6 address, with an optional port of digits.
[[nodiscard]] bool valid_host(std::string_view host);

// "HTTP://HOST/rest" into its authority and "/rest". False where it is not of that form.
bool split_absolute(std::string_view target, std::string_view& authority, std::string_view& rest);

// The trace id of a traceparent header; "" where the header is not valid.
[[nodiscard]] std::string_view trace_id_of(std::string_view traceparent);

[[nodiscard]] bool equals_ignoring_case(std::string_view a, std::string_view b);
void append_lower(std::string& out, std::string_view text);
[[nodiscard]] std::string_view trim(std::string_view text);  // spaces and tabs

// Calls f(token) for each element of a comma-separated list (trimmed, empty ones left out).
template <class F>
void for_each_token(std::string_view list, F&& f) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    const std::string_view token = trim(list.substr(0, comma));
    if (!token.empty()) f(token);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace roost::http
