#include "cli/url.hpp"

#include <gtest/gtest.h>

namespace roost::cli {
namespace {

TEST(PercentEncode, LeavesOnlyUnreservedCharacters) {
  EXPECT_EQ(percent_encode("abc-._~09"), "abc-._~09");
  EXPECT_EQ(percent_encode("john+x@example.com"), "john%2Bx%40example.com");
  EXPECT_EQ(percent_encode("a/b?c#d&e=f%g h"), "a%2Fb%3Fc%23d%26e%3Df%25g%20h");
  EXPECT_EQ(percent_encode("ü\n"), "%C3%BC%0A");
  EXPECT_EQ(percent_encode_path("dir/a b#c"), "dir/a%20b%23c");
}

TEST(AddQuery, JoinsAndLeavesOutWhatIsEmpty) {
  std::string target = "/sessions";
  add_query(target, "user_id", "");
  EXPECT_EQ(target, "/sessions");
  add_query(target, "user_id", "a&b=c");
  add_query(target, "limit", "5");
  EXPECT_EQ(target, "/sessions?user_id=a%26b%3Dc&limit=5");
}

TEST(BaseUrl, TakesHttpAndHttpsWithAPrefix) {
  EXPECT_EQ(*base_url("http://127.0.0.1:8080/"), "http://127.0.0.1:8080");
  EXPECT_EQ(*base_url("HTTPS://roost.example.com/api/"), "HTTPS://roost.example.com/api");
  EXPECT_EQ(*base_url("http://[::1]:8080"), "http://[::1]:8080");
}

TEST(BaseUrl, RefusesTheRest) {
  for (const char* text : {"", "roost.example.com", "ftp://a", "file:///etc/passwd", "http://", "http:///x", "http://:8080",
                           "http://a b", "http://a/?q=1", "http://a/#f", "http://a\r\nX: y", "http://a\\b", "http://ü"}) {
    EXPECT_FALSE(base_url(text).ok()) << text;
  }
  const auto secret = base_url("https://john:secret@example.com");
  ASSERT_FALSE(secret.ok());
  EXPECT_EQ(secret.error().message.find("secret"), std::string::npos) << "a password is not repeated";
}

TEST(Loopback, IsThisMachineAndNothingElse) {
  for (const char* base :
       {"http://127.0.0.1:8080", "http://127.9.9.9", "http://localhost:1", "http://a.localhost", "http://[::1]:80/x"}) {
    EXPECT_TRUE(is_loopback(base)) << base;
  }
  for (const char* base : {"http://127.0.0.1.example.com", "http://localhost.example.com", "http://10.0.0.1", "http://[::2]",
                           "http://notlocalhost"}) {
    EXPECT_FALSE(is_loopback(base)) << base;
  }
}

}  // namespace
}  // namespace roost::cli
