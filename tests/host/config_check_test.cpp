// A plugin's configuration: each problem is found where it stands.
#include "host/config_check.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace roost {
namespace {

using testing::HasSubstr;

Manifest manifest() {
  Manifest made;
  made.path = "/plugins/store-x.roost.json";
  made.secrets = {"password", "ca_key"};
  made.config_schema = *Json::parse(R"({
    "type": "object", "required": ["address"], "additionalProperties": false,
    "properties": {
      "address": {"type": "string", "minLength": 1},
      "database": {"type": "integer", "minimum": 0, "maximum": 15},
      "tls": {"type": "object", "properties": {"ca_file": {"type": "string"}, "verify": {"type": "boolean"}}},
      "labels": {"type": "object", "additionalProperties": {"type": "string"}},
      "free": {"type": "object"},
      "nodes": {"type": "array", "items": {"type": "object", "properties": {"host": {"type": "string"}}}}
    }})");
  return made;
}

std::string problems(const char* config) {
  const auto found = check_plugin_config(manifest(), *Json::parse(config));
  if (!found.ok()) return found.error().message;
  std::string text;
  for (const SchemaProblem& problem : *found) text += problem.pointer + ": " + problem.message + "\n";
  return text;
}

TEST(ConfigCheck, AcceptsWhatTheSchemaAllows) {
  EXPECT_EQ(problems(R"({"address":"a","database":3,"tls":{"verify":true},"labels":{"any":"x"},"free":{"x":{"y":1}},
      "nodes":[{"host":"h"}]})"),
            "");
}

TEST(ConfigCheck, NamesTheNearestKnownKey) {
  EXPECT_EQ(problems(R"({"address":"a","databse":3})"), "/databse: unknown key \"databse\"; did you mean \"database\"?\n");
  EXPECT_EQ(problems(R"({"address":"a","tls":{"cafile":"x"}})"),
            "/tls/cafile: unknown key \"cafile\"; did you mean \"ca_file\"?\n");
  EXPECT_THAT(problems(R"({"address":"a","nodes":[{},{"hots":"x"}]})"), HasSubstr("/nodes/1/hots: unknown key"));
  EXPECT_THAT(problems(R"({"address":"a","tls":{"zzzzzzzz":1}})"), HasSubstr("known: ca_file, verify"));
}

TEST(ConfigCheck, PointsAtWrongValues) {
  EXPECT_EQ(problems(R"({"address":"a","database":"3"})"), "/database: must be integer, at least 0, at most 15\n");
  EXPECT_THAT(problems(R"({"address":"a","database":16})"), HasSubstr("/database: "));
  EXPECT_THAT(problems(R"({"address":"a","labels":{"x":1}})"), HasSubstr("/labels/x: must be string"));
  EXPECT_THAT(problems(R"({"database":1})"), HasSubstr("address"));
  EXPECT_EQ(problems("[]"), ": must be object\n");
}

TEST(ConfigCheck, SaysWhoseSchemaCannotBeUsed) {
  Manifest broken = manifest();
  broken.config_schema = Json::object({{"$ref", "#/definitions/x"}});
  const auto found = check_plugin_config(broken, Json::object());
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, HasSubstr("/plugins/store-x.roost.json: config_schema"));
}

TEST(ConfigCheck, KnowsTheNamesOfSecrets) {
  EXPECT_TRUE(check_secret_names(manifest(), {"password"}).empty());
  const auto found = check_secret_names(manifest(), {"pasword"});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].pointer, "/pasword");
  EXPECT_THAT(found[0].message, HasSubstr("did you mean \"password\"?"));
}

}  // namespace
}  // namespace roost
