// A tree of everything odd goes through backup, verify and restore and comes back as it was.
#include <gmock/gmock.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

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

// docs/backup-format.md, "What is kept", row by row; what its other rows say of contents, names, modes and times is proven above.
TEST(BackupRoundTrip, WhatIsKeptAndWhatIsNotIsWhatTheTableSays) {
  Agent agent;
  const std::string volume = agent.dir() / "volume";
  make_odd_tree(volume);
  const std::string deep = volume + "/" + std::string(200, 'd') + "/" + std::string(200, 'e') + "/" + std::string(255, 'f');
  fs::create_directories(deep);
  write_text(deep + "/bottom", "deep");
  const bool attribute = ::setxattr((volume + "/sizes/one").c_str(), "user.note", "x", 1, 0) == 0;
  const bool device = ::mknod((volume + "/special/device").c_str(), S_IFCHR | 0600, makedev(1, 3)) == 0;
  const FdOwner sparse(::open((volume + "/sizes/holes").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::pwrite(sparse.get(), "end", 3, 64 << 20), 3);
  TaskRun backup;
  backup.volume = volume;
  const auto made = agent.run(backup);
  ASSERT_TRUE(made.succeeded()) << made.document.dump();
  std::map<std::string, std::int64_t> skipped;
  for (const Skipped& one : made.receipt().skipped) skipped[one.kind + " " + one.reason] += one.count;
  std::map<std::string, std::int64_t> wanted{{"fifo unsupported", 1}, {"socket unsupported", 2}};
  if (device) wanted["device unsupported"] = 1;
  EXPECT_EQ(skipped, wanted);
  EXPECT_LT(made.receipt().archive_bytes, 20 << 20) << "holes do not deflate";

  const std::string into = agent.dir() / "into";
  fs::create_directory(into);
  const uid_t owner = ::geteuid() == 0 ? 12345 : ::geteuid();
  ASSERT_EQ(::chown(into.c_str(), owner, static_cast<gid_t>(-1)), 0);
  ASSERT_TRUE(agent.restore(into).succeeded());
  const auto look = [&](const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::lstat((into + "/" + path).c_str(), &status), 0) << path;
    return status;
  };
  const struct stat holes = look("sizes/holes");
  EXPECT_EQ(holes.st_size, (64 << 20) + 3);
  EXPECT_LT(holes.st_blocks * 512, 1 << 20) << "sparse files become sparse again";
  const struct stat hard = look("links/hard");
  EXPECT_NE(hard.st_ino, look("links/target").st_ino) << "hard links become files of their own";
  EXPECT_EQ(hard.st_nlink, 1u);
  EXPECT_EQ(read_text(into + "/links/hard"), read_text(volume + "/links/target"));
  EXPECT_EQ(hard.st_uid, owner) << "everything belongs to the owner of the directory";
  EXPECT_EQ(look("links/dangling").st_uid, owner);
  EXPECT_EQ(look("dirs/empty").st_uid, owner);
  EXPECT_EQ(read_text(into + deep.substr(volume.size()) + "/bottom"), "deep");
  char note = 0;
  if (attribute) {
    EXPECT_EQ(::getxattr((into + "/sizes/one").c_str(), "user.note", &note, 1), -1) << "extended attributes are not kept";
  }
  for (const char* gone : {"special/fifo", "special/socket-1", "special/device"})
    EXPECT_FALSE(fs::exists(into + "/" + gone)) << gone;
}

// Its sizes need ZIP64 in the data descriptor and in the central directory.
TEST(BackupRoundTrip, AFileBeyondFourGigabytesIsSavedProvenAndListed) {
  Agent agent;
  const std::string volume = agent.dir() / "volume";
  fs::create_directory(volume);
  constexpr std::int64_t kSize = (std::int64_t{4} << 30) + 3;
  const FdOwner file(::open((volume + "/huge").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::pwrite(file.get(), "end", 3, kSize - 3), 3);
  TaskRun backup;
  backup.volume = volume;
  const auto made = agent.run(backup);
  ASSERT_TRUE(made.succeeded()) << made.document.dump();
  EXPECT_EQ(made.receipt().bytes, kSize);
  const auto verified = agent.verify();
  ASSERT_TRUE(verified.succeeded()) << verified.document.dump();
  EXPECT_EQ(verified.receipt().bytes, kSize);
  const std::string size = std::to_string(kSize);
  for (const std::string& list : {"unzip -lqq '" + agent.stored() + "' huge", "7z l '" + agent.stored() + "' huge",
                                  "python3 -m zipfile -l '" + agent.stored() + "'"}) {
    if (std::system(("command -v " + list.substr(0, list.find(' ')) + " >/dev/null").c_str()) != 0) continue;
    EXPECT_EQ(std::system((list + " | grep -q " + size).c_str()), 0) << list;
  }
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
