#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "plugins/store/suite.hpp"

namespace roost::store_suite {
namespace {

template <class Function>
void in_threads(int count, const Function& function) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&function, i] { function(i); });
  for (std::thread& thread : threads) thread.join();
}

TEST_P(StoreSuite, No_update_is_lost_where_many_compare_and_swap) {
  (void)done("p", put("n", "0"));
  std::atomic<int> conflicts{0};
  in_threads(8, [&](int) {
    for (int success = 0; success < 25;) {
      const auto now = store_->get("p", "n");
      ASSERT_TRUE(now.ok());
      const auto next =
          store_->commit("p", {if_revision("n", now->revision)}, {put("n", std::to_string(std::stoi(now->value) + 1))});
      if (next.ok())
        ++success;
      else
        ASSERT_EQ(code(next), Code::conflict) << next.error().message;
      conflicts += next.ok() ? 0 : 1;
    }
  });
  EXPECT_EQ(value("p", "n"), "200");
}

TEST_P(StoreSuite, A_commit_of_several_keys_is_seen_whole_or_not_at_all) {
  constexpr int kAccounts = 4;
  for (int i = 0; i < kAccounts; ++i) (void)done("p", put("account" + std::to_string(i), "100"));
  in_threads(6, [&](int seed) {
    for (int n = 0; n < 30; ++n) {
      const std::string from = "account" + std::to_string((seed + n) % kAccounts);
      const std::string to = "account" + std::to_string((seed + n + 1) % kAccounts);
      const auto a = store_->get("p", from);
      const auto b = store_->get("p", to);
      ASSERT_TRUE(a.ok() && b.ok());
      (void)store_->commit(
          "p", {if_revision(from, a->revision), if_revision(to, b->revision)},
          {put(from, std::to_string(std::stoi(a->value) - 1)), put(to, std::to_string(std::stoi(b->value) + 1))});
    }
  });
  int sum = 0;
  for (int i = 0; i < kAccounts; ++i) sum += std::stoi(value("p", "account" + std::to_string(i)));
  EXPECT_EQ(sum, kAccounts * 100);
}

TEST_P(StoreSuite, Concurrent_appends_get_numbers_of_their_own_in_each_callers_order) {
  std::vector<std::vector<std::string>> keys(8);
  in_threads(8, [&](int i) {
    for (int n = 0; n < 25; ++n) {
      const auto appended = store_->commit("p", {}, {append("m/", "x")});
      ASSERT_TRUE(appended.ok()) << appended.error().message;
      keys[static_cast<std::size_t>(i)].push_back(appended->front().key);
    }
  });
  std::set<std::string> all;
  for (const auto& own : keys) {
    EXPECT_TRUE(std::is_sorted(own.begin(), own.end()));
    all.insert(own.begin(), own.end());
  }
  EXPECT_EQ(all.size(), 200u);
  EXPECT_EQ(*all.rbegin(), "m/00000000000000c8");
}

TEST_P(StoreSuite, Revisions_of_concurrent_commits_are_all_different) {
  std::vector<std::vector<std::uint64_t>> revisions(8);
  in_threads(8, [&](int i) {
    for (int n = 0; n < 25; ++n) {
      const auto made = store_->commit("p" + std::to_string(i), {}, {put("a", "x"), put("b", "x")});
      ASSERT_TRUE(made.ok());
      for (const Document& document : *made) revisions[static_cast<std::size_t>(i)].push_back(document.revision);
    }
  });
  std::set<std::uint64_t> all;
  for (const auto& own : revisions) all.insert(own.begin(), own.end());
  EXPECT_EQ(all.size(), 400u);
}

TEST_P(StoreSuite, Of_many_who_insert_the_same_key_one_does_and_a_refused_one_harms_no_neighbour) {
  std::atomic<int> winners{0};
  std::atomic<int> others{0};
  in_threads(8, [&](int i) {
    for (int n = 0; n < 20; ++n) {
      winners += store_->commit("p", {if_absent("k" + std::to_string(n))}, {put("k" + std::to_string(n), "x")}).ok() ? 1 : 0;
      others += store_->commit("p", {}, {put("own" + std::to_string(i) + "-" + std::to_string(n), "x")}).ok() ? 1 : 0;
    }
  });
  EXPECT_EQ(winners, 20);
  EXPECT_EQ(others, 160);
  EXPECT_EQ(store_->count("p", "own").value_or(0), 160u);
}

TEST_P(StoreSuite, A_call_past_its_deadline_does_nothing) {
  CallOptions late;
  late.timeout_ms = -1;
  EXPECT_EQ(code(store_->commit("p", {}, {put("a", "x")}, late)), Code::deadline);
  EXPECT_EQ(code(store_->lease("l", "a", ROOST_LEASE_ACQUIRE, 60'000, late).status), Code::deadline);
  EXPECT_EQ(code(store_->get("p", "a")), Code::not_found);
  EXPECT_TRUE(store_->lease("l", "b", ROOST_LEASE_ACQUIRE, 60'000).status.ok());
}

TEST_P(StoreSuite, A_cancelled_commit_says_so_and_did_nothing) {
  const int cancel = ::eventfd(1, EFD_CLOEXEC);  // cancelled from the first
  CallOptions options;
  options.cancel_fd = cancel;
  EXPECT_EQ(code(store_->commit("p", {}, {put("a", "x")}, options)), Code::cancelled);
  EXPECT_EQ(code(store_->get("p", "a")), Code::not_found);
  ::close(cancel);
}

// Whatever a commit that was cancelled in the middle answers, it is the truth.
TEST_P(StoreSuite, Commits_that_are_cancelled_at_any_moment_never_lie) {
  for (int n = 0; n < 60; ++n) {
    const int cancel = ::eventfd(0, EFD_CLOEXEC);
    CallOptions options;
    options.cancel_fd = cancel;
    const std::string key = "k" + std::to_string(n);
    std::thread canceller([&] {
      for (int spin = 0; spin < n * 20; ++spin) std::this_thread::yield();
      const std::uint64_t one = 1;
      (void)!::write(cancel, &one, sizeof one);
    });
    const Code answer = code(store_->commit("p", {}, {put(key, "x")}, options));
    canceller.join();
    ::close(cancel);
    const bool there = store_->get("p", key).ok();
    if (answer == Code{})
      EXPECT_TRUE(there);
    else if (answer == Code::cancelled)
      EXPECT_FALSE(there);
    else
      EXPECT_EQ(answer, Code::outcome_unknown);
  }
}

TEST_P(StoreSuite, Reads_and_writes_of_many_threads_get_along) {
  in_threads(12, [&](int i) {
    for (int n = 0; n < 15; ++n) {
      const std::string key = "k" + std::to_string(i);
      const auto made = store_->commit("p", {}, {put(key, std::to_string(n))});
      ASSERT_TRUE(made.ok()) << made.error().message;
      const auto read = store_->get("p", key);
      ASSERT_TRUE(read.ok());
      EXPECT_EQ(read->revision, made->front().revision);  // one reads one's own writes
      EXPECT_TRUE(store_->scan("p", "k", "", 100).ok());
      EXPECT_TRUE(store_->count("p", "").ok());
    }
  });
}

}  // namespace
}  // namespace roost::store_suite
