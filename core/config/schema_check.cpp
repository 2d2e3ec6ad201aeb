// The only file that sees valijson.
#include <Poco/JSON/Parser.h>

#include <algorithm>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Woverloaded-virtual"
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
#include <valijson/adapters/poco_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>
#pragma GCC diagnostic pop

#include "config/schema.hpp"
#include "config/yaml.hpp"

namespace roost::config {
namespace {

// Our parser has accepted the text already; Poco only builds its own tree of it.
Poco::Dynamic::Var to_poco(const Json& value) { return Poco::JSON::Parser().parse(value.dump()); }

// {"<root>", "[http]", "[loops]"} to "/http/loops".
std::string to_pointer(const std::vector<std::string>& context) {
  std::string pointer;
  for (const std::string& part : context) {
    if (part.size() >= 2 && part.front() == '[') pointer = child_pointer(pointer, part.substr(1, part.size() - 2));
  }
  return pointer;
}

const valijson::Schema& compiled_schema() {
  static const auto* const made = [] {
    auto* out = new valijson::Schema;
    const Poco::Dynamic::Var var = to_poco(schema());
    valijson::SchemaParser().populateSchema(valijson::adapters::PocoJsonAdapter(var), *out);
    return out;
  }();
  return *made;
}

}  // namespace

std::vector<std::string> wrong_pointers(const Json& document) {
  const Poco::Dynamic::Var document_var = to_poco(document);
  const valijson::adapters::PocoJsonAdapter adapter(document_var);
  valijson::ValidationResults results;
  valijson::Validator(valijson::Validator::kStrongTypes).validate(compiled_schema(), adapter, &results);

  std::vector<std::string> all;
  for (const auto& error : results) all.push_back(to_pointer(error.context));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  // Where a value is wrong, everything around it is reported too: the deepest pointers say it.
  std::vector<std::string> deepest;
  for (const std::string& pointer : all) {
    const std::string prefix = pointer + "/";
    const auto below = std::lower_bound(all.begin(), all.end(), prefix);
    if (below == all.end() || below->compare(0, prefix.size(), prefix) != 0) deepest.push_back(pointer);
  }
  return deepest;
}

}  // namespace roost::config
