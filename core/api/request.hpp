// Reads what the API accepts of a request: bodies, numbers in the query, the headers of mutating calls.
// Thread safety: pure functions. Each answers a refusal that says what is wrong, where, and what is right.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"
#include "engine/engine.hpp"
#include "http/http.hpp"

namespace roost::api {

struct Body {
  Json json;                              // an object
  std::optional<http::Response> refusal;  // 400 or 415
};
// The body as a JSON object; an empty body is {}. Content-Type may be missing, or must say JSON.
[[nodiscard]] Body read_body(const http::Request&);

// A query parameter that is a whole number in [low, high]; `fallback` where it is absent. INVALID.
[[nodiscard]] Result<std::int64_t> query_number(const http::Request&, std::string_view name, std::int64_t fallback,
                                                std::int64_t low, std::int64_t high);
// "true", "1" or nothing after it is true; "false" and "0" are false. INVALID.
[[nodiscard]] Result<bool> query_flag(const http::Request&, std::string_view name);

// A member of a body that is a whole number in [low, high]. INVALID.
[[nodiscard]] Result<std::int64_t> body_number(const Json& body, std::string_view name, std::int64_t fallback, std::int64_t low,
                                               std::int64_t high);

// Idempotency-Key, If-Match and dry_run. INVALID.
[[nodiscard]] Result<CommandOptions> command_options(const http::Request&, std::string_view actor);

// 422 for a well-formed request whose value cannot be.
[[nodiscard]] http::Response unprocessable(std::string_view detail);

}  // namespace roost::api
