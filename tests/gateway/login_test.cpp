#include "gateway/login.hpp"

#include <gtest/gtest.h>

#include <string>

namespace roost::gateway {
namespace {

const std::string kSecret(64, 'k');
constexpr std::int64_t kNow = 1'700'000'000;

std::string token(std::string_view id = "abcd0123", std::int64_t expires_s = kNow + 60) {
  return sign_token(kSecret, id, system_random(), expires_s);
}

TEST(Tokens, AreGoodOnce) {
  UsedTokens used;
  const std::string first = token();
  EXPECT_NE(first, token());
  EXPECT_TRUE(used.redeem(first, kSecret, "abcd0123", kNow));
  EXPECT_FALSE(used.redeem(first, kSecret, "abcd0123", kNow));
  EXPECT_TRUE(used.redeem(token(), kSecret, "abcd0123", kNow));
}

TEST(Tokens, AreGoodForTheirSessionAndSecretAndNotUsedUpByATryOnAnother) {
  UsedTokens used;
  const std::string mine = token();
  EXPECT_FALSE(used.redeem(mine, kSecret, "ffffffff", kNow));
  EXPECT_FALSE(used.redeem(mine, std::string(64, 'l'), "abcd0123", kNow));
  EXPECT_FALSE(used.redeem("", kSecret, "abcd0123", kNow));
  EXPECT_TRUE(used.redeem(mine, kSecret, "abcd0123", kNow));
}

TEST(Tokens, ExpireAndAreForgotten) {
  UsedTokens used;
  const std::string mine = token();
  EXPECT_FALSE(used.redeem(mine, kSecret, "abcd0123", kNow + 60));
  EXPECT_TRUE(used.redeem(mine, kSecret, "abcd0123", kNow + 59));
  EXPECT_EQ(used.size(), 1U);
  EXPECT_TRUE(used.redeem(token("abcd0123", kNow + 120), kSecret, "abcd0123", kNow + 60));
  EXPECT_EQ(used.size(), 1U);
}

TEST(Tokens, AreRefusedWhereTooManyAreRemembered) {
  UsedTokens used(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(used.redeem(token(), kSecret, "abcd0123", kNow));
  const std::string one_more = token("abcd0123", kNow + 120);
  EXPECT_FALSE(used.redeem(one_more, kSecret, "abcd0123", kNow));
  EXPECT_TRUE(used.redeem(one_more, kSecret, "abcd0123", kNow + 60));
}

TEST(Tokens, CannotBeChangedAnywhereAndACookieIsNone) {
  UsedTokens used;
  const std::string mine = token();
  for (std::size_t i = 0; i < mine.size(); ++i) {
    std::string changed = mine;
    changed[i] = changed[i] == '9' ? '8' : '9';
    EXPECT_FALSE(used.redeem(changed, kSecret, "abcd0123", kNow)) << i;
    EXPECT_FALSE(used.redeem(std::string_view(mine).substr(0, i), kSecret, "abcd0123", kNow)) << i;
  }
  EXPECT_FALSE(used.redeem(mine + "A", kSecret, "abcd0123", kNow));
  EXPECT_FALSE(used.redeem(sign_cookie(kSecret, "abcd0123", kNow + 60, kNow + 60), kSecret, "abcd0123", kNow));
  EXPECT_FALSE(verify_cookie(mine, kSecret, "abcd0123", kNow));
  EXPECT_TRUE(used.redeem(mine, kSecret, "abcd0123", kNow));
}

class CookieTest : public ::testing::Test {
 protected:
  const std::string value_ = sign_cookie(kSecret, "abcd0123", 1000, 2000);
  [[nodiscard]] bool valid(std::string_view value, std::string_view id = "abcd0123", std::int64_t now = 1500) const {
    return verify_cookie(value, kSecret, id, now);
  }
};

TEST_F(CookieTest, IsGoodForItsSessionSecretAndTime) {
  EXPECT_TRUE(valid(value_));
  EXPECT_FALSE(valid(value_, "abcd0124"));
  EXPECT_FALSE(valid(value_, "abcd0123", 2000));
  EXPECT_FALSE(verify_cookie(value_, std::string(64, 'l'), "abcd0123", 1500));
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
