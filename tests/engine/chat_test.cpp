// The durable queue of a session: order, claims, acknowledgements, death and history.
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/documents.hpp"
#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

TEST(Chat, IsOfferedInOrderAnsweredAndKept) {
  Harness h;
  const std::string id = h.create_running();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(h.send(id, "m" + std::to_string(i))->queue_length, i + 1);
  auto claimed = h.claim(id, 2);
  ASSERT_TRUE(claimed.ok());
  ASSERT_EQ(claimed->size(), 2U);
  EXPECT_EQ((*claimed)[0].text, "m0");
  EXPECT_EQ((*claimed)[1].text, "m1");
  ASSERT_TRUE(h.ack(id, (*claimed)[0], (*claimed)[0].claim, Json("r0")).ok());
  EXPECT_EQ(h.view(id)->session.queue_length, 2);
  EXPECT_TRUE(h.claim(id, 5)->empty()) << "nothing behind a head that is claimed";
  ASSERT_TRUE(h.ack(id, (*claimed)[1], "", Json("r1")).ok());
  EXPECT_EQ(h.claim(id)->front().text, "m2");
  auto all = h.history(id);
  ASSERT_TRUE(all.ok());
  ASSERT_EQ(all->size(), 3U);
  EXPECT_EQ((*all)[0].reply, Json("r0"));
  EXPECT_EQ((*all)[2].state, MessageState::claimed);
  EXPECT_EQ(h.history(id, (*all)[0].id)->size(), 2U);
}

TEST(Chat, AnUnacknowledgedMessageComesAgainAndThenDies) {
  EngineOptions options;
  options.message_tries = 2;
  Harness h(options);
  const std::string id = h.create_running();
  ASSERT_TRUE(h.send(id, "poison").ok());
  ASSERT_TRUE(h.send(id, "next").ok());
  EXPECT_EQ(h.claim(id, 1, 0, 1000)->front().attempt, 1);
  EXPECT_EQ(h.claim(id, 1, 5000, 1000)->front().attempt, 2);
  auto next = h.claim(id, 1, 5000, 1000);
  ASSERT_TRUE(next.ok());
  ASSERT_EQ(next->size(), 1U);
  EXPECT_EQ(next->front().text, "next");
  EXPECT_EQ(h.view(id)->session.queue_length, 1);
  EXPECT_EQ(h.history(id)->front().state, MessageState::dead);
}

TEST(Chat, AnAckIsRepeatableAndALateOneIsRefused) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.send(id, "m").ok());
  const Message first = h.claim(id, 1, 0, 1000)->front();
  const Message second = h.claim(id, 1, 5000, 30'000)->front();
  EXPECT_EQ(code_of(h.ack(id, first, first.claim, Json("late"))), Code::conflict);
  ASSERT_TRUE(h.ack(id, second, second.claim, Json("now")).ok());
  auto again = h.ack(id, second, second.claim, Json("other"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->reply, Json("now"));
  EXPECT_EQ(code_of(h.ack(id, first, first.claim, Json("late"))), Code::conflict);
  Message unknown;
  unknown.id = "00000000000000ff";
  EXPECT_EQ(code_of(h.ack(id, unknown, "", {})), Code::not_found);
}

TEST(Chat, AClaimIsHonouredAfterARestart) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.send(id, "m").ok());
  const Message claimed = h.claim(id, 1, 0, 60'000)->front();
  h.restart();
  EXPECT_TRUE(h.claim(id)->empty());
  EXPECT_TRUE(h.ack(id, claimed, claimed.claim, Json("r")).ok());
}

TEST(Chat, ALongPollHearsOfTheNextMessageAtOnce) {
  Harness h;
  const std::string id = h.create_running();
  bool heard = false;
  h.engine().claim(id, 1, 60'000, 30'000,
                   [&](Result<std::vector<Message>> messages) { heard = messages.ok() && messages->size() == 1; });
  h.pass_ms(5000);
  EXPECT_FALSE(heard);
  ASSERT_TRUE(h.send(id, "m").ok());
  h.pass_ms(100);
  EXPECT_TRUE(heard);
}

TEST(Chat, WakesASleepingSessionWherePolicySaysSo) {
  Harness h;
  const std::string id = h.create_running();
  ASSERT_TRUE(h.sleep(id).ok());
  ASSERT_TRUE(h.until([&] { return h.phase(id) == Phase::asleep; }));
  ASSERT_TRUE(h.send(id, "wake up").ok());
  EXPECT_TRUE(h.until([&] { return h.phase(id) == Phase::running; }));

  EngineOptions quiet;
  quiet.chat_wakes = false;
  Harness q(quiet);
  const std::string other = q.create_running();
  ASSERT_TRUE(q.sleep(other).ok());
  ASSERT_TRUE(q.send(other, "sleep on").ok());
  EXPECT_EQ(q.view(other)->session.wanted, Wanted::asleep);
}

// 64 KiB of control characters are six times as much in the store: a page of many, or a claim, would be more than it answers at
// once, or takes.
TEST(Chat, OfTheLargestMessagesAPageAndAClaimHaveFewerAndTheNextGoesOn) {
  Harness h;
  const std::string id = h.create_running();
  Commit commit{documents::partition(id), {}, {}};
  std::vector<std::string> made;
  for (int number = 1; number <= 60; ++number) {
    documents::StoredMessage stored;
    stored.message.text = std::string(64 << 10, '\x01');
    stored.message.state = number <= 30 ? MessageState::answered : MessageState::queued;
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016x", static_cast<unsigned>(number));
    made.emplace_back(digits);
    const std::string prefix = number <= 30 ? documents::history_prefix(id) : documents::message_prefix(id);
    commit.operations.push_back({StoreOperation::Kind::put, prefix + digits, documents::encode(stored), 0});
  }
  ASSERT_TRUE(h.world.commit(commit).ok());
  std::vector<std::string> seen;
  int pages = 0;
  for (bool more = true; more && pages < 60; ++pages) {
    const auto page = h.wait<Engine::History>(
        [&](Done<Engine::History> done) { h.engine().history(id, seen.empty() ? "" : seen.back(), 1000, std::move(done)); });
    ASSERT_TRUE(page.ok()) << page.error().message;
    for (const Message& message : page->messages) seen.push_back(message.id);
    more = page->more;
  }
  EXPECT_EQ(seen, made);
  EXPECT_EQ(pages, 2);
  const auto claimed = h.claim(id, 100);
  ASSERT_TRUE(claimed.ok()) << claimed.error().message;
  EXPECT_LT(claimed->size(), 25U);
  EXPECT_GT(claimed->size(), 0U);
}

TEST(Chat, AFullQueueRefuses) {
  EngineOptions options;
  options.queue_max = 2;
  Harness h(options);
  const std::string id = h.create_running();
  ASSERT_TRUE(h.send(id, "1").ok());
  ASSERT_TRUE(h.send(id, "2").ok());
  EXPECT_EQ(code_of(h.send(id, "3")), Code::exhausted);
}

TEST(Chat, TheSameKeyQueuesOneMessage) {
  Harness h;
  const std::string id = h.create_running();
  auto first = h.send(id, "hello", with_key("k"));
  auto second = h.send(id, "hello", with_key("k"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->message.id, second->message.id);
  EXPECT_EQ(second->queue_length, 1);
  EXPECT_EQ(code_of(h.send(id, "other", with_key("k"))), Code::invalid);
}

}  // namespace
}  // namespace roost::simulation
