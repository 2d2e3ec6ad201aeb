#include "engine/read_model.hpp"

#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdio>
#include <thread>

namespace roost {
namespace {

// Like one that sleeps: what the engine keeps of it.
SessionView sleeping(std::uint32_t number, const std::string& user) {
  char id[9];
  std::snprintf(id, sizeof id, "%08x", number);
  auto snapshot = std::make_shared<SessionSnapshot>();
  Session& s = snapshot->session;
  s.id = id;
  s.user_id = user;
  s.wanted = Wanted::asleep;
  s.phase = Phase::asleep;
  s.secret_nonce = "0123456789abcdef";
  s.volume.name = "pvc-" + s.id;
  s.volume.token = std::string(32, 't');
  s.volume.uid = std::string(36, 'u');
  snapshot->revision = number + 1;
  snapshot->commits = std::string(64, 'c');
  return snapshot;
}

SessionView in_phase(std::uint32_t number, Phase phase) {
  auto snapshot = std::make_shared<SessionSnapshot>(*sleeping(number, "ada"));
  snapshot->session.phase = phase;
  return snapshot;
}

TEST(ReadModel, FindsWhatWasPutLast) {
  ReadModel model;
  model.put(sleeping(7, "ada"));
  model.put(in_phase(7, Phase::running));
  ASSERT_TRUE(model.find("00000007"));
  EXPECT_EQ(model.find("00000007")->session.phase, Phase::running);
  EXPECT_EQ(model.size(), 1U);
  EXPECT_EQ(model.count_by_phase()[static_cast<std::size_t>(Phase::running)], 1U);
  EXPECT_EQ(model.count_by_phase()[static_cast<std::size_t>(Phase::asleep)], 0U);
  model.erase("00000007");
  EXPECT_FALSE(model.find("00000007"));
  EXPECT_EQ(model.size(), 0U);
}

TEST(ReadModel, KnowsNothingOfWhatIsNoId) {
  ReadModel model;
  model.put(sleeping(0, "ada"));
  for (const char* id : {"", "0", "000000000", "0000000G", "0000000A", "../etc/pw"}) EXPECT_FALSE(model.find(id)) << id;
}

TEST(ReadModel, ListsInOrderAcrossShardsFromAnywhere) {
  ReadModel model;
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i < 1000; ++i) numbers.push_back(i * 4'294'967U);
  for (std::size_t i = 0; i < numbers.size(); ++i)
    model.put(sleeping(numbers[(i * 617) % numbers.size()], i % 2 ? "ada" : "grace"));
  std::string after;
  std::size_t seen = 0;
  while (true) {
    auto page = model.list(after, 37);
    if (page.empty()) break;
    for (const SessionView& view : page) {
      EXPECT_GT(view->session.id, after);
      after = view->session.id;
      ++seen;
    }
  }
  EXPECT_EQ(seen, numbers.size());
}

TEST(ReadModel, ListsTheSessionsOfOneUser) {
  ReadModel model;
  for (std::uint32_t i = 0; i < 100; ++i) model.put(sleeping(i * 40'000'000U, i % 10 ? "grace" : "ada"));
  auto page = model.list("", 4, "ada");
  ASSERT_EQ(page.size(), 4U);
  auto rest = model.list(page.back()->session.id, 100, "ada");
  EXPECT_EQ(rest.size(), 6U);
  for (const SessionView& view : rest) EXPECT_EQ(view->session.user_id, "ada");
  model.erase(page.front()->session.id);
  EXPECT_EQ(model.list("", 100, "ada").size(), 9U);
  EXPECT_TRUE(model.list("", 100, "nobody").empty());
}

TEST(ReadModel, IsReadByManyWhileOneWrites) {
  ReadModel model;
  std::atomic<bool> over{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!over) {
        for (const SessionView& view : model.list("", 50)) EXPECT_EQ(view->session.volume.name, "pvc-" + view->session.id);
        (void)model.list("", 50, "ada");
        (void)model.find("00000003");
        (void)model.size();
      }
    });
  }
  for (std::uint32_t i = 0; i < 3000; ++i) {
    model.put(sleeping((i * 7919) % 500, i % 2 ? "ada" : "grace"));
    if (i % 3 == 0) model.erase(sleeping(i % 500, "x")->session.id);
  }
  over = true;
  for (std::thread& reader : readers) reader.join();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(ReadModel, ASleepingSessionCostsLessThanTwoKilobytes) {
  constexpr std::uint32_t kSessions = 20'000;
  ReadModel model;
  const std::size_t before = mallinfo2().uordblks;
  for (std::uint32_t i = 0; i < kSessions; ++i) model.put(sleeping(i * 214'748U, "user" + std::to_string(i) + "@example.com"));
  const std::size_t each = (mallinfo2().uordblks - before) / kSessions;
  std::printf("a sleeping session costs %zu bytes (the document alone: %zu)\n", each, sizeof(SessionSnapshot));
  EXPECT_LT(each, 2048U);
}
#endif

}  // namespace
}  // namespace roost
