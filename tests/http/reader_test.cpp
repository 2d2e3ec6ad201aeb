#include "http/request_reader.hpp"

#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

namespace roost::http {
namespace {

struct Read {
  int status = 0;  // 0: understood
  std::string detail;
  std::vector<std::string> requests;  // "METHOD path|query|body"
  std::string rest;
};

// Feeds `bytes` in pieces of `step` bytes.
Read read_all(const std::string& bytes, std::size_t step, ReaderLimits limits = {}) {
  RequestReader reader(limits);
  Request request;
  Read result;
  std::string pending;
  std::string body;
  std::size_t given = 0;
  while (true) {
    const auto next = reader.next(pending, request);
    EXPECT_LE(next.consumed, pending.size());
    if (next.event == RequestReader::Event::body) body.append(next.piece);
    pending.erase(0, next.consumed);
    if (next.event == RequestReader::Event::complete) {
      result.requests.push_back(request.method + " " + request.path + "|" + request.query + "|" + body);
      body.clear();
    }
    if (next.event == RequestReader::Event::refused) {
      result.status = reader.status();
      result.detail = reader.detail();
      return result;
    }
    if (next.event != RequestReader::Event::more) continue;
    if (given == bytes.size()) break;
    pending.append(bytes, given, step);
    given += std::min(step, bytes.size() - given);
  }
  result.rest = pending;
  return result;
}

const std::string kHost = "Host: a\r\n";

TEST(Reader, UnderstandsTheSameHoweverTheBytesArrive) {
  const std::string bytes = "\r\nGET /a%20b?c=d HTTP/1.1\r\n" + kHost + "\r\n" +                             //
                            "POST /p HTTP/1.1\r\n" + kHost + "Content-Length: 5\r\n\r\nhello" +              //
                            "POST /c HTTP/1.1\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n" +          //
                            "3;x=\"y\"\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: dropped\r\n\r\n" +  //
                            "POST /e HTTP/1.1\r\n" + kHost +
                            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +  // Beast asserts on its pieces
                            "GET http://A/abs HTTP/1.1\r\n" + kHost + "\r\nGET /last HTTP/1.1\r\n" + kHost + "\r\n";
  const std::vector<std::string> expected{"GET /a b|c=d|", "POST /p||hello", "POST /c||abc0123456789abcdef",
                                          "POST /e||",     "GET /abs||",     "GET /last||"};
  for (const std::size_t step : {bytes.size(), std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{64}}) {
    const Read read = read_all(bytes, step);
    EXPECT_EQ(read.status, 0) << read.detail;
    EXPECT_EQ(read.requests, expected) << "in steps of " << step;
    EXPECT_EQ(read.rest, "");
  }
}

TEST(Reader, UsesHeadersOfTheRequestAndNotOfTheOneBefore) {
  RequestReader reader({});
  Request request;
  const std::string first = "GET / HTTP/1.1\r\n" + kHost + "X-One: 1\r\nX-Two: a long value that needs storage\r\n\r\n";
  (void)reader.next(first, request);
  EXPECT_EQ(request.header("x-two"), "a long value that needs storage");
  (void)reader.next({}, request);
  const std::string second = "GET / HTTP/1.1\r\nX-Three: 3\r\n" + kHost + "\r\n";
  (void)reader.next(second, request);
  EXPECT_EQ(request.headers, (Headers{{"x-three", "3"}, {"host", "a"}}));
}

using Case = std::tuple<const char*, std::string, int>;
class Refusal : public ::testing::TestWithParam<Case> {};

TEST_P(Refusal, HasItsStatusHoweverTheBytesArrive) {
  const auto& [name, bytes, status] = GetParam();
  for (const std::size_t step : {bytes.size(), std::size_t{1}, std::size_t{5}}) {
    const Read read = read_all(bytes, step);
    EXPECT_EQ(read.status, status) << "in steps of " << step << ": " << read.detail;
    EXPECT_FALSE(status != 0 && read.detail.empty());
  }
}

std::string with(const std::string& headers) { return "POST / HTTP/1.1\r\n" + headers + "\r\n"; }

const std::vector<Case> kRefusals{
    {"te_and_cl", with(kHost + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400},
    {"cl_and_te", with(kHost + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n") + "0\r\n\r\n", 400},
    {"same_length_twice", with(kHost + "Content-Length: 3\r\nContent-Length: 3\r\n") + "abc", 400},
    {"different_lengths", with(kHost + "Content-Length: 3\r\nContent-Length: 4\r\n") + "abc", 400},
    {"length_list", with(kHost + "Content-Length: 3, 3\r\n") + "abc", 400},
    {"length_not_digits", with(kHost + "Content-Length: abc\r\n"), 400},
    {"length_plus", with(kHost + "Content-Length: +3\r\n") + "abc", 400},
    {"length_minus", with(kHost + "Content-Length: -3\r\n") + "abc", 400},
    {"length_hex", with(kHost + "Content-Length: 0x3\r\n") + "abc", 400},
    {"length_empty", with(kHost + "Content-Length: \r\n"), 400},
    {"length_overflow", with(kHost + "Content-Length: 18446744073709551617\r\n"), 400},
    {"te_unknown", with(kHost + "Transfer-Encoding: gzip\r\n"), 501},
    {"te_list", with(kHost + "Transfer-Encoding: gzip, chunked\r\n"), 501},
    {"te_identity", with(kHost + "Transfer-Encoding: identity\r\n"), 501},
    {"te_obscured", with(kHost + "Transfer-Encoding: \"chunked\"\r\n"), 501},
    {"te_twice", with(kHost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
    {"te_twice_hidden", with(kHost + "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n"), 400},
    {"te_in_http10", "POST / HTTP/1.0\r\n" + kHost + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"folded", with(kHost + "X: a\r\n b\r\n"), 400},
    {"folded_first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
    {"bare_lf", "GET / HTTP/1.1\nHost: a\n\n", 400},
    {"bare_lf_later", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400},
    {"bare_cr", with(kHost + "X: a\rb\r\n"), 400},
    {"space_before_colon", with("Host : a\r\n"), 400},
    {"no_colon", with(kHost + "nonsense\r\n"), 400},
    {"empty_name", with(kHost + ": a\r\n"), 400},
    {"nul_in_value", with(kHost + std::string("X: a\0b\r\n", 8)), 400},
    {"control_in_value",
     with(kHost + "X: a\x01"
                  "b\r\n"),
     400},
    {"delete_in_value", with(kHost + "X: a\x7f\r\n"), 400},
    {"no_host", "GET / HTTP/1.1\r\nX: y\r\n\r\n", 400},
    {"no_host_http10", "GET / HTTP/1.0\r\n\r\n", 400},
    {"two_hosts", with(kHost + kHost), 400},
    {"empty_host", with("Host: \r\n"), 400},
    {"host_with_path", with("Host: a/b\r\n"), 400},
    {"host_with_user", with("Host: u@a\r\n"), 400},
    {"absolute_elsewhere", "GET http://evil/ HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"absolute_other_port", "GET http://a:81/ HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"no_slash", "GET a HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"star_of_get", "GET * HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"fragment", "GET /a#b HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"connect", "CONNECT a:80 HTTP/1.1\r\n" + kHost + "\r\n", 501},
    {"trace", "TRACE / HTTP/1.1\r\n" + kHost + "\r\n", 501},
    {"http2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"http09", "GET /\r\n\r\n", 400},
    {"tls", "\x16\x03\x01\x02", 400},
    {"bad_method", "G(T / HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"two_spaces", "GET  / HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"many_empty_lines", "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n" + kHost + "\r\n", 400},
    {"chunk_not_hex", with(kHost + "Transfer-Encoding: chunked\r\n") + "zz\r\n", 400},
    {"chunk_minus", with(kHost + "Transfer-Encoding: chunked\r\n") + "-1\r\n", 400},
    {"chunk_overflow", with(kHost + "Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n", 400},
    {"chunk_too_short", with(kHost + "Transfer-Encoding: chunked\r\n") + "2\r\nabc\r\n0\r\n\r\n", 400},
    {"chunk_bare_lf", with(kHost + "Transfer-Encoding: chunked\r\n") + "1\na\n0\n\n" + std::string(20000, 'a'), 400},
    {"trailer_length", with(kHost + "Transfer-Encoding: chunked\r\n") + "0\r\nContent-Length: 5\r\n\r\n", 400},
    {"chunk_extension_endless", with(kHost + "Transfer-Encoding: chunked\r\n") + "1;" + std::string(20000, 'x'), 400},
    {"too_many_headers",
     [] {
       std::string headers = kHost;
       for (int i = 0; i < 101; ++i) headers += "X: y\r\n";
       return with(headers);
     }(),
     431},
    {"ten_thousand_headers",
     [] {
       std::string headers = kHost;
       for (int i = 0; i < 10'000; ++i) headers += "X-" + std::to_string(i) + ": y\r\n";
       return with(headers);
     }(),
     431},
    {"large_header", with(kHost + "X: " + std::string(20'000, 'x') + "\r\n"), 431},
    {"endless_header", "GET / HTTP/1.1\r\nX: " + std::string(20'000, 'x'), 431},
    {"long_target", "GET /" + std::string(9'000, 'x') + " HTTP/1.1\r\n" + kHost + "\r\n", 414},
    {"longer_target_than_header", "GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n" + kHost + "\r\n", 414},
    {"endless_target", "GET /" + std::string(20'000, 'x'), 414},
};

INSTANTIATE_TEST_SUITE_P(All, Refusal, ::testing::ValuesIn(kRefusals),
                         [](const auto& test) { return std::string(std::get<0>(test.param)); });

TEST(Reader, TakesAsManyHeadersAndBytesAsItsLimitsSay) {
  std::string headers = kHost;
  for (int i = 0; i < 99; ++i) headers += "X: y\r\n";
  EXPECT_EQ(read_all(with(headers), 1000).status, 0);
  EXPECT_EQ(read_all("GET /" + std::string(8191, 'x') + " HTTP/1.1\r\n" + kHost + "\r\n", 1000).status, 0);
}

TEST(Reader, KnowsKeepAliveUpgradeAndExpectations) {
  const auto framing = [](const std::string& head) {
    RequestReader reader({});
    Request request;
    EXPECT_EQ(reader.next(head, request).event, RequestReader::Event::head) << head;
    return reader.framing();
  };
  EXPECT_TRUE(framing("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep_alive);
  EXPECT_FALSE(framing("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n").keep_alive);
  EXPECT_FALSE(framing("GET / HTTP/1.0\r\nHost: a\r\n\r\n").keep_alive);
  EXPECT_TRUE(framing("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n").keep_alive);
  EXPECT_TRUE(framing("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n").upgrade);
  EXPECT_FALSE(framing("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").upgrade);
  const std::string asks = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n";
  EXPECT_TRUE(framing(asks + "Upgrade: WebSocket\r\n\r\n").upgrade);
  for (const char* other : {"Upgrade: h2c\r\n", "Upgrade: h2c, websocket\r\n", "Upgrade: h2c\r\nUpgrade: websocket\r\n"}) {
    EXPECT_FALSE(framing(asks + other + "\r\n").upgrade) << other;
  }
  EXPECT_FALSE(framing("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n").upgrade);
  EXPECT_TRUE(framing("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n").expect_continue);
  EXPECT_TRUE(framing("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: magic\r\n\r\n").expect_unknown);
  EXPECT_NE(framing("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n").path_refusal, "");
}

}  // namespace
}  // namespace roost::http
