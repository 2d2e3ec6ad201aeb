#include "cli/sse.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace roost::cli {
namespace {

std::vector<SseEvent> parse(std::string_view text, std::size_t piece = 0) {
  SseParser parser;
  std::vector<SseEvent> events;
  const auto sink = [&](const SseEvent& event) -> Status {
    events.push_back(event);
    return {};
  };
  if (piece == 0) piece = text.size();
  for (std::size_t i = 0; i < text.size(); i += piece) EXPECT_TRUE(parser.feed(text.substr(i, piece), sink).ok());
  return events;
}

TEST(Sse, ReadsIdTypeAndData) {
  const auto events = parse("id: ab-1\nevent: session.phase\ndata: {\"a\":1}\n\n: heartbeat\n\nid: ab-2\ndata: x\ndata:  y\n\n");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].id, "ab-1");
  EXPECT_EQ(events[0].type, "session.phase");
  EXPECT_EQ(events[0].data, "{\"a\":1}");
  EXPECT_EQ(events[1].id, "ab-2");
  EXPECT_EQ(events[1].type, "message");
  EXPECT_EQ(events[1].data, "x\n y");
}

TEST(Sse, DoesNotCareHowTheBytesArriveOrHowLinesEnd) {
  const std::string lf =
      "\xEF\xBB\xBF"
      "id: 1\nevent: a\ndata: one\n\nid: 2\ndata: two\n\n";
  for (const char* end : {"\n", "\r\n", "\r"}) {
    std::string text;
    for (const char c : lf) c == '\n' ? text += end : text += c;
    for (std::size_t piece = 1; piece < 9; ++piece) {
      const auto events = parse(text, piece);
      ASSERT_EQ(events.size(), 2u) << piece;
      EXPECT_EQ(events[0].id + events[0].type + events[0].data, "1aone");
      EXPECT_EQ(events[1].id + events[1].type + events[1].data, "2messagetwo");
    }
  }
}

TEST(Sse, AnEventThatIsCutOffIsNoEvent) { EXPECT_TRUE(parse("id: 1\nevent: a\ndata: half").empty()); }

TEST(Sse, AnEventWithoutDataOnlyMovesTheId) {
  const auto events = parse("id: 7\nevent: a\n\ndata: x\n\n");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, "7");
  EXPECT_EQ(events[0].type, "message") << "the type went with the event that was none";
}

TEST(Sse, WhatToComeBackWithIsTheIdOfWhatWasWhole) {
  SseParser parser;
  const auto sink = [](const SseEvent&) -> Status { return {}; };
  EXPECT_TRUE(parser.feed("retry: 1000\n\n", sink).ok());
  EXPECT_EQ(parser.last_id(), "");
  EXPECT_TRUE(parser.feed("id: 7\n\n", sink).ok());
  EXPECT_EQ(parser.last_id(), "7") << "an id that comes without an event";
  EXPECT_TRUE(parser.feed("id: 8\nevent: a\ndata: half", sink).ok());
  EXPECT_EQ(parser.last_id(), "7") << "the event may be cut off yet";
  EXPECT_TRUE(parser.feed("\n\n", sink).ok());
  EXPECT_EQ(parser.last_id(), "8");
}

TEST(Sse, AnIdThatCannotStandInAHeaderIsNotTaken) {
  EXPECT_EQ(parse("id: good\nid: a\x01"
                  "b\ndata: x\n\n")[0]
                .id,
            "good");
  EXPECT_EQ(parse("id: " + std::string(1000, 'a') + "\ndata: x\n\n")[0].id, "");
}

TEST(Sse, RetryIsReadAndBounded) {
  SseParser parser;
  const auto sink = [](const SseEvent&) -> Status { return {}; };
  EXPECT_TRUE(parser.feed("retry: 1500\n\n", sink).ok());
  EXPECT_EQ(parser.retry_ms(), 1500);
  EXPECT_TRUE(parser.feed("retry: soon\n\nretry: 999999999\n\n", sink).ok());
  EXPECT_EQ(parser.retry_ms(), 60'000);
}

TEST(Sse, AnEndlessEventIsRefused) {
  SseParser parser(1000);
  const auto sink = [](const SseEvent&) -> Status { return {}; };
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = parser.feed("data: " + std::string(50, 'x') + "\n", sink);
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, Code::data_loss);
  SseParser line(1000);
  EXPECT_FALSE(line.feed(std::string(2000, 'x'), sink).ok());
}

TEST(Sse, TheSinksErrorEndsIt) {
  SseParser parser;
  int seen = 0;
  const Status status = parser.feed("data: a\n\ndata: b\n\n", [&](const SseEvent&) -> Status {
    ++seen;
    return {Code::cancelled, "enough"};
  });
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace roost::cli
