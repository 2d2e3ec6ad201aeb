// Reason phrases (RFC 9110 section 15). Thread safety: pure functions.
#pragma once

#include <string_view>

namespace roost::http {

[[nodiscard]] std::string_view reason_phrase(int status);  // "Unknown" for a status without one

}  // namespace roost::http
