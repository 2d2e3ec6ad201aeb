#include "gateway/login.hpp"

#include <gtest/gtest.h>

#include <set>

#include "gateway/fakes.hpp"

namespace roost::gateway {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

class TokensTest : public ::testing::Test {
 protected:
  TestClock clock_;
  AccessTokens tokens_{clock_, system_random(), 60 * kSecond, 100};
};

TEST_F(TokensTest, AreGoodOnce) {
  const auto token = tokens_.mint("abcd0123");
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->size(), 43U);
  EXPECT_TRUE(tokens_.redeem(*token, "abcd0123"));
  EXPECT_FALSE(tokens_.redeem(*token, "abcd0123"));
  EXPECT_EQ(tokens_.size(), 0U);
}

TEST_F(TokensTest, AreGoodForTheirSessionAndKeptWhenTriedOnAnother) {
  const auto token = tokens_.mint("abcd0123");
  EXPECT_FALSE(tokens_.redeem(*token, "ffffffff"));
  EXPECT_TRUE(tokens_.redeem(*token, "abcd0123"));
  EXPECT_FALSE(tokens_.redeem("", "abcd0123"));
}

TEST_F(TokensTest, ExpireAndAreForgotten) {
  const auto token = tokens_.mint("abcd0123");
  clock_.advance_s(59);
  const auto later = tokens_.mint("abcd0123");
  clock_.advance_s(1);
  EXPECT_FALSE(tokens_.redeem(*token, "abcd0123"));
  EXPECT_EQ(tokens_.size(), 1U);
  EXPECT_TRUE(tokens_.redeem(*later, "abcd0123"));
}

TEST_F(TokensTest, AreBoundedForASessionAndAltogether) {
  const auto first = tokens_.mint("abcd0123");
  for (int i = 0; i < 15; ++i) ASSERT_TRUE(tokens_.mint("abcd0123").ok());
  const auto last = tokens_.mint("abcd0123");
  EXPECT_EQ(tokens_.size(), 16U);
  EXPECT_FALSE(tokens_.redeem(*first, "abcd0123"));  // the oldest gave way
  EXPECT_TRUE(tokens_.redeem(*last, "abcd0123"));
  for (int i = 0; tokens_.size() < 100; ++i) ASSERT_TRUE(tokens_.mint("s" + std::to_string(i)).ok());
  const auto refused = tokens_.mint("another");
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  clock_.advance_s(60);
  EXPECT_TRUE(tokens_.mint("another").ok());
}

class CookieTest : public ::testing::Test {
 protected:
  const std::string key_ = std::string(32, 'k');
  const std::string value_ = sign_cookie(key_, "abcd0123", "nonce1", 1000, 2000);
  [[nodiscard]] bool valid(std::string_view value, std::string_view id = "abcd0123", std::string_view nonce = "nonce1",
                           std::int64_t now = 1500) const {
    return verify_cookie(value, key_, id, nonce, now);
  }
};

TEST_F(CookieTest, IsGoodForItsSessionNonceKeyAndTime) {
  EXPECT_TRUE(valid(value_));
  EXPECT_FALSE(valid(value_, "abcd0124"));
  EXPECT_FALSE(valid(value_, "abcd0123", "nonce2"));
  EXPECT_FALSE(valid(value_, "abcd0123", "nonce1", 2000));
  EXPECT_FALSE(verify_cookie(value_, std::string(32, 'l'), "abcd0123", "nonce1", 1500));
}

TEST_F(CookieTest, CannotBeChangedAnywhere) {
  for (std::size_t i = 0; i < value_.size(); ++i) {
    std::string changed = value_;
    changed[i] = changed[i] == '9' ? '8' : '9';
    EXPECT_FALSE(valid(changed)) << i;
  }
  for (std::size_t i = 0; i < value_.size(); ++i) EXPECT_FALSE(valid(std::string_view(value_).substr(0, i))) << i;
  for (const char* bad : {"", "v1", "v1.", "v1..", "v1...", "v2.1000.2000.x"}) EXPECT_FALSE(valid(bad)) << bad;
  EXPECT_FALSE(valid(value_ + "A"));
}

TEST_F(CookieTest, HasTheAttributesThatItsOriginAllows) {
  EXPECT_EQ(set_cookie("v", true, 5), "__Host-roost=v; Path=/; Max-Age=5; HttpOnly; SameSite=Lax; Secure");
  EXPECT_EQ(set_cookie("v", false, 5), "roost=v; Path=/; Max-Age=5; HttpOnly; SameSite=Lax");
}

TEST_F(CookieTest, IsFoundAmongOthersAndOnlyWhereThereIsOne) {
  EXPECT_EQ(find_cookie("a=1; roost=x; b=2", "roost"), "x");
  EXPECT_EQ(find_cookie("roost=x", "roost"), "x");
  EXPECT_EQ(find_cookie("xroost=x; roost2=y", "roost"), "");
  EXPECT_EQ(find_cookie("roost=x; roost=y", "roost"), "");
  EXPECT_EQ(find_cookie("", "roost"), "");
}

}  // namespace
}  // namespace roost::gateway
