// Addresses: percent-encoding, and the base that paths are put after. RFC 3986. Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost::cli {

// Everything but RFC 3986's unreserved characters as %XX.
[[nodiscard]] std::string percent_encode(std::string_view text);
// The same for a path of files: "/" stays.
[[nodiscard]] std::string percent_encode_path(std::string_view path);

// Appends "?name=value" or "&name=value"; nothing where the value is empty.
void add_query(std::string& target, std::string_view name, std::string_view value);

// "http://host[:port][/prefix]" without a slash at its end. INVALID for another scheme, credentials, a query or a fragment.
[[nodiscard]] Result<std::string> base_url(std::string_view text);
// Whether the host of such an address is this machine: 127.0.0.0/8, [::1], localhost and names below it.
[[nodiscard]] bool is_loopback(std::string_view base);

}  // namespace roost::cli
