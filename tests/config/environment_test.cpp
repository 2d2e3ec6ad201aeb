#include "config/environment.hpp"

#include <gtest/gtest.h>

#include "config/support.hpp"

namespace roost::config {
namespace {

TEST(Environment, Every_key_has_its_variable) {
  EXPECT_EQ(variable_name("http.listen"), "ROOST_HTTP__LISTEN");
  const auto config = parse("http: {listen: '127.0.0.1:1'}\n", {{"ROOST_HTTP__LISTEN", "127.0.0.1:2"},
                                                                {"ROOST_DATA_DIR", "/elsewhere"},
                                                                {"ROOST_HTTP__LOOPS", "7"},
                                                                {"ROOST_CHAT__WAKES", "false"},
                                                                {"ROOST_SIZES__LARGE__MEMORY", "3Gi"},
                                                                {"ROOST_SIZES__LARGE__CPU", "3"},
                                                                {"ROOST_HTTP__TARGET_BYTES", "4096"},
                                                                {"ROOST_HTTP__HOSTS", "[a.example, b.example:81]"}});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->http.listen, "127.0.0.1:2");
  EXPECT_EQ(config->data_dir, "/elsewhere");
  EXPECT_EQ(config->store.config["path"].as_string(), "/elsewhere/s.db");
  EXPECT_EQ(config->http.loops, 7);
  EXPECT_FALSE(config->chat.wakes);
  EXPECT_EQ(config->size_large, (Size{3000, std::int64_t{3} << 30}));
  EXPECT_EQ(config->http.target_bytes, 4096u);
  EXPECT_EQ(config->http.hosts, (std::vector<std::string>{"a.example", "b.example:81"}));
  EXPECT_TRUE(config->warnings.empty());
}

TEST(Environment, A_text_key_takes_the_variable_as_it_is) {
  const auto config = parse("", {{"ROOST_ENGINE__REPLICA", "007"}});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->engine.replica, "007");
}

TEST(Environment, Lists_of_keys_and_plugin_settings_can_be_given_whole_or_one_by_one) {
  const auto config = parse("", {{"ROOST_AUTH__KEYS", "[{name: x, key: fedcba9876543210, scopes: [admin]}]"},
                                 {"ROOST_STORE__CONFIG", "{path: /a, Deep: {Key: 1}}"},
                                 {"ROOST_STORE__CONFIG__PATH", "/b"},
                                 {"ROOST_STORE__CONFIG__DEEP__KEY", "2"},
                                 {"ROOST_STORE__CONFIG__NEW_ONE", "true"},
                                 {"ROOST_STORE__SECRETS__PASSWORD__VALUE", "123456789"}});
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->auth.keys.size(), 1u);
  EXPECT_EQ(config->auth.keys[0].name, "x");
  EXPECT_EQ(config->store.config.dump(), R"({"path":"/b","Deep":{"Key":2},"new_one":true})");
  ASSERT_EQ(config->store.secrets.size(), 1u);
  EXPECT_EQ(config->store.secrets[0].second, "123456789");
}

TEST(Environment, A_fault_names_the_variable) {
  EXPECT_EQ(fault("", {{"ROOST_HTTP__LOOPS", "many"}}),
            "environment variable ROOST_HTTP__LOOPS: http.loops: must be a whole number from 1 to 64, not \"many\"");
  const std::string why = fault("", {{"ROOST_AUTH__KEYS", "[{name: x, key: secret-secret-secret"}});
  EXPECT_EQ(why, "environment variable ROOST_AUTH__KEYS: auth.keys: is not inline YAML");
  EXPECT_TRUE(contains(fault("", {{"ROOST_AUTH__KEYS", "[{name: x, kye: a}]"}}),
                       "environment variable ROOST_AUTH__KEYS: auth.keys[0].kye: unknown key"));
}

TEST(Environment, An_unknown_variable_warns_and_names_the_nearest) {
  const auto config = parse("", {{"ROOST_HTTP__LISTN", "x"},
                                 {"ROOST_SERVICE_HOST", "10.0.0.1"},
                                 {"ROOST_HTTP__LISTEN__DEEPER", "x"},
                                 {"OTHER", "x"},
                                 {"ROOST_CODE_SERVER", "/x"},
                                 {"ROOST___", "x"},
                                 {"ROOST_", "x"}});
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->warnings.size(), 5u);
  EXPECT_TRUE(std::any_of(config->warnings.begin(), config->warnings.end(), [](const std::string& w) {
    return w == "environment variable ROOST_HTTP__LISTN: no such key; did you mean ROOST_HTTP__LISTEN?";
  }));
}

TEST(Environment, An_empty_variable_overrides_nothing) {
  const auto config = parse("", {{"ROOST_HTTP__LISTEN", ""}, {"ROOST_HTTP__LOOPS", ""}});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->http.listen, "127.0.0.1:8080");
}

TEST(Environment, The_guides_key_is_refused_also_when_the_environment_opens_the_door) {
  const std::string text =
      "store: {plugin: s1}\ncompute: {plugin: c1}\nbackup: {plugin: b1}\nauth: {keys: [{name: g, key: " + std::string(kGuideKey) +
      "}]}\n";
  EXPECT_TRUE(contains(fault("", {{"ROOST_HTTP__LISTEN", "0.0.0.0:8080"}}, text), "r.yaml:4:"));
}

}  // namespace
}  // namespace roost::config
