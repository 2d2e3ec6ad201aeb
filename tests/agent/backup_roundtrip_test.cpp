// A tree of everything odd goes through backup, verify and restore and comes back as it was.
#include <gmock/gmock.h>

#include "agent/backup_agent.hpp"
#include "agent/backup_odd_tree.hpp"
#include "agent/walk_beneath.hpp"

namespace roost::agent {
namespace {

namespace fs = std::filesystem;

TEST(BackupRoundTrip, AnOddTreeComesBackByteForByte) {
  Agent agent;
  const std::string volume = agent.dir() / "volume";
  make_odd_tree(volume);
  TaskRun backup;
  backup.volume = volume;
  const auto made = agent.run(backup);
  ASSERT_TRUE(made.succeeded()) << made.document.dump();
  const Receipt first = made.receipt();
  const auto before = snapshot(volume);
  EXPECT_EQ(first.files, static_cast<std::int64_t>(before.size()));
  EXPECT_EQ(first.verified_at_us, 0);
  std::map<std::string, std::int64_t> skipped;
  for (const Skipped& one : first.skipped) skipped[one.kind + " " + one.reason] += one.count;
  EXPECT_EQ(skipped, (std::map<std::string, std::int64_t>{{"fifo unsupported", 1}, {"socket unsupported", 2}}));

  const auto verified = agent.verify();
  ASSERT_TRUE(verified.succeeded()) << verified.document.dump();
  Receipt second = verified.receipt();
  EXPECT_GT(second.verified_at_us, 0);
  EXPECT_EQ(release_blocker(second, "0badcafe", "volume-1", false), "");
  second.verified_at_us = 0;
  EXPECT_EQ(second, first);

  const std::string into = agent.dir() / "into";
  fs::create_directory(into);
  const auto restored = agent.restore(into);
  ASSERT_TRUE(restored.succeeded()) << restored.document.dump();
  auto wanted = before;
  drop_setuid_for_root(wanted);
  expect_same_trees(wanted, snapshot(into));

  // The restored tree's own backup proves the same tree.
  TaskRun again = backup;
  again.volume = into;
  again.archive = "again.zip";
  const auto twice = agent.run(again);
  ASSERT_TRUE(twice.succeeded());
  EXPECT_EQ(twice.receipt().files, first.files);
  EXPECT_EQ(twice.receipt().bytes, first.bytes);
}

TEST(BackupRoundTrip, AnEmptyVolumeIsSavedAndSaysSo) {
  Agent agent;
  const std::string volume = agent.dir() / "volume";
  fs::create_directory(volume);
  TaskRun backup;
  backup.volume = volume;
  ASSERT_TRUE(agent.run(backup).succeeded());
  const auto verified = agent.verify();
  ASSERT_TRUE(verified.succeeded());
  EXPECT_TRUE(verified.receipt().empty_volume);
  EXPECT_EQ(release_blocker(verified.receipt(), "0badcafe", "volume-1", false), "");
  const std::string into = agent.dir() / "into";
  fs::create_directory(into);
  ASSERT_TRUE(agent.restore(into).succeeded());
  EXPECT_TRUE(fs::is_empty(into));
}

// 80 MiB that do not compress, 5,000 small files and 1,500 nested directories: in less than 64 MiB.
TEST(BackupRoundTrip, MemoryDoesNotGrowWithTheTree) {
  Agent agent;
  const std::string volume = agent.dir() / "volume";
  fs::create_directories(volume + "/many");
  const std::string piece = noise(1 << 20);
  std::ofstream large(volume + "/large", std::ios::binary);
  for (int i = 0; i < 80; ++i) large << piece;
  large.close();
  for (int i = 0; i < 5'000; ++i) write_text(volume + "/many/a-file-with-a-rather-long-name-" + std::to_string(i), "x");
  FdOwner level(::open(volume.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 1'500; ++i) {
    ASSERT_EQ(::mkdirat(level.get(), "a-directory-in-a-directory", 0755), 0);
    level = FdOwner(::openat(level.get(), "a-directory-in-a-directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  // A limit that the kernel enforces: what getrusage tells of a child begins with its parent's size.
  const std::string into = agent.dir() / "into";
  fs::create_directory(into);
  for (const char* kind : {"backup", "verify", "restore"}) {
    TaskRun run;
    run.kind = kind;
    run.volume = run.kind == "restore" ? into : volume;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // a sanitizer's memory is not the agent's
    run.before_exec = [] {
      const rlimit limit{64u << 20, 64u << 20};
      ::setrlimit(RLIMIT_DATA, &limit);
    };
#endif
    const auto outcome = agent.run(run);
    ASSERT_TRUE(outcome.succeeded()) << kind << ": " << outcome.document.dump();
    EXPECT_EQ(outcome.receipt().files, 1 + 1 + 5'000 + 1'500);
  }
}

}  // namespace
}  // namespace roost::agent
