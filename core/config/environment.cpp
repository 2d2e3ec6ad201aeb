#include "config/environment.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>

namespace roost::config {
namespace {

constexpr std::string_view kPrefix = "ROOST_";
// Variables of Roost's own that are not keys: where the local workspaces' programs are, and what ./dev takes.
constexpr std::string_view kOthers[] = {"ROOST_NODE_BIN", "ROOST_CODE_SERVER", "ROOST_CACHE", "ROOST_JOBS"};

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::vector<std::string> segments_of(std::string_view name) {
  std::vector<std::string> out;
  name.remove_prefix(kPrefix.size());
  for (;;) {
    const auto end = name.find("__");
    out.push_back(lower(name.substr(0, end)));
    if (end == std::string_view::npos) return out;
    name.remove_prefix(end + 2);
  }
}

struct Target {
  std::vector<std::string> path;
  const Json* schema = nullptr;  // null below x-free
};

// Where a variable leads. Below a plugin's own maps a key that the document has keeps its spelling.
std::optional<Target> resolve(const std::vector<std::string>& segments, const Json& document) {
  Target target{{}, &schema()};
  const Json* at = &document;
  for (const std::string& segment : segments) {
    if (segment.empty()) return std::nullopt;
    std::string name = segment;
    if (target.schema && target.schema->find("properties")) {
      target.schema = (*target.schema)["properties"].find(segment);
      if (!target.schema) return std::nullopt;
    } else if (!target.schema || target.schema->find("x-free") || target.schema->find("additionalProperties")) {
      target.schema = target.schema ? target.schema->find("additionalProperties") : nullptr;
      for (const auto& [key, value] : at ? at->members() : Json::Object()) {
        if (lower(key) == segment) name = key;
      }
    } else {
      return std::nullopt;
    }
    at = at ? at->find(name) : nullptr;
    target.path.push_back(std::move(name));
  }
  return target;
}

bool is_text(const Json& node) {
  const Json& type = node["type"];
  if (type.is_string()) return type.as_string() == "string";
  return std::any_of(type.items().begin(), type.items().end(), [](const Json& t) { return t.as_string() == "string"; });
}

// The document with `value` at the path; null where something on the way is neither a map nor nothing.
std::optional<Json> with_value(const Json& document, const std::vector<std::string>& path, std::size_t from, const Json& value) {
  if (from == path.size()) return value;
  if (!document.is_null() && !document.is_object()) return std::nullopt;
  auto below = with_value(document[path[from]], path, from + 1, value);
  if (!below) return std::nullopt;
  Json out = document.is_null() ? Json::object() : document;
  out.set(path[from], std::move(*below));
  return out;
}

}  // namespace

std::string variable_name(std::string_view key) {
  std::string out(kPrefix);
  for (const char c : key) {
    if (c == '.')
      out += "__";
    else
      out += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return out;
}

Json apply_environment(Json document, const Environment& environment, Positions& positions, std::vector<Fault>& faults,
                       std::vector<std::string>& warnings) {
  std::vector<std::string> names;
  for (const Key& key : keys()) {
    if (!key.pointer.empty()) names.push_back(variable_name(key.name));
  }
  for (const auto& [name, text] : environment) {
    if (name.rfind(kPrefix, 0) != 0 || text.empty()) continue;
    if (std::find(std::begin(kOthers), std::end(kOthers), name) != std::end(kOthers)) continue;
    const auto target = resolve(segments_of(name), document);
    if (!target) {
      warnings.push_back("environment variable " + name.substr(0, 128) + ": no such key" + did_you_mean(name, names));
      continue;
    }
    const std::string source = "environment variable " + name;
    std::string pointer;
    for (const std::string& segment : target->path) pointer = child_pointer(pointer, segment);
    Json value(text);
    if (!target->schema || !is_text(*target->schema)) {
      auto parsed = parse_yaml(text, source);
      if (!parsed.ok()) {
        positions.set(pointer, {source, 0, 0}, {source, 0, 0});
        // The parser's message may quote the text, which may be a secret: only its place is passed on.
        faults.push_back({pointer, "is not inline YAML"});
        continue;
      }
      value = std::move(parsed->value);
    }
    auto changed = with_value(document, target->path, 0, value);
    if (!changed) continue;  // the file's own fault is reported where it stands
    document = std::move(*changed);
    positions.erase_below(pointer);
    positions.set(pointer, {source, 0, 0}, {source, 0, 0});
  }
  return document;
}

}  // namespace roost::config
