// Checks a JSON value against a JSON Schema (draft 7), by valijson. `$ref` is refused: a plugin's schema is one self-contained
// document, which keeps checking free of look-ups and of endless recursion. Thread safety: pure functions.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost {

struct SchemaProblem {
  std::string pointer;  // RFC 6901, into the value; "" is the whole value
  std::string message;  // what is wrong there and what is expected
};

// Empty: the value is valid. INVALID: the schema itself cannot be used. Strings of the value are limited to 4096 bytes.
[[nodiscard]] Result<std::vector<SchemaProblem>> check_schema(const Json& schema, const Json& value);

// key, escaped as one step of a JSON pointer, with its slash.
[[nodiscard]] std::string pointer_step(std::string_view key);
// The value that a pointer names; null where there is none.
[[nodiscard]] const Json* resolve_pointer(const Json& root, std::string_view pointer);
// What a schema asks for, in words: "integer, at least 1"; empty where it says nothing simple.
[[nodiscard]] std::string describe_schema(const Json& schema);

}  // namespace roost
