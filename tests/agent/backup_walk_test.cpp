// The walk through a tree that somebody changes underneath.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "agent/backup_archives.hpp"
#include "agent/walk.hpp"
#include "agent/walk_beneath.hpp"

namespace roost::agent {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace fs = std::filesystem;

// Reads what it is shown, as a backup does.
class Collecting final : public TreeVisitor {
 public:
  Status directory(const std::string& path, const struct stat&) override {
    directories.insert(path);
    return {};
  }
  Status file(const std::string& path, const DirectoryRef& parent, const struct stat&) override {
    if (on_file) on_file(path);
    const FdOwner file(open_beneath(parent->get(), base_name(path), O_RDONLY | O_NONBLOCK));
    std::string text(100, '\0');
    const ssize_t got = file ? ::read(file.get(), text.data(), text.size()) : 0;
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    files[path] = text;
    return {};
  }
  Status symlink(const std::string& path, const std::string& target, const struct stat&) override {
    links[path] = target;
    return {};
  }
  Status skipped(const char* kind, const char* reason, const std::string& path) override {
    skips.push_back(std::string(kind) + " " + reason + " " + path);
    return {};
  }

  std::function<void(const std::string&)> on_file;
  std::set<std::string> directories;
  std::map<std::string, std::string> files;
  std::map<std::string, std::string> links;
  std::vector<std::string> skips;
};

Collecting walk_through(const std::string& path, const WalkOptions& options = {},
                        std::function<void(const std::string&)> on_file = {}) {
  Collecting seen;
  seen.on_file = std::move(on_file);
  const FdOwner root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const Status status = walk(root.get(), options, seen);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return seen;
}

TEST(BackupWalk, SeesEverythingOnce) {
  const TempDir dir;
  fs::create_directories(dir / "a/b/c");
  fs::create_directories(dir / "a/empty");
  for (int i = 0; i < 500; ++i) write_text(dir / ("a/b/file-with-a-long-name-" + std::to_string(i)), "x");
  write_text(dir / "top", "x");
  fs::create_symlink("../nowhere", dir.path() + "/a/link");
  const Collecting seen = walk_through(dir.path());
  EXPECT_THAT(seen.directories, ElementsAre("a", "a/b", "a/b/c", "a/empty"));
  EXPECT_EQ(seen.files.size(), 501u);
  EXPECT_EQ(seen.links.at("a/link"), "../nowhere");
  EXPECT_THAT(seen.skips, IsEmpty());
}

// A thread exchanges a directory for a link to one outside, and a file for a link to a file outside, all the while.
TEST(BackupWalk, NothingOutsideIsEverReadWhileLinksAreSwappedIn) {
  const TempDir dir;
  const std::string secret = "a secret of the host";
  fs::create_directories(dir / "outside");
  write_text(dir / "outside/file", secret);
  fs::create_directories(dir / "tree");
  fs::create_directories(dir / "tree/d");
  write_text(dir / "tree/d/file", "the user's");
  write_text(dir / "tree/f", "the user's");
  fs::create_symlink(dir / "outside", dir / "tree/d-link");
  fs::create_symlink(dir / "outside/file", dir / "tree/f-link");
  std::atomic<bool> stop{false};
  std::atomic<long> swaps{0};
  std::thread swapper([&] {
    const FdOwner tree(::open((dir / "tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (!stop) {
      ::syscall(SYS_renameat2, tree.get(), "d", tree.get(), "d-link", RENAME_EXCHANGE);
      ::syscall(SYS_renameat2, tree.get(), "f", tree.get(), "f-link", RENAME_EXCHANGE);
      ++swaps;
    }
  });
  long wrong = 0;
  long read = 0;
  WalkOptions live;
  live.live = true;
  for (int i = 0; i < 3000 || swaps < 3000; ++i) {
    for (const auto& [path, text] : walk_through(dir / "tree", live).files) {
      wrong += text == secret ? 1 : 0;
      read += text == "the user's" ? 1 : 0;
    }
  }
  stop = true;
  swapper.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(read, 0);
}

TEST(BackupWalk, WhatVanishesIsToldAndDoesNotEndTheWalk) {
  const TempDir dir;
  for (int i = 0; i < 50; ++i) fs::create_directories(dir / ("d" + std::to_string(i) + "/inner"));
  write_text(dir / "f", "x");
  const Collecting seen = walk_through(dir.path(), {}, [&](const std::string&) {
    for (int i = 0; i < 50; ++i) fs::remove_all(dir / ("d" + std::to_string(i)));
  });
  EXPECT_EQ(seen.files.size(), 1u);
  EXPECT_THAT(seen.skips, Contains("directory changed "));
}

TEST(BackupWalk, ADirectoryThatChangesWhileItIsListedIsALossUnlessLive) {
  const TempDir dir;
  fs::create_directories(dir / "d");
  write_text(dir / "d/f", "x");
  const auto add = [&](const std::string&) { write_text(dir / ("d/new-" + std::to_string(::random())), "y"); };
  EXPECT_THAT(walk_through(dir.path(), {}, add).skips, ElementsAre("directory changed d"));
  WalkOptions live;
  live.live = true;
  EXPECT_THAT(walk_through(dir.path(), live, add).skips, IsEmpty());
}

TEST(BackupWalk, PathsLongerThanPathMaxAreFollowed) {
  const TempDir dir;
  const std::string name(200, 'n');
  FdOwner at_level(::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(::mkdirat(at_level.get(), name.c_str(), 0755), 0);
    at_level = FdOwner(::openat(at_level.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  const FdOwner file(::openat(at_level.get(), "bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(::write(file.get(), "deep", 4), 4);
  const Collecting seen = walk_through(dir.path());
  ASSERT_EQ(seen.files.size(), 1u);
  EXPECT_EQ(seen.files.begin()->second, "deep");
  EXPECT_EQ(seen.files.begin()->first.size(), 100 * 201 + 6u);
  WalkOptions shorter;
  shorter.path_max = 1000;
  EXPECT_EQ(walk_through(dir.path(), shorter).skips.size(), 1u);
  WalkOptions shallower;
  shallower.depth_max = 10;
  EXPECT_EQ(walk_through(dir.path(), shallower).skips.size(), 1u);
}

TEST(BackupWalk, SpecialFilesAreToldAndNeverOpened) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0644), 0);
  ASSERT_EQ(::mknod((dir / "socket").c_str(), S_IFSOCK | 0644, 0), 0);
  const Collecting seen = walk_through(dir.path());  // opening the fifo would wait for a writer for ever
  EXPECT_THAT(seen.skips, ::testing::UnorderedElementsAre("fifo unsupported fifo", "socket unsupported socket"));
}

TEST(BackupWalk, AnotherMountIsNotEntered) {
  const TempDir dir;
  fs::create_directories(dir / "inner");
  const pid_t child = ::fork();
  if (child == 0) {
    const bool mounted = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         ::mount("none", (dir / "inner").c_str(), "tmpfs", 0, "size=1m") == 0;
    if (!mounted) ::_exit(77);
    write_text(dir / "inner/foreign", "x");
    const Collecting seen = walk_through(dir.path());
    ::_exit(seen.files.empty() && seen.skips == std::vector<std::string>{"directory unsupported inner"} ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "this process may not mount";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace roost::agent
