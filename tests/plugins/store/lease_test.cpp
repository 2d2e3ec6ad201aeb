#include <atomic>
#include <thread>

#include "plugins/store/suite.hpp"

namespace roost::store_suite {
namespace {

TEST_P(StoreSuite, A_lease_has_one_holder_and_its_epoch_only_grows) {
  const LeaseAnswer first = store_->lease("leader", "a", ROOST_LEASE_ACQUIRE, 60'000);
  ASSERT_TRUE(first.status.ok()) << first.status.error().message;
  EXPECT_EQ(first.holder, "a");
  EXPECT_GT(first.remaining_ms, 50'000);
  EXPECT_LE(first.remaining_ms, 60'000);

  const LeaseAnswer refused = store_->lease("leader", "b", ROOST_LEASE_ACQUIRE, 60'000);
  EXPECT_EQ(code(refused.status), Code::conflict);
  EXPECT_EQ(refused.holder, "a");  // on CONFLICT too
  EXPECT_EQ(refused.epoch, first.epoch);
  EXPECT_GT(refused.remaining_ms, 0);

  const LeaseAnswer again = store_->lease("leader", "a", ROOST_LEASE_ACQUIRE, 120'000);
  ASSERT_TRUE(again.status.ok());
  EXPECT_EQ(again.epoch, first.epoch);  // the holder's own
  EXPECT_GT(again.remaining_ms, 60'000);

  ASSERT_TRUE(store_->lease("leader", "a", ROOST_LEASE_RELEASE, 0).status.ok());
  const LeaseAnswer other = store_->lease("leader", "b", ROOST_LEASE_ACQUIRE, 60'000);
  ASSERT_TRUE(other.status.ok());
  EXPECT_GT(other.epoch, first.epoch);
}

TEST_P(StoreSuite, Renew_and_release_are_the_holders_only) {
  EXPECT_EQ(code(store_->lease("l", "a", ROOST_LEASE_RENEW, 1'000).status), Code::conflict);
  EXPECT_EQ(code(store_->lease("l", "a", ROOST_LEASE_RELEASE, 0).status), Code::conflict);
  const LeaseAnswer held = store_->lease("l", "a", ROOST_LEASE_ACQUIRE, 60'000);
  EXPECT_EQ(code(store_->lease("l", "b", ROOST_LEASE_RENEW, 60'000).status), Code::conflict);
  EXPECT_EQ(code(store_->lease("l", "b", ROOST_LEASE_RELEASE, 0).status), Code::conflict);
  const LeaseAnswer renewed = store_->lease("l", "a", ROOST_LEASE_RENEW, 600'000);
  ASSERT_TRUE(renewed.status.ok());
  EXPECT_EQ(renewed.epoch, held.epoch);
  EXPECT_GT(renewed.remaining_ms, 60'000);
}

TEST_P(StoreSuite, A_lease_that_ran_out_is_free_and_its_old_holder_is_told) {
  const LeaseAnswer first = store_->lease("l", "a", ROOST_LEASE_ACQUIRE, 1);
  ASSERT_TRUE(first.status.ok());
  LeaseAnswer second;
  ASSERT_TRUE(eventually([&] {
    second = store_->lease("l", "b", ROOST_LEASE_ACQUIRE, 60'000);
    return second.status.ok();
  }));
  EXPECT_GT(second.epoch, first.epoch);
  const LeaseAnswer late = store_->lease("l", "a", ROOST_LEASE_RENEW, 60'000);
  EXPECT_EQ(code(late.status), Code::conflict);
  EXPECT_EQ(late.holder, "b");
  EXPECT_EQ(late.epoch, second.epoch);
}

TEST_P(StoreSuite, A_lease_outlives_a_restart) {
  const LeaseAnswer first = store_->lease("l", "a", ROOST_LEASE_ACQUIRE, 600'000);
  reopen();
  EXPECT_EQ(store_->lease("l", "b", ROOST_LEASE_ACQUIRE, 1'000).holder, "a");
  EXPECT_EQ(store_->lease("l", "a", ROOST_LEASE_RENEW, 600'000).epoch, first.epoch);
  (void)store_->lease("l", "a", ROOST_LEASE_RELEASE, 0);
  reopen();
  EXPECT_GT(store_->lease("l", "b", ROOST_LEASE_ACQUIRE, 1'000).epoch, first.epoch);
}

TEST_P(StoreSuite, Leases_by_other_names_and_documents_are_apart) {
  ASSERT_TRUE(store_->lease("x", "a", ROOST_LEASE_ACQUIRE, 60'000).status.ok());
  ASSERT_TRUE(store_->lease("y", "b", ROOST_LEASE_ACQUIRE, 60'000).status.ok());
  (void)done("x", put("x", "document"));
  EXPECT_EQ(store_->lease("x", "a", ROOST_LEASE_RENEW, 60'000).holder, "a");
}

TEST_P(StoreSuite, A_lease_without_name_holder_time_or_known_action_is_invalid) {
  EXPECT_EQ(code(store_->lease("", "a", ROOST_LEASE_ACQUIRE, 1'000).status), Code::invalid);
  EXPECT_EQ(code(store_->lease("l", "", ROOST_LEASE_ACQUIRE, 1'000).status), Code::invalid);
  EXPECT_EQ(code(store_->lease("l", "a", ROOST_LEASE_ACQUIRE, 0).status), Code::invalid);
  EXPECT_EQ(code(store_->lease("l", "a", 9, 1'000).status), Code::invalid);
}

TEST_P(StoreSuite, Of_many_who_want_a_lease_at_once_one_gets_it) {
  std::atomic<int> winners{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back(
        [&, i] { winners += store_->lease("l", "h" + std::to_string(i), ROOST_LEASE_ACQUIRE, 60'000).status.ok() ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(winners, 1);
}

}  // namespace
}  // namespace roost::store_suite
