// The tasks as compute starts them: kills, signals, full disks, lost answers, unreadable and changing files.
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "agent/backup_agent.hpp"

namespace roost::agent {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// Root without the right to read what permissions forbid: what an unprivileged task sees.
void drop_overrides() {
  for (const int capability : {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH}) ::prctl(PR_CAPBSET_DROP, capability);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  ::syscall(SYS_capget, &header, data);
  for (auto& part : data) part.inheritable = 0;
  data[0].effective &= ~((1u << CAP_DAC_OVERRIDE) | (1u << CAP_DAC_READ_SEARCH));
  data[0].permitted &= ~((1u << CAP_DAC_OVERRIDE) | (1u << CAP_DAC_READ_SEARCH));
  ::syscall(SYS_capset, &header, data);
}

template <class Condition>
bool wait_for(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

class BackupTask : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(volume_); }
  TaskRun backup(std::int64_t attempt = 1) {
    TaskRun run;
    run.volume = volume_;
    run.attempt = attempt;
    return run;
  }
  void fill(int mebibytes) {
    for (int i = 0; i < mebibytes; ++i)
      write_text(volume_ + "/file-" + std::to_string(i), noise(1 << 20, static_cast<std::uint64_t>(i)));
  }

  Agent agent_;
  std::string volume_ = agent_.dir() / "volume";
};

TEST_F(BackupTask, ALostAnswerIsFoundAgain) {
  write_text(volume_ + "/f", "x");
  const auto first = agent_.run(backup());
  ASSERT_TRUE(first.succeeded()) << first.document.dump();
  write_text(volume_ + "/f", "changed since");
  const auto again = agent_.run(backup(2));
  ASSERT_TRUE(again.succeeded()) << again.document.dump();
  EXPECT_EQ(again.receipt(), first.receipt());
  EXPECT_EQ(again.document["attempt"].as_int(), 2);
}

TEST_F(BackupTask, AnotherOperationsArchiveIsLeftAlone) {
  write_text(volume_ + "/f", "x");
  ASSERT_TRUE(agent_.run(backup()).succeeded());
  const std::string before = read_text(agent_.stored());
  TaskRun other = backup();
  other.operation = "11111111";
  const auto outcome = agent_.run(other);
  EXPECT_EQ(outcome.reason(), "Exists");
  EXPECT_NE(outcome.status, 0);
  EXPECT_TRUE(read_text(agent_.stored()) == before);
  write_text(agent_.stored("foreign.zip"), "not ours");
  other.archive = "foreign.zip";
  EXPECT_EQ(agent_.run(other).reason(), "Exists");
  EXPECT_EQ(read_text(agent_.stored("foreign.zip")), "not ours");
  EXPECT_EQ(agent_.unfinished(), 0u);
}

TEST_F(BackupTask, OwnDamagedArchiveIsMadeAgain) {
  write_text(volume_ + "/f", noise(1000));
  ASSERT_TRUE(agent_.run(backup()).succeeded());
  std::string bytes = read_text(agent_.stored());
  bytes[200] = static_cast<char>(bytes[200] ^ 1);
  write_text(agent_.stored(), bytes);
  EXPECT_EQ(agent_.verify().reason(), "Corrupt");
  ASSERT_TRUE(agent_.run(backup(2)).succeeded());
  EXPECT_TRUE(agent_.verify().succeeded());
}

TEST_F(BackupTask, WhatCannotBeReadIsCountedBlocksTheReleaseAndIsMadeGoodByAnotherAttempt) {
  write_text(volume_ + "/good", "x");
  write_text(volume_ + "/secret\nfile", "y");
  fs::create_directory(volume_ + "/closed");
  write_text(volume_ + "/closed/inside", "z");
  ASSERT_EQ(::chmod((volume_ + "/secret\nfile").c_str(), 0), 0);
  ASSERT_EQ(::chmod((volume_ + "/closed").c_str(), 0), 0);
  TaskRun run = backup();
  run.before_exec = drop_overrides;
  const auto outcome = agent_.run(run);
  ASSERT_TRUE(outcome.succeeded()) << outcome.document.dump();
  EXPECT_THAT(outcome.receipt().skipped, ::testing::UnorderedElementsAre(Skipped{"file", "unreadable", 1, "secret\\x0afile"},
                                                                         Skipped{"directory", "unreadable", 1, "closed"}));
  const auto verified = agent_.verify();
  ASSERT_TRUE(verified.succeeded());
  EXPECT_THAT(release_blocker(verified.receipt(), "0badcafe", "volume-1", false), HasSubstr("unreadable"));
  // An admin repaired the permissions: the same archive's name is made anew, whole.
  ASSERT_EQ(::chmod((volume_ + "/secret\nfile").c_str(), 0600), 0);
  ASSERT_EQ(::chmod((volume_ + "/closed").c_str(), 0700), 0);
  ASSERT_TRUE(agent_.run(backup(2)).succeeded());
  EXPECT_EQ(release_blocker(agent_.verify().receipt(), "0badcafe", "volume-1", false), "");
}

TEST_F(BackupTask, AFileThatChangesWhileItIsReadIsSkippedUnlessLive) {
  // As long as small files may be: so is the time in which a write falls into a reading. Several, for each of three readings must
  // be met, and the writer does not always have a core.
  constexpr int kSmall = 8, kFiles = kSmall + 2;
  write_text(volume_ + "/calm", noise(500'000));
  write_text(volume_ + "/large", noise(4 << 20));
  for (int i = 0; i < kSmall; ++i) write_text(volume_ + "/small" + std::to_string(i), noise(1 << 20));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::vector<int> files{::open((volume_ + "/large").c_str(), O_WRONLY | O_CLOEXEC)};
    for (int i = 0; i < kSmall; ++i)
      files.push_back(::open((volume_ + "/small" + std::to_string(i)).c_str(), O_WRONLY | O_CLOEXEC));
    for (char c = 0; !stop; ++c) {
      for (const int file : files) EXPECT_EQ(::pwrite(file, &c, 1, 500'000), 1);
    }
    for (const int file : files) ::close(file);
  });
  // The writer may be held up while a file is read, which is then rightly saved: until it was not.
  TaskRun run = backup();
  std::int64_t changed = 0;
  EXPECT_TRUE(wait_for([&] {
    run.archive = "archive-" + std::to_string(++run.attempt) + ".zip";
    const Receipt receipt = agent_.run(run).receipt();
    changed = 0;
    for (const Skipped& skipped : receipt.skipped)
      changed += skipped.kind + skipped.reason == "filechanged" ? skipped.count : 100;
    EXPECT_EQ(receipt.files + changed, kFiles);
    return changed >= 2 || HasFailure();  // the large one and a small one
  }));
  TaskRun live = backup();
  live.live = true;
  live.archive = "live.zip";
  const auto alive = agent_.run(live);
  stop = true;
  writer.join();
  EXPECT_GE(changed, 2);
  const auto skipping = agent_.verify(run.archive);
  ASSERT_TRUE(skipping.succeeded()) << skipping.document.dump();
  EXPECT_THAT(release_blocker(skipping.receipt(), "0badcafe", "volume-1", false), HasSubstr("changed"));
  ASSERT_TRUE(alive.succeeded()) << alive.document.dump();
  EXPECT_EQ(alive.receipt().files, kFiles);
  EXPECT_TRUE(alive.receipt().skipped.empty());
  const auto verified = agent_.verify("live.zip");
  ASSERT_TRUE(verified.succeeded()) << verified.document.dump();
  EXPECT_THAT(release_blocker(verified.receipt(), "0badcafe", "volume-1", false), HasSubstr("could write"));
}

TEST_F(BackupTask, FilesThatComeAndGoAndGrowDoNotHarmTheArchive) {
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const std::string name = volume_ + "/f" + std::to_string(i % 50);
      if (i % 3 == 0) fs::remove(name);
      if (i % 3 == 1) write_text(name, noise(static_cast<std::size_t>(i % 7) * 300'000));
      if (i % 3 == 2 && fs::exists(name)) ::truncate(name.c_str(), i % 1000) == 0 ? void() : void();
    }
  });
  for (int i = 0; i < 10; ++i) {
    TaskRun run = backup();
    run.archive = "a" + std::to_string(i) + ".zip";
    run.live = i % 2 == 0;
    const auto outcome = agent_.run(run);
    EXPECT_TRUE(outcome.succeeded()) << outcome.document.dump();
    const auto verified = agent_.verify(run.archive);
    EXPECT_TRUE(verified.succeeded()) << verified.document.dump();
  }
  stop = true;
  writer.join();
}

TEST_F(BackupTask, KilledAtAnyMomentNothingIsVisibleAndTheNextAttemptSucceeds) {
  fill(30);
  std::mt19937 random(20251115);
  TaskRun whole = backup();
  whole.archive = "measure.zip";
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(agent_.run(whole).succeeded());
  const auto duration = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun).count();
  fs::remove(agent_.stored("measure.zip"));
  std::int64_t attempt = 1;
  int killed = 0;
  for (; attempt <= 15; ++attempt) {
    const pid_t child = agent_.start(backup(attempt));
    std::this_thread::sleep_for(std::chrono::microseconds(random() % static_cast<unsigned>(duration)));
    ::kill(child, SIGKILL);
    const auto outcome = agent_.wait(child);
    killed += WIFSIGNALED(outcome.status) ? 1 : 0;
    // Whole or not there.
    if (fs::exists(agent_.stored())) {
      EXPECT_TRUE(agent_.verify().succeeded());
      fs::remove(agent_.stored());
    }
  }
  EXPECT_GT(killed, 0);
  const auto last = agent_.run(backup(attempt));
  ASSERT_TRUE(last.succeeded()) << last.document.dump();
  EXPECT_EQ(last.receipt().files, 30);
  EXPECT_TRUE(agent_.verify().succeeded());
  EXPECT_EQ(agent_.unfinished(), 0u);
}

TEST_F(BackupTask, SigtermEndsItCleanly) {
  fill(64);
  const pid_t child = agent_.start(backup());
  ASSERT_TRUE(wait_for([&] { return agent_.unfinished() > 0 || fs::exists(agent_.stored()); }));
  ::kill(child, SIGTERM);
  const auto outcome = agent_.wait(child);
  ASSERT_TRUE(WIFEXITED(outcome.status));
  EXPECT_EQ(WEXITSTATUS(outcome.status), 1);
  EXPECT_EQ(outcome.reason(), "Cancelled");
  EXPECT_TRUE(fs::is_empty(agent_.store()));
}

TEST_F(BackupTask, AFullDiskIsNoSpaceWithNumbersAndLeavesTheVolumeAndNothingElse) {
  fill(6);
  TaskRun run = backup();
  run.before_exec = [&] {
    const bool mounted = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         ::mount("none", agent_.store().c_str(), "tmpfs", 0, "size=4m") == 0;
    const rlimit limit{4 << 20, 4 << 20};
    if (!mounted) ::setrlimit(RLIMIT_FSIZE, &limit);
  };
  const auto outcome = agent_.run(run);
  EXPECT_EQ(outcome.reason(), "NoSpace") << outcome.document.dump();
  EXPECT_THAT(outcome.message(), HasSubstr("bytes are free"));
  EXPECT_TRUE(fs::is_empty(agent_.store()));
  EXPECT_TRUE(agent_.run(backup(2)).succeeded());
}

TEST_F(BackupTask, ProgressIsReportedWhileItWorksAndSaysHowMuchThereIs) {
  fill(64);
  const pid_t child = agent_.start(backup());
  Json progress;
  EXPECT_TRUE(wait_for([&] {
    const auto document = Json::parse(read_text(agent_.progress()));
    if (document.ok()) progress = *document;
    return progress["total_files"].as_int() > 0;
  }));
  EXPECT_EQ(progress["total_files"].as_int(), 64);
  EXPECT_EQ(progress["total_bytes"].as_int(), 64 << 20);
  EXPECT_LE(progress["files"].as_int(-1), 64);
  EXPECT_LE(progress["bytes"].as_int(-1), 64 << 20);
  EXPECT_TRUE(agent_.wait(child).succeeded());
}

// In a pod nobody sees the file: the line on its stdout is what is read.
TEST_F(BackupTask, AJobPrintsItsProgress) {
  write_text(volume_ + "/sparse", "");
  fs::resize_file(volume_ + "/sparse", std::uintmax_t{4} << 30);  // takes some seconds, and no room
  TaskRun run = backup();
  run.as_job = true;
  const auto outcome = agent_.run(run);
  ASSERT_TRUE(outcome.succeeded()) << outcome.document.dump() << agent_.output();
  const std::string output = agent_.output();
  Json last;
  for (std::size_t begin = 0, end; (end = output.find('\n', begin)) != std::string::npos; begin = end + 1) {
    const auto line = Json::parse(output.substr(begin, end - begin));
    ASSERT_TRUE(line.ok()) << output;
    last = *line;
  }
  EXPECT_EQ(last["total_files"].as_int(), 1) << output;
  EXPECT_EQ(last["total_bytes"].as_int(), std::int64_t{4} << 30) << output;
  EXPECT_GT(last["bytes"].as_int(), 0) << output;
}

TEST_F(BackupTask, WhatRoostignoreNamesIsLeftOutOnRequestOnlyAndCounted) {
  for (const char* directory : {"/node_modules/package", "/src/build", "/build"}) fs::create_directories(volume_ + directory);
  for (const char* file :
       {"/node_modules/package/index.js", "/src/main.c", "/src/build/main.o", "/build/out", "/a.log", "/keep.log"})
    write_text(volume_ + file, file);
  write_text(volume_ + "/.roostignore", "# not worth the room\nnode_modules/\n/build\n*.log\n!keep.log\n");
  TaskRun run = backup();
  run.archive = "less.zip";
  run.live = true;
  run.exclusions = true;
  const auto less = agent_.run(run);
  ASSERT_TRUE(less.succeeded()) << less.document.dump();
  EXPECT_TRUE(less.receipt().exclusions);
  EXPECT_THAT(less.receipt().skipped,
              ::testing::UnorderedElementsAre(Field(&Skipped::kind, "directory"), Skipped{"file", "excluded", 1, "a.log"}));
  const auto verified = agent_.verify("less.zip");
  ASSERT_TRUE(verified.succeeded()) << verified.document.dump();
  Receipt receipt = verified.receipt();
  EXPECT_TRUE(receipt.exclusions);
  receipt.live = false;
  EXPECT_THAT(release_blocker(receipt, "0badcafe", "volume-1", true), HasSubstr("left files out on request"));
  const std::string into = agent_.dir() / "into";
  fs::create_directory(into);
  ASSERT_TRUE(agent_.restore(into, "less.zip").succeeded());
  auto wanted = snapshot(volume_);
  for (const char* gone :
       {"node_modules", "node_modules/package", "node_modules/package/index.js", "build", "build/out", "a.log"})
    EXPECT_EQ(wanted.erase(gone), 1u) << gone;
  expect_same_trees(wanted, snapshot(into));

  // Nobody asked, as with a delete: everything is saved.
  ASSERT_TRUE(agent_.run(backup()).succeeded());
  const Receipt all = agent_.verify().receipt();
  EXPECT_FALSE(all.exclusions);
  EXPECT_TRUE(all.skipped.empty());
  EXPECT_EQ(release_blocker(all, "0badcafe", "volume-1", false), "");
}

TEST_F(BackupTask, ARoostignoreThatCannotBeUnderstoodLeavesNothingOut) {
  write_text(volume_ + "/f", "x");
  write_text(volume_ + "/.roostignore", "*\n" + std::string(100'000, 'x'));
  TaskRun run = backup();
  run.exclusions = true;
  const auto outcome = agent_.run(run);
  ASSERT_TRUE(outcome.succeeded()) << outcome.document.dump();
  EXPECT_EQ(outcome.receipt().files, 2);
  EXPECT_FALSE(outcome.receipt().exclusions) << "it is a whole one";
  EXPECT_THAT(agent_.output(), HasSubstr(".roostignore: it is larger"));
}

TEST_F(BackupTask, WithoutARoostignoreABackupIsAWholeOneThoughItWasToHonourOne) {
  write_text(volume_ + "/f", "x");
  TaskRun run = backup();
  run.exclusions = true;
  const auto outcome = agent_.run(run);
  ASSERT_TRUE(outcome.succeeded()) << outcome.document.dump();
  EXPECT_FALSE(outcome.receipt().exclusions);
  EXPECT_FALSE(agent_.verify().receipt().exclusions);
}

TEST_F(BackupTask, TheResultStaysWithin4096Bytes) {
  // Every kind that can be skipped, under names that need escaping.
  const std::string name(60, '\xff');
  for (const char* kind : {"a", "b", "c"}) {
    write_text(volume_ + "/" + kind + name, "x");
    ASSERT_EQ(::chmod((volume_ + "/" + kind + name).c_str(), 0), 0);
  }
  ASSERT_EQ(::mkfifo((volume_ + "/fifo" + name).c_str(), 0600), 0);
  ASSERT_EQ(::mknod((volume_ + "/socket" + name).c_str(), S_IFSOCK | 0600, 0), 0);
  TaskRun run = backup();
  run.before_exec = drop_overrides;
  const auto outcome = agent_.run(run);
  ASSERT_TRUE(outcome.succeeded());
  EXPECT_LE(outcome.document_bytes, 4096u);
  Receipt receipt = outcome.receipt();
  EXPECT_EQ(receipt.skipped.size(), 3u);
  receipt.skipped.clear();
  for (const char* kind : {"file", "directory", "symlink", "socket", "fifo", "device", "hardlink"}) {
    for (const char* reason : {"unreadable", "changed", "vanished", "unsupported"}) {
      receipt.skipped.push_back(Skipped{kind, reason, 9'000'000'000'000'000'000, std::string(80, '\\')});
    }
  }
  EXPECT_LE(task_document(TaskSpec(), receipt).size(), 4096u);
  const std::string failed = task_document(TaskSpec(), Error{Code::data_loss, std::string(100'000, '\n'), 0});
  EXPECT_LE(failed.size(), 4096u);
  EXPECT_EQ((*Json::parse(failed))["reason"].as_string(), "Corrupt");
}

TEST_F(BackupTask, AWrongSpecificationIsToldApart) {
  write_text(volume_ + "/f", "x");
  TaskRun wrong = backup();
  wrong.operation = "../../etc";
  EXPECT_EQ(agent_.run(wrong).reason(), "InvalidTask");
  wrong = backup();
  wrong.archive = "../escape.zip";
  EXPECT_EQ(agent_.run(wrong).reason(), "InvalidTask");
  wrong = backup();
  wrong.volume = "";
  EXPECT_EQ(agent_.run(wrong).reason(), "InvalidTask");
  wrong = backup();
  wrong.volume = volume_ + "/f";
  EXPECT_EQ(agent_.run(wrong).reason(), "Unreadable");
  EXPECT_EQ(agent_.verify("missing.zip").reason(), "NotFound");
  EXPECT_TRUE(fs::is_empty(agent_.store()));
}

TEST_F(BackupTask, AnArchiveUnderAWrongNameIsNotVerified) {
  write_text(volume_ + "/f", "x");
  ASSERT_TRUE(agent_.run(backup()).succeeded());
  fs::copy_file(agent_.stored(), agent_.stored("other.zip"));
  const auto outcome = agent_.verify("other.zip");
  EXPECT_EQ(outcome.reason(), "InvalidTask");
  EXPECT_THAT(outcome.message(), HasSubstr(TaskRun().archive));
}

}  // namespace
}  // namespace roost::agent
