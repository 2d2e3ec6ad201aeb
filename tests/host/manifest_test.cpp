// Manifests: what is accepted, what is refused and how the refusal names the place.
#include "host/manifest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/schema.hpp"
#include "plugin_fixture.hpp"

namespace roost {
namespace {

using testing::HasSubstr;

Json right() {
  Json document = Json::object({{"name", "store-x"}, {"kind", "store"}, {"version", "1.2.3"}, {"library", "x.so"}});
  document.set("abi", Json::object({{"major", 1}, {"minor", 0}}));
  document.set("sha256", std::string(64, '0'));
  document.set("config_schema", Json::object({{"type", "object"}}));
  document.set("secrets", Json(Json::Array{"password"}));
  return document;
}

std::string refusal(const Json& document) {
  const auto parsed = parse_manifest(document.dump(), "/dir/store-x.roost.json");
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(ManifestText, IsReadWithItsLibraryBesideIt) {
  const auto parsed = parse_manifest(right().dump(), "/dir/store-x.roost.json");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->library, "/dir/x.so");
  EXPECT_EQ(parsed->kind, PluginKind::store);
  EXPECT_EQ(parsed->secrets, std::vector<std::string>{"password"});
}

TEST(ManifestText, IsRefusedWithTheMemberNamed) {
  EXPECT_THAT(refusal(right().set("kind", "fancy")), HasSubstr("/kind: "));
  EXPECT_THAT(refusal(right().set("name", "Store X")), HasSubstr("/name: "));
  EXPECT_THAT(refusal(right().set("library", "../x.so")), HasSubstr("/library: "));
  EXPECT_THAT(refusal(right().set("sha256", "12")), HasSubstr("/sha256: "));
  EXPECT_THAT(refusal(right().set("abi", Json::object({{"major", "1"}, {"minor", 0}}))),
              HasSubstr("/abi/major: must be integer"));
  EXPECT_THAT(refusal(right().set("surprise", 1)), HasSubstr("surprise"));
  Json without = right();
  without.remove("sha256");
  EXPECT_THAT(refusal(without), HasSubstr("sha256"));
}

TEST(ManifestText, IsRefusedWhereItIsNoJsonOrTooLarge) {
  EXPECT_FALSE(parse_manifest("{", "/m").ok());
  EXPECT_FALSE(parse_manifest("[]", "/m").ok());
  EXPECT_FALSE(parse_manifest(right().set("description", std::string(kManifestBytesMax, 'x')).dump(), "/m").ok());
  EXPECT_THAT(refusal(right().set("name", std::string(100'000, 'x'))), HasSubstr("/name: a string may have at most"));
}

TEST(FindManifest, TakesTheFirstDirectoryThatHasIt) {
  std::string pattern = (std::filesystem::temp_directory_path() / "roost-find-XXXXXX").string();
  const std::filesystem::path root = ::mkdtemp(pattern.data());
  for (const char* name : {"a", "b", "c"}) std::filesystem::create_directory(root / name);
  test::write_all(root / "b" / "store-x.roost.json", "{}");
  test::write_all(root / "c" / "store-x.roost.json", "{}");
  const auto found = find_manifest({root / "a", root / "b", root / "c"}, "store-x");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(*found, root / "b" / "store-x.roost.json");
  const auto missing = find_manifest({root / "a"}, "store-x");
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr((root / "a").string()));
  EXPECT_FALSE(find_manifest({root / "a"}, "../b/store-x").ok());
  std::filesystem::remove_all(root);
}

std::string problems_of(const char* schema, const char* value) {
  const auto problems = check_schema(*Json::parse(schema), *Json::parse(value));
  if (!problems.ok()) return "schema: " + problems.error().message;
  std::string text;
  for (const SchemaProblem& problem : *problems) text += problem.pointer + ": " + problem.message + "\n";
  return text;
}

TEST(Schema, PointsAtWhatIsWrong) {
  const char* schema = R"({"type":"object","properties":{"a":{"type":"object","properties":{"b/c":{"type":"array",
      "items":{"type":"integer","minimum":1}}}},"n":{"type":"number"}}})";
  EXPECT_EQ(problems_of(schema, R"({"a":{"b/c":[1,2]},"n":1.5})"), "");
  EXPECT_EQ(problems_of(schema, R"({"a":{"b/c":[1,"2"]}})"), "/a/b~1c/1: must be integer, at least 1\n");
  EXPECT_THAT(problems_of(schema, R"({"a":{"b/c":[0]}})"), HasSubstr("/a/b~1c/0: "));
  EXPECT_EQ(problems_of(schema, R"({"n":true})"), "/n: must be number\n");
  EXPECT_EQ(problems_of(schema, R"({"a":true})"), "/a: must be object\n");
}

TEST(Schema, RefusesSchemasThatCannotBeUsed) {
  EXPECT_THAT(problems_of(R"({"properties":{"a":{"$ref":"#"}}})", "{}"), HasSubstr("schema: the schema uses $ref"));
  EXPECT_THAT(problems_of(R"({"type":"fancy"})", "{}"), HasSubstr("schema: "));
  EXPECT_THAT(problems_of(R"({"properties":{"a":{"pattern":"("}}})", R"({"a":"x"})"), HasSubstr("schema: "));
}

TEST(Schema, RefusesPatternsThatCouldExhaustTheStack) {
  const std::string nested = std::string(50'000, '(') + "a" + std::string(50'000, ')');
  EXPECT_THAT(problems_of((R"({"properties":{"a":{"pattern":")" + nested + R"("}}})").c_str(), R"({"a":"a"})"),
              HasSubstr("pattern of more than"));
  EXPECT_THAT(problems_of((R"({"patternProperties":{")" + nested + R"(":{}}})").c_str(), R"({"a":"a"})"),
              HasSubstr("pattern of more than"));
}

TEST(Schema, SurvivesTheLongestStringThatItAllows) {
#if defined(__SANITIZE_ADDRESS__)
  constexpr std::size_t kLongest = 1024;  // AddressSanitizer's frames are several times as large as those that ship
#else
  constexpr std::size_t kLongest = 4096;
#endif
  const std::string value = R"({"a":")" + std::string(kLongest, 'a') + R"("})";
  EXPECT_EQ(problems_of(R"({"properties":{"a":{"type":"string","pattern":"^(a|b)+$"}}})", value.c_str()), "");
}

}  // namespace
}  // namespace roost
