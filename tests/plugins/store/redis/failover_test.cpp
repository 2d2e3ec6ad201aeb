// Sentinel: the master is found, followed over a failover, and nothing that was acknowledged is lost by it.
#include <signal.h>

#include <atomic>
#include <map>
#include <thread>

#include "plugins/store/redis/fixture.hpp"

namespace roost::store_suite {
namespace {

class Failover : public RedisTest {
 protected:
  void SetUp() override {
    for (int i = 0; i < 3; ++i) ports_.push_back(free_port());
    for (int i = 0; i < 3; ++i) {
      std::vector<std::string> lines{"repl-diskless-sync-delay 0"};
      if (i > 0) lines.push_back("replicaof 127.0.0.1 " + std::to_string(ports_[0]));
      servers_.push_back(std::make_unique<RedisServer>(directory_.path() / std::to_string(i),
                                                       RedisServer::Options{lines, ports_[static_cast<std::size_t>(i)], false}));
    }
    const std::string master = "sentinel monitor roost 127.0.0.1 " + std::to_string(ports_[0]) + " 1";
    sentinel_port_ = free_port();
    sentinel_ = std::make_unique<RedisServer>(
        directory_.path() / "s",
        RedisServer::Options{{master, "sentinel down-after-milliseconds roost 500", "sentinel failover-timeout roost 3000"},
                             sentinel_port_,
                             true});
    const auto replicas = [&](const std::string& what) {
      const std::string said = sentinel_->cli({"SENTINEL", "MASTER", "roost"});
      return has(said, what);
    };
    ASSERT_TRUE(eventually([&] { return replicas("num-slaves\n2\n"); })) << sentinel_->cli({"SENTINEL", "MASTER", "roost"});
    ASSERT_TRUE(eventually([&] { return has(servers_[0]->cli({"INFO", "replication"}), "connected_slaves:2"); }));
  }
  [[nodiscard]] static Json asking(const std::vector<std::string>& addresses) {
    Json sentinels = Json::array();
    for (const std::string& address : addresses) sentinels.push(address);
    return Json::object({{"sentinels", std::move(sentinels)}, {"master_name", "roost"}, {"check_interval_ms", 100}});
  }
  static std::vector<std::string> names_of(int port) {  // one that is asked as two
    return {"127.0.0.1:" + std::to_string(port), "127.0.0.2:" + std::to_string(port)};
  }
  static std::string nobody() { return "127.0.0.1:" + std::to_string(free_port()); }
  // One of three does not answer.
  [[nodiscard]] Json by_sentinel() const {
    const std::vector<std::string> names = names_of(sentinel_port_);
    return asking({nobody(), names[0], names[1]});
  }
  // Another Sentinel, as it would be told by hand who the master is.
  [[nodiscard]] std::unique_ptr<RedisServer> another_sentinel(int master_port) const {
    const std::string master = "sentinel monitor roost 127.0.0.1 " + std::to_string(master_port) + " 1";
    return std::make_unique<RedisServer>(
        directory_.path() / "another",
        RedisServer::Options{{master, "sentinel down-after-milliseconds roost 500"}, free_port(), true});
  }

  // What a partition comes to: the first server still takes itself for the master and answers whoever reaches it; the others have
  // made the second one the master, and so says the Sentinel, which speaks to the first no more.
  void part_from_the_first() {
    ASSERT_EQ(servers_[0]->cli({"WAIT", "2", "10000"}), "2");
    ASSERT_EQ(sentinel_->cli({"SENTINEL", "REMOVE", "roost"}), "OK");
    ASSERT_EQ(servers_[1]->cli({"REPLICAOF", "NO", "ONE"}), "OK");
    ASSERT_EQ(servers_[2]->cli({"REPLICAOF", "127.0.0.1", std::to_string(ports_[1])}), "OK");
    ASSERT_EQ(sentinel_->cli({"SENTINEL", "MONITOR", "roost", "127.0.0.1", std::to_string(ports_[1]), "1"}), "OK");
    ASSERT_TRUE(eventually([&] { return has(servers_[1]->cli({"INFO", "replication"}), "state=online"); }));
  }
  [[nodiscard]] bool second_has(const std::string& key) const { return has(servers_[1]->cli({"KEYS", "*"}), ":doc:p:" + key); }

  std::vector<int> ports_;
  std::vector<std::unique_ptr<RedisServer>> servers_;
  int sentinel_port_ = 0;
  std::unique_ptr<RedisServer> sentinel_;
};

TEST_F(Failover, What_was_acknowledged_is_there_after_the_master_was_killed_caches_and_lease_are_taken_anew) {
  const auto store = open(by_sentinel());
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  const LeaseAnswer lease = store->lease("leader", "me", ROOST_LEASE_ACQUIRE, 600'000);
  ASSERT_TRUE(lease.status.ok()) << lease.status.error().message;
  CallOptions soon;
  soon.timeout_ms = 50;
  const std::string token = store->watch("", soon)->back().value;
  std::map<std::string, std::string> acknowledged;
  std::mutex mutex;
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int t = 0; t < 3; ++t) {
    writers.emplace_back([&, t] {
      for (int n = 0; !stop; ++n) {
        const std::string text = std::to_string(t) + "-" + std::to_string(n);
        const auto made = store->commit("p", {}, {append("log/", text)});
        if (!made.ok()) continue;
        const std::lock_guard lock(mutex);
        acknowledged[made->front().key] = text;
      }
    });
  }
  const auto count = [&] {
    const std::lock_guard lock(mutex);
    return acknowledged.size();
  };
  ASSERT_TRUE(eventually([&] { return count() > 100; }));
  servers_[0]->kill();
  const std::size_t at_the_kill = count();
  EXPECT_TRUE(eventually([&] { return count() > at_the_kill + 20; }, 60'000)) << "no writes after the failover";
  stop = true;
  for (std::thread& writer : writers) writer.join();
  std::map<std::string, int> times;
  const auto log = store->scan("p", "log/", "", 100'000);
  ASSERT_TRUE(log.ok()) << log.error().message;
  for (const Document& document : *log) ++times[document.value];
  for (const auto& [text, n] : times) EXPECT_EQ(n, 1) << text;
  for (const auto& [key, text] : acknowledged) EXPECT_EQ(store->get("p", key).value_or(Document{}).value, text) << key;
  EXPECT_TRUE(eventually([&] { return code(store->watch(token, soon)) == Code::expired; }));
  // Until the new master's replicas have caught up it is unavailable.
  EXPECT_TRUE(
      eventually([&] { return code(store->lease("leader", "me", ROOST_LEASE_RENEW, 600'000).status) == Code::conflict; }));
  LeaseAnswer anew;
  EXPECT_TRUE(eventually([&] { return (anew = store->lease("leader", "me", ROOST_LEASE_ACQUIRE, 600'000)).status.ok(); }));
  EXPECT_GT(anew.epoch, lease.epoch);
}

TEST_F(Failover, A_replica_that_does_not_confirm_means_that_nothing_is_acknowledged_and_nothing_of_it_is_read) {
  Json settings = by_sentinel();
  settings.set("wait_replicas", 2);
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  servers_[1]->signal(SIGSTOP);
  CallOptions options;
  options.timeout_ms = 1'500;
  const auto refused = store->commit("p", {}, {put("a", "2")}, options);
  EXPECT_EQ(code(refused), Code::outcome_unknown) << why(refused);
  EXPECT_TRUE(has(why(refused), " of 2 replicas") || has(why(refused), "no answer in time")) << why(refused);
  EXPECT_EQ(code(store->get("p", "a", options)), Code::unavailable);
  servers_[1]->signal(SIGCONT);
  EXPECT_TRUE(recovers(*store));
  EXPECT_EQ(store->get("p", "a")->value, "2");
}

TEST_F(Failover, A_user_who_may_not_wait_for_replicas_is_refused_and_a_change_that_was_made_is_not_called_refused) {
  const auto allow = [&](const char* rule) { return servers_[0]->cli({"ACL", "SETUSER", "roost", rule}); };
  for (const char* rule : {"on", ">sesame", "~*", "+@all", "-wait"}) ASSERT_EQ(allow(rule), "OK");
  Json settings = by_sentinel();
  settings.set("user", "roost").set("check_interval_ms", 3'600'000);
  const auto refused = open(settings, {{"password", "sesame"}});
  EXPECT_EQ(code(refused->opened()), Code::denied);
  ASSERT_EQ(allow("+wait"), "OK");
  const auto store = open(settings, {{"password", "sesame"}});
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  ASSERT_EQ(allow("-wait"), "OK");
  CallOptions options;
  options.timeout_ms = 1'000;
  const auto made = store->commit("p", {}, {put("a", "2")}, options);
  EXPECT_EQ(code(made), Code::outcome_unknown) << why(made);
  ASSERT_EQ(allow("+wait"), "OK");
  EXPECT_TRUE(recovers(*store));
  EXPECT_EQ(store->get("p", "a")->value, "2");
}

TEST_F(Failover, With_a_replica_down_the_rest_goes_on_and_with_all_down_nothing_is_acknowledged) {
  const auto store = open(by_sentinel());
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  servers_[1]->kill();
  EXPECT_TRUE(recovers(*store));
  servers_[2]->kill();
  CallOptions options;
  options.timeout_ms = 1'500;
  ASSERT_TRUE(eventually([&] { return code(store->commit("p", {}, {put("a", "2")}, options)) == Code::unavailable; }));
  EXPECT_TRUE(has(why(store->commit("p", {}, {put("a", "2")}, options)), "0 of 1 replicas"));
  servers_[2]->start();
  EXPECT_TRUE(recovers(*store));
}

TEST_F(Failover, Replicas_that_are_back_are_seen_by_the_next_change_long_before_the_next_check) {
  Json settings = by_sentinel();
  settings.set("check_interval_ms", 3'600'000);
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  servers_[1]->kill();
  servers_[2]->kill();
  CallOptions options;
  options.timeout_ms = 1'500;
  ASSERT_TRUE(eventually([&] { return code(store->commit("p", {}, {put("a", "2")}, options)) == Code::unavailable; }));
  servers_[2]->start();
  EXPECT_TRUE(recovers(*store));
}

TEST_F(Failover, A_master_that_takes_no_changes_for_want_of_replicas_is_asked_for_anew) {
  Json settings = by_sentinel();
  settings.set("wait_replicas", 0).set("check_interval_ms", 3'600'000);
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_NO_FATAL_FAILURE(part_from_the_first());
  ASSERT_EQ(servers_[0]->cli({"CONFIG", "SET", "min-replicas-to-write", "1"}), "OK");
  EXPECT_TRUE(recovers(*store));
  EXPECT_TRUE(second_has("recovered"));
}

TEST_F(Failover, With_all_asked_for_one_replica_down_stops_changes_until_it_is_back) {
  Json settings = by_sentinel();
  settings.set("wait_replicas", "all");
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(recovers(*store));
  servers_[1]->kill();
  const auto is_down = [&] { return has(sentinel_->cli({"SENTINEL", "REPLICAS", "roost"}), "s_down"); };
  ASSERT_TRUE(eventually(is_down));
  CallOptions options;
  options.timeout_ms = 1'500;
  ASSERT_TRUE(eventually([&] { return has(why(store->commit("p", {}, {put("a", "2")}, options)), "1 of 2 replicas"); }));
  servers_[1]->start();
  EXPECT_TRUE(recovers(*store));
}

TEST_F(Failover, A_replica_that_is_never_promoted_does_not_stand_in_for_one_that_is) {
  ASSERT_EQ(servers_[2]->cli({"CONFIG", "SET", "replica-priority", "0"}), "OK");
  ASSERT_EQ(sentinel_->cli({"SENTINEL", "RESET", "roost"}), "1");
  ASSERT_TRUE(eventually([&] { return has(sentinel_->cli({"SENTINEL", "REPLICAS", "roost"}), "slave-priority\n0\n"); }));
  ASSERT_TRUE(eventually([&] { return has(sentinel_->cli({"SENTINEL", "MASTER", "roost"}), "num-slaves\n2\n"); }));
  const auto store = open(by_sentinel());
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  servers_[1]->signal(SIGSTOP);
  CallOptions options;
  options.timeout_ms = 3'000;  // by then Sentinel takes it for dead
  EXPECT_EQ(code(store->commit("p", {}, {put("a", "2")}, options)), Code::outcome_unknown);
  servers_[1]->signal(SIGCONT);
  EXPECT_TRUE(recovers(*store));
}

TEST_F(Failover, A_master_that_was_cut_off_is_left_though_it_answers) {
  Json settings = by_sentinel();
  settings.set("wait_replicas", 0);
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  CallOptions soon;
  soon.timeout_ms = 50;
  const std::string token = store->watch("", soon)->back().value;
  ASSERT_NO_FATAL_FAILURE(part_from_the_first());
  EXPECT_TRUE(eventually([&] { return code(store->watch(token, soon)) == Code::expired; })) << "it follows the old one's changes";
  ASSERT_TRUE(store->commit("p", {}, {put("later", "x")}).ok());
  EXPECT_TRUE(second_has("later"));
}

TEST_F(Failover, A_change_that_only_a_master_that_was_cut_off_has_is_made_on_the_new_one_before_it_is_acknowledged) {
  Json settings = by_sentinel();
  settings.set("check_interval_ms", 3'600'000);
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("p", {}, {append("log/", "x")}).ok());
  ASSERT_NO_FATAL_FAILURE(part_from_the_first());
  const auto made = store->commit("p", {}, {append("log/", "x"), put("meanwhile", "x")});
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(second_has("meanwhile"));
  EXPECT_EQ(store->count("p", "log/").value_or(0), 2u);
}

TEST_F(Failover, A_Sentinel_that_was_cut_off_with_a_master_that_is_none_any_more_is_not_believed) {
  ASSERT_NO_FATAL_FAILURE(part_from_the_first());
  const auto cut_off = another_sentinel(ports_[0]);
  const std::string first = "127.0.0.1:" + std::to_string(cut_off->port());
  const std::vector<std::string> most = names_of(sentinel_port_);
  const auto store = open(asking({first, most[0], most[1]}));
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(recovers(*store));
  EXPECT_TRUE(second_has("recovered"));
  const auto alone = open(asking({first, nobody(), nobody()}));
  const auto refused = alone->commit("p", {}, {put("a", "1")});
  EXPECT_EQ(code(refused), Code::unavailable);
  EXPECT_TRUE(has(why(refused), "more than half of the Sentinels")) << why(refused);
  EXPECT_TRUE(has(why(refused), "1 of 3 name 127.0.0.1:" + std::to_string(ports_[0]))) << why(refused);
}

// It sees as down what is on the other side, and a failover may be under way there.
TEST_F(Failover, On_the_word_of_one_Sentinel_of_three_no_replica_is_given_up) {
  const auto another = another_sentinel(ports_[0]);
  ASSERT_TRUE(eventually([&] { return has(another->cli({"SENTINEL", "MASTER", "roost"}), "num-slaves\n2\n"); }));
  const std::vector<std::string> most = names_of(another->port());
  const auto store = open(asking({names_of(sentinel_port_)[0], most[0], most[1]}));
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  another->kill();
  servers_[2]->kill();
  ASSERT_TRUE(eventually([&] { return has(sentinel_->cli({"SENTINEL", "REPLICAS", "roost"}), "s_down"); }));
  CallOptions options;
  options.timeout_ms = 1'500;  // many checks
  EXPECT_EQ(code(store->commit("p", {}, {put("a", "2")}, options)), Code::outcome_unknown);
  another->start();
  EXPECT_TRUE(recovers(*store));
}

TEST_F(Failover, Sentinels_that_know_no_such_master_say_so) {
  Json settings = by_sentinel();
  settings.set("master_name", "other");
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok());
  EXPECT_TRUE(has(why(store->get("p", "a")), "knows no master \"other\"")) << why(store->get("p", "a"));
}

}  // namespace
}  // namespace roost::store_suite
