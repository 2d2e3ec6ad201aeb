#include "host/config_check.hpp"

#include <algorithm>
#include <numeric>

namespace roost {
namespace {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

std::string unknown(const char* what, const std::string& key, const std::vector<std::string>& known) {
  std::string message = std::string("unknown ") + what + " \"" + key + "\"";
  if (const std::string near = nearest(key, known); !near.empty()) return message + "; did you mean \"" + near + "\"?";
  if (known.empty()) return message + "; there is none here";
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
  return message + "; known: " + list;
}

// An object's schema closes it unless it says otherwise: by additionalProperties or patternProperties, or by having no properties
// at all, which is a free-form map.
void find_unknown_keys(const Json& schema, const Json& value, const std::string& pointer, std::vector<SchemaProblem>& problems) {
  if (value.is_array()) {
    const Json& items = schema["items"];
    std::size_t index = 0;
    for (const Json& item : value.items()) find_unknown_keys(items, item, pointer + "/" + std::to_string(index++), problems);
    return;
  }
  const Json* properties = schema.find("properties");
  const Json& additional = schema["additionalProperties"];
  const bool forbidden = additional.is_bool() && !additional.as_bool();
  const bool open =
      additional.is_object() || additional.as_bool() || schema.find("patternProperties") || (!properties && !forbidden);
  std::vector<std::string> known;
  if (properties) {
    for (const Json::Member& member : properties->members()) known.push_back(member.first);
  }
  for (const auto& [key, member] : value.members()) {
    const std::string at = pointer + pointer_step(key);
    if (const Json* node = properties ? properties->find(key) : nullptr) {
      find_unknown_keys(*node, member, at, problems);
    } else if (open) {
      find_unknown_keys(additional, member, at, problems);
    } else {
      problems.push_back({at, unknown("key", key, known)});
    }
  }
}

}  // namespace

std::string nearest(std::string_view key, const std::vector<std::string>& candidates) {
  if (key.size() > 64) return {};
  std::string best;
  std::size_t least = std::max<std::size_t>(2, key.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(key, candidate);
    if (distance < least && distance < candidate.size()) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

Result<std::vector<SchemaProblem>> check_plugin_config(const Manifest& manifest, const Json& config) {
  if (!config.is_object()) return std::vector<SchemaProblem>{{"", "must be object"}};
  std::vector<SchemaProblem> problems;
  find_unknown_keys(manifest.config_schema, config, "", problems);
  auto invalid = check_schema(manifest.config_schema, config);
  if (!invalid.ok()) return invalid.error().context(manifest.path.string() + ": config_schema");
  for (SchemaProblem& problem : *invalid) {
    // valijson tells of an unknown key at its parent, without a suggestion.
    if (problem.message.find("additionalProperties") != std::string::npos && !problems.empty()) continue;
    problems.push_back(std::move(problem));
  }
  return problems;
}

std::vector<SchemaProblem> check_secret_names(const Manifest& manifest, const std::vector<std::string>& names) {
  std::vector<SchemaProblem> problems;
  for (const std::string& name : names) {
    const auto& known = manifest.secrets;
    if (std::find(known.begin(), known.end(), name) == known.end())
      problems.push_back({pointer_step(name), unknown("secret", name, known)});
  }
  return problems;
}

}  // namespace roost
