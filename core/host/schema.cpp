#include "host/schema.hpp"

#include <Poco/Dynamic/Var.h>
#include <Poco/Exception.h>
#include <Poco/JSON/Array.h>
#include <Poco/JSON/Object.h>

#include <algorithm>
#include <charconv>
#include <valijson/adapters/poco_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

namespace roost {
namespace {

// std::regex, which valijson uses for `pattern`, recurses once a character of the text, and once a parenthesis of the pattern:
// longer ones could exhaust the stack.
constexpr std::size_t kStringBytesMax = 4096;
constexpr std::size_t kPatternBytesMax = 512;

Poco::Dynamic::Var to_poco(const Json& value) {
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return static_cast<Poco::Int64>(value.as_int());
  if (value.is_double()) return value.as_double();
  if (value.is_string()) return value.as_string();
  if (value.is_array()) {
    Poco::JSON::Array::Ptr array = new Poco::JSON::Array;
    for (const Json& item : value.items()) array->add(to_poco(item));
    return array;
  }
  if (value.is_object()) {
    Poco::JSON::Object::Ptr object = new Poco::JSON::Object;
    for (const auto& [key, member] : value.members()) object->set(key, to_poco(member));
    return object;
  }
  return {};
}

// Where a too long string stands; empty: nowhere.
std::string find_long_string(const Json& value, const std::string& pointer) {
  if (value.is_string() && value.as_string().size() > kStringBytesMax) return pointer.empty() ? "/" : pointer;
  std::size_t index = 0;
  for (const Json& item : value.items()) {
    if (std::string found = find_long_string(item, pointer + "/" + std::to_string(index++)); !found.empty()) return found;
  }
  for (const auto& [key, member] : value.members()) {
    if (std::string found = find_long_string(member, pointer + pointer_step(key)); !found.empty()) return found;
  }
  return {};
}

// What a schema uses that is not supported here; empty: nothing.
std::string unsupported(const Json& schema) {
  if (const Json* reference = schema.find("$ref"); reference && reference->is_string()) {
    return "the schema uses $ref; write the referenced part in its place";
  }
  const auto too_long = [](const std::string& pattern) { return pattern.size() > kPatternBytesMax; };
  const auto& patterns = schema["patternProperties"].members();
  if (too_long(schema["pattern"].as_string()) ||
      std::any_of(patterns.begin(), patterns.end(), [&](const Json::Member& member) { return too_long(member.first); })) {
    return "the schema has a pattern of more than " + std::to_string(kPatternBytesMax) + " bytes";
  }
  for (const Json& item : schema.items()) {
    if (std::string why = unsupported(item); !why.empty()) return why;
  }
  for (const Json::Member& member : schema.members()) {
    if (std::string why = unsupported(member.second); !why.empty()) return why;
  }
  return {};
}

// valijson's path is {"<root>", "[key]", "[3]", ...}.
std::string to_pointer(const std::vector<std::string>& context) {
  std::string pointer;
  for (const std::string& part : context) {
    if (part.size() >= 2 && part.front() == '[') pointer += pointer_step(std::string_view(part).substr(1, part.size() - 2));
  }
  return pointer;
}

// Notes that only say that something deeper failed.
bool is_consequence(const std::string& description) {
  return description.compare(0, 44, "Failed to validate against schema associated") == 0 ||
         description.compare(0, 25, "Failed to validate item #") == 0;
}

// The schema that applies at a pointer, as far as plain properties, additionalProperties and items lead there.
const Json* schema_at(const Json& schema, const Json& value, std::string_view pointer) {
  const Json* node = &schema;
  const Json* at = &value;
  while (!pointer.empty() && node && at) {
    const std::size_t end = std::min(pointer.find('/', 1), pointer.size());
    const std::string_view step = pointer.substr(0, end);
    const Json* next = resolve_pointer(*at, step);
    if (at->is_array()) {
      node = node->find("items");
    } else {
      const Json* properties = node->find("properties");
      const Json* exact = properties ? resolve_pointer(*properties, step) : nullptr;
      node = exact ? exact : node->find("additionalProperties");
    }
    at = next;
    pointer.remove_prefix(end);
  }
  return pointer.empty() ? node : nullptr;
}

std::string explain(const Json& schema, const Json& value, const std::string& pointer, const std::string& description) {
  const Json* node = schema_at(schema, value, pointer);
  const std::string expected = node ? describe_schema(*node) : std::string();
  if (description.find("'type' constraint") != std::string::npos && !expected.empty()) return "must be " + expected;
  return expected.empty() || description.find("Missing required") != std::string::npos
             ? description
             : description + " It must be " + expected + ".";
}

std::vector<SchemaProblem> collect(valijson::ValidationResults& results, const Json& schema, const Json& value) {
  std::vector<SchemaProblem> problems;
  std::vector<SchemaProblem> consequences;
  valijson::ValidationResults::Error error;
  while (results.popError(error)) {
    const std::string pointer = to_pointer(error.context);
    auto& list = is_consequence(error.description) ? consequences : problems;
    list.push_back({pointer, explain(schema, value, pointer, error.description)});
  }
  return problems.empty() ? consequences : problems;
}

}  // namespace

std::string pointer_step(std::string_view key) {
  std::string step = "/";
  for (const char c : key) {
    if (c == '~') {
      step += "~0";
    } else if (c == '/') {
      step += "~1";
    } else {
      step += c;
    }
  }
  return step;
}

const Json* resolve_pointer(const Json& root, std::string_view pointer) {
  const Json* at = &root;
  while (!pointer.empty()) {
    if (pointer.front() != '/') return nullptr;
    const std::size_t end = std::min(pointer.find('/', 1), pointer.size());
    std::string key;
    for (std::size_t i = 1; i < end; ++i) {
      const bool escaped = pointer[i] == '~' && i + 1 < end;
      key += escaped ? (pointer[++i] == '0' ? '~' : '/') : pointer[i];
    }
    if (at->is_array()) {
      std::size_t index = 0;
      const auto parsed = std::from_chars(key.data(), key.data() + key.size(), index);
      if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || index >= at->items().size()) return nullptr;
      at = &at->items()[index];
    } else {
      at = at->find(key);
      if (at == nullptr) return nullptr;
    }
    pointer.remove_prefix(end);
  }
  return at;
}

std::string describe_schema(const Json& schema) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (schema["type"].is_string()) add(schema["type"].as_string());
  if (schema["enum"].is_array()) {
    std::string values;
    for (const Json& item : schema["enum"].items()) values += (values.empty() ? "" : " ") + item.dump();
    add("one of " + values);
  }
  if (const Json* least = schema.find("minimum")) add("at least " + least->dump());
  if (const Json* most = schema.find("maximum")) add("at most " + most->dump());
  if (const Json* pattern = schema.find("pattern")) add("matching " + pattern->as_string());
  return text;
}

Result<std::vector<SchemaProblem>> check_schema(const Json& schema, const Json& value) {
  if (!schema.is_object()) return Error{Code::invalid, "the schema is not an object", 0};
  if (const std::string why = unsupported(schema); !why.empty()) return Error{Code::invalid, why, 0};
  if (const std::string where = find_long_string(value, ""); !where.empty()) {
    return std::vector<SchemaProblem>{{where, "a string may have at most " + std::to_string(kStringBytesMax) + " bytes"}};
  }
  try {
    valijson::Schema compiled;
    valijson::SchemaParser parser(valijson::SchemaParser::kDraft7);
    const Poco::Dynamic::Var schema_value = to_poco(schema);
    parser.populateSchema(valijson::adapters::PocoJsonAdapter(schema_value), compiled);
    valijson::Validator validator(valijson::Validator::kStrongTypes);
    valijson::ValidationResults results;
    const Poco::Dynamic::Var target = to_poco(value);
    std::vector<SchemaProblem> problems;
    if (!validator.validate(compiled, valijson::adapters::PocoJsonAdapter(target), &results)) {
      problems = collect(results, schema, value);
      if (problems.empty()) problems.push_back({"", "does not fit the schema"});
    }
    return problems;
  } catch (const Poco::Exception& exception) {
    return Error{Code::invalid, "the schema cannot be used: " + exception.displayText(), 0};
  } catch (const std::exception& exception) {
    return Error{Code::invalid, std::string("the schema cannot be used: ") + exception.what(), 0};
  }
}

}  // namespace roost
