#include "config/yaml.hpp"

#include <gtest/gtest.h>

namespace roost::config {
namespace {

Json value_of(std::string_view text) {
  auto parsed = parse_yaml(text, "t.yaml");
  EXPECT_TRUE(parsed.ok()) << parsed.error().message;
  return parsed.ok() ? parsed->value : Json();
}

std::string refusal_of(std::string_view text, const YamlLimits& limits = {}) {
  const auto parsed = parse_yaml(text, "t.yaml", limits);
  EXPECT_FALSE(parsed.ok()) << text;
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(Yaml, Plain_scalars_are_typed_and_quoted_ones_are_texts) {
  const Json v = value_of("a: 12\nb: \"12\"\nc: true\nd: 'true'\ne: 1.5\nf: null\ng: ~\nh: \"null\"\ni:\nj: -3\nk: +4\n");
  EXPECT_EQ(v["a"], Json(12));
  EXPECT_EQ(v["b"], Json("12"));
  EXPECT_EQ(v["c"], Json(true));
  EXPECT_EQ(v["d"], Json("true"));
  EXPECT_EQ(v["e"], Json(1.5));
  EXPECT_TRUE(v["f"].is_null());
  EXPECT_TRUE(v["g"].is_null());
  EXPECT_EQ(v["h"], Json("null"));
  EXPECT_TRUE(v["i"].is_null());
  EXPECT_EQ(v["j"], Json(-3));
  EXPECT_EQ(v["k"], Json(4));
}

TEST(Yaml, What_only_older_yaml_would_type_is_text) {
  const Json v = value_of("[no, yes, on, off, y, 0755, 0x1f, 1:30, 1_000, .5, 1e, 2001-01-01, .inf, 1.2.3]");
  for (const Json& item : v.items()) EXPECT_TRUE(item.is_string()) << item.dump();
}

TEST(Yaml, Numbers_that_do_not_fit_are_refused_with_their_place) {
  EXPECT_EQ(refusal_of("a:\n  b: 9223372036854775808\n"), "t.yaml:2:6: the number does not fit 64 bits");
  EXPECT_NE(refusal_of("a: 1e400").find("t.yaml:1:4"), std::string::npos);
}

TEST(Yaml, A_duplicate_key_is_refused_at_the_second_one) {
  EXPECT_EQ(refusal_of("a: 1\nb: 2\na: 3\n"), "t.yaml:3:1: the key \"a\" stands twice");
  EXPECT_NE(refusal_of("x: {a: 1, 'a': 2}").find("t.yaml:1:11"), std::string::npos);
}

TEST(Yaml, Every_value_and_key_has_its_place) {
  const auto parsed = parse_yaml("http:\n  listen: x\n  hosts: [a,\n    b]\n", "t.yaml");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->positions.value("/http/listen").text(), "t.yaml:2:11");
  EXPECT_EQ(parsed->positions.key("/http/listen").text(), "t.yaml:2:3");
  EXPECT_EQ(parsed->positions.value("/http/hosts/1").text(), "t.yaml:4:5");
  EXPECT_EQ(parsed->positions.value("/http/missing").text(), parsed->positions.value("/http").text());
}

TEST(Yaml, Keys_with_slashes_and_tildes_keep_apart_in_pointers) {
  const auto parsed = parse_yaml("a/b: 1\na~b: 2\na: {b: 3}\n", "t.yaml");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->positions.value("/a~1b").line, 1);
  EXPECT_EQ(parsed->positions.value("/a~0b").line, 2);
  EXPECT_EQ(parsed->positions.value("/a/b").line, 3);
}

TEST(Yaml, Anchors_work_within_the_limits) {
  const Json v = value_of("a: &x {k: [1, 2]}\nb: *x\n");
  EXPECT_EQ(v["b"], v["a"]);
}

TEST(Yaml, A_bomb_of_aliases_is_refused_before_it_grows) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int n = 0; n < 9; ++n) bomb += ", " + last;
    bomb += "]\n";
  }
  EXPECT_NE(refusal_of(bomb).find("values"), std::string::npos);
}

TEST(Yaml, Depth_is_limited_also_through_aliases) {
  EXPECT_NE(refusal_of(std::string(5'000, '[')).find("t.yaml:1:"), std::string::npos);
  std::string nested = "a0: &a0 [x]\n";
  for (int i = 1; i < 40; ++i)
    nested += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  EXPECT_NE(refusal_of(nested).find("nested deeper"), std::string::npos);
}

TEST(Yaml, An_alias_inside_what_it_names_is_refused) { EXPECT_NE(refusal_of("a: &x [1, *x]").find("alias"), std::string::npos); }

TEST(Yaml, What_is_not_plain_configuration_is_refused) {
  EXPECT_NE(refusal_of("a: !!binary aGk=").find("tag"), std::string::npos);
  EXPECT_NE(refusal_of("a: !ruby/object {}").find("tag"), std::string::npos);
  EXPECT_NE(refusal_of("a: &x {b: 1}\nc:\n  <<: *x\n").find("merge"), std::string::npos);
  EXPECT_NE(refusal_of("? [a, b]\n: 1\n").find("key"), std::string::npos);
  EXPECT_NE(refusal_of("a: 1\n---\nb: 2\n").find("more than one document"), std::string::npos);
  EXPECT_NE(refusal_of("a: \"\\0\"").find("UTF-8"), std::string::npos);
  EXPECT_NE(refusal_of("a: [1, 2").find("t.yaml:"), std::string::npos);
  EXPECT_NE(refusal_of("a: 1\n\tb: 2\n").find("t.yaml:"), std::string::npos);
}

TEST(Yaml, Size_and_count_are_limited) {
  EXPECT_NE(refusal_of(std::string(2 << 20, '#')).find("larger"), std::string::npos);
  YamlLimits few;
  few.values = 3;
  EXPECT_NE(refusal_of("[1, 2, 3, 4]", few).find("values"), std::string::npos);
  few = {};
  few.keys = 2;
  EXPECT_NE(refusal_of("{a: 1, b: 2, c: 3}", few).find("keys"), std::string::npos);
}

TEST(Yaml, An_empty_document_is_null) {
  EXPECT_TRUE(value_of("").is_null());
  EXPECT_TRUE(value_of("# nothing\n").is_null());
}

}  // namespace
}  // namespace roost::config
