#include "base/json.hpp"

#include <gtest/gtest.h>

#include <string>

namespace roost {
namespace {

std::string refusal(std::string_view text) {
  const auto parsed = Json::parse(text);
  return parsed.ok() ? "accepted as " + parsed->dump() : parsed.error().message;
}

TEST(Json, RoundTripKeepsTheOrderOfKeysAndTheTypes) {
  const std::string text = R"({"z":1,"a":[true,null,-7,1.5,"x\ny"],"m":{"k":"\u00e9"}})";
  const auto parsed = Json::parse(text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->dump(), R"({"z":1,"a":[true,null,-7,1.5,"x\ny"],"m":{"k":"é"}})");
}

TEST(Json, ScalarsAreAllowedAtTheTop) {
  EXPECT_EQ(Json::parse("12")->as_int(), 12);
  EXPECT_EQ(Json::parse("\"a\"")->as_string(), "a");
  EXPECT_TRUE(Json::parse(" null ")->is_null());
}

TEST(Json, RefusesWhatPocoLetsThrough) {
  EXPECT_NE(refusal(R"({"a":1,"a":2})").find("stands twice"), std::string::npos);
  EXPECT_NE(refusal("18446744073709551616").find("64 bits"), std::string::npos);
  EXPECT_NE(refusal(R"({"n":1e400})").find("double"), std::string::npos);
  EXPECT_NE(refusal(R"({"a\u0000b":1})").find("u0000"), std::string::npos);
  EXPECT_NE(refusal(std::string("{\"a\":\"x\0y\"}", 11)).find("control"), std::string::npos);
  EXPECT_NE(refusal(std::string("[1,\0 2]", 7)).find("NUL"), std::string::npos);
  EXPECT_NE(refusal("\"\xff\"").find("UTF-8"), std::string::npos);
  EXPECT_NE(refusal("\"\xed\xa0\x80\"").find("UTF-8"), std::string::npos) << "a surrogate";
  EXPECT_NE(refusal("\"a\nb\"").find("control character"), std::string::npos);
}

TEST(Json, RefusesARepeatedKeyAmongMany) {
  for (const int repeated : {0, 14, 15, 16, 17, 98, 99}) {
    std::string text = "{";
    for (int i = 0; i < 100; ++i) text += "\"k" + std::to_string(i) + "\":" + std::to_string(i) + ",";
    const auto good = Json::parse(text + "\"last\":{\"k1\":1}}");
    ASSERT_TRUE(good.ok()) << good.error().message;
    EXPECT_EQ((*good)["k99"].as_int(), 99);
    EXPECT_EQ(good->members().size(), 101U);
    EXPECT_NE(refusal(text + "\"k" + std::to_string(repeated) + "\":0}").find("stands twice"), std::string::npos) << repeated;
  }
}

TEST(Json, RefusesTextThatIsNotExactlyOneValue) {
  for (const char* text : {"",     "  ",  "{",   "}",     "[1,]",  "{\"a\":}",   "{\"a\" 1}", "1 2",     "{} {}",
                           "[] x", "nul", "'a'", "{a:1}", "[1",    "\"a",        "1,2",       "1] [2",   "01",
                           "+1",   "1.",  ".5",  "--1",   "[1 2]", "{\"a\":1,}", "// x\n1",   "\"\\x\"", "\"\\ud800\""}) {
    EXPECT_FALSE(Json::parse(text).ok()) << text << " " << refusal(text);
  }
}

TEST(Json, LimitsDepthAndSize) {
  EXPECT_NE(refusal(std::string(1000, '[')).find("deeper"), std::string::npos);
  EXPECT_NE(refusal(std::string(2 << 20, ' ')).find("larger"), std::string::npos);
  EXPECT_TRUE(Json::parse(std::string(60, '[') + std::string(60, ']')).ok());
}

TEST(Json, GettersDoNotConvert) {
  const Json json = *Json::parse(R"({"s":"12","n":3,"b":true})");
  EXPECT_EQ(json["s"].as_int(-1), -1);
  EXPECT_EQ(json.get_int("s").error().message, "\"s\" must be an integer");
  EXPECT_EQ(json.get_string("n").error().message, "\"n\" must be a string");
  EXPECT_EQ(json.get_bool("missing").error().message, "\"missing\" is missing");
  EXPECT_EQ(json["missing"]["deeper"].as_string(), "");
}

TEST(Json, WritesEveryStringAsValidJson) {
  std::string all;
  for (int i = 1; i < 256; ++i) all += static_cast<char>(i);
  std::string out;
  append_json_string(out, all);
  EXPECT_TRUE(Json::parse(out).ok()) << refusal(out);
  std::string plain;
  for (int i = 1; i < 128; ++i) plain += static_cast<char>(i);
  out.clear();
  append_json_string(out, plain);
  EXPECT_EQ(Json::parse(out)->as_string(), plain);
}

TEST(Json, IntegersAtTheEdgesSurvive) {
  EXPECT_EQ(Json::parse("9223372036854775807")->dump(), "9223372036854775807");
  EXPECT_EQ(Json::parse("-9223372036854775808")->dump(), "-9223372036854775808");
  EXPECT_EQ(Json::parse("[-123456788012345679, 2, -3]")->dump(), "[-123456788012345679,2,-3]");  // Poco: through a double
  EXPECT_FALSE(Json::parse("9223372036854775808").ok());
}

}  // namespace
}  // namespace roost
