#include "cli/client.hpp"

#include <gtest/gtest.h>

#include "cli/exit_code.hpp"

namespace roost::cli {
namespace {

Attempt answered(int status, Repeat repeat, std::int64_t retry_after = 0) {
  return {1, repeat, status, Code::internal, retry_after, 30'000};
}
Attempt failed(Code code, Repeat repeat) { return {1, repeat, 0, code, 0, 30'000}; }

TEST(Retry, ASafeCallIsRepeatedWhereTheAnswerWillPass) {
  for (const int status : {429, 502, 503, 504}) EXPECT_TRUE(retry_wait_ms(answered(status, Repeat::safe), 0)) << status;
  for (const int status : {200, 301, 400, 401, 403, 404, 409, 422, 500, 501})
    EXPECT_FALSE(retry_wait_ms(answered(status, Repeat::safe), 0)) << status;
  EXPECT_TRUE(retry_wait_ms(failed(Code::unavailable, Repeat::safe), 0));
  EXPECT_TRUE(retry_wait_ms(failed(Code::outcome_unknown, Repeat::safe), 0));
}

TEST(Retry, ACallThatCouldActTwiceIsRepeatedOnlyWhereNothingWasDone) {
  EXPECT_FALSE(retry_wait_ms(failed(Code::outcome_unknown, Repeat::once), 0));
  EXPECT_FALSE(retry_wait_ms(answered(502, Repeat::once), 0));
  EXPECT_FALSE(retry_wait_ms(answered(504, Repeat::once), 0));
  EXPECT_TRUE(retry_wait_ms(failed(Code::unavailable, Repeat::once), 0));
  EXPECT_TRUE(retry_wait_ms(answered(503, Repeat::once), 0));
}

TEST(Retry, AnInterruptOrATooLargeAnswerIsNotRepeated) {
  for (const Code code : {Code::cancelled, Code::exhausted, Code::deadline, Code::internal, Code::data_loss}) {
    EXPECT_FALSE(retry_wait_ms(failed(code, Repeat::safe), 0));
  }
}

TEST(Retry, WaitsAsLongAsTheServerSaysWithinTheTime) {
  EXPECT_GE(*retry_wait_ms(answered(503, Repeat::safe, 7'000), 0), 7'000);
  EXPECT_FALSE(retry_wait_ms(answered(503, Repeat::safe, 60'000), 0)) << "it would be over";
}

TEST(Retry, WaitsLongerEachTimeAndEnds) {
  std::int64_t before = 0;
  Attempt attempt = answered(503, Repeat::safe);
  for (attempt.tries = 1; attempt.tries < 6; ++attempt.tries) {
    const auto wait = retry_wait_ms(attempt, 1);
    ASSERT_TRUE(wait);
    EXPECT_GE(*wait, before);
    EXPECT_LE(*wait, 5'000);
    before = *wait;
  }
  attempt.tries = 100;
  EXPECT_FALSE(retry_wait_ms(attempt, 0));
}

TEST(RetryAfter, IsSecondsOrADate) {
  EXPECT_EQ(retry_after_ms("3", 0), 3'000);
  EXPECT_EQ(retry_after_ms("-3", 0), 0);
  EXPECT_EQ(retry_after_ms("999999999", 0), 86'400'000);
  EXPECT_EQ(retry_after_ms("", 0), 0);
  EXPECT_EQ(retry_after_ms("soon", 0), 0);
  const std::int64_t now_us = parse_time("2026-01-01T00:00:00.000000");
  EXPECT_EQ(retry_after_ms("Thu, 01 Jan 2026 00:00:10 GMT", now_us), 10'000);
  EXPECT_EQ(retry_after_ms("Wed, 31 Dec 2025 00:00:10 GMT", now_us), 0);
}

TEST(ExitCode, EveryStatusHasTheOneThatTheGuidePromises) {
  EXPECT_EQ(exit_of_status(400), Exit::failed);
  EXPECT_EQ(exit_of_status(422), Exit::failed);
  EXPECT_EQ(exit_of_status(500), Exit::failed);
  EXPECT_EQ(exit_of_status(302), Exit::failed);
  EXPECT_EQ(exit_of_status(404), Exit::not_found);
  EXPECT_EQ(exit_of_status(409), Exit::conflict);
  EXPECT_EQ(exit_of_status(401), Exit::denied);
  EXPECT_EQ(exit_of_status(403), Exit::denied);
  for (const int status : {429, 502, 503, 504}) EXPECT_EQ(exit_of_status(status), Exit::unavailable);
  EXPECT_EQ(exit_of(Code::invalid), Exit::usage);
  EXPECT_EQ(exit_of(Code::conflict), Exit::conflict);
  EXPECT_EQ(exit_of(Code::unavailable), Exit::unavailable);
  EXPECT_EQ(exit_of(Code::deadline), Exit::unavailable);
  EXPECT_EQ(exit_of(Code::cancelled), Exit::interrupted);
  EXPECT_EQ(exit_of(Code::data_loss), Exit::failed);
}

}  // namespace
}  // namespace roost::cli
