#include "http/target.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "http/writer.hpp"

namespace roost::http {
namespace {

TEST(Path, DecodesOnceAndCollapsesSlashes) {
  std::string path;
  EXPECT_EQ(normalise_path("/a%20b//c/%2525", path), "");
  EXPECT_EQ(path, "/a b/c/%25");
  EXPECT_EQ(normalise_path("/", path), "");
  EXPECT_EQ(path, "/");
  EXPECT_EQ(normalise_path("/caf%C3%A9", path), "");
  EXPECT_EQ(path, "/caf\xC3\xA9");
  EXPECT_EQ(normalise_path("/a..b/...", path), "");
}

TEST(Path, RefusesWhatCouldMeanAnotherPath) {
  std::string path;
  for (const char* raw : {"/a%2fb", "/a%2Fb", "/a\\b", "/a%5cb", "/..", "/a/../b", "/%2e%2e/a", "/a/.%2e", "/./a", "/a/%2e",
                          "/%00", "/a%0d%0a", "/%7f", "/%", "/%4", "/%zz", "/%ff", "/%c0%af"}) {
    EXPECT_NE(normalise_path(raw, path), "") << raw;
  }
}

TEST(Host, TakesNamesAndAddressesWithAPort) {
  for (const char* host :
       {"a", "a.b", "localhost:8080", "127.0.0.1", "[::1]", "[::1]:80", "vs-code-00000000.localhost:1", "a_b"}) {
    EXPECT_TRUE(valid_host(host)) << host;
  }
  for (const char* host : {"", "a:", "a:b", "a:123456", "a b", "a/b", "a@b", "[::1", "[]", "[g::]", "a,b", ":80", "[::1]x"}) {
    EXPECT_FALSE(valid_host(host)) << host;
  }
}

TEST(AbsoluteForm, IsSplit) {
  std::string_view authority;
  std::string_view rest;
  EXPECT_TRUE(split_absolute("HTTP://a:1/b?c", authority, rest));
  EXPECT_EQ(authority, "a:1");
  EXPECT_EQ(rest, "/b?c");
  EXPECT_FALSE(split_absolute("/http://a", authority, rest));
  EXPECT_FALSE(split_absolute("ftp://a/b", authority, rest));
}

TEST(Traceparent, GivesItsTraceIdOrNothing) {
  const std::string id = "0af7651916cd43dd8448eb211c80319c";
  EXPECT_EQ(trace_id_of("00-" + id + "-b7ad6b7169203331-01"), id);
  EXPECT_EQ(trace_id_of("01-" + id + "-b7ad6b7169203331-01-more"), id);
  for (const std::string& bad :
       std::vector<std::string>{"00-" + id + "-b7ad6b7169203331-01-more", "ff-" + id + "-b7ad6b7169203331-01",
                                "00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-" + id + "-0000000000000000-01",
                                "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", "00-", ""}) {
    EXPECT_EQ(trace_id_of(bad), "") << bad;
  }
}

TEST(PercentDecode, RefusesHalfAnEscape) {
  EXPECT_EQ(percent_decode("a%41+b", true), "aA b");
  EXPECT_EQ(percent_decode("a+b", false), "a+b");
  EXPECT_EQ(percent_decode("a%4", true), std::nullopt);
}

TEST(Cookie, IsTakenOutAloneOfSeveral) {
  EXPECT_EQ(without_cookie("a=1; __Host-roost=secret; b=2", "__Host-roost"), "a=1; b=2");
  EXPECT_EQ(without_cookie("__Host-roost=secret", "__Host-roost"), "");
  EXPECT_EQ(without_cookie("__Host-roost=x;__Host-roost=y;c=3", "__Host-roost"), "c=3");
  EXPECT_EQ(without_cookie("x__Host-roost=1", "__Host-roost"), "x__Host-roost=1");
}

TEST(Head, NeverLetsAValueEndItsLine) {
  std::string out;
  write_header(out, "location", std::string_view("/a\r\nset-cookie: b\0c", 19));
  EXPECT_EQ(out, "location: /a  set-cookie: b c\r\n");
}

}  // namespace
}  // namespace roost::http
