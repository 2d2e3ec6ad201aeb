// What every backup plugin must do, through the C ABI. A further plugin is a further line at the end, with its quirks.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

#include "plugins/backup/backup_plugin.hpp"
#include "plugins/backup/s3_servers.hpp"

namespace roost::backup_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::uint64_t kMiB = 1u << 20;

// How a plugin differs from another, where the contract lets it.
struct Quirks {
  std::string label;
  std::string plugin;
  std::function<Json(const std::string& directory)> config;  // a store of its own in that directory
  std::function<std::size_t(const std::string& directory)>
      unfinished;  // how many unfinished objects lie in the store; null: it cannot be seen
  Secrets secrets = {};
  std::function<std::string()> missing = [] { return std::string(); };  // why it cannot be tested here
};

std::vector<std::string> names_of(const Result<std::vector<Listed>>& listed) {
  std::vector<std::string> names;
  if (!listed.ok()) return {"error: " + listed.error().message};
  for (const Listed& one : *listed) names.push_back(one.name);
  return names;
}

class BackupSuite : public ::testing::TestWithParam<Quirks> {
 protected:
  void SetUp() override {
    if (const std::string missing = GetParam().missing(); !missing.empty()) GTEST_SKIP() << missing;
    config_ = GetParam().config(directory_.path());
    plugin_ = open();
  }
  std::unique_ptr<BackupPlugin> open() {
    auto opened = BackupPlugin::open(GetParam().plugin, config_, GetParam().secrets);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  void expect_no_leftovers() {
    EXPECT_THAT(names_of(plugin_->list()), ElementsAre());
    if (GetParam().unfinished) {
      EXPECT_EQ(GetParam().unfinished(directory_.path()), 0u);
    }
  }

  TempDir directory_;
  Json config_;
  std::unique_ptr<BackupPlugin> plugin_;
};

// Those whose storage is the directory's file system.
class BackupSuiteOnDisk : public BackupSuite {};

TEST_P(BackupSuite, WhatWasPutInPartsIsReadInRanges) {
  const std::string data = noise(3 * kMiB + 12345);
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(put.ok()) << put.error().message;
  std::size_t at = 0;
  for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{4095}, std::size_t{2 * kMiB}, data.size()}) {
    ASSERT_TRUE(plugin_->put_part(*put, std::string_view(data).substr(at, count)).ok());
    at = std::min(at + count, data.size());
  }
  const auto committed = plugin_->put_commit(*put);
  ASSERT_TRUE(committed.ok()) << committed.error().message;
  EXPECT_EQ((*committed)["size"].as_int(), static_cast<std::int64_t>(data.size()));
  EXPECT_EQ((*plugin_->stat("a.zip"))["size"].as_int(), static_cast<std::int64_t>(data.size()));
  EXPECT_TRUE(*plugin_->read("a.zip", 0, 8 * kMiB) == data);
  for (const auto& [offset, length] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {0, 1}, {1, 1}, {4095, 2}, {4096, 4096}, {kMiB - 7, kMiB + 14}, {data.size() - 1, 10}, {data.size() - 5000, 5000}}) {
    EXPECT_TRUE(*plugin_->read("a.zip", offset, length) == data.substr(offset, length)) << offset << "+" << length;
  }
  EXPECT_EQ(*plugin_->read("a.zip", data.size(), 100), "");
  EXPECT_EQ(*plugin_->read("a.zip", data.size() + 100, 100), "");
  EXPECT_EQ(*plugin_->read("a.zip", 0, 0), "");
}

TEST_P(BackupSuite, AnEmptyObjectIsAnObject) {
  ASSERT_TRUE(plugin_->put("empty", "").ok());
  EXPECT_EQ((*plugin_->stat("empty"))["size"].as_int(-1), 0);
  EXPECT_EQ(*plugin_->read("empty", 0, 10), "");
}

TEST_P(BackupSuite, NothingIsVisibleBeforeTheCommit) {
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(put.ok());
  ASSERT_TRUE(plugin_->put_part(*put, noise(2 * kMiB)).ok());
  EXPECT_THAT(names_of(plugin_->list()), ElementsAre());
  EXPECT_EQ(code_of(plugin_->stat("a.zip")), Code::not_found);
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 1)), Code::not_found);
  ASSERT_TRUE(plugin_->put_commit(*put).ok());
  EXPECT_THAT(names_of(plugin_->list()), ElementsAre("a.zip"));
}

TEST_P(BackupSuite, AnAbortLeavesNothing) {
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(put.ok());
  ASSERT_TRUE(plugin_->put_part(*put, noise(2 * kMiB)).ok());
  plugin_->put_abort(*put);
  expect_no_leftovers();
}

TEST_P(BackupSuite, AnObjectIsNeverReplaced) {
  ASSERT_TRUE(plugin_->put("a.zip", "first").ok());
  EXPECT_EQ(code_of(plugin_->put("a.zip", "second")), Code::exists);
  EXPECT_EQ(*plugin_->read("a.zip", 0, 100), "first");
  ASSERT_TRUE(plugin_->remove("a.zip").ok());
  expect_no_leftovers();
}

TEST_P(BackupSuite, TwoCommitsOfOneNameOneWins) {
  const auto first = plugin_->put_begin("a.zip");
  const auto second = plugin_->put_begin("a.zip");
  ASSERT_TRUE(first.ok() && second.ok());
  ASSERT_TRUE(plugin_->put_part(*first, "first").ok());
  ASSERT_TRUE(plugin_->put_part(*second, "second").ok());
  ASSERT_TRUE(plugin_->put_commit(*second).ok());
  EXPECT_EQ(code_of(plugin_->put_commit(*first)), Code::exists);
  EXPECT_EQ(*plugin_->read("a.zip", 0, 100), "second");
  ASSERT_TRUE(plugin_->remove("a.zip").ok());
  expect_no_leftovers();
}

TEST_P(BackupSuite, NamesThatAreNoneAreRefusedEverywhere) {
  const std::string long_name(256, 'a');
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("../x"), std::string("a/b"), std::string("/etc/passwd"),
        std::string("a\0b", 3), std::string("a b"), std::string("\xc3\xa9"), std::string("a\n"), long_name}) {
    EXPECT_EQ(code_of(plugin_->put_begin(name)), Code::invalid) << name;
    EXPECT_EQ(code_of(plugin_->stat(name)), Code::invalid) << name;
    EXPECT_EQ(code_of(plugin_->read(name, 0, 1)), Code::invalid) << name;
    EXPECT_EQ(code_of(plugin_->remove(name)), Code::invalid) << name;
  }
}

TEST_P(BackupSuite, TheLongestNameIsGood) {
  const std::string name = "Az09._-" + std::string(248, 'x');
  ASSERT_TRUE(plugin_->put(name, "data").ok());
  EXPECT_EQ(*plugin_->read(name, 0, 10), "data");
  EXPECT_THAT(names_of(plugin_->list()), ElementsAre(name));
}

TEST_P(BackupSuite, ListsInByteOrderByPrefixAndFromAnywhere) {
  for (const char* name : {"b2", "a1", "B", "a2", "a10", "b1"}) ASSERT_TRUE(plugin_->put(name, name).ok());
  EXPECT_THAT(names_of(plugin_->list()), ElementsAre("B", "a1", "a10", "a2", "b1", "b2"));
  EXPECT_THAT(names_of(plugin_->list("a")), ElementsAre("a1", "a10", "a2"));
  EXPECT_THAT(names_of(plugin_->list("", "a10")), ElementsAre("a2", "b1", "b2"));
  EXPECT_THAT(names_of(plugin_->list("", "a11")), ElementsAre("a2", "b1", "b2"));
  EXPECT_THAT(names_of(plugin_->list("", "", 2)), ElementsAre("B", "a1"));
  EXPECT_THAT(names_of(plugin_->list("b", "a", 1)), ElementsAre("b1"));
  EXPECT_THAT(names_of(plugin_->list("c")), ElementsAre());
}

TEST_P(BackupSuite, ListTellsSizeAndTime) {
  const std::int64_t before = system_clock().wall_us();
  ASSERT_TRUE(plugin_->put("a.zip", noise(1234)).ok());
  const auto listed = plugin_->list();
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().size, 1234);
  EXPECT_GE(listed->front().modified, before - 5'000'000);
  EXPECT_LE(listed->front().modified, system_clock().wall_us() + 5'000'000);
}

TEST_P(BackupSuite, RemovingTwiceSucceeds) {
  ASSERT_TRUE(plugin_->put("a.zip", "x").ok());
  EXPECT_TRUE(plugin_->remove("a.zip").ok());
  EXPECT_TRUE(plugin_->remove("a.zip").ok());
  EXPECT_EQ(code_of(plugin_->stat("a.zip")), Code::not_found);
}

TEST_P(BackupSuite, AnotherInstanceSeesTheSameObjects) {
  ASSERT_TRUE(plugin_->put("a.zip", "data").ok());
  const auto other = open();
  ASSERT_NE(other, nullptr);
  EXPECT_EQ(*other->read("a.zip", 0, 10), "data");
}

TEST_P(BackupSuite, WhatItDescribesOpensTheSameStore) {
  ASSERT_TRUE(plugin_->put("a.zip", "data").ok());
  const auto described = plugin_->describe();
  ASSERT_TRUE(described.ok()) << described.error().message;
  EXPECT_TRUE((*described)["secrets"].is_array());
  EXPECT_TRUE((*described)["mounts"].is_array());
  const auto task = BackupPlugin::open(GetParam().plugin, (*described)["config"], GetParam().secrets);
  ASSERT_TRUE(task.ok()) << task.error().message;
  EXPECT_EQ(*(*task)->read("a.zip", 0, 10), "data");
}

TEST_P(BackupSuite, TooLargePiecesAreRefused) {
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(put.ok());
  EXPECT_EQ(code_of(plugin_->put_part(*put, std::string(8 * kMiB + 1, 'x'))), Code::invalid);
  EXPECT_TRUE(plugin_->put_part(*put, std::string(8 * kMiB, 'x')).ok());
  ASSERT_TRUE(plugin_->put_commit(*put).ok());
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 8 * kMiB + 1)), Code::invalid);
}

TEST_P(BackupSuite, ACancelledOrLateCallDoesNothing) {
  const int cancel = ::eventfd(1, EFD_CLOEXEC);
  const Circumstances cancelled{cancel, -1};
  const Circumstances late{-1, 1};
  EXPECT_EQ(code_of(plugin_->put_begin("a.zip", cancelled)), Code::cancelled);
  EXPECT_EQ(code_of(plugin_->put_begin("a.zip", late)), Code::deadline);
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(put.ok());
  ASSERT_TRUE(plugin_->put_part(*put, "first,").ok());
  EXPECT_EQ(code_of(plugin_->put_part(*put, "never,", cancelled)), Code::cancelled);
  EXPECT_EQ(code_of(plugin_->put_part(*put, "never,", late)), Code::deadline);
  ASSERT_TRUE(plugin_->put_part(*put, "second").ok());
  ASSERT_TRUE(plugin_->put_commit(*put).ok());
  EXPECT_EQ(*plugin_->read("a.zip", 0, 100), "first,second");
  const auto other = plugin_->put_begin("b.zip");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(code_of(plugin_->put_commit(*other, cancelled)), Code::cancelled);
  EXPECT_THAT(names_of(plugin_->list()), ElementsAre("a.zip"));
  ::close(cancel);
}

TEST_P(BackupSuite, ASinkThatStopsIsSuccess) {
  ASSERT_TRUE(plugin_->put("a", "x").ok());
  ASSERT_TRUE(plugin_->put("b", noise(6 * kMiB)).ok());
  int calls = 0;
  roost_sink sink{};
  sink.size = sizeof sink;
  sink.context = &calls;
  sink.emit = [](const roost_sink* self, const roost_record*) { return ++*static_cast<int*>(self->context); };
  PluginCall call = plugin_->make_call({});
  EXPECT_TRUE(call.run([&] { return plugin_->table().list(plugin_->get(), call.raw(), {}, {}, 10, &sink, call.error()); }).ok());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(
      call.run([&] { return plugin_->table().read(plugin_->get(), call.raw(), to_bytes("b"), 0, 6 * kMiB, &sink, call.error()); })
          .ok());
  EXPECT_EQ(calls, 2);
}

TEST_P(BackupSuite, ManyThreadsPutReadAndListAtOnce) {
  constexpr int kThreads = 8;
  std::atomic<int> wins{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string own = "own-" + std::to_string(t);
      const std::string data = noise(kMiB + static_cast<std::size_t>(t), static_cast<std::uint64_t>(t));
      EXPECT_TRUE(plugin_->put(own, data).ok());
      EXPECT_TRUE(*plugin_->read(own, 0, 2 * kMiB) == data);
      const Status shared = plugin_->put("shared", own);
      wins += shared.ok() ? 1 : 0;
      EXPECT_TRUE(shared.ok() || shared.error().code == Code::exists);
      EXPECT_TRUE(plugin_->list().ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wins, 1);
  EXPECT_EQ(names_of(plugin_->list()).size(), kThreads + 1u);
  if (GetParam().unfinished) {
    EXPECT_EQ(GetParam().unfinished(directory_.path()), 0u);
  }
}

// Runs `work` in a child, which must end by itself or by `kill_after_ready`.
template <class Work>
int in_child(Work work, bool kill_when_ready) {
  int ready[2];
  EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    work([&] {
      EXPECT_EQ(::write(ready[1], "x", 1), 1);
      ::pause();
    });
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  ::close(ready[1]);
  char byte = 0;
  if (kill_when_ready && ::read(ready[0], &byte, 1) == 1) ::kill(child, SIGKILL);
  ::close(ready[0]);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST_P(BackupSuite, AWriterThatIsKilledLeavesNothingVisibleAndTheNextOneCleansUp) {
  plugin_.reset();
  for (const bool some : {false, true}) {
    const int status = in_child(
        [&](const auto& wait) {
          const auto plugin = open();
          const auto put = plugin->put_begin("a.zip");
          if (some) {
            EXPECT_TRUE(plugin->put_part(*put, noise(3 * kMiB)).ok());
          }
          wait();
        },
        true);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  }
  plugin_ = open();
  EXPECT_THAT(names_of(plugin_->list()), ElementsAre());
  if (GetParam().unfinished) {
    EXPECT_GE(GetParam().unfinished(directory_.path()), 1u);
  }
  ASSERT_TRUE(plugin_->put("a.zip", "whole").ok());
  EXPECT_EQ(*plugin_->read("a.zip", 0, 100), "whole");
  if (GetParam().unfinished) {
    EXPECT_EQ(GetParam().unfinished(directory_.path()), 0u);
  }
}

TEST_P(BackupSuite, ABeginDoesNotDisturbALivingWriterOfTheSameName) {
  const auto first = plugin_->put_begin("a.zip");
  ASSERT_TRUE(first.ok());
  ASSERT_TRUE(plugin_->put_part(*first, "first").ok());
  const auto other = open();
  const auto second = other->put_begin("a.zip");
  ASSERT_TRUE(second.ok());
  ASSERT_TRUE(plugin_->put_commit(*first).ok());
  EXPECT_EQ(*plugin_->read("a.zip", 0, 100), "first");
  other->put_abort(*second);
}

// On a file system of 4 MiB where this process may mount one, else under a limit of the file size.
TEST_P(BackupSuiteOnDisk, AFullDiskIsExhaustedWithNumbersAndLeavesNothing) {
  plugin_.reset();
  const int status = in_child(
      [&](const auto&) {
        const std::string path = directory_.path();
        const bool mounted = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                             ::mount("none", path.c_str(), "tmpfs", 0, "size=4m") == 0;
        if (!mounted) {
          const rlimit limit{4 * kMiB, 4 * kMiB};
          ::signal(SIGXFSZ, SIG_IGN);
          EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
        }
        plugin_ = open();
        const Status full = plugin_->put("a.zip", noise(6 * kMiB));
        EXPECT_EQ(code_of(full), Code::exhausted);
        EXPECT_THAT(full.ok() ? "" : full.error().message, HasSubstr("bytes are free"));
        EXPECT_GT(full.ok() ? 0 : full.error().retry_after_ms, 0);
        expect_no_leftovers();
        EXPECT_TRUE(plugin_->put("b.zip", noise(2 * kMiB)).ok());  // the room was given back
      },
      false);
  EXPECT_EQ(status, 0);
}

std::size_t hidden_files(const std::string& directory) {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().filename().string().front() == '.') ++count;
  }
  return count;
}

const Quirks kDirectory{"directory", "backup-directory",
                        [](const std::string& directory) {
                          return Json::object({{"path", directory}});
                        },
                        hidden_files};

Quirks s3_quirks(const std::string& server) {
  return {server,
          "backup-s3",
          [server](const std::string&) { return s3_config(s3_server(server).endpoint(), make_bucket(s3_server(server))); },
          nullptr,
          s3_secrets(),
          s3_missing};
}

std::string label_of(const ::testing::TestParamInfo<Quirks>& tested) { return tested.param.label; }

INSTANTIATE_TEST_SUITE_P(Plugins, BackupSuite, ::testing::Values(kDirectory, s3_quirks("versitygw"), s3_quirks("moto")),
                         label_of);
INSTANTIATE_TEST_SUITE_P(Plugins, BackupSuiteOnDisk, ::testing::Values(kDirectory), label_of);

}  // namespace
}  // namespace roost::backup_test
