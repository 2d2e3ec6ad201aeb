// The loop: order, timers, cancellation.
#include "host/loop.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "wait.hpp"

namespace roost {
namespace {

using test::Answer;
using testing::ElementsAre;

TEST(LoopTest, RunsPostedWorkInOrderOnOneThread) {
  Loop loop;
  loop.start();
  std::vector<int> order;
  std::vector<std::thread::id> threads;
  Answer<int> last;
  for (int i = 0; i < 3; ++i) {
    loop.post([&, i] {
      order.push_back(i);
      threads.push_back(std::this_thread::get_id());
      if (i == 2) last.done()(i);
    });
  }
  ASSERT_TRUE(last.get().ok());
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
  EXPECT_EQ(threads.front(), threads.back());
  EXPECT_NE(threads.front(), std::this_thread::get_id());
}

TEST(LoopTest, RunsTimersByTheirTimeAndNotTheCancelledOnes) {
  Loop loop;
  loop.start();
  std::string order;
  Answer<int> last;
  loop.post([&] {
    loop.after(3'000'000, [&] {
      order += 'c';
      last.done()(0);
    });
    loop.after(1'000'000, [&] { order += 'a'; });
    const auto never = loop.after(2'000'000, [&] { order += 'X'; });
    loop.after(2'000'000, [&] { order += 'b'; });
    loop.after(0, [&] { order += '0'; });
    loop.cancel(never);
    loop.cancel(never);
    loop.cancel(12345);
  });
  ASSERT_TRUE(last.get().ok());
  EXPECT_EQ(order, "0abc");
}

TEST(LoopTest, ATimerMayCancelAnotherThatIsDue) {
  Loop loop;
  loop.start();
  Answer<int> last;
  bool ran = false;
  loop.post([&] {
    Scheduler::TimerId second = 0;
    auto* id = new Scheduler::TimerId(0);
    loop.after(0, [&, id] {
      loop.cancel(*id);
      delete id;
    });
    second = loop.after(0, [&] { ran = true; });
    *id = second;
    loop.after(1'000'000, [&] { last.done()(0); });
  });
  ASSERT_TRUE(last.get().ok());
  EXPECT_FALSE(ran);
}

TEST(LoopTest, WakesForATimerThatIsEarlierThanTheOneItWaitsFor) {
  Loop loop;
  loop.start();
  Answer<int> early;
  loop.after(3'600'000'000'000, [] {});
  loop.after(1'000'000, [&] { early.done()(1); });
  EXPECT_TRUE(early.get().ok());
}

TEST(LoopTest, DropsWhatIsPostedAfterItsEnd) {
  Loop loop;
  loop.start();
  loop.stop();
  bool ran = false;
  loop.post([&] { ran = true; });
  loop.stop();
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace roost
