#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "plugins/store/suite.hpp"

namespace roost::store_suite {
namespace {

TEST_P(StoreSuite, A_scan_goes_in_byte_order_within_prefix_cursor_and_limit) {
  for (const char* key : {"b/2", "a", "b/1", "b", "b/10", "c", "B", "b0", "b/~"}) (void)done("p", put(key, key));
  (void)done("q", put("b/other", "x"));
  const auto scan = [&](const char* prefix, const char* after, std::uint32_t limit) {
    auto result = store_->scan("p", prefix, after, limit);
    EXPECT_TRUE(result.ok());
    return keys_of(*result);
  };
  using Keys = std::vector<std::string>;
  EXPECT_EQ(scan("", "", 100), (Keys{"B", "a", "b", "b/1", "b/10", "b/2", "b/~", "b0", "c"}));
  EXPECT_EQ(scan("b/", "", 100), (Keys{"b/1", "b/10", "b/2", "b/~"}));
  EXPECT_EQ(scan("b/", "b/1", 2), (Keys{"b/10", "b/2"}));
  EXPECT_EQ(scan("b/", "a", 1), (Keys{"b/1"}));              // a cursor in front of the prefix
  EXPECT_EQ(scan("b/", "c", 100), (Keys{}));                 // and one behind it
  EXPECT_EQ(scan("b/", "b/15", 100), (Keys{"b/2", "b/~"}));  // and one that is no key
  EXPECT_EQ(scan("b/~", "", 100), (Keys{"b/~"}));
  EXPECT_EQ(scan("", "", 0), (Keys{}));
  EXPECT_EQ(scan("none", "", 100), (Keys{}));
  EXPECT_EQ(store_->count("p", "b").value_or(0), 6u);
  EXPECT_EQ(store_->count("p", "b/").value_or(0), 4u);
  EXPECT_EQ(store_->count("none", "").value_or(9), 0u);
}

TEST_P(StoreSuite, A_scan_has_values_and_revisions) {
  const Document a = done("p", put("a", std::string("x\0y", 3)));
  const auto found = store_->scan("p", "", "", 10);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front(), (Document{"a", std::string("x\0y", 3), a.revision, 0}));
}

TEST_P(StoreSuite, A_scan_ends_where_the_sink_says_stop) {
  for (int i = 0; i < 10; ++i) (void)done("p", put("k" + std::to_string(i), "x"));
  CallOptions options;
  options.stop_after = 3;
  const auto found = store_->scan("p", "", "", 100, options);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->size(), 3u);
}

TEST_P(StoreSuite, A_large_scan_gives_each_lasting_key_once_while_others_come_and_go) {
  constexpr int kKeys = 3'000;
  const auto name = [](int i) {
    std::string digits = std::to_string(i);
    return "s/" + std::string(6 - digits.size(), '0') + digits;
  };
  for (int i = 0; i < kKeys; i += 500) {
    std::vector<Operation> operations;
    for (int n = i; n < i + 500; ++n) operations.push_back(put(name(n), std::to_string(n)));
    ASSERT_TRUE(store_->commit("p", {}, operations).ok());
  }
  std::atomic<bool> stop{false};
  std::atomic<int> changes{0};
  std::thread churn([&] {  // between the lasting keys, and over their values
    for (int i = 0; !stop; i = (i + 37) % kKeys) {
      if (!store_
               ->commit("p", {},
                        {put(name(i) + "x", "new"), put(name(i), std::to_string(i)), remove(name((i + 1'500) % kKeys) + "x")})
               .ok())
        break;
      ++changes;
    }
  });
  ASSERT_TRUE(eventually([&] { return changes > 0; }));
  std::map<std::string, int> seen;
  std::string after;
  for (;;) {
    const auto page = store_->scan("p", "s/", after, 100);
    ASSERT_TRUE(page.ok()) << page.error().message;
    for (const Document& document : *page) {
      EXPECT_LT(after, document.key);
      after = document.key;
      ++seen[document.key];
    }
    if (page->size() < 100) break;
  }
  stop = true;
  churn.join();
  for (int i = 0; i < kKeys; ++i) EXPECT_EQ(seen[name(i)], 1) << name(i);
}

}  // namespace
}  // namespace roost::store_suite
