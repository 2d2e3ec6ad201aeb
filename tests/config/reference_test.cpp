// The documentation of the configuration says what the schema says: docs/configuration.md holds a table that is made from the
// schema, and config/roost.yaml every key with its default. ROOST_UPDATE_DOCS=1 writes the table anew.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "config/schema.hpp"
#include "config/support.hpp"
#include "config/yaml.hpp"

namespace roost::config {
namespace {

constexpr const char* kBegin = "<!-- made from core/config/schema.json by tests/config/reference_test.cpp: begin -->\n";
constexpr const char* kEnd = "<!-- end -->\n";

std::string read(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string type_of(const Json& node) {
  if (const Json* unit = node.find("x-unit")) return unit->as_string() == "cpu" ? "processors" : unit->as_string();
  if (node.find("x-free") || node.find("x-secrets")) return "map";
  const std::string& type = node["type"].as_string();
  return type == "integer" ? "number" : type == "boolean" ? "true/false" : type == "array" ? "list" : "text";
}

std::string range_of(const Json& node) {
  const auto text = [](const Json& bound) { return bound.is_string() ? bound.as_string() : bound.dump(); };
  if (const Json* low = node.find("x-min")) return text(*low) + " to " + text(node["x-max"]);
  if (const Json* low = node.find("minimum")) return text(*low) + " to " + text(node["maximum"]);
  if (const Json* values = node.find("enum")) {
    std::string all;
    for (const Json& value : values->items()) all += (all.empty() ? "" : ", ") + value.as_string();
    return all;
  }
  if (const Json* words = node.find("x-expected")) return words->as_string();
  if (const Json* most = node.find("maxItems")) return "up to " + most->dump();
  return "";
}

std::string default_of(const Json& node) {
  const Json* value = node.find("default");
  if (!value) return "";
  return "`" + (value->is_string() && !value->as_string().empty() ? value->as_string() : value->dump()) + "`";
}

std::string cell(std::string text) {
  for (std::size_t at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.replace(at, 1, "\\|");
  return text;
}

std::string table() {
  std::ostringstream out;
  out << "| Key | Type | Default | Range | Reload | Meaning |\n|---|---|---|---|---|---|\n";

  bool list_reloads = false;  // the items of a list take effect as the list does
  for (const Key& key : keys()) {
    const Json& node = *key.schema;
    const bool top = !key.pointer.empty();
    if (top) list_reloads = node.find("x-reload") != nullptr;
    const bool reloads = top ? node.find("x-reload") != nullptr : list_reloads;
    out << "| `" << key.name << "` | " << type_of(node) << " | " << cell(default_of(node)) << " | " << cell(range_of(node))
        << " | " << (reloads ? "yes" : "restart") << " | " << cell(node["description"].as_string()) << " |\n";
  }
  return out.str();
}

TEST(Reference, The_documentation_holds_the_table_of_the_schema) {
  const std::string path = ROOST_SOURCE_DIR "/docs/configuration.md";
  std::string text = read(path);
  const auto begin = text.find(kBegin);
  const auto end = text.find(kEnd);
  ASSERT_NE(begin, std::string::npos);
  ASSERT_NE(end, std::string::npos);
  const std::size_t from = begin + std::string(kBegin).size();
  if (std::getenv("ROOST_UPDATE_DOCS")) {
    text.replace(from, end - from, table());
    std::ofstream(path) << text;
    return;
  }
  EXPECT_EQ(text.substr(from, end - from), table()) << "run this test with ROOST_UPDATE_DOCS=1 and commit what it wrote";
}

// Every setting of a shipped plugin stands in the documentation.
TEST(Reference, The_documentation_names_every_key_of_the_plugins_of_the_default) {
  const std::string text = read(ROOST_SOURCE_DIR "/docs/configuration.md");
  for (const char* folder : {"store/sqlite", "compute/process", "compute/kubernetes", "backup/directory"}) {
    const auto manifest = Json::parse(read(ROOST_SOURCE_DIR "/plugins/" + std::string(folder) + "/manifest.json.in"));
    ASSERT_TRUE(manifest.ok()) << folder;
    const auto section = text.find("## " + (*manifest)["name"].as_string());
    ASSERT_NE(section, std::string::npos) << folder;
    const std::string page = text.substr(section, text.find("\n## ", section + 1) - section);
    for (const auto& [key, node] : (*manifest)["config_schema"]["properties"].members()) {
      EXPECT_NE(page.find("`" + key + "`"), std::string::npos) << folder << ": " << key;
    }
  }
}

const Json* at(const Json& tree, const std::string& pointer) {
  const Json* node = &tree;
  for (const std::string& segment : split_pointer(pointer)) {
    node = node->find(segment);
    if (!node) return nullptr;
  }
  return node;
}

TEST(Reference, The_shipped_file_is_valid_and_holds_every_key_with_its_default) {
  const std::string path = ROOST_SOURCE_DIR "/config/roost.yaml";
  const auto config = Config::load(path, {});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_TRUE(config->warnings.empty()) << config->warnings.front();
  EXPECT_TRUE(config->auth.keys.at(0).guide);
  const auto written = parse_yaml(read(path), path);
  ASSERT_TRUE(written.ok());
  for (const Key& key : keys()) {
    if (key.pointer.empty()) continue;
    const Json* value = at(written->value, key.pointer);
    ASSERT_NE(value, nullptr) << key.name << " is not in config/roost.yaml";
    const bool own = key.name == "auth.keys" || key.schema->find("x-free") || !key.schema->find("default");
    if (own) continue;
    EXPECT_EQ(*value, (*key.schema)["default"]) << key.name;
  }
}

TEST(Reference, Every_key_has_a_meaning_and_the_schemas_defaults_are_within_its_ranges) {
  for (const Key& key : keys()) EXPECT_FALSE((*key.schema)["description"].as_string().empty()) << key.name;
  const auto config = parse("");
  ASSERT_TRUE(config.ok()) << config.error().message;
}

}  // namespace
}  // namespace roost::config
