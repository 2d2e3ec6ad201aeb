// embed INPUT.yaml OUTPUT.cpp: turns the OpenAPI description into a C++ source that holds it as JSON. A build tool: a fault in
// the YAML, a duplicate key included, stops the build with its line.
#include <yaml-cpp/yaml.h>

#include <charconv>
#include <fstream>
#include <iostream>
#include <set>
#include <stdexcept>
#include <string>

#include "base/json.hpp"

namespace {

using roost::Json;

Json scalar(const YAML::Node& node) {
  const std::string text = node.Scalar();
  if (node.Tag() == "!") return text;  // it was quoted
  if (text == "true" || text == "false") return text == "true";
  if (text == "null" || text == "~" || text.empty()) return nullptr;
  std::int64_t number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && stop == text.data() + text.size()) return static_cast<long>(number);
  return text;
}

Json convert(const YAML::Node& node) {
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const auto& item : node) list.push(convert(item));
    return list;
  }
  if (!node.IsMap()) return node.IsNull() ? Json() : scalar(node);
  Json object = Json::object();
  std::set<std::string> keys;
  for (const auto& member : node) {
    const auto key = member.first.as<std::string>();
    if (!keys.insert(key).second) {
      throw std::runtime_error("line " + std::to_string(member.first.Mark().line + 1) + ": the key \"" + key +
                               "\" is there twice");
    }
    object.set(key, convert(member.second));
  }
  return object;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    const std::string json = convert(YAML::LoadFile(argv[1])).dump();
    std::ofstream out(argv[2]);
    out << "#include \"api/api.hpp\"\n\nnamespace roost::api {\nnamespace {\nconstexpr char kJson[] =\n";
    constexpr std::size_t kPiece = 8000;  // compilers limit one literal
    for (std::size_t at = 0; at < json.size(); at += kPiece) out << "    R\"~json~(" << json.substr(at, kPiece) << ")~json~\"\n";
    out << "    \"\\n\";\n}  // namespace\nstd::string_view openapi_json() { return {kJson, sizeof kJson - 1}; }\n}  // "
           "namespace roost::api\n";
    out.close();
    return out ? 0 : 1;
  } catch (const std::exception& error) {
    std::cerr << argv[1] << ": " << error.what() << '\n';
    return 1;
  }
}
