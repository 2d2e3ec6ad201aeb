// A Redis that is not as it should be: each kind has its code and says what to do; nothing is half done; once it is mended,
// everything goes on with the same instance.
#include <cstdlib>
#include <fstream>

#include "plugins/store/redis/fixture.hpp"
#include "plugins/store/redis/proxy.hpp"
#include "store/redis/schema.hpp"

namespace roost::store_suite {
namespace {

using BadRedis = RedisTest;

TEST_F(BadRedis, A_wrong_password_is_denied_and_never_shown) {
  serve({"requirepass sesame"});
  for (const Secrets& secrets : {Secrets{}, Secrets{{"password", "guess"}}}) {
    const auto store = open(config(), secrets);
    EXPECT_EQ(code(store->opened()), Code::denied);
    EXPECT_TRUE(has(store->opened().error().message, "store.secrets.password")) << store->opened().error().message;
    EXPECT_FALSE(has(store->opened().error().message, "guess"));
  }
  const auto store = open(config(), {{"password", "sesame"}});
  ASSERT_TRUE(store->opened().ok());
  (void)redis_->cli({"-a", "sesame", "CONFIG", "SET", "requirepass", "other"});
  (void)redis_->cli({"-a", "other", "CLIENT", "KILL", "TYPE", "normal"});
  const auto refused = store->commit("p", {}, {put("a", "x")});
  EXPECT_EQ(code(refused), Code::denied);
  EXPECT_FALSE(has(why(refused), "sesame"));
  (void)redis_->cli({"-a", "other", "CONFIG", "SET", "requirepass", "sesame"});
  EXPECT_TRUE(recovers(*store));
}

// The line stands in the documentation; what is tested is that line.
std::string documented_acl() {
  std::ifstream in(ROOST_SOURCE_DIR "/docs/redis.md");
  for (std::string line; std::getline(in, line);) {
    if (line.rfind("ACL SETUSER roost ", 0) == 0) return line;
  }
  return {};
}

TEST_F(BadRedis, The_documented_acl_is_enough_and_nothing_beyond_is_allowed) {
  serve();
  std::vector<std::string> words;
  std::istringstream line(documented_acl());
  for (std::string word; line >> word;) words.push_back(word == ">PASSWORD" ? ">sesame" : word);
  ASSERT_GT(words.size(), 4u);
  ASSERT_EQ(redis_->cli(words), "OK");
  Json settings = config();
  settings.set("user", "roost").set("purge_interval_ms", 10);
  const auto store = open(settings, {{"password", "sesame"}});
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("ab", {}, {put("a", "x"), put("b", "x", 1), append("q/", "x"), remove("c")}).ok());
  EXPECT_TRUE(store->get("ab", "a").ok());
  EXPECT_EQ(store->scan("ab", "", "", 10)->size(), 2u);
  EXPECT_EQ(store->count("ab", "q/").value_or(0), 1u);
  EXPECT_TRUE(store->lease("l", "me", ROOST_LEASE_ACQUIRE, 1'000).status.ok());
  CallOptions soon;
  soon.timeout_ms = 200;
  EXPECT_TRUE(store->watch("", soon).ok());
  EXPECT_TRUE(eventually([&] { return redis_->cli({"EXISTS", "roost:{ab}:doc:ab:b"}) == "0"; })) << "it may not purge";
  for (const std::vector<std::string>& command : {std::vector<std::string>{"FLUSHALL"},
                                                  {"KEYS", "*"},
                                                  {"SHUTDOWN"},
                                                  {"GET", "else"},
                                                  {"SET", "else", "x"},
                                                  {"CONFIG", "SET", "appendonly", "no"},
                                                  {"EVAL", "return redis.call('SET', 'else', 'x')", "0"}}) {
    std::vector<std::string> as_roost{"--user", "roost", "--pass", "sesame", "--no-auth-warning"};
    as_roost.insert(as_roost.end(), command.begin(), command.end());
    const std::string said = redis_->cli(as_roost);
    const bool denied = has(said, "NOPERM") || has(said, "user executing the script") || has(said, "ACL failure");
    EXPECT_TRUE(denied) << command[0] << ": " << said;
  }
  EXPECT_FALSE(has(redis_->cli({"ACL", "LOG"}), "evalsha")) << "the plugin was refused something";
}

TEST_F(BadRedis, A_key_of_the_wrong_type_is_data_loss_names_the_key_and_nothing_is_half_done) {
  serve();
  const auto store = open_well();
  ASSERT_TRUE(store->commit("ab", {}, {put("a", "1")}).ok());
  for (const char* name : {"index", "revisions", "due", "sequences", "changes", "counters"}) {
    const std::string key = std::string("roost:{ab}:") + name;
    (void)redis_->cli({"RENAME", key, "kept"});
    (void)redis_->cli({"SET", key, "not ours"});
    const auto refused = store->commit("ab", {}, {put("b", "x"), append("q/", "x"), remove("a")});
    EXPECT_EQ(code(refused), Code::data_loss) << name;
    EXPECT_TRUE(has(why(refused), key)) << why(refused);
    EXPECT_EQ(redis_->cli({"EXISTS", "roost:{ab}:doc:ab:b"}), "0") << name;
    (void)redis_->cli({"DEL", key});
    (void)redis_->cli({"RENAME", "kept", key});
    EXPECT_EQ(store->get("ab", "a")->value, "1") << name;
    EXPECT_EQ(code(store->get("ab", "b")), Code::not_found) << name;
  }
  (void)redis_->cli({"DEL", "roost:{ab}:doc:ab:a"});
  EXPECT_EQ(code(store->get("ab", "a")), Code::data_loss);
  (void)redis_->cli({"LPUSH", "roost:{ab}:doc:ab:a", "x"});
  EXPECT_EQ(code(store->get("ab", "a")), Code::data_loss);
  EXPECT_TRUE(recovers(*store));
}

TEST_F(BadRedis, Full_memory_is_exhausted_and_nothing_is_half_done) {
  serve();
  const auto store = open_well();
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  (void)redis_->cli({"CONFIG", "SET", "maxmemory", "1"});
  const auto refused = store->commit("p", {}, {put("a", "2"), append("q/", "x")});
  EXPECT_EQ(code(refused), Code::exhausted) << why(refused);
  EXPECT_EQ(store->get("p", "a")->value, "1");
  EXPECT_EQ(store->count("p", "").value_or(0), 1u);
  (void)redis_->cli({"CONFIG", "SET", "maxmemory", "0"});
  EXPECT_TRUE(recovers(*store));
  EXPECT_EQ(store->commit("p", {}, {append("q/", "x")})->front().key, "q/0000000000000001");
}

TEST_F(BadRedis, A_replica_is_never_written_to) {
  serve();
  const auto store = open_well();
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  (void)redis_->cli({"REPLICAOF", "127.0.0.1", "1"});
  const auto refused = store->commit("p", {}, {put("a", "2")});
  EXPECT_EQ(code(refused), Code::unavailable);
  EXPECT_TRUE(has(why(refused), "replica") || has(why(refused), "no master")) << why(refused);
  (void)redis_->cli({"REPLICAOF", "NO", "ONE"});
  EXPECT_TRUE(recovers(*store));
}

TEST_F(BadRedis, Too_few_replicas_by_the_servers_own_rule_is_unavailable) {
  serve();
  const auto store = open_well();
  (void)redis_->cli({"CONFIG", "SET", "min-replicas-to-write", "1"});
  const auto refused = store->commit("p", {}, {put("a", "2")});
  EXPECT_EQ(code(refused), Code::unavailable);
  EXPECT_TRUE(has(why(refused), "min-replicas-to-write")) << why(refused);
  (void)redis_->cli({"CONFIG", "SET", "min-replicas-to-write", "0"});
  EXPECT_TRUE(recovers(*store));
}

TEST_F(BadRedis, A_server_that_is_too_old_is_refused) {
  serve();
  Proxy proxy((directory_.path() / "p").string(), redis_->socket());
  const std::string said = redis_->cli({"INFO", "server"});
  const std::string version = said.substr(said.find("redis_version:"), 17);  // "redis_version:7.0"
  ASSERT_EQ(version.size(), 17U);
  proxy.rewrite(version, "redis_version:6.0");
  const auto store = open(config((directory_.path() / "p").string()));
  EXPECT_EQ(code(store->opened()), Code::unsupported);
  EXPECT_TRUE(has(store->opened().error().message, "6.2 or later")) << store->opened().error().message;
}

TEST_F(BadRedis, A_cluster_is_refused) {
  int port = free_port();
  while (port > 55'535) port = free_port();  // a cluster's second port is 10,000 higher
  serve({"cluster-enabled yes", "cluster-config-file nodes.conf"}, port);
  const auto store = open(config());
  EXPECT_EQ(code(store->opened()), Code::unsupported);
  EXPECT_TRUE(has(store->opened().error().message, "Cluster")) << store->opened().error().message;
}

TEST_F(BadRedis, Data_of_a_newer_Roost_or_of_somebody_else_is_refused) {
  serve();
  (void)redis_->cli({"SET", "roost:schema", "2"});
  auto store = open(config());
  EXPECT_EQ(code(store->opened()), Code::unsupported);
  EXPECT_TRUE(has(store->opened().error().message, "newer Roost"));
  (void)redis_->cli({"SET", "roost:schema", "hen house"});
  store = open(config());
  EXPECT_EQ(code(store->opened()), Code::invalid);
  (void)redis_->cli({"SET", "roost:schema", "1"});
  EXPECT_TRUE(open(config())->opened().ok());
}

TEST_F(BadRedis, Older_data_is_brought_forward_step_by_step_and_once) {
  serve();
  using namespace store_redis;
  (void)redis_->cli({"SET", "roost:schema", "1"});
  Settings settings;
  settings.address = parse_address(redis_->socket());
  const Until until(-1, std::chrono::seconds(20));
  const auto connection = Connection::to_server(settings.address, settings, {}, until);
  const auto step = [](const char* name) {
    return [name](Connection& c, const std::string&, const Until& u) { (void)c.ask(command({"RPUSH", "steps", name}), u); };
  };
  migrate(*connection, "roost", {step("to 2"), step("to 3")}, until);
  migrate(*connection, "roost", {step("to 2"), step("to 3")}, until);
  EXPECT_EQ(redis_->cli({"LRANGE", "steps", "0", "-1"}), "to 2\nto 3");
  EXPECT_EQ(redis_->cli({"GET", "roost:schema"}), "3");
  EXPECT_THROW(migrate(*connection, "roost", {step("to 2")}, until), sdk::Failure);
}

TEST_F(BadRedis, Settings_that_can_lose_what_was_acknowledged_are_refused_where_so_configured) {
  serve();
  Json settings = config();
  settings.set("durability", "refuse");
  const auto store = open(settings);
  ASSERT_TRUE(store->opened().ok());
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  struct Setting {
    const char *name, *weak, *strong;
  };
  for (const Setting& setting : {Setting{"appendfsync", "everysec", "always"}, Setting{"appendonly", "no", "yes"}}) {
    (void)redis_->cli({"CONFIG", "SET", setting.name, setting.weak});
    ASSERT_TRUE(eventually([&] { return code(store->commit("p", {}, {put("a", "2")})) == Code::unavailable; })) << setting.name;
    EXPECT_TRUE(has(why(store->commit("p", {}, {put("a", "2")})), setting.name));
    (void)redis_->cli({"CONFIG", "SET", setting.name, setting.strong});
    EXPECT_TRUE(recovers(*store)) << setting.name;
  }
  (void)redis_->cli({"CONFIG", "SET", "maxmemory", "100mb"});
  (void)redis_->cli({"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"});
  EXPECT_TRUE(eventually([&] { return has(why(store->commit("p", {}, {put("a", "2")})), "maxmemory-policy"); }));
  (void)redis_->cli({"CONFIG", "SET", "maxmemory-policy", "noeviction"});
  EXPECT_TRUE(recovers(*store));
}

TEST_F(BadRedis, Scripts_that_the_server_forgot_are_sent_again) {
  serve();
  const auto store = open_well();
  ASSERT_TRUE(store->commit("p", {}, {put("a", "1")}).ok());
  (void)redis_->cli({"SCRIPT", "FLUSH"});
  EXPECT_TRUE(store->get("p", "a").ok());
  EXPECT_TRUE(store->commit("p", {}, {append("q/", "1")}).ok());
  EXPECT_EQ(store->count("p", "q/").value_or(0), 1u);
}

TEST_F(BadRedis, A_session_is_read_with_redis_cli_as_the_documentation_says) {
  serve();
  const auto store = open_well();
  ASSERT_TRUE(
      store->commit("ab", {}, {put("session/ab12cd34", R"({"id":"ab12cd34"})"), append("message/ab12cd34/", "hello")}).ok());
  ASSERT_TRUE(store->commit("user/u1", {}, {put("user", "{}")}).ok());
  EXPECT_EQ(redis_->cli({"GET", "roost:{ab}:doc:ab:session/ab12cd34"}), R"({"id":"ab12cd34"})");
  EXPECT_EQ(redis_->cli({"ZRANGE", "roost:{ab}:index", "[ab:session/", "(ab:session/~", "BYLEX"}), "ab:session/ab12cd34");
  EXPECT_EQ(redis_->cli({"HGET", "roost:{ab}:sequences", "ab:message/ab12cd34/"}), "1");
}

// ---- TLS -------------------------------------------------------------------------------------------------------------------

class TlsRedis : public RedisTest {
 protected:
  void SetUp() override {
    const std::string dir = directory_.path().string();
    std::ofstream(dir + "/make-certificates") << "set -e\ncd " << dir << R"(
for ca in ca other; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.crt
done
openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=redis.example -keyout s.key -out s.csr
echo subjectAltName=DNS:redis.example >ext
openssl x509 -req -in s.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out s.crt
)";
    ASSERT_EQ(std::system(("sh " + dir + "/make-certificates 2>/dev/null").c_str()), 0);
    tls_port_ = free_port();
    serve({"tls-port " + std::to_string(tls_port_), "tls-cert-file " + dir + "/s.crt", "tls-key-file " + dir + "/s.key",
           "tls-ca-cert-file " + dir + "/ca.crt", "tls-auth-clients no"});
  }
  [[nodiscard]] Json tls(const std::string& ca, const std::string& name) const {
    Json settings = config("127.0.0.1:" + std::to_string(tls_port_));
    Json tls = Json::object({{"ca_file", (directory_.path() / ca).string()}});
    if (!name.empty()) tls.set("server_name", name);
    settings.set("tls", std::move(tls));
    return settings;
  }
  // Of a store that cannot reach its server: what a call says.
  static std::string complaint(const Json& settings) {
    const auto store = open(settings);
    EXPECT_TRUE(store->opened().ok());
    const auto refused = store->get("p", "a");
    EXPECT_EQ(code(refused), Code::unavailable);
    return why(refused);
  }
  int tls_port_ = 0;
};

TEST_F(TlsRedis, With_the_right_name_and_ca_everything_works) {
  const auto store = open(tls("ca.crt", "redis.example"));
  ASSERT_TRUE(store->opened().ok()) << store->opened().error().message;
  ASSERT_TRUE(store->commit("p", {}, {put("large", std::string(1 << 20, 'x'))}).ok());
  EXPECT_EQ(store->get("p", "large")->value.size(), std::size_t{1} << 20);
  CallOptions soon;
  soon.timeout_ms = 100;
  EXPECT_TRUE(store->watch("", soon).ok());
}

TEST_F(TlsRedis, A_certificate_of_another_name_is_refused) {
  EXPECT_TRUE(has(complaint(tls("ca.crt", "other.example")), "not for the name \"other.example\""));
  EXPECT_TRUE(has(complaint(tls("ca.crt", "")), "not for the name \"127.0.0.1\""));  // loopback is no exception
}

TEST_F(TlsRedis, A_certificate_of_an_unknown_ca_is_refused) {
  EXPECT_TRUE(has(complaint(tls("other.crt", "redis.example")), "tls.ca_file"));
}

TEST_F(TlsRedis, Plain_text_to_a_tls_port_and_tls_to_a_plain_one_are_told_apart_from_silence) {
  Json plain = config("127.0.0.1:" + std::to_string(tls_port_));
  const std::string said = complaint(plain);
  EXPECT_TRUE(has(said, "TLS") || has(said, "closed") || has(said, "reset")) << said;
}

TEST_F(TlsRedis, A_file_that_is_missing_is_said_when_the_store_is_opened) {
  const auto store = open(tls("missing.crt", "redis.example"));
  EXPECT_EQ(code(store->opened()), Code::invalid);
  EXPECT_TRUE(has(store->opened().error().message, "missing.crt"));
}

}  // namespace
}  // namespace roost::store_suite
