#include "api/request.hpp"

#include <gtest/gtest.h>

namespace roost::api {
namespace {

http::Request with(std::string body, std::string type) {
  http::Request request;
  request.body = std::move(body);
  if (!type.empty()) request.headers.emplace_back("content-type", std::move(type));
  return request;
}

int refusal(const http::Request& request) {
  const Body body = read_body(request);
  return body.refusal ? body.refusal->status : 0;
}

TEST(ReadBody, AcceptsJsonUnderItsNames) {
  for (const char* type : {"", "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y",
                           "application/merge-patch+json"}) {
    EXPECT_EQ(refusal(with("{\"a\":1}", type)), 0) << type;
  }
}

TEST(ReadBody, OtherTypesAre415WithAHint) {
  for (const char* type :
       {"application/x-www-form-urlencoded", "text/plain", "application/jsonx", "json", "multipart/form-data"}) {
    EXPECT_EQ(refusal(with("{}", type)), 415) << type;
  }
  EXPECT_NE(read_body(with("a=b", "text/plain")).refusal->body.find("Content-Type: application/json"), std::string::npos);
}

TEST(ReadBody, AnEmptyBodyIsAnEmptyObjectWhateverItsType) {
  EXPECT_EQ(refusal(with("", "application/x-www-form-urlencoded")), 0);
  EXPECT_TRUE(read_body(with("", "")).json.is_object());
}

TEST(ReadBody, WhatIsNotOneJsonObjectIs400) {
  for (const char* body : {"{", "[]", "\"x\"", "1", "null", "{} x", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}",
                           "{\"a\":18446744073709551616}", "{\"a\":1e400}", "{'a':1}", "{\"a\":\"\xff\"}"}) {
    EXPECT_EQ(refusal(with(body, "application/json")), 400) << body;
  }
  EXPECT_EQ(refusal(with(std::string(5000, '['), "application/json")), 400);
}

http::Request query(std::string text) {
  http::Request request;
  request.query = std::move(text);
  return request;
}

TEST(Query, NumbersAreWholeAndInRange) {
  EXPECT_EQ(*query_number(query(""), "n", 7, 1, 9), 7);
  EXPECT_EQ(*query_number(query("n=3"), "n", 7, 1, 9), 3);
  for (const char* text : {"n=", "n=0", "n=10", "n=-1", "n=3x", "n=0x3", "n=99999999999999999999", "n=1.5", "n=%201"}) {
    EXPECT_FALSE(query_number(query(text), "n", 7, 1, 9).ok()) << text;
  }
}

TEST(Query, Flags) {
  for (const char* text : {"f", "f=", "f=true", "f=1"}) EXPECT_TRUE(*query_flag(query(text), "f")) << text;
  for (const char* text : {"", "f=false", "f=0", "g=true"}) EXPECT_FALSE(*query_flag(query(text), "f")) << text;
  for (const char* text : {"f=yes", "f=True", "f=2"}) EXPECT_FALSE(query_flag(query(text), "f").ok()) << text;
}

http::Request header(std::string name, std::string value) {
  http::Request request;
  request.headers.emplace_back(std::move(name), std::move(value));
  return request;
}

TEST(CommandOptionsOf, IfMatchIsARevision) {
  EXPECT_EQ(command_options(header("if-match", "\"17\""), "a")->if_match, 17u);
  EXPECT_EQ(command_options(header("if-match", "17"), "a")->if_match, 17u);
  EXPECT_FALSE(command_options(header("if-match", "*"), "a")->if_match);
  EXPECT_FALSE(command_options(header("x", "y"), "a")->if_match);
  for (const char* text : {"\"\"", "\"x\"", "W/\"17\"", "\"17", "-1", "17 18", "\"18446744073709551616\""}) {
    EXPECT_FALSE(command_options(header("if-match", text), "a").ok()) << text;
  }
}

TEST(CommandOptionsOf, IdempotencyKeysHaveALength) {
  EXPECT_EQ(command_options(header("idempotency-key", "k-1"), "actor")->idempotency_key, "k-1");
  EXPECT_EQ(command_options(header("idempotency-key", "k-1"), "actor")->actor, "actor");
  EXPECT_FALSE(command_options(header("idempotency-key", std::string(256, 'k')), "a").ok());
}

}  // namespace
}  // namespace roost::api
