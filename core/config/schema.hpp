// The schema of roost.yaml (schema.json, carried in the binary) and what is checked with it. Pointers are JSON pointers into the
// configuration; keys are the same in dots ("http.listen"). Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"

namespace roost::config {

[[nodiscard]] std::string_view schema_text();
// schema.json with its references put in.
[[nodiscard]] const Json& schema();

// A fault of the configuration, at a pointer.
struct Fault {
  std::string pointer;
  std::string why;
  bool at_key = false;  // the key itself is wrong, not its value
};

// The document with every default filled in and every null dropped; unknown and missing keys become faults.
[[nodiscard]] Json complete(const Json& document, std::vector<Fault>& faults);
// Types, ranges, patterns (valijson) and units. REQUIRES: a completed document.
void check(const Json& document, std::vector<Fault>& faults);
// The pointers at which valijson finds the document wrong, the deepest ones only.
[[nodiscard]] std::vector<std::string> wrong_pointers(const Json& document);

struct Key {
  std::string name;     // "http.listen"; the items of a list as "auth.keys[].name", of a map as "store.secrets.NAME.file"
  std::string pointer;  // "/http/listen"; not for the items of a list or map
  const Json* schema = nullptr;
};
// Every key that is not a section, in the schema's order.
[[nodiscard]] const std::vector<Key>& keys();

// The schema of what stands at a pointer; null where there is none (below x-free).
[[nodiscard]] const Json* schema_at(std::string_view pointer);
[[nodiscard]] std::string to_key(std::string_view pointer);  // "/auth/keys/0/key" to "auth.keys[0].key"
// "; did you mean …?" where one of the names is near, else the empty text.
[[nodiscard]] std::string did_you_mean(std::string_view name, const std::vector<std::string>& names);
[[nodiscard]] std::vector<std::string> split_pointer(std::string_view pointer);  // unescaped segments

}  // namespace roost::config
