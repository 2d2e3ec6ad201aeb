#include "api/rate_limit.hpp"

#include <gtest/gtest.h>

namespace roost::api {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

TEST(RateBucket, AllowsTheBurstThenTheRate) {
  RateBucket bucket({10, 5});
  const std::int64_t now = 1000 * kSecond;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(bucket.take(now), 0) << i;
  const std::int64_t wait = bucket.take(now);
  EXPECT_EQ(wait, kSecond / 10);
  EXPECT_GT(bucket.take(now + wait - 1), 0) << "not a nanosecond before it said";
  EXPECT_EQ(bucket.take(now + wait), 0);
  EXPECT_GT(bucket.take(now + wait), 0);
}

TEST(RateBucket, FillsUpToItsBurstAndNoFurther) {
  RateBucket bucket({10, 3});
  int taken = 0;
  while (bucket.take(5000 * kSecond) == 0) ++taken;
  EXPECT_EQ(taken, 3) << "an old bucket holds the burst, not what the years brought";
}

TEST(RateBucket, ARefusedCallCostsNothing) {
  RateBucket bucket({1, 1});
  EXPECT_EQ(bucket.take(kSecond), 0);
  for (int i = 0; i < 100; ++i) EXPECT_GT(bucket.take(kSecond), 0);
  EXPECT_EQ(bucket.take(2 * kSecond), 0);
}

TEST(RateBucket, NoRateIsNoLimit) {
  RateBucket bucket({0, 1});
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(bucket.take(1), 0);
}

TEST(ConcurrencyLimiter, HoldsAPlaceUntilItsHolderLetsGo) {
  const ConcurrencyLimiter limiter(2);
  auto first = limiter.enter("a"), second = limiter.enter("a");
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(limiter.enter("a"));
  EXPECT_TRUE(limiter.enter("b")) << "names do not pay for each other";
  auto copy = first;
  first.reset();
  EXPECT_FALSE(limiter.enter("a")) << "a copy holds it too";
  copy.reset();
  EXPECT_TRUE(limiter.enter("a"));
}

TEST(PeerLimiter, PeersDoNotPayForEachOther) {
  PeerLimiter limiter({1, 2});
  EXPECT_EQ(limiter.take("192.0.2.1", kSecond), 0);
  EXPECT_EQ(limiter.take("192.0.2.1", kSecond), 0);
  EXPECT_GT(limiter.take("192.0.2.1", kSecond), 0);
  EXPECT_EQ(limiter.take("192.0.2.2", kSecond), 0);
}

TEST(PeerLimiter, AnIpv6NetworkIsOnePeer) {
  EXPECT_EQ(peer_bucket_name("2001:db8:1:2::1"), peer_bucket_name("2001:db8:1:2:ffff::9"));
  EXPECT_NE(peer_bucket_name("2001:db8:1:2::1"), peer_bucket_name("2001:db8:1:3::1"));
  EXPECT_NE(peer_bucket_name("::ffff:192.0.2.1"), peer_bucket_name("::ffff:192.0.2.2"));
  EXPECT_EQ(peer_bucket_name("fe80::1%eth0"), peer_bucket_name("fe80::2"));
}

TEST(PeerLimiter, MemoryIsBoundedAndKnownPeersKeepTheirBucket) {
  PeerLimiter limiter({0.001, 1});
  EXPECT_EQ(limiter.take("known", kSecond), 0);
  for (int i = 0; i < 200'000; ++i) (void)limiter.take("10." + std::to_string(i), kSecond);
  EXPECT_LE(limiter.size(), 16u * 4097u);
  EXPECT_GT(limiter.take("known", kSecond), 0);
}

TEST(PeerLimiter, BucketsThatAreFullAgainMakeRoom) {
  PeerLimiter limiter({1000, 1});
  for (int i = 0; i < 200'000; ++i) (void)limiter.take("10." + std::to_string(i), kSecond);
  EXPECT_EQ(limiter.take("later", 100 * kSecond), 0);
}

}  // namespace
}  // namespace roost::api
