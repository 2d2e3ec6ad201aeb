#include "api/bodies.hpp"

#include <gtest/gtest.h>

#include <random>

#include "base/clock.hpp"

namespace roost::api {
namespace {

TEST(AppendTime, IsFormatTimeForEveryMoment) {
  std::mt19937_64 random(7);
  const auto same = [](std::int64_t wall_us) {
    std::string text;
    append_time(text, wall_us);
    EXPECT_EQ(text, format_time(wall_us)) << wall_us;
  };
  for (const std::int64_t wall_us :
       {0LL, 1LL, 951'782'399'999'999LL, 951'782'400'000'000LL, 1'709'164'800'000'000LL, 1'763'178'696'653'291LL}) {
    same(wall_us);
  }
  for (int i = 0; i < 20'000; ++i) same(static_cast<std::int64_t>(random() % 200'000'000'000'000'000ULL));
}

TEST(StatusBody, EscapesTheUserAndShowsReplicasAsZeroOrOne) {
  Session session;
  session.id = "1823b3a8";
  session.user_id = "a\"\\\xE2\x82\xAC";
  session.created_at_us = session.last_activity_us = 1'763'178'696'653'291;
  session.observed.replicas = 2;
  session.queue_length = 12;
  EXPECT_EQ(status_body(session),
            "{\"uuid\":\"1823b3a8\",\"session\":{\"user_id\":\"a\\\"\\\\\xE2\x82\xAC\",\"status\":\"created\","
            "\"created_at\":\"2025-11-15T03:51:36.653291\",\"last_activity\":\"2025-11-15T03:51:36.653291\"},"
            "\"replicas\":1,\"queue_length\":12}\n");
}

}  // namespace
}  // namespace roost::api
