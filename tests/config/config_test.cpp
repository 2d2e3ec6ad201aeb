#include "config/config.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/crypto.hpp"
#include "config/support.hpp"

namespace roost::config {
namespace {

using std::chrono::milliseconds;

TEST(Config, The_smallest_document_gets_every_default) {
  const auto config = parse("");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->http.listen, "127.0.0.1:8080");
  EXPECT_TRUE(config->http.loopback);
  EXPECT_EQ(config->http.header_bytes, 16u << 10);
  EXPECT_EQ(config->http.delete_wait, milliseconds(50'000));
  EXPECT_EQ(config->http.hosts.size(), 3u);
  EXPECT_EQ(config->size_small, (Size{1000, std::int64_t{1} << 30}));
  EXPECT_EQ(config->size_large, (Size{2000, std::int64_t{2} << 30}));
  EXPECT_EQ(config->sessions.volume_bytes, std::int64_t{5} << 30);
  EXPECT_EQ(config->sessions.backup_every, milliseconds(86'400'000));
  EXPECT_EQ(config->backups.retention_scheduled, milliseconds(7LL * 86'400'000));
  EXPECT_EQ(config->sessions.kept_volume, milliseconds(7LL * 86'400'000));
  EXPECT_EQ(config->sessions.tombstone, milliseconds(30LL * 86'400'000));
  EXPECT_TRUE(config->chat.wakes);
  EXPECT_EQ(config->store.plugin, "store-sqlite");
  EXPECT_EQ(config->store.pointer, "/store/config");
  EXPECT_TRUE(config->compute.config.is_object());
  EXPECT_FALSE(config->engine.replica.empty());
  EXPECT_EQ(config->auth.keys.at(0).scopes, std::vector<std::string>{"sessions"});
  EXPECT_EQ(config->auth.keys.at(0).sha256, to_hex(sha256("0123456789abcdef-key")));
  EXPECT_TRUE(config->warnings.empty());
}

TEST(Config, What_is_written_wins_over_the_defaults) {
  const auto config = parse(
      "http:\n  listen: '[::1]:9'\n  loops: 3\n  idle_timeout: 2m\nsizes: {large: {cpu: 2500m, memory: 8Gi}}\n"
      "log: {level: debug, format: json}\nengine: {replica: r1}\nlimits: {rate: 0}\n");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->http.loops, 3);
  EXPECT_TRUE(config->http.loopback);
  EXPECT_EQ(config->http.idle_timeout, milliseconds(120'000));
  EXPECT_EQ(config->size_large, (Size{2500, std::int64_t{8} << 30}));
  EXPECT_EQ(config->log.level, LogLevel::debug);
  EXPECT_EQ(config->log.format, LogFormat::json);
  EXPECT_EQ(config->engine.replica, "r1");
  EXPECT_EQ(config->limits.rate, 0);
}

TEST(Config, An_empty_section_means_its_defaults) {
  const auto config = parse("http:\nlimits:\n  rate:\n");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->limits.rate, 1000);
}

TEST(Config, An_unknown_key_is_an_error_at_its_place_with_the_nearest_valid_one) {
  EXPECT_EQ(fault("http:\n  lissten: 127.0.0.1:1\n"), "r.yaml:7:3: http.lissten: unknown key \"lissten\"; did you mean listen?");
  EXPECT_EQ(fault("htpp: {}\n"), "r.yaml:6:1: htpp: unknown key \"htpp\"; did you mean http?");
  EXPECT_TRUE(contains(fault("per_user: 3\n"), "did you mean sessions.per_user?"));
  EXPECT_TRUE(contains(fault("log: {completely_else: 1}\n"), "the keys here are level, format"));
  EXPECT_TRUE(contains(fault("", {},
                             "auth: {keys: [{name: a, key: 0123456789abcdef0, scope: [read]}]}\nstore: {plugin: a1}\ncompute: "
                             "{plugin: a1}\nbackup: {plugin: a1}\n"),
                       "r.yaml:1:49: auth.keys[0].scope: unknown key \"scope\"; did you mean scopes?"));
}

TEST(Config, A_wrong_value_is_an_error_at_its_place_that_says_what_is_right) {
  EXPECT_EQ(fault("http: {loops: 0}\n"), "r.yaml:6:15: http.loops: must be a whole number from 1 to 64, not 0");
  EXPECT_TRUE(
      contains(fault("http: {loops: \"2\"}\n"), "r.yaml:6:15: http.loops: must be a whole number from 1 to 64, not \"2\""));
  EXPECT_TRUE(contains(fault("http: {loops: 2.5}\n"), "must be a whole number"));
  EXPECT_TRUE(contains(fault("http: {header_bytes: 2Gi}\n"),
                       "r.yaml:6:22: http.header_bytes: must be a size such as 64Ki or 5Gi from 1Ki to 1Mi, not \"2Gi\""));
  EXPECT_TRUE(contains(fault("http: {idle_timeout: 15}\n"), "must be a duration such as 15m from 1s to 24h, not 15"));
  EXPECT_TRUE(contains(fault("http: {idle_timeout: 15 minutes}\n"), "duration"));
  EXPECT_TRUE(
      contains(fault("log: {level: loud}\n"), "r.yaml:6:14: log.level: must be one of debug, info, warn, error, not \"loud\""));
  EXPECT_TRUE(contains(fault("chat: {wakes: yes}\n"), "must be true or false, not \"yes\""));
  EXPECT_TRUE(contains(fault("http: [1]\n"), "r.yaml:6:7: http: must be a map"));
  EXPECT_TRUE(contains(fault("http: {hosts: localhost}\n"), "http.hosts: must be a list"));
  EXPECT_TRUE(contains(fault("http: {hosts: [ok, 'a b']}\n"), "r.yaml:6:20: http.hosts[1]: must be HOST or HOST:PORT"));
  EXPECT_TRUE(contains(fault("http: {listen: 8080}\n"), "must be HOST:PORT or [IPV6]:PORT"));
  EXPECT_TRUE(contains(fault("http: {listen: 'localhost:70000'}\n"), "the port must be from 0 to 65535"));
  EXPECT_TRUE(contains(fault("sizes: {small: {cpu: lots}}\n"), "processors such as 2 or 500m from 10m to 1024"));
  EXPECT_TRUE(contains(fault("data_dir: 7\n"), "quoted"));
  EXPECT_TRUE(contains(fault("data_dir: ~/x\n"), "~ is not expanded"));
  EXPECT_TRUE(contains(fault("[]\n", {}, ""), "must be a map"));
}

// std::regex recurses for every character.
TEST(Config, A_huge_text_is_a_fault_and_not_the_end_of_the_process) {
  const std::string huge(900'000, 'a');
  EXPECT_TRUE(contains(fault("http: {listen: '" + huge + "'}\n"), "r.yaml:6:16: http.listen: must be at most 2048 bytes long"));
  EXPECT_TRUE(contains(fault("", {{"ROOST_WORKSPACES__LANDING", "/" + huge}}), "must be at most"));
  EXPECT_TRUE(contains(fault("http: {hosts: ['" + huge + "']}\n"), "http.hosts[0]: must be at most"));
  EXPECT_FALSE(fault(huge + ": 1\n").empty());
}

TEST(Config, Every_fault_is_told_at_once) {
  const std::string all = fault("http: {loops: 0, nonsense: 1}\nlog: {level: x}\n");
  EXPECT_EQ(std::count(all.begin(), all.end(), '\n'), 2) << all;
}

TEST(Config, A_missing_backend_is_named) {
  const std::string all = fault("", {}, "store: {plugin: store-sqlite}\n");
  EXPECT_TRUE(contains(all, "compute.plugin: is missing")) << all;
  EXPECT_TRUE(contains(all, "backup.plugin: is missing")) << all;
}

TEST(Config, Values_must_fit_together) {
  EXPECT_TRUE(contains(fault("sizes: {small: {cpu: 4}}\n"), "sizes.large.cpu: must not be less than sizes.small.cpu"));
  EXPECT_TRUE(contains(fault("engine: {backoff_first: 10m, backoff_max: 1s}\n"), "engine.backoff_first"));
  EXPECT_TRUE(contains(fault("http: {header_deadline: 1h, request_deadline: 1s}\n"), "http.header_deadline"));
  EXPECT_TRUE(contains(fault("workspaces: {url_pattern: 'http://{uuid}.{uuid}.x'}\n"), "{uuid} must stand in it once"));
  EXPECT_TRUE(contains(fault("workspaces: {host_pattern: 'x.localhost'}\n"), "{uuid}"));
}

TEST(Config, Paths_are_relative_to_the_file_and_data_dir_to_the_working_directory) {
  const auto config = parse("data_dir: d/../e\nplugins: {directories: [p, /q/]}\n");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->data_dir, (std::filesystem::current_path() / "e").string());
  EXPECT_EQ(config->plugins.directories, (std::vector<std::string>{"/etc/roost/p", "/q/"}));
  EXPECT_EQ(config->store.config["path"].as_string(), config->data_dir + "/s.db");
}

TEST(Config, Places_are_put_in_at_the_start_of_a_plugins_texts_only) {
  const auto config = Config::parse(
      "data_dir: /d\nstore: {plugin: s1, config: {a: '{data_dir}', b: ['{config_dir}/x'], c: 'x{data_dir}', d: '{data_dir}x', e: "
      "{f: '{data_dir}/y'}}}\n"
      "compute: {plugin: c1}\nbackup: {plugin: b1}\n",
      "r.yaml", "/etc/roost", {});
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->store.config.dump(),
            R"({"a":"/d","b":["/etc/roost/x"],"c":"x{data_dir}","d":"{data_dir}x","e":{"f":"/d/y"}})");
}

TEST(Config, Metrics_are_open_on_loopback_or_where_it_is_said) {
  const std::string elsewhere = "http: {listen: '0.0.0.0:80'";
  EXPECT_TRUE(parse("")->http.metrics_open);
  EXPECT_FALSE(parse("http: {metrics: key}\n")->http.metrics_open);
  EXPECT_FALSE(parse(elsewhere + "}\n")->http.metrics_open);
  EXPECT_TRUE(parse(elsewhere + ", metrics: open}\n")->http.metrics_open);
}

TEST(Config, The_guides_key_is_accepted_on_loopback_only) {
  const auto with = [](const std::string& listen, const std::string& key) {
    return "store: {plugin: s1}\ncompute: {plugin: c1}\nbackup: {plugin: b1}\nhttp: {listen: '" + listen +
           "'}\nauth: {keys: [{name: g, " + key + "}]}\n";
  };
  const std::string plain = "key: " + std::string(kGuideKey);
  const std::string hashed = "sha256: " + to_hex(sha256(kGuideKey));
  for (const char* listen : {"127.0.0.1:0", "127.9.9.9:1", "localhost:1", "[::1]:1"}) {
    const auto config = parse("", {}, with(listen, plain));
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_TRUE(config->auth.keys.at(0).guide);
  }
  for (const char* listen : {"0.0.0.0:80", "[::]:80", "10.0.0.1:80", "127.evil.example:80", "127.0.0.1.evil.example:80"}) {
    for (const std::string& key : {plain, hashed}) {
      const std::string why = fault("", {}, with(listen, key));
      EXPECT_TRUE(contains(why, "r.yaml:5:")) << why;
      EXPECT_TRUE(contains(why, "openssl rand -hex 32")) << why;
      EXPECT_FALSE(contains(why, std::string(kGuideKey))) << why;
    }
  }
}

TEST(Config, Api_keys_have_one_form_one_name_and_a_decent_length) {
  const auto keys = [](const std::string& list) {
    return fault("auth: {keys: " + list + "}\n", {}, "store: {plugin: s1}\ncompute: {plugin: c1}\nbackup: {plugin: b1}\n");
  };
  EXPECT_TRUE(contains(keys("[{name: a}]"), "exactly one of key and sha256"));
  EXPECT_TRUE(contains(keys("[{name: a, key: 0123456789abcdef0, sha256: " + std::string(64, 'a') + "}]"),
                       "exactly one of key and sha256"));
  EXPECT_TRUE(contains(keys("[{key: 0123456789abcdef0}]"), "auth.keys[0].name: is missing"));
  EXPECT_TRUE(contains(keys("[{name: a, key: short}]"), "16 to 512"));
  EXPECT_FALSE(contains(keys("[{name: a, key: short-secret}]"), "short-secret"));
  EXPECT_TRUE(contains(keys("[{name: a, key: 0123456789abcdef0}, {name: a, key: 0123456789abcdef1}]"), "same name"));
  EXPECT_TRUE(contains(keys("[{name: a, key: 0123456789abcdef0}, {name: b, key: 0123456789abcdef0}]"), "same key"));
  EXPECT_TRUE(contains(keys("[{name: a, key: 0123456789abcdef0, scopes: [root]}]"), "one of admin, sessions, read"));
  EXPECT_TRUE(contains(keys("[{name: a, sha256: xyz}]"), "64 hex digits"));
}

TEST(Config, No_key_at_all_is_a_warning) {
  const auto config = parse("", {}, "store: {plugin: s1}\ncompute: {plugin: c1}\nbackup: {plugin: b1}\n");
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->warnings.size(), 1u);
  EXPECT_TRUE(contains(config->warnings[0], "no API key"));
}

TEST(Config, Secrets_come_from_files_variables_and_values) {
  const Directory directory;
  directory.write("password", "from-a-file\n");
  const std::string text =
      "store: {plugin: s1, secrets: {a: {file: password}, b: {env: SECRET_B}, c: {value: from-a-value}}}\n"
      "compute: {plugin: c1}\nbackup: {plugin: b1}\nauth: {keys: [{name: me, key: 0123456789abcdef-key}]}\n";
  const auto config = Config::parse(text, "r.yaml", directory.path(), {{"SECRET_B", "from-a-variable"}});
  ASSERT_TRUE(config.ok()) << config.error().message;
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(config->store.secrets, (std::vector<Pair>{{"a", "from-a-file"}, {"b", "from-a-variable"}, {"c", "from-a-value"}}));
  EXPECT_TRUE(config->warnings.empty());
  const auto values = config->secret_values();
  EXPECT_EQ(values.size(), 4u);
  const std::string shown = config->describe().dump();
  for (const std::string& value : values) EXPECT_FALSE(contains(shown, value)) << shown;
  EXPECT_TRUE(contains(shown, "password"));  // where a secret is, is none
}

TEST(Config, A_secret_that_cannot_be_had_is_an_error_at_its_place) {
  const Directory directory;
  directory.write("empty", "\n");
  const auto secrets = [&](const std::string& source) {
    const auto config =
        Config::parse("store:\n  plugin: s1\n  secrets:\n    a: " + source + "\ncompute: {plugin: c1}\nbackup: {plugin: b1}\n",
                      "r.yaml", directory.path(), {});
    return config.ok() ? std::string() : config.error().message;
  };
  EXPECT_TRUE(contains(secrets("{file: none}"), "r.yaml:4:15: store.secrets.a.file: cannot read " + directory.path() + "/none"));
  EXPECT_TRUE(contains(secrets("{file: .}"), "not a regular file"));
  EXPECT_TRUE(contains(secrets("{file: empty}"), "is empty"));
  EXPECT_TRUE(contains(secrets("{env: NOT_SET}"), "NOT_SET is not set"));
  EXPECT_TRUE(contains(secrets("{}"), "exactly one of"));
  EXPECT_TRUE(contains(secrets("{file: a, env: B}"), "exactly one of"));
  EXPECT_TRUE(contains(secrets("plain-text"), "must be a map"));
}

TEST(Config, Files_with_secrets_that_everybody_may_read_are_warned_about) {
  const Directory directory;
  directory.write("password", "x12345678", 0644);
  const std::string backends = "compute: {plugin: c1}\nbackup: {plugin: b1}\n";
  const std::string keyed = "auth: {keys: [{name: me, key: 0123456789abcdef-key}]}\n";
  const std::string hashed = "auth: {keys: [{name: me, sha256: " + std::string(64, 'a') + "}]}\n";
  const std::string file =
      directory.write("r.yaml", "store: {plugin: s1, secrets: {a: {file: password}}}\n" + backends + keyed, 0644);
  const auto config = Config::load(file, {});
  ASSERT_TRUE(config.ok()) << config.error().message;
  ASSERT_EQ(config->warnings.size(), 2u);
  EXPECT_TRUE(contains(config->warnings[0], "chmod")) << config->warnings[0];
  EXPECT_TRUE(contains(config->warnings[1], "r.yaml: holds secrets")) << config->warnings[1];
  const std::string safe = directory.write("safe.yaml", "store: {plugin: s1}\n" + backends + hashed, 0644);
  EXPECT_TRUE(Config::load(safe, {})->warnings.empty());
}

TEST(Config, A_file_that_is_missing_is_not_found) {
  const auto config = Config::load("/nonexistent/roost.yaml", {});
  ASSERT_FALSE(config.ok());
  EXPECT_EQ(config.error().code, Code::not_found);
  EXPECT_TRUE(contains(config.error().message, "/nonexistent/roost.yaml"));
}

TEST(Config, Where_finds_the_place_of_what_a_plugin_complains_about) {
  const auto config = parse("plugins:\n  directories: []\n");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->where("/store/config/path"), "r.yaml:1:46");
  EXPECT_EQ(config->where("/store/config/path/deeper"), "r.yaml:1:46");
  EXPECT_EQ(config->where("/store/config/missing"), "r.yaml:1:39");
}

TEST(Config, A_reload_tells_which_changes_need_a_restart) {
  const auto a = parse("http: {loops: 2}\n");
  const auto b = parse("http: {loops: 3, delete_wait: 1s}\nlog: {level: debug}\n");
  ASSERT_TRUE(a.ok() && b.ok());
  const auto found = changes(*a, *b);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].key, "http.loops");
  EXPECT_TRUE(found[0].restart);
  EXPECT_EQ(found[1].key, "http.delete_wait");
  EXPECT_FALSE(found[1].restart);
  EXPECT_EQ(found[2].key, "log.level");
  EXPECT_FALSE(found[2].restart);
  EXPECT_TRUE(changes(*a, *a).empty());
}

TEST(Config, A_secret_whose_file_changed_is_a_change) {
  const Directory directory;
  const std::string text = "store: {plugin: s1, secrets: {a: {file: p}}}\ncompute: {plugin: c1}\nbackup: {plugin: b1}\n";
  directory.write("p", "one-secret");
  const auto before = Config::parse(text, "r.yaml", directory.path(), {});
  directory.write("p", "other-secret");
  const auto after = Config::parse(text, "r.yaml", directory.path(), {});
  ASSERT_TRUE(before.ok() && after.ok());
  const auto found = changes(*before, *after);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].key, "store.secrets");
  EXPECT_FALSE(found[0].restart);
}

}  // namespace
}  // namespace roost::config
