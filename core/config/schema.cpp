#include "config/schema.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "config/units.hpp"
#include "config/yaml.hpp"

namespace roost::config {
namespace {

constexpr std::size_t kTextMax = 2'048;

// Puts definitions in for {"$ref": "#/definitions/NAME", …}; the other members of the referring object win.
Json put_in_references(const Json& node, const Json& definitions) {
  if (node.is_array()) {
    Json out = Json::array();
    for (const Json& item : node.items()) out.push(put_in_references(item, definitions));
    return out;
  }
  if (!node.is_object()) return node;
  Json out = Json::object();
  if (const Json* reference = node.find("$ref")) {
    const std::string& target = reference->as_string();
    out = put_in_references(definitions[target.substr(target.rfind('/') + 1)], definitions);
  }
  for (const auto& [key, value] : node.members()) {
    if (key != "$ref" && key != "definitions") out.set(key, put_in_references(value, definitions));
  }
  return out;
}

void collect(const Json& node, const std::string& name, const std::string& pointer, std::vector<Key>& out) {
  if (const Json* properties = node.find("properties")) {
    for (const auto& [key, child] : properties->members()) {
      const std::string below = name.empty() ? key : name + "." + key;
      collect(child, below, pointer == "-" ? pointer : child_pointer(pointer, key), out);
    }
    return;
  }
  out.push_back({name, pointer == "-" ? "" : pointer, &node});
  if (node["items"].find("properties")) collect(node["items"], name + "[]", "-", out);
  if (const Json* more = node.find("additionalProperties")) collect(*more, name + ".NAME", "-", out);
}

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// The nearest key of this section; else a key of that name elsewhere.
std::string suggestion(const std::string& key, const Json& properties) {
  std::vector<std::string> names;
  for (const auto& [name, node] : properties.members()) names.push_back(name);
  if (std::string near = did_you_mean(key, names); !near.empty()) return near;
  for (const Key& known : keys()) {
    const auto dot = known.name.rfind('.');
    if (!known.pointer.empty() && known.name.substr(dot == std::string::npos ? 0 : dot + 1) == key) {
      return "; did you mean " + known.name + "?";
    }
  }
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return "; the keys here are " + all;
}

std::string visible(std::string_view text) {
  std::string literal;
  append_json_string(literal, text.substr(0, 64));
  return literal;
}

Json complete_node(const Json& node, const Json& value, const std::string& pointer, std::vector<Fault>& faults);

Json complete_section(const Json& node, const Json& value, const std::string& pointer, std::vector<Fault>& faults) {
  const Json& properties = node["properties"];
  for (const auto& [key, child] : value.members()) {
    if (properties.find(key)) continue;
    faults.push_back({child_pointer(pointer, key), "unknown key " + visible(key) + suggestion(key, properties), true});
  }
  Json out = Json::object();
  for (const auto& [key, child] : properties.members()) {
    const std::string below = child_pointer(pointer, key);
    const Json& given = value[key];
    const bool section = child.find("properties") != nullptr;
    if (!given.is_null() || section) {
      out.set(key, complete_node(child, given.is_null() ? Json::object() : given, below, faults));
    } else if (const Json* fallback = child.find("default")) {
      out.set(key, *fallback);
    } else {
      for (const Json& required : node["required"].items()) {
        if (required.as_string() == key) faults.push_back({below, "is missing: " + child["description"].as_string()});
      }
    }
  }
  return out;
}

Json complete_node(const Json& node, const Json& value, const std::string& pointer, std::vector<Fault>& faults) {
  if (node.find("properties") && value.is_object()) return complete_section(node, value, pointer, faults);
  if (node["items"].find("properties") && value.is_array()) {
    Json out = Json::array();
    std::size_t index = 0;
    for (const Json& item : value.items()) {
      out.push(complete_node(node["items"], item, child_pointer(pointer, std::to_string(index++)), faults));
    }
    return out;
  }
  if (const Json* more = node.find("additionalProperties"); more && value.is_object()) {
    Json out = Json::object();
    for (const auto& [key, child] : value.members()) {
      out.set(key, complete_node(*more, child.is_null() ? Json::object() : child, child_pointer(pointer, key), faults));
    }
    return out;
  }
  return value;
}

const Json* value_at(const Json& document, std::string_view pointer) {
  const Json* at = &document;
  for (const std::string& segment : split_pointer(pointer)) {
    if (at->is_array()) {
      std::size_t index = 0;
      std::from_chars(segment.data(), segment.data() + segment.size(), index);
      if (index >= at->items().size()) return nullptr;
      at = &at->items()[index];
    } else {
      at = at->find(segment);
    }
    if (!at) return nullptr;
  }
  return at;
}

std::string range(const Json& node, const char* low, const char* high) {
  const auto text = [](const Json& bound) { return bound.is_string() ? bound.as_string() : bound.dump(); };
  const Json* least = node.find(low);
  const Json* most = node.find(high);
  if (least && most) return " from " + text(*least) + " to " + text(*most);
  if (least) return " of at least " + text(*least);
  if (most) return " of at most " + text(*most);
  return "";
}

std::string expected(const Json& node) {
  if (const Json* words = node.find("x-expected")) return words->as_string();
  if (const Json* values = node.find("enum")) {
    std::string all;
    for (const Json& value : values->items()) all += (all.empty() ? "one of " : ", ") + value.as_string();
    return all;
  }
  if (const Json* unit = node.find("x-unit")) {
    const std::string& name = unit->as_string();
    const char* words = name == "size"  ? "a size such as 64Ki or 5Gi"
                        : name == "cpu" ? "processors such as 2 or 500m"
                                        : "a duration such as 15m";
    return words + range(node, "x-min", "x-max");
  }
  const std::string& type = node["type"].as_string();
  if (type == "integer") return "a whole number" + range(node, "minimum", "maximum");
  if (type == "boolean") return "true or false";
  if (type == "array")
    return "a list" + (node.find("maxItems") ? " of at most " + node["maxItems"].dump() + " different items" : "");
  if (type == "object") return "a map";
  return "text";
}

std::string describe_fault(const Json& node, const Json& value) {
  std::string why = "must be " + expected(node);
  if (node.find("x-secret")) return why;
  if (value.is_string()) return why + ", not " + visible(value.as_string());
  if (value.is_object() || value.is_array()) return why + (value.is_object() ? ", not a map" : ", not this list");
  why += ", not " + value.dump();
  if (node["type"].as_string() == "string" && !value.is_null())
    why += " (a number or true/false is meant as text when it is quoted)";
  return why;
}

// std::regex, which valijson uses, recurses for every character: a long text would overflow the stack.
void check_lengths(const Json& node, const Json& value, const std::string& pointer, std::vector<Fault>& faults) {
  if (node.find("x-free")) return;
  if (value.is_string() && value.as_string().size() > kTextMax && !node.find("x-long")) {
    faults.push_back({pointer, "must be at most " + std::to_string(kTextMax) + " bytes long"});
  }
  std::size_t index = 0;
  for (const Json& item : value.items())
    check_lengths(node["items"], item, child_pointer(pointer, std::to_string(index++)), faults);
  const Json* more = node.find("additionalProperties");
  for (const auto& [key, item] : value.members()) {
    check_lengths(more ? *more : node["properties"][key], item, child_pointer(pointer, key), faults);
  }
}

void check_units(const Json& node, const Json& value, const std::string& pointer, std::vector<Fault>& faults) {
  if (const Json* unit = node.find("x-unit")) {
    const auto parsed = parse_unit(unit->as_string(), value);
    const bool inside = parsed.ok() && *parsed >= parse_unit(unit->as_string(), node["x-min"]).value_or(0) &&
                        *parsed <= parse_unit(unit->as_string(), node["x-max"]).value_or(0);
    if (!inside) faults.push_back({pointer, describe_fault(node, value)});
    return;
  }
  for (const auto& [key, child] : node["properties"].members()) {
    if (const Json* inner = value.find(key)) check_units(child, *inner, child_pointer(pointer, key), faults);
  }
}

}  // namespace

const Json& schema() {
  static const Json made = [] {
    auto parsed = Json::parse(schema_text());
    if (!parsed.ok()) std::abort();  // the build carries it; the tests parse it
    return put_in_references(*parsed, (*parsed)["definitions"]);
  }();
  return made;
}

const std::vector<Key>& keys() {
  static const std::vector<Key> made = [] {
    std::vector<Key> out;
    collect(schema(), "", "", out);
    return out;
  }();
  return made;
}

Json complete(const Json& document, std::vector<Fault>& faults) {
  if (!document.is_null() && !document.is_object()) {
    faults.push_back({"", "the document must be a map of keys"});
    return complete_node(schema(), Json::object(), "", faults);
  }
  return complete_node(schema(), document.is_null() ? Json::object() : document, "", faults);
}

void check(const Json& document, std::vector<Fault>& faults) {
  const std::size_t before = faults.size();
  check_lengths(schema(), document, "", faults);
  if (faults.size() != before) return;
  std::vector<std::string> wrong = wrong_pointers(document);
  for (const std::string& pointer : wrong) {
    const Json* node = schema_at(pointer);
    const Json* value = value_at(document, pointer);
    const bool known = std::any_of(faults.begin(), faults.end(), [&](const Fault& fault) {
      return fault.pointer == pointer || fault.pointer.rfind(pointer + "/", 0) == 0;  // such as a missing key
    });
    if (node && value && !known) faults.push_back({pointer, describe_fault(*node, *value)});
  }
  std::vector<Fault> units;
  check_units(schema(), document, "", units);
  for (Fault& fault : units) {
    if (std::find(wrong.begin(), wrong.end(), fault.pointer) == wrong.end()) faults.push_back(std::move(fault));
  }
}

const Json* schema_at(std::string_view pointer) {
  const Json* node = &schema();
  for (const std::string& segment : split_pointer(pointer)) {
    if (const Json* child = (*node)["properties"].find(segment)) {
      node = child;
    } else if (const Json* items = node->find("items")) {
      node = items;
    } else if (const Json* more = node->find("additionalProperties")) {
      node = more;
    } else {
      return nullptr;
    }
  }
  return node;
}

std::string to_key(std::string_view pointer) {
  std::string out;
  for (const std::string& segment : split_pointer(pointer)) {
    const bool index = !segment.empty() && segment.find_first_not_of("0123456789") == std::string::npos;
    if (index && !out.empty())
      out += "[" + segment + "]";
    else
      out += (out.empty() ? "" : ".") + segment;
  }
  return out;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string>& names) {
  const std::size_t most = std::max<std::size_t>(2, name.size() / 3);
  const std::string* best = nullptr;
  std::size_t least = most + 1;
  if (name.size() > 128) return "";
  for (const std::string& candidate : names) {
    const std::size_t d = distance(name, candidate);
    if (d < least && d < candidate.size()) {
      least = d;
      best = &candidate;
    }
  }
  return best ? "; did you mean " + *best + "?" : "";
}

std::vector<std::string> split_pointer(std::string_view pointer) {
  std::vector<std::string> out;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const auto end = std::min(pointer.find('/'), pointer.size());
    std::string segment;
    for (std::size_t i = 0; i < end; ++i) {
      if (pointer[i] == '~' && i + 1 < end)
        segment += pointer[++i] == '1' ? '/' : '~';
      else
        segment += pointer[i];
    }
    out.push_back(std::move(segment));
    pointer.remove_prefix(end);
  }
  return out;
}

}  // namespace roost::config
