// Connections that are cut, held back or cut short, and a Redis that is killed: what was acknowledged is there, once; what was
// not is whole or absent; nobody is told a lie.
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

#include "plugins/store/redis/fixture.hpp"
#include "plugins/store/redis/proxy.hpp"
#include "store/redis/layout.hpp"

namespace roost::store_suite {
namespace {

class Faults : public RedisTest {
 protected:
  void SetUp() override {
    serve();
    proxy_ = std::make_unique<Proxy>((directory_.path() / "p").string(), redis_->socket());
    store_ = open(config((directory_.path() / "p").string()));
    ASSERT_TRUE(store_->opened().ok()) << store_->opened().error().message;
    ASSERT_TRUE(store_->commit("p", {}, {put("large", std::string(300'000, 'x'))}).ok());
  }
  static Fault on_commit() {
    Fault fault;
    fault.match = ":commit:";
    return fault;
  }
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<StoreDriver> store_;
};

TEST_F(Faults, A_commit_whose_answer_is_lost_is_done_once_and_acknowledged) {
  for (const std::size_t bytes : {0, 1, 7, 30}) {
    Fault fault = on_commit();
    fault.reply_bytes = bytes;
    fault.times = 2;
    proxy_->arm(fault);
    const auto made = store_->commit("p", {}, {append("log/", "x")});
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_TRUE(store_->get("p", made->front().key).ok());
  }
  EXPECT_EQ(proxy_->met(), 8);
  EXPECT_EQ(store_->count("p", "log/").value_or(0), 4u);
  EXPECT_EQ(store_->commit("p", {}, {append("log/", "x")})->front().key, "log/0000000000000005");
}

TEST_F(Faults, A_compare_and_swap_whose_answer_is_lost_does_not_take_its_own_change_for_somebody_elses) {
  const Document before = store_->commit("p", {}, {put("cas", "1")})->front();
  proxy_->arm(on_commit());
  const auto swapped = store_->commit("p", {if_revision("cas", before.revision)}, {put("cas", "2")});
  ASSERT_TRUE(swapped.ok()) << swapped.error().message;
  EXPECT_EQ(store_->get("p", "cas")->revision, swapped->front().revision);
  proxy_->arm(on_commit());
  EXPECT_TRUE(store_->commit("p", {if_absent("new")}, {put("new", "1")}).ok());
}

TEST_F(Faults, A_commit_that_never_arrived_is_sent_again) {
  Fault fault = on_commit();
  fault.before_request = true;
  fault.times = 3;
  proxy_->arm(fault);
  ASSERT_TRUE(store_->commit("p", {}, {append("log/", "x")}).ok());
  EXPECT_EQ(store_->count("p", "log/").value_or(0), 1u);
}

TEST_F(Faults, A_commit_that_stays_unanswered_is_unknown_and_its_truth_is_seen_afterwards) {
  Fault fault = on_commit();
  fault.hold = true;
  fault.times = 100;
  proxy_->arm(fault);
  CallOptions options;
  options.timeout_ms = 500;
  const auto held = store_->commit("p", {}, {append("log/", "x")}, options);
  EXPECT_EQ(code(held), Code::outcome_unknown);
  proxy_->release();
  EXPECT_EQ(store_->count("p", "log/").value_or(9), 1u);
}

TEST_F(Faults, A_commit_does_not_happen_after_its_callers_time) {
  redis_->signal(SIGSTOP);
  CallOptions options;
  options.timeout_ms = 300;
  const auto late = store_->commit("p", {}, {append("log/", "x")}, options);
  EXPECT_EQ(code(late), Code::outcome_unknown);
  redis_->signal(SIGCONT);
  EXPECT_TRUE(recovers(*store_));  // answered after what was waiting on the other connections
  EXPECT_EQ(store_->count("p", "log/").value_or(9), 0u);
}

TEST_F(Faults, A_reply_that_is_cut_in_the_middle_is_never_a_value) {
  for (const std::size_t bytes : {1, 5, 20, 1'000, 250'000}) {
    Fault fault;
    fault.match = "p:large";
    fault.reply_bytes = bytes;
    proxy_->arm(fault);
    const auto found = store_->get("p", "large");
    ASSERT_TRUE(found.ok()) << found.error().message;  // asked again
    EXPECT_EQ(found->value, std::string(300'000, 'x')) << bytes;
  }
  Fault always;
  always.match = "p:large";
  always.reply_bytes = 1'000;
  always.times = 1'000;
  proxy_->arm(always);
  EXPECT_EQ(code(store_->get("p", "large")), Code::unavailable);
  proxy_->release();
  EXPECT_TRUE(store_->get("p", "large").ok());
}

TEST_F(Faults, Hints_go_on_after_a_cut_without_a_gap) {
  CallOptions soon;
  soon.timeout_ms = 20;
  std::string token = store_->watch("", soon)->back().value;
  for (int round = 0; round < 3; ++round) {
    Fault fault;
    fault.match = "XREAD";
    proxy_->arm(fault);
    ASSERT_TRUE(eventually([&] { return proxy_->met() > round; }));
    const std::string key = "k" + std::to_string(round);
    ASSERT_TRUE(store_->commit("p", {}, {put(key, "x")}).ok());
    bool seen = false;
    ASSERT_TRUE(eventually([&] {
      soon.timeout_ms = 500;
      const auto records = store_->watch(token, soon);
      if (!records.ok()) {
        EXPECT_EQ(code(records), Code::unavailable) << why(records);
        return false;
      }
      for (const Document& record : *records) seen = seen || record.key == "p\n" + key;
      token = records->back().value;
      return seen;
    }));
  }
}

TEST_F(Faults, A_gap_in_the_changes_is_expired_and_never_silence) {
  CallOptions soon;
  soon.timeout_ms = 20;
  const std::string token = store_->watch("", soon)->back().value;
  ASSERT_EQ(redis_->cli({"XADD", "roost:{ab}:changes", "99999999999999999-0", "previous", "1-0", "ab:x", "1"}),
            "99999999999999999-0");
  EXPECT_TRUE(eventually([&] { return code(store_->watch(token, soon)) == Code::expired; }));
}

TEST_F(Faults, A_watch_that_waits_is_told_when_the_server_is_gone_and_that_it_is_another_one_afterwards) {
  CallOptions soon;
  soon.timeout_ms = 20;
  const std::string token = store_->watch("", soon)->back().value;
  std::thread killer([&] { redis_->kill(); });
  EXPECT_EQ(code(store_->watch(token)), Code::unavailable);  // long before its deadline of 20 s
  killer.join();
  redis_->start();
  EXPECT_TRUE(eventually([&] { return code(store_->watch(token, soon)) == Code::expired; }));
  EXPECT_TRUE(store_->watch("", soon).ok());
}

TEST_F(Faults, Nothing_acknowledged_is_lost_by_kill_9_of_redis_and_nothing_is_there_twice) {
  std::map<std::string, std::string> acknowledged;
  std::mutex mutex;
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int n = 0; !stop; ++n) {
        const std::string text = std::to_string(t) + "-" + std::to_string(n);
        const auto made = store_->commit("p", {}, {append("log/", text), put("doc/" + text, text)});
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
  for (int round = 0; round < 3; ++round) {
    const std::size_t before = count();
    ASSERT_TRUE(eventually([&] { return count() > before + 50; }));
    redis_->kill();
    redis_->start();
  }
  ASSERT_TRUE(recovers(*store_));
  stop = true;
  for (std::thread& writer : writers) writer.join();
  std::map<std::string, int> times;
  const auto log = store_->scan("p", "log/", "", 100'000);
  ASSERT_TRUE(log.ok()) << log.error().message;
  for (const Document& document : *log) ++times[document.value];
  for (const auto& [text, n] : times) EXPECT_EQ(n, 1) << text;
  for (const auto& [key, text] : acknowledged) EXPECT_EQ(store_->get("p", key).value_or(Document{}).value, text) << key;
  EXPECT_EQ(store_->count("p", "doc/").value_or(0), times.size());
}

// A master behind the proxy, and a replica that has to confirm each change.
class Doubt : public RedisTest {
 protected:
  void SetUp() override {
    serve({"repl-diskless-sync-delay 0"}, free_port());
    const std::string master = "replicaof 127.0.0.1 " + std::to_string(redis_->port());
    replica_ = std::make_unique<RedisServer>(directory_.path() / "replica", RedisServer::Options{{master}, free_port(), false});
    ASSERT_TRUE(eventually([&] { return has(redis_->cli({"INFO", "replication"}), "state=online"); }));
    proxy_ = std::make_unique<Proxy>((directory_.path() / "p").string(), redis_->socket());
    store_ = open_on((directory_.path() / "p").string());
    brief_.timeout_ms = 500;
    ASSERT_TRUE(store_->commit("p", {}, {put("a", "1")}).ok());
  }
  [[nodiscard]] std::unique_ptr<StoreDriver> open_on(const std::string& address) const {
    auto store = open(config(address).set("wait_replicas", 1).set("check_interval_ms", 3'600'000));
    EXPECT_TRUE(store->opened().ok()) << store->opened().error().message;
    return store;
  }
  // The replica hears nothing of it, and the caller does not hear whether it was made.
  void change_in_doubt(const std::string& value) {
    replica_->signal(SIGSTOP);
    EXPECT_EQ(code(store_->commit("p", {}, {put("a", value)}, brief_)), Code::outcome_unknown);
  }
  void expect_that_it_is_read_once_the_replica_has_it(const std::string& value) {
    EXPECT_EQ(code(store_->get("p", "a", brief_)), Code::unavailable);
    replica_->signal(SIGCONT);
    EXPECT_TRUE(eventually([&] { return store_->get("p", "a").ok(); }));
    EXPECT_EQ(store_->get("p", "a").value_or(Document{}).value, value);
  }
  [[nodiscard]] bool waits_for_the_replica() const {
    std::istringstream clients(redis_->cli({"CLIENT", "LIST"}));
    for (std::string line; std::getline(clients, line);) {
      const std::size_t flags = line.find(" flags=");
      if (has(line, " cmd=wait") && has(line.substr(flags, line.find(' ', flags + 1) - flags), "b")) return true;
    }
    return false;
  }
  [[nodiscard]] std::string on_master() const {
    const store_redis::Bucket bucket("roost", store_redis::bucket_of("p"));
    return redis_->cli({"GET", bucket.documents + store_redis::member_prefix("p") + "a"});
  }

  std::unique_ptr<RedisServer> replica_;
  std::unique_ptr<Proxy> proxy_;
  std::unique_ptr<StoreDriver> store_;
  CallOptions brief_;
};

TEST_F(Doubt, A_confirmation_says_nothing_of_a_change_that_came_after_it) {
  change_in_doubt("2");
  const auto settled = std::chrono::steady_clock::now() + std::chrono::milliseconds(200);  // it cannot be on its way any more
  ASSERT_TRUE(eventually([&] { return std::chrono::steady_clock::now() > settled; }));
  replica_->signal(SIGCONT);
  Fault fault;
  fault.match = ":barrier";
  fault.hold = true;
  proxy_->arm(fault);
  Result<Document> found = Document{};
  std::thread reader([&] { found = store_->get("p", "a"); });
  EXPECT_TRUE(eventually([&] { return redis_->cli({"GET", "roost:barrier"}) == "1" && !waits_for_the_replica(); }));
  change_in_doubt("3");
  proxy_->release();
  reader.join();
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->value, "2");
  expect_that_it_is_read_once_the_replica_has_it("3");
}

TEST_F(Doubt, A_change_that_may_still_arrive_is_not_confirmed_by_one_that_came_before) {
  Fault fault;
  fault.match = ":commit:";
  fault.delay = true;
  proxy_->arm(fault);
  CallOptions cancelled;
  cancelled.cancel_fd = ::eventfd(0, EFD_CLOEXEC);
  std::thread canceller([&] {
    EXPECT_TRUE(eventually([&] { return proxy_->met() == 1; }));
    EXPECT_EQ(::eventfd_write(cancelled.cancel_fd, 1), 0);
  });
  EXPECT_EQ(code(store_->commit("p", {}, {put("a", "2")}, cancelled)), Code::outcome_unknown);
  canceller.join();
  ::close(cancelled.cancel_fd);
  EXPECT_EQ(store_->get("p", "a").value_or(Document{}).value, "1");
  replica_->signal(SIGSTOP);
  proxy_->release();
  ASSERT_TRUE(eventually([&] { return on_master() == "2"; }));
  expect_that_it_is_read_once_the_replica_has_it("2");
}

// Redis before 7.2 would wait behind whatever was written last, by anybody; since then only behind what its client wrote.
TEST_F(Doubt, What_conditions_found_is_acknowledged_only_once_the_replica_has_it) {
  const auto other = open_on(redis_->socket());
  change_in_doubt("2");
  const auto seen = other->get("p", "a");
  ASSERT_TRUE(seen.ok()) << seen.error().message;
  ASSERT_EQ(seen->value, "2");
  EXPECT_EQ(code(other->commit("p", {if_revision("a", seen->revision)}, {}, brief_)), Code::outcome_unknown);
  replica_->signal(SIGCONT);
  EXPECT_TRUE(eventually([&] { return other->commit("p", {if_revision("a", seen->revision)}, {}).ok(); }));
}

using Threads = RedisTest;

// In a child: the limit is the process's. There is room for one stack of such a size, and not for two.
TEST_F(Threads, A_store_that_gets_one_thread_and_no_second_is_refused_and_opens_once_there_is_room) {
  serve();
  const pid_t child = ::fork();
  if (child == 0) {
    constexpr std::size_t kStack = std::size_t{1} << 30;
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, kStack);
    ::pthread_setattr_default_np(&attributes);
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    rlimit before{};
    ::getrlimit(RLIMIT_AS, &before);
    const rlimit limit{pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + kStack * 3 / 2, before.rlim_max};
    ::setrlimit(RLIMIT_AS, &limit);
    const bool refused = code(open(config())->opened()) == Code::exhausted;
    ::setrlimit(RLIMIT_AS, &before);
    const bool opened = open(config())->opened().ok();
    ::_exit(refused && opened ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace roost::store_suite
