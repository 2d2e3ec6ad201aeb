// Checks a plugin's configuration against its manifest, without running any of the plugin's code: valijson against the schema,
// then our own walk for keys that the schema does not know, with the nearest one that it does. Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "host/manifest.hpp"
#include "host/schema.hpp"

namespace roost {

// Empty: fine. Pointers are into `config`, e.g. "/tls/ca_file". INVALID: the manifest's schema cannot be used.
[[nodiscard]] Result<std::vector<SchemaProblem>> check_plugin_config(const Manifest& manifest, const Json& config);

// Secrets that the manifest does not name; the pointer is "/NAME".
[[nodiscard]] std::vector<SchemaProblem> check_secret_names(const Manifest& manifest, const std::vector<std::string>& names);

// The candidate nearest to `key` by edits; "" where none is near. For "unknown key" messages.
[[nodiscard]] std::string nearest(std::string_view key, const std::vector<std::string>& candidates);

}  // namespace roost
