#include "daemon/settings.hpp"

#include <gtest/gtest.h>

#include "base/crypto.hpp"
#include "daemon/daemon_process.hpp"
#include "daemon/exposure.hpp"

namespace roost::daemon {
namespace {

config::Config parse(const std::string& more, const std::string& auth = "[{name: a, key: a-key-of-sixteen-bytes}]") {
  TemporaryDirectory directory;
  auto config = config::Config::parse(DaemonProcess::minimal(directory, auth, more), "roost.yaml", "/etc/roost", {});
  EXPECT_TRUE(config.ok()) << config.error().message;
  return config.value_or(config::Config{});
}

TEST(ApiHosts, AnswersItsNamesAndNoOthers) {
  config::Config config = parse("");
  config.http.hosts = {"localhost", "127.0.0.1", "[::1]", "api.Example.com:8443"};
  config.http.listen = "192.0.2.1:8080";
  const ApiHosts hosts(config);
  for (const char* host : {"localhost", "localhost:8080", "localhost:1", "127.0.0.1:80", "[::1]", "[::1]:8080", "192.0.2.1:8080",
                           "api.example.com:8443"}) {
    EXPECT_TRUE(hosts.contains(host)) << host;
  }
  for (const char* host : {"", "evil.example", "localhost.evil.example", "localhost.evil.example:8080", "127.0.0.1.nip.io",
                           "[::2]", "api.example.com", "api.example.com:80", "::1", "localhost:"}) {
    if (std::string(host) == "localhost:") continue;  // a Host header that the server refuses by itself
    EXPECT_FALSE(hosts.contains(host)) << host;
  }
}

TEST(LocalUrl, IsAnAddressOfThisMachineThatTheApiAnswersTo) {
  EXPECT_EQ(local_url("127.0.0.1:0", 8080), "http://127.0.0.1:8080");
  EXPECT_EQ(local_url("localhost:80", 80), "http://127.0.0.1:80");
  EXPECT_EQ(local_url("0.0.0.0:80", 80), "http://127.0.0.1:80");
  EXPECT_EQ(local_url("[::]:80", 81), "http://[::1]:81");
  EXPECT_EQ(local_url("192.0.2.1:80", 80), "http://192.0.2.1:80");
  config::Config config = parse("");
  config.http.hosts = {"api.example.com"};
  config.http.listen = "0.0.0.0:8080";
  EXPECT_TRUE(ApiHosts(config).contains("127.0.0.1:8080"));
  config.http.listen = "[::]:8080";
  EXPECT_TRUE(ApiHosts(config).contains("[::1]:8080"));
}

TEST(Settings, EveryEngineOptionComesFromTheConfiguration) {
  const config::Config config = parse(
      "sizes: {small: {cpu: 0.5, memory: 128Mi}, large: {cpu: 4, memory: 8Gi}}\n"
      "backups: {retention: 7d, retention_scheduled: 3d, drill_interval: 14d, walk: 10m}\n"
      "sessions: {per_user: 3, total: 7, volume_size: 2Gi, concurrent_starts: 5, concurrent_tasks: 6, backup_every: 9h, "
      "tombstone: 2h, "
      "idempotency: 3m}\n"
      "chat: {queue_max: 11, tries: 12, history: 13m, wakes: false}\n"
      "engine: {replica: r1, lease: 14s, resync: 15s, poll: 16s, backoff_first: 17s, backoff_max: 18s}\n");
  const EngineOptions options = engine_options(config);
  EXPECT_EQ(options.size_small, (roost::Size{500, std::int64_t{128} << 20}));
  EXPECT_EQ(options.size_large, (roost::Size{4000, std::int64_t{8} << 30}));
  EXPECT_EQ(options.sessions_per_user, 3);
  EXPECT_EQ(options.sessions_total, 7);
  EXPECT_EQ(options.volume_bytes, std::int64_t{2} << 30);
  EXPECT_EQ(options.concurrent_starts, 5);
  EXPECT_EQ(options.concurrent_tasks, 6);
  EXPECT_EQ(options.backup_retention_ms, 7 * 24 * 3'600'000);
  EXPECT_EQ(options.backup_retention_scheduled_ms, 3 * 24 * 3'600'000);
  EXPECT_EQ(options.backup_every_ms, 9 * 3'600'000);
  EXPECT_EQ(options.backup_drill_ms, 14 * 24 * 3'600'000);
  EXPECT_EQ(options.backup_walk_ms, 10 * 60'000);
  EXPECT_EQ(options.tombstone_ms, 7'200'000);
  EXPECT_EQ(options.idempotency_ms, 180'000);
  EXPECT_EQ(options.queue_max, 11);
  EXPECT_EQ(options.message_tries, 12);
  EXPECT_EQ(options.history_ms, 780'000);
  EXPECT_FALSE(options.chat_wakes);
  EXPECT_EQ(options.replica, "r1");
  EXPECT_EQ(options.lease_ms, 14'000);
  EXPECT_EQ(options.resync_ms, 15'000);
  EXPECT_EQ(options.poll_ms, 16'000);
  EXPECT_EQ(options.backoff_first_ms, 17'000);
  EXPECT_EQ(options.backoff_max_ms, 18'000);
}

TEST(Settings, AReplacementStandsForTheGuidesKeyOnly) {
  const config::Config config = parse("", "[{name: guide, key: " + std::string(config::kGuideKey) +
                                              ", scopes: [admin]}, {name: mine, key: a-key-of-sixteen-bytes}]");
  ASSERT_TRUE(has_guide_key(config));
  const auto with_guide = api_options(config, "");
  const auto without = api_options(config, "the-replacement");
  ASSERT_TRUE(with_guide.ok() && without.ok());
  EXPECT_TRUE(with_guide->keys->find(config::kGuideKey));
  EXPECT_FALSE(without->keys->find(config::kGuideKey));
  ASSERT_TRUE(without->keys->find("the-replacement"));
  EXPECT_EQ(without->keys->find("the-replacement")->scope, api::Scope::admin);
  EXPECT_TRUE(without->keys->find("a-key-of-sixteen-bytes"));
}

TEST(Settings, PluginsAreBesideTheProgramUnlessTheConfigurationSaysWhere) {
  const auto spec = backends_spec(parse(""));
  ASSERT_EQ(spec.directories.size(), 1u);
  EXPECT_TRUE(spec.directories[0].string().ends_with("/lib/roost/plugins")) << spec.directories[0];
  EXPECT_EQ(backends_spec(parse("plugins: {directories: [x, /y]}")).directories,
            (std::vector<std::filesystem::path>{"/etc/roost/x", "/y"}));
}

TEST(Settings, CheckNamesThePlaceOfEachFaultInAPluginsPart) {
  TemporaryDirectory directory;
  const std::string yaml =
      "store:\n  plugin: store-sqlite\n  config:\n    path: s.db\n    pth: x\ncompute: {plugin: no-such-plugin}\n"
      "backup: {plugin: store-sqlite, config: {path: x}}\nauth: {keys: []}\n";
  const auto config = config::Config::parse(yaml, "roost.yaml", "/", {});
  ASSERT_TRUE(config.ok()) << config.error().message;
  const std::string faults = check(*config);
  EXPECT_NE(faults.find("roost.yaml:5:"), std::string::npos) << faults;
  EXPECT_NE(faults.find("store.config.pth"), std::string::npos) << faults;
  EXPECT_NE(faults.find("\"path\""), std::string::npos) << faults;
  EXPECT_NE(faults.find("roost.yaml:6:"), std::string::npos) << faults;
  EXPECT_NE(faults.find("no-such-plugin"), std::string::npos) << faults;
  EXPECT_NE(faults.find("roost.yaml:7:"), std::string::npos) << faults;
}

TEST(Exposure, IsWhatComputeSaysOrIsTold) {
  EXPECT_TRUE(shares_host_network(Json::object({{"network", "host (shared: not isolated)"}})));
  EXPECT_FALSE(shares_host_network(Json::object({{"network", "own, egress by slirp4netns"}})));
  EXPECT_FALSE(shares_host_network(Json()));
  EXPECT_TRUE(settings_share_host_network(Json::object({{"network", "host"}})));
  EXPECT_TRUE(settings_share_host_network(Json::object({{"sandbox", "none"}})));
  EXPECT_FALSE(settings_share_host_network(Json::object({{"network", "auto"}, {"sandbox", "bubblewrap"}})));
}

TEST(Exposure, OneSessionAmongManyIsFound) {
  ReadModel sessions;
  for (int i = 0; i < 2500; ++i) {
    auto snapshot = std::make_shared<SessionSnapshot>();
    snapshot->session.id = "0000" + to_hex(std::string{static_cast<char>(i / 256), static_cast<char>(i % 256)});
    if (i == 2300) snapshot->session.observed.isolation = Json::object({{"network", "host"}});
    if (i == 2499) {
      EXPECT_TRUE(any_shares_host_network(sessions));
      sessions.erase("000008fc");
      EXPECT_FALSE(any_shares_host_network(sessions));
    }
    sessions.put(std::move(snapshot));
  }
}

}  // namespace
}  // namespace roost::daemon
