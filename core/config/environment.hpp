// Overrides from the environment: ROOST_ and the key's path in upper case, joined by "__"; ROOST_HTTP__LISTEN is http.listen.
// A text key takes the variable as it is; any other takes it as inline YAML, so lists and maps can be given whole. Below a
// plugin's config or secrets the names are the variable's in lower case. An empty variable overrides nothing.
// Thread safety: pure functions.
#pragma once

#include <string>
#include <vector>

#include "base/json.hpp"
#include "config/config.hpp"
#include "config/schema.hpp"
#include "config/yaml.hpp"

namespace roost::config {

// The document with the overrides put in. A ROOST_* that is no key becomes a warning.
[[nodiscard]] Json apply_environment(Json document, const Environment& environment, Positions& positions,
                                     std::vector<Fault>& faults, std::vector<std::string>& warnings);

// "http.listen" to "ROOST_HTTP__LISTEN".
[[nodiscard]] std::string variable_name(std::string_view key);

}  // namespace roost::config
