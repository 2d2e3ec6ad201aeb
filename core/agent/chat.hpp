// The pieces of `roost-agent chat` that tests reach: the client of the workspace's local API, and what a command's output
// becomes. Thread safety: none; one thread, which blocks in poll.
#pragma once

#include <string>
#include <string_view>

#include "agent/serve_posix.hpp"
#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::agent {

// POSTs to the API on that socket; the body of a 200. CANCELLED once `stop` is readable (-1: never); the message of a refusal is
// the API's own, its code CONFLICT for 409, NOT_FOUND for 404, else UNAVAILABLE.
[[nodiscard]] Result<Json> ask_api(const std::string& socket, const std::string& target, const Json& body, int stop);

// The reply {"text": …} of a command's output: valid UTF-8 (what is not becomes '?') and within what the API takes, with
// "truncated": true where it was longer.
[[nodiscard]] Json reply_of(std::string_view output);

}  // namespace roost::agent
