#include "telemetry/log.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <vector>

namespace roost::telemetry {
namespace {

std::mutex lines_mutex;
std::vector<std::string> written;

class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    written.clear();
    log::redirect([](std::string_view line) {
      const std::lock_guard lock(lines_mutex);
      written.emplace_back(line);
    });
    log::configure({});
  }
  void TearDown() override {
    log::redirect(nullptr);
    log::configure({});
  }
};

TEST_F(LogTest, A_line_below_the_level_is_not_written) {
  log::configure({log::Level::warn, log::Format::text});
  log::info("quiet");
  log::warn("loud");
  ASSERT_EQ(written.size(), 1u);
  EXPECT_NE(written[0].find("loud"), std::string::npos);
}

TEST_F(LogTest, Json_lines_parse_whatever_their_fields_hold) {
  log::configure({log::Level::debug, log::Format::json});
  log::info("it \"said\"\nso", Json::object({{"level", "forged"}, {"path", "a\nb\xFF"}, {"n", 3}}));
  ASSERT_EQ(written.size(), 1u);
  const auto parsed = Json::parse(written[0]);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message << written[0];
  EXPECT_EQ((*parsed)["level"].as_string(), "info");
  EXPECT_EQ((*parsed)["message"].as_string(), "it \"said\"\nso");
  EXPECT_EQ((*parsed)["n"].as_int(), 3);
}

TEST_F(LogTest, A_text_entry_is_one_line_so_that_nobody_can_forge_another) {
  log::info("message\nERROR forged", Json::object({{"user", "x\nERROR forged"}}));
  ASSERT_EQ(written.size(), 1u);
  EXPECT_EQ(written[0].find('\n'), written[0].size() - 1);
}

TEST_F(LogTest, A_registered_secret_appears_nowhere) {
  const std::string secret = "s3cr\"et-value";
  log::register_secrets({secret, "short"});
  for (const auto format : {log::Format::text, log::Format::json}) {
    log::configure({log::Level::debug, format});
    log::info("with " + secret, Json::object({{"a", secret}, {"b", Json(Json::Array{Json("x" + secret + "y")})}, {secret, 1}}));
    log::error("failed", Error{Code::denied, "bad key " + secret, 0});
    // JSON that holds it, logged as text
    log::info("nested", Json::object({{"body", Json::object({{"key", secret}}).dump()}}));
  }
  ASSERT_EQ(written.size(), 6u);
  for (const std::string& line : written) {
    EXPECT_EQ(line.find("s3cr"), std::string::npos) << line;
    EXPECT_NE(line.find("[redacted]"), std::string::npos) << line;
  }
  EXPECT_EQ(log::redact("a short word"), "a short word");  // too short to be a secret
}

TEST_F(LogTest, A_huge_entry_is_cut_and_still_whole_json) {
  log::configure({log::Level::debug, log::Format::json});
  log::info("big", Json::object({{"x", std::string(1 << 20, 'x')}}));
  ASSERT_EQ(written.size(), 1u);
  EXPECT_LT(written[0].size(), 40'000u);
  EXPECT_TRUE(Json::parse(written[0]).ok());
}

}  // namespace
}  // namespace roost::telemetry
