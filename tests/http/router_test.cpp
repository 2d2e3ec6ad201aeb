#include <gtest/gtest.h>

#include "http/http.hpp"

namespace roost::http {
namespace {

class RouterTest : public ::testing::Test {
 protected:
  void add(const char* method, const char* pattern) { router_.add({method, pattern, Run::inline_, {}}); }
  std::string route(const char* method, const char* path) {
    const auto match = router_.match(method, path);
    return match.route == nullptr ? "(" + match.allow + ")" : match.route->method + " " + match.route->pattern;
  }
  Router router_;
};

TEST_F(RouterTest, MatchesSegmentsAndTheRest) {
  add("GET", "/");
  add("GET", "/session/{}/status");
  add("GET", "/files/{}/{*}");
  EXPECT_EQ(route("GET", "/"), "GET /");
  const auto status = router_.match("GET", "/session/abc/status");
  ASSERT_NE(status.route, nullptr);
  EXPECT_EQ(status.parameters, std::vector<std::string>{"abc"});
  const auto file = router_.match("GET", "/files/b1/a/b c/d");
  ASSERT_NE(file.route, nullptr);
  EXPECT_EQ(file.parameters, (std::vector<std::string>{"b1", "a/b c/d"}));
  EXPECT_EQ(router_.match("GET", "/files/b1").parameters, (std::vector<std::string>{"b1", ""}));
}

TEST_F(RouterTest, AParameterIsNeverEmpty) {
  add("GET", "/session/{}");
  EXPECT_EQ(route("GET", "/session/"), "()");
  EXPECT_EQ(route("GET", "/session"), "()");
  EXPECT_EQ(route("GET", "/session/a/"), "()");
}

TEST_F(RouterTest, PrefersTheMoreLiteralPattern) {
  add("GET", "/{*}");
  add("GET", "/session/{}");
  add("POST", "/session/create");
  EXPECT_EQ(route("POST", "/session/create"), "POST /session/create");
  EXPECT_EQ(route("GET", "/session/abc"), "GET /session/{}");
  EXPECT_EQ(route("GET", "/other/abc/d"), "GET /{*}");
  EXPECT_EQ(route("GET", "/session/create"), "(POST, OPTIONS)");
}

TEST_F(RouterTest, NamesTheMethodsThatArePossible) {
  add("GET", "/session/{}");
  add("DELETE", "/session/{}");
  EXPECT_EQ(route("PUT", "/session/a"), "(GET, HEAD, DELETE, OPTIONS)");
  EXPECT_EQ(route("HEAD", "/session/a"), "GET /session/{}");
  EXPECT_EQ(route("get", "/session/a"), "(GET, HEAD, DELETE, OPTIONS)");
  EXPECT_EQ(route("GET", "/nothing"), "()");
}

TEST(RequestTest, ReadsQueryParameters) {
  Request request;
  request.query = "user_id=a%40b.c&limit=5&flag&empty=&a%20b=c+d";
  EXPECT_EQ(request.query_parameter("user_id"), "a@b.c");
  EXPECT_EQ(request.query_parameter("limit"), "5");
  EXPECT_EQ(request.query_parameter("a b"), "c d");
  EXPECT_EQ(request.query_parameter("none"), "");
  EXPECT_TRUE(request.has_query_parameter("flag"));
  EXPECT_TRUE(request.has_query_parameter("empty"));
  EXPECT_FALSE(request.has_query_parameter("lim"));
}

TEST(ProblemTest, SaysWhatWasAsked) {
  const Response response = problem(Error{Code::exhausted, "too many sessions", 1500});
  EXPECT_EQ(response.status, 429);
  const auto body = Json::parse(response.body);
  ASSERT_TRUE(body.ok());
  EXPECT_EQ((*body)["detail"].as_string(), "too many sessions");
  EXPECT_EQ((*body)["status"].as_int(), 429);
  EXPECT_EQ((*body)["code"].as_string(), "exhausted");
  EXPECT_NE(std::find(response.headers.begin(), response.headers.end(), std::pair<std::string, std::string>("retry-after", "2")),
            response.headers.end());
}

}  // namespace
}  // namespace roost::http
