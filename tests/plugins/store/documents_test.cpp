#include <algorithm>
#include <set>

#include "plugins/store/suite.hpp"

namespace roost::store_suite {
namespace {

TEST_P(StoreSuite, A_put_document_is_got_back_with_its_revision) {
  const Document made = done("p", put("a", "one"));
  EXPECT_EQ(made.key, "a");
  const auto found = store_->get("p", "a");
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->key, "a");
  EXPECT_EQ(found->value, "one");
  EXPECT_EQ(found->revision, made.revision);
}

TEST_P(StoreSuite, What_is_absent_is_not_found) {
  EXPECT_EQ(code(store_->get("p", "a")), Code::not_found);
  (void)done("p", put("a", "x"));
  EXPECT_EQ(code(store_->get("q", "a")), Code::not_found);
  EXPECT_EQ(code(store_->get("p", "A")), Code::not_found);
  EXPECT_EQ(code(store_->get("p", "a ")) == Code{}, false);
}

TEST_P(StoreSuite, Values_are_any_bytes_up_to_a_mebibyte) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  (void)done("p", put("bytes", all));
  (void)done("p", put("empty", ""));
  (void)done("p", put("large", std::string(1 << 20, '\x80')));
  EXPECT_EQ(value("p", "bytes"), all);
  EXPECT_EQ(value("p", "empty"), "");
  EXPECT_EQ(value("p", "large"), std::string(1 << 20, '\x80'));
  EXPECT_EQ(code(store_->commit("p", {}, {put("larger", std::string((1 << 20) + 1, 'x'))})), Code::invalid);
  EXPECT_EQ(code(store_->get("p", "larger")), Code::not_found);
}

TEST_P(StoreSuite, Hostile_keys_and_partitions_are_only_bytes) {
  const std::vector<std::string> keys{
      "'; DROP TABLE documents; --", "\"", "%", "_",   "\\", "*", "[a-z]", "{}", "$x", "a/../b", "a//b", "~", "!",
      std::string(512, 'k'),         "-1", "0", "null"};
  const std::vector<std::string> partitions{"p", "user/0123456789abcdef", std::string(64, 'P'), "{a}{b}", "%"};
  for (const std::string& partition : partitions) {
    for (const std::string& key : keys) (void)done(partition, put(key, partition + key));
  }
  for (const std::string& partition : partitions) {
    for (const std::string& key : keys) EXPECT_EQ(value(partition, key), partition + key);
    EXPECT_EQ(store_->count(partition, "").value_or(0), keys.size());
    EXPECT_EQ(store_->count(partition, "%").value_or(0), 1u);
    EXPECT_EQ(store_->count(partition, "_").value_or(0), 1u);
  }
}

TEST_P(StoreSuite, Keys_and_partitions_beyond_their_limits_are_invalid) {
  for (const std::string& key : {std::string(), std::string(513, 'k'), std::string("a\nb"), std::string("a\0b", 3),
                                 std::string("\x7F"), std::string("\xC3\xA9")}) {
    EXPECT_EQ(code(store_->commit("p", {}, {put(key, "x")})), Code::invalid) << key;
    EXPECT_EQ(code(store_->commit("p", {if_absent(key)}, {put("a", "x")})), Code::invalid) << key;
    EXPECT_EQ(code(store_->get("p", key)), Code::invalid) << key;
  }
  EXPECT_EQ(code(store_->commit("p", {}, {append(std::string(497, 'k'), "x")})), Code::invalid);
  for (const std::string& partition : {std::string(), std::string(65, 'p')}) {
    EXPECT_EQ(code(store_->commit(partition, {}, {put("a", "x")})), Code::invalid);
    EXPECT_EQ(code(store_->get(partition, "a")), Code::invalid);
    EXPECT_EQ(code(store_->scan(partition, "", "", 1)), Code::invalid);
    EXPECT_EQ(code(store_->count(partition, "")), Code::invalid);
  }
  EXPECT_EQ(code(store_->get("p", "a")), Code::not_found);  // nothing was done
}

TEST_P(StoreSuite, Unknown_kinds_are_invalid_and_nothing_is_done) {
  EXPECT_EQ(code(store_->commit("p", {}, {put("a", "x"), {9, "b", "", 0}})), Code::invalid);
  EXPECT_EQ(code(store_->commit("p", {{9, "b", 0}}, {put("a", "x")})), Code::invalid);
  EXPECT_EQ(code(store_->commit("p", {{0, "b", 0}}, {put("a", "x")})), Code::invalid);
  EXPECT_EQ(code(store_->get("p", "a")), Code::not_found);
}

TEST_P(StoreSuite, Conditions_hold_or_nothing_is_done_and_the_message_names_the_key) {
  const Document a = done("p", put("a", "1"));
  const auto refused = [&](const Condition& condition) {
    const auto result = store_->commit("p", {if_exists("a"), condition}, {put("n", "x"), remove("a"), append("q/", "x")});
    EXPECT_EQ(code(result), Code::conflict);
    EXPECT_TRUE(!result.ok() && result.error().message.find(condition.key) != std::string::npos);
    EXPECT_EQ(code(store_->get("p", "n")), Code::not_found);
    EXPECT_EQ(value("p", "a"), "1");
    EXPECT_EQ(store_->count("p", "q/").value_or(9), 0u);
  };
  refused(if_absent("a"));
  refused(if_exists("missing-key"));
  refused(if_revision("a", a.revision + 1'000'000));
  refused(if_revision("missing-key", a.revision));
  const auto accepted =
      store_->commit("p", {if_revision("a", a.revision), if_exists("a"), if_absent("missing-key")}, {put("a", "2")});
  ASSERT_TRUE(accepted.ok()) << accepted.error().message;
  EXPECT_EQ(value("p", "a"), "2");
  EXPECT_EQ(code(store_->commit("p", {if_revision("a", a.revision)}, {put("a", "3")})), Code::conflict);
}

TEST_P(StoreSuite, A_commit_may_only_check) {
  (void)done("p", put("a", "1"));
  const auto checked = store_->commit("p", {if_exists("a")}, {});
  ASSERT_TRUE(checked.ok());
  EXPECT_TRUE(checked->empty());
  EXPECT_EQ(code(store_->commit("p", {if_absent("a")}, {})), Code::conflict);
}

TEST_P(StoreSuite, Records_of_a_commit_come_in_the_order_of_its_operations) {
  (void)done("p", put("old", "x"));
  const auto result = store_->commit("p", {}, {put("z", "1"), remove("old"), append("q/", "m"), put("a", "2"), remove("never")});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(keys_of(*result), (std::vector<std::string>{"z", "old", "q/0000000000000001", "a", "never"}));
  EXPECT_EQ((*result)[1].revision, 0u);
  EXPECT_EQ((*result)[4].revision, 0u);
  EXPECT_EQ((*result)[0].revision, store_->get("p", "z")->revision);
  EXPECT_EQ((*result)[2].revision, store_->get("p", "q/0000000000000001")->revision);
}

TEST_P(StoreSuite, Operations_on_one_key_are_done_in_order) {
  ASSERT_TRUE(
      store_->commit("p", {}, {put("a", "1"), put("a", "2"), remove("b"), put("b", "3"), put("c", "4"), remove("c")}).ok());
  EXPECT_EQ(value("p", "a"), "2");
  EXPECT_EQ(value("p", "b"), "3");
  EXPECT_EQ(code(store_->get("p", "c")), Code::not_found);
}

TEST_P(StoreSuite, Revisions_are_never_used_again) {
  std::set<std::uint64_t> seen;
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(seen.insert(done("p", put("a", "same")).revision).second);
      EXPECT_TRUE(seen.insert(done("q" + std::to_string(i), put("a", "same")).revision).second);
      (void)done("p", remove("a"));
    }
    reopen();
  }
}

TEST_P(StoreSuite, Appends_count_from_one_for_each_prefix_and_are_never_used_again) {
  EXPECT_EQ(done("p", append("m/", "1")).key, "m/0000000000000001");
  EXPECT_EQ(done("p", append("m/", "2")).key, "m/0000000000000002");
  EXPECT_EQ(done("p", append("n/", "1")).key, "n/0000000000000001");
  EXPECT_EQ(done("q", append("m/", "1")).key, "m/0000000000000001");
  EXPECT_EQ(value("p", "m/0000000000000002"), "2");
  (void)done("p", remove("m/0000000000000002"));
  (void)done("p", remove("m/0000000000000001"));
  reopen();
  EXPECT_EQ(done("p", append("m/", "3")).key, "m/0000000000000003");
  for (int i = 4; i < 11; ++i) (void)done("p", append("m/", "x"));
  EXPECT_EQ(done("p", append("m/", "11")).key, "m/000000000000000b");
}

TEST_P(StoreSuite, An_append_never_replaces_a_document) {
  (void)done("p", put("m/0000000000000001", "mine"));
  const Document appended = done("p", append("m/", "appended"));
  EXPECT_NE(appended.key, "m/0000000000000001");
  EXPECT_EQ(value("p", "m/0000000000000001"), "mine");
  EXPECT_EQ(value("p", appended.key), "appended");
}

TEST_P(StoreSuite, A_document_past_its_time_is_absent_everywhere) {
  (void)done("p", put("short", "x", 1));
  (void)done("p", put("long", "y", 3'600'000));
  (void)done("p", put("longest", "z", UINT64_MAX));
  ASSERT_TRUE(eventually([&] { return code(store_->get("p", "short")) == Code::not_found; }));
  EXPECT_EQ(keys_of(*store_->scan("p", "", "", 10)), (std::vector<std::string>{"long", "longest"}));
  EXPECT_EQ(store_->count("p", "").value_or(0), 2u);
  EXPECT_EQ(code(store_->commit("p", {if_exists("short")}, {})), Code::conflict);
  EXPECT_TRUE(store_->commit("p", {if_absent("short")}, {put("short", "again")}).ok());
  EXPECT_EQ(value("p", "short"), "again");
  EXPECT_EQ(value("p", "longest"), "z");
}

TEST_P(StoreSuite, A_later_put_without_a_time_keeps_the_document) {
  (void)done("p", put("a", "1", 1));
  (void)done("p", put("a", "2"));
  (void)done("p", put("marker", "x", 1));
  ASSERT_TRUE(eventually([&] { return code(store_->get("p", "marker")) == Code::not_found; }));
  EXPECT_EQ(value("p", "a"), "2");
}

TEST_P(StoreSuite, Everything_is_there_after_a_restart) {
  const Document a = done("p", put("a", "1"));
  (void)done("p", put("ttl", "x", 3'600'000));
  reopen();
  EXPECT_EQ(store_->get("p", "a")->revision, a.revision);
  EXPECT_EQ(value("p", "ttl"), "x");
  EXPECT_TRUE(store_->commit("p", {if_revision("a", a.revision)}, {remove("a")}).ok());
  reopen();
  EXPECT_EQ(code(store_->get("p", "a")), Code::not_found);
}

TEST_P(StoreSuite, A_large_commit_is_done_whole) {
  std::vector<Operation> operations;
  for (int i = 0; i < 500; ++i) operations.push_back(put("k" + std::to_string(i), std::string(2'000, 'x')));
  const auto result = store_->commit("p", {}, operations);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->size(), 500u);
  EXPECT_EQ(store_->count("p", "k").value_or(0), 500u);
}

TEST_P(StoreSuite, Two_instances_of_one_process_see_one_store) {
  StoreDriver second(GetParam(), directory_.path());
  ASSERT_TRUE(second.opened().ok()) << second.opened().error().message;
  const Document a = done("p", put("a", "1"));
  EXPECT_EQ(second.get("p", "a")->revision, a.revision);
  const auto b = second.commit("p", {if_revision("a", a.revision)}, {put("a", "2")});
  ASSERT_TRUE(b.ok());
  EXPECT_NE(b->front().revision, a.revision);
  store_.reset();
  EXPECT_EQ(second.get("p", "a")->value, "2");  // the other instance does not need the first one
  EXPECT_TRUE(second.commit("p", {}, {put("b", "3")}).ok());
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Stores, StoreSuite, testing::ValuesIn(all_stores()), [](const auto& parameter) {
  std::string name = parameter.param.plugin;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace roost::store_suite
