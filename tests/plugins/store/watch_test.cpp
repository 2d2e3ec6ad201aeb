#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <set>

#include "plugins/store/suite.hpp"

namespace roost::store_suite {
namespace {

std::string token_of(const Documents& records) {
  EXPECT_FALSE(records.empty());
  if (records.empty()) return "";
  EXPECT_EQ(records.back().flags & ROOST_RECORD_RESUME, ROOST_RECORD_RESUME);
  for (std::size_t i = 0; i + 1 < records.size(); ++i) EXPECT_EQ(records[i].flags & ROOST_RECORD_RESUME, 0u);
  return records.back().value;
}

// Watches from the token until `wanted` names were seen.
std::set<std::string> watch_until(StoreDriver& store, std::string token, std::size_t wanted) {
  std::set<std::string> seen;
  EXPECT_TRUE(eventually([&] {
    CallOptions options;
    options.timeout_ms = 200;
    const auto records = store.watch(token, options);
    if (!records.ok()) return false;
    for (const Document& record : *records) {
      if ((record.flags & ROOST_RECORD_RESUME) == 0) seen.insert(record.key);
    }
    token = token_of(*records);
    return seen.size() >= wanted;
  }));
  return seen;
}

TEST_P(StoreSuite, A_watch_returns_at_its_deadline_with_a_token) {
  CallOptions options;
  options.timeout_ms = 50;
  const auto records = store_->watch("", options);
  ASSERT_TRUE(records.ok()) << records.error().message;
  EXPECT_EQ(records->size(), 1u);
  EXPECT_FALSE(token_of(*records).empty());
}

TEST_P(StoreSuite, A_watch_hints_at_every_change_since_its_token) {
  CallOptions options;
  options.timeout_ms = 10;
  const std::string token = token_of(*store_->watch("", options));
  (void)done("p", put("a", "1"));
  (void)done("q", append("m/", "1"));
  (void)done("p", remove("a"));
  (void)store_->commit("p", {if_exists("never")}, {put("refused", "x")});
  EXPECT_EQ(watch_until(*store_, token, 2), (std::set<std::string>{"p\na", "q\nm/0000000000000001"}));
}

TEST_P(StoreSuite, A_waiting_watch_is_woken_by_a_change) {
  CallOptions options;
  options.timeout_ms = 10;
  const std::string token = token_of(*store_->watch("", options));
  auto waiting = std::async(std::launch::async, [&] { return store_->watch(token); });
  (void)done("p", put("a", "1"));
  ASSERT_EQ(waiting.wait_for(std::chrono::seconds(15)), std::future_status::ready);  // its own deadline is 20 s
  const auto records = waiting.get();
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(records->front().key, "p\na");
}

TEST_P(StoreSuite, A_cancelled_watch_returns_soon) {
  const int cancel = ::eventfd(0, EFD_CLOEXEC);
  CallOptions options;
  options.timeout_ms = 120'000;
  options.cancel_fd = cancel;
  auto waiting = std::async(std::launch::async, [&] { return store_->watch("", options); });
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(cancel, &one, sizeof one), static_cast<ssize_t>(sizeof one));
  EXPECT_EQ(waiting.wait_for(std::chrono::seconds(15)), std::future_status::ready);
  (void)waiting.get();
  ::close(cancel);
}

TEST_P(StoreSuite, Many_changes_come_in_several_answers_and_none_is_lost) {
  CallOptions options;
  options.timeout_ms = 10;
  const std::string token = token_of(*store_->watch("", options));
  std::set<std::string> expected;
  for (int round = 0; round < 5; ++round) {
    std::vector<Operation> operations;
    for (int i = 0; i < 600; ++i) {
      const std::string key = std::to_string(round) + "-" + std::to_string(i);
      operations.push_back(put(key, "x"));
      expected.insert("p\n" + key);
    }
    ASSERT_TRUE(store_->commit("p", {}, operations).ok());
  }
  EXPECT_EQ(watch_until(*store_, token, expected.size()), expected);
}

TEST_P(StoreSuite, A_token_that_is_too_old_is_expired_or_still_good_but_never_silently_wrong) {
  CallOptions options;
  options.timeout_ms = 10;
  const std::string token = token_of(*store_->watch("", options));
  (void)done("p", put("a", "1"));
  reopen();
  const auto records = store_->watch(token, options);
  if (records.ok())
    EXPECT_EQ(records->front().key, "p\na");
  else
    EXPECT_EQ(code(records), Code::expired);
}

TEST_P(StoreSuite, What_is_no_token_is_refused) {
  for (const char* token : {"x", ":", "0:0", "ffffffffffffffff:", "ffffffffffffffff:99999999999999999999999", "\xFF"}) {
    CallOptions options;
    options.timeout_ms = 1'000;
    const auto records = store_->watch(token, options);
    ASSERT_FALSE(records.ok()) << token;
    EXPECT_TRUE(code(records) == Code::invalid || code(records) == Code::expired) << token;
  }
}

}  // namespace
}  // namespace roost::store_suite
