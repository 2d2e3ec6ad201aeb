#include "base/clock.hpp"

#include <gtest/gtest.h>

#include <set>

namespace roost {
namespace {

constexpr std::int64_t kGuide = 1763178696653291;  // 2025-11-15T03:51:36.653291

TEST(Time, LooksLikeTheGuides) {
  EXPECT_EQ(format_time(kGuide), "2025-11-15T03:51:36.653291");
  EXPECT_EQ(format_compact_time(kGuide), "20251115T035136Z");
  EXPECT_EQ(format_time(0), "1970-01-01T00:00:00.000000");
}

TEST(Time, ParsesItsOwnFormatAndNothingElse) {
  EXPECT_EQ(parse_time("2025-11-15T03:51:36.653291"), kGuide);
  for (const char* text : {"", "2025-11-15", "2025-13-15T03:51:36.653291", "2025-11-15T03:51:36.653291Z",
                           "2025-11-15 03:51:36.653291", "2025-02-30T03:51:36.653291", "2025-11-15T24:00:00.000000"}) {
    EXPECT_EQ(parse_time(text), -1) << text;
  }
}

TEST(Random, HexHasTheLengthAskedForAndDoesNotRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = system_random().hex(8);
    EXPECT_EQ(id.size(), 16u);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
    EXPECT_TRUE(seen.insert(id).second);
  }
}

TEST(Random, UniformStaysBelowOne) {
  for (int i = 0; i < 1000; ++i) {
    const double value = system_random().uniform();
    EXPECT_GE(value, 0.0);
    EXPECT_LT(value, 1.0);
  }
}

TEST(Clock, MonotonicNeverGoesBack) {
  const std::int64_t first = system_clock().monotonic_ns();
  EXPECT_GE(system_clock().monotonic_ns(), first);
}

}  // namespace
}  // namespace roost
