#include "config/units.hpp"

#include <gtest/gtest.h>

namespace roost::config {
namespace {

TEST(Units, Durations) {
  EXPECT_EQ(parse_duration_ms("500ms").value_or(-1), 500);
  EXPECT_EQ(parse_duration_ms("15m").value_or(-1), 900'000);
  EXPECT_EQ(parse_duration_ms("1h30m").value_or(-1), 5'400'000);
  EXPECT_EQ(parse_duration_ms("30d").value_or(-1), 2'592'000'000);
  EXPECT_EQ(parse_duration_ms("0s").value_or(-1), 0);
  for (const char* wrong : {"", "5", "5 s", "-5s", "+5s", "1.5h", "5S", "30m1h", "1s1s", "5x", "s", "99999999999999999999d",
                            "9223372036854775807d"}) {
    EXPECT_FALSE(parse_duration_ms(wrong).ok()) << wrong;
  }
}

TEST(Units, Sizes) {
  EXPECT_EQ(parse_size_bytes(Json("5Gi")).value_or(-1), std::int64_t{5} << 30);
  EXPECT_EQ(parse_size_bytes(Json("5G")).value_or(-1), 5'000'000'000);
  EXPECT_EQ(parse_size_bytes(Json("1.5Ki")).value_or(-1), 1536);
  EXPECT_EQ(parse_size_bytes(Json("64k")).value_or(-1), 64'000);
  EXPECT_EQ(parse_size_bytes(Json(4096)).value_or(-1), 4096);
  EXPECT_EQ(parse_size_bytes(Json("4096")).value_or(-1), 4096);
  for (const char* wrong : {"", "Gi", "5gi", "5 Gi", "-1", "1.5", "1e3", "5GiB", ".5Gi", "9999999999Ti"})
    EXPECT_FALSE(parse_size_bytes(Json(wrong)).ok()) << wrong;
  EXPECT_FALSE(parse_size_bytes(Json(-1)).ok());
  EXPECT_FALSE(parse_size_bytes(Json(true)).ok());
}

TEST(Units, Processors) {
  EXPECT_EQ(parse_cpu_millis(Json(2)).value_or(-1), 2000);
  EXPECT_EQ(parse_cpu_millis(Json(0.5)).value_or(-1), 500);
  EXPECT_EQ(parse_cpu_millis(Json("500m")).value_or(-1), 500);
  EXPECT_EQ(parse_cpu_millis(Json("1.5")).value_or(-1), 1500);
  for (const char* wrong : {"", "m", "0.5m", "2 cpus", "-1", "0.0001", "1e9"})
    EXPECT_FALSE(parse_cpu_millis(Json(wrong)).ok()) << wrong;
}

}  // namespace
}  // namespace roost::config
