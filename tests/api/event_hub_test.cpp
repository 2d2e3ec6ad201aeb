#include "api/event_hub.hpp"

#include <gtest/gtest.h>

#include <regex>

#include "api/recording_stream.hpp"

namespace roost::api {
namespace {

Event event(std::string id, std::string user, std::string type, int n) {
  return {std::move(id), std::move(user), std::move(type), 1'763'178'696'653'291, Json::object({{"n", n}})};
}

std::vector<int> numbers(const std::string& text) {
  std::vector<int> found;
  const std::regex pattern("\"n\":([0-9]+)");
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) found.push_back(std::stoi((*it)[1]));
  return found;
}

std::string last_id(const std::string& text) {
  const std::size_t at = text.rfind("id: ");
  return text.substr(at + 4, text.find('\n', at) - at - 4);
}

class EventHubTest : public testing::Test {
 protected:
  std::shared_ptr<RecordingStream> follow(EventHub::Filter filter, std::string_view last = {}) {
    auto stream = std::make_shared<RecordingStream>();
    hub.subscribe(std::move(filter), last, stream);
    return stream;
  }
  EventHub hub{"epoch", EventHub::Limits{8, 1 << 16, 3, 1 << 12}};
};

TEST_F(EventHubTest, AnEventIsOneServerSentEvent) {
  const auto stream = follow({});
  hub.publish(event("1823b3a8", "a\"b", "session.phase", 1));
  EXPECT_EQ(stream->text,
            "retry: 1000\n\nid: epoch-0\n\nid: epoch-1\nevent: session.phase\n"
            "data: {\"uuid\":\"1823b3a8\",\"user_id\":\"a\\\"b\",\"at\":\"2025-11-15T03:51:36.653291\",\"n\":1}\n\n");
}

TEST_F(EventHubTest, FiltersBySessionAndByUser) {
  const auto all = follow({}), session = follow({"s1", ""}), user = follow({"", "u2"});
  hub.publish(event("s1", "u1", "x", 1));
  hub.publish(event("s2", "u2", "x", 2));
  hub.publish(event("s3", "u2", "x", 3));
  EXPECT_EQ(numbers(all->text), (std::vector{1, 2, 3}));
  EXPECT_EQ(numbers(session->text), (std::vector{1}));
  EXPECT_EQ(numbers(user->text), (std::vector{2, 3}));
}

TEST_F(EventHubTest, LastEventIdContinuesWithoutAGapOrARepeat) {
  const auto first = follow({});
  for (int i = 1; i <= 3; ++i) hub.publish(event("s", "u", "x", i));
  const std::string id = last_id(first->text);
  first->hang_up();
  for (int i = 4; i <= 6; ++i) hub.publish(event("s", "u", "x", i));
  const auto second = follow({}, id);
  hub.publish(event("s", "u", "x", 7));
  EXPECT_EQ(numbers(second->text), (std::vector{4, 5, 6, 7}));
}

TEST_F(EventHubTest, AClientThatWasCutOffBeforeItsFirstEventMissesNoneEither) {
  hub.publish(event("s", "u", "x", 1));
  const auto first = follow({"s", ""});
  EXPECT_EQ(first->text, "retry: 1000\n\nid: epoch-1\n\n") << "an id, and no event";
  const std::string id = last_id(first->text);
  first->hang_up();
  hub.publish(event("s", "u", "x", 2));
  const auto second = follow({"s", ""}, id);
  hub.publish(event("s", "u", "x", 3));
  EXPECT_EQ(numbers(second->text), (std::vector{2, 3}));
}

TEST_F(EventHubTest, AnIdThatCannotBeContinuedIsAReset) {
  for (int i = 1; i <= 20; ++i) hub.publish(event("s", "u", "x", i));
  for (const std::string_view id : {"epoch-1", "epoch-99", "other-20", "epoch-", "epoch-x", "junk", "epoch-20x"}) {
    const auto stream = follow({}, id);
    EXPECT_NE(stream->text.find("event: reset\n"), std::string::npos) << id;
    const auto next = follow({}, last_id(stream->text));
    EXPECT_EQ(next->text.find("reset"), std::string::npos) << "the reset's own id continues";
    stream->hang_up();
    next->hang_up();
  }
  EXPECT_EQ(numbers(follow({}, "epoch-12")->text).size(), 8u) << "the oldest that is kept";
}

TEST_F(EventHubTest, ALongCatchUpComesInPartsThatMissNothing) {
  EventHub small("e", EventHub::Limits{1000, 1 << 20, 3, 300});
  for (int i = 1; i <= 20; ++i) small.publish(event("s", "u", "x", i));
  std::vector<int> seen;
  std::string id = "e-0";
  for (int round = 0; round < 50 && seen.size() < 20; ++round) {
    auto stream = std::make_shared<RecordingStream>();
    small.subscribe({}, id, stream);
    for (const int n : numbers(stream->text)) seen.push_back(n);
    EXPECT_LE(stream->text.size(), 400u);
    id = last_id(stream->text);
    stream->hang_up();
  }
  std::vector<int> all(20);
  for (int i = 0; i < 20; ++i) all[static_cast<std::size_t>(i)] = i + 1;
  EXPECT_EQ(seen, all);
}

TEST_F(EventHubTest, ACatchUpGetsPastAnEventThatFillsTheBufferOfAStream) {
  EventHub large("e", EventHub::Limits{});
  large.publish(event("s", "u", "x", 1));
  Event reply = event("s", "u", "message.answered", 2);
  reply.data.set("reply", std::string(64 << 10, 'r'));
  large.publish(reply);
  large.publish(event("s", "u", "x", 3));
  std::vector<int> seen;
  std::string id = "e-0";
  for (int round = 0; round < 5 && seen.size() < 3; ++round) {
    auto stream = std::make_shared<RecordingStream>();
    stream->limit = 64 << 10;
    large.subscribe({}, id, stream);
    EXPECT_FALSE(stream->aborted) << id;
    for (const int n : numbers(stream->text)) seen.push_back(n);
    if (!numbers(stream->text).empty()) id = last_id(stream->text);
    stream->hang_up();
  }
  EXPECT_EQ(seen, (std::vector{1, 2, 3}));
}

TEST_F(EventHubTest, TheRingIsBoundedByBytesToo) {
  EventHub small("e", EventHub::Limits{1000, 600, 3, 1 << 12});
  for (int i = 1; i <= 50; ++i) small.publish(event("s", "u", "x", i));
  auto stream = std::make_shared<RecordingStream>();
  small.subscribe({}, "e-49", stream);
  EXPECT_EQ(numbers(stream->text), (std::vector{50}));
  auto old = std::make_shared<RecordingStream>();
  small.subscribe({}, "e-10", old);
  EXPECT_NE(old->text.find("reset"), std::string::npos);
}

TEST_F(EventHubTest, StreamsAreLimitedAndAClosedOneMakesRoom) {
  const auto a = follow({}), b = follow({}), c = follow({});
  EXPECT_FALSE(hub.room().ok());
  EXPECT_EQ(hub.room().error().code, Code::exhausted);
  b->hang_up();
  EXPECT_TRUE(hub.room().ok());
  EXPECT_EQ(hub.streams(), 2u);
}

TEST_F(EventHubTest, AHeartbeatIsACommentAndFindsTheDead) {
  const auto alive = follow({}), dead = follow({});
  dead->gone = true;  // silently: no on_close came
  hub.heartbeat();
  EXPECT_NE(alive->text.find("\n\n: heartbeat\n\n"), std::string::npos);
  EXPECT_EQ(hub.streams(), 1u);
}

TEST_F(EventHubTest, ASessionsOwnStreamEndsWithItsDelete) {
  const auto own = follow({"s1", ""}), all = follow({});
  hub.publish(event("s1", "u", "session.deleted", 1));
  EXPECT_EQ(numbers(own->text), (std::vector{1}));
  EXPECT_TRUE(own->ended);
  EXPECT_FALSE(all->ended);
}

TEST_F(EventHubTest, EndAllEndsEveryStream) {
  const auto a = follow({}), b = follow({"s", ""});
  hub.end_all();
  EXPECT_TRUE(a->ended && b->ended);
  EXPECT_EQ(hub.streams(), 0u);
}

}  // namespace
}  // namespace roost::api
