// Restoring: nothing leaves the directory whatever the archive says, and a failure leaves a clear state.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "agent/backup_archives.hpp"
#include "agent/restore.hpp"
#include "agent/walk_beneath.hpp"

namespace roost::agent {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

Result<Receipt> extract(const std::string& bytes, const std::string& directory, const std::string& operation = "0badcafe") {
  MemorySource source(bytes);
  auto monitor = TaskMonitor::create("");
  const FdOwner root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return extract_archive(source, root.get(), operation, *monitor);
}

class BackupRestore : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directory(into_); }
  bool is_clean() { return fs::is_empty(into_); }

  TempDir dir_;
  std::string into_ = dir_ / "into";
};

TEST_F(BackupRestore, ALinkInThePlaceOfADirectoryIsNotFollowed) {
  const std::string outside = dir_ / "outside";
  fs::create_directory(outside);
  const std::string bytes = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_symlink(at("d", 0777), outside).ok());
    EXPECT_TRUE(writer.add_file(at("d/evil"), "evil", false).ok());
  });
  const auto result = extract(bytes, into_);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::data_loss);
  EXPECT_TRUE(fs::is_empty(outside));
}

TEST_F(BackupRestore, ALinkAndADirectoryOfOneNameDoNotMix) {
  const std::string outside = dir_ / "outside";
  fs::create_directory(outside);
  const std::string bytes = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_symlink(at("d", 0777), outside).ok());
    EXPECT_TRUE(writer.add_directory(at("d", 0755)).ok());
    EXPECT_TRUE(writer.add_file(at("d/evil"), "evil", false).ok());
  });
  EXPECT_FALSE(extract(bytes, into_).ok());
  EXPECT_TRUE(fs::is_empty(outside));
}

TEST_F(BackupRestore, PathsThatLeaveAreRefusedBeforeAnythingIsMade) {
  for (const char* path : {"../evil", "/tmp/evil", "a/../../evil", "..", "."}) {
    const std::string bytes =
        make_archive([&](ArchiveWriter& writer) { EXPECT_TRUE(writer.add_file(at(path), "evil", false).ok()); });
    const auto result = extract(bytes, into_);
    ASSERT_FALSE(result.ok()) << path;
    EXPECT_EQ(result.error().code, Code::data_loss) << path;
  }
  EXPECT_FALSE(fs::exists(dir_ / "evil"));
}

TEST_F(BackupRestore, AFileNamedTwiceIsRefused) {
  const std::string bytes = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_file(at("a"), "one", false).ok());
    EXPECT_TRUE(writer.add_file(at("a"), "two", false).ok());
  });
  EXPECT_EQ(extract(bytes, into_).error().code, Code::data_loss);
}

TEST_F(BackupRestore, ADirectoryThatIsNotEmptyStaysAsItIs) {
  write_text(into_ + "/mine", "precious");
  const std::string bytes = make_archive([&](ArchiveWriter& writer) { EXPECT_TRUE(writer.add_file(at("a"), "x", false).ok()); });
  const auto result = extract(bytes, into_);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, Code::exists);
  EXPECT_EQ(read_text(into_ + "/mine"), "precious");
  EXPECT_EQ(std::distance(fs::directory_iterator(into_), fs::directory_iterator()), 1);
}

TEST_F(BackupRestore, AnEmptyLostAndFoundIsNothing) {
  fs::create_directory(into_ + "/lost+found");
  const std::string bytes = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_directory(at("lost+found", 0700)).ok());
    EXPECT_TRUE(writer.add_file(at("a"), "x", false).ok());
  });
  const auto result = extract(bytes, into_);
  EXPECT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(read_text(into_ + "/a"), "x");
}

TEST_F(BackupRestore, AFailureIsMarkedAndTheSameOperationBeginsAgain) {
  const std::string sound = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_directory(at("d", 0500)).ok());
    EXPECT_TRUE(writer.add_file(at("d/a"), noise(1000), false).ok());
    EXPECT_TRUE(writer.add_file(at("d/b"), noise(1000, 2), false).ok());
  });
  std::string damaged = sound;
  damaged[damaged.find("d/b") + 100] ^= 1;
  ASSERT_EQ(extract(damaged, into_).error().code, Code::data_loss);
  EXPECT_TRUE(fs::exists(into_ + "/.roost-restore-0badcafe.incomplete"));
  EXPECT_TRUE(fs::exists(into_ + "/d/a"));
  EXPECT_EQ(extract(sound, into_, "11111111").error().code, Code::exists);  // another operation's ruins are not ours to clear
  const auto again = extract(sound, into_);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(read_text(into_ + "/d/b"), noise(1000, 2));
  EXPECT_EQ(std::distance(fs::directory_iterator(into_), fs::directory_iterator()), 1);
}

// As a user's own process and not as root, to whom no permission says no.
template <class Work>
void as_user(uid_t uid, Work work) {
  std::thread([&] {
    ASSERT_EQ(::syscall(SYS_setresuid, uid, uid, uid), 0);  // of this thread only: glibc's setresuid is for all of them
    work();
  }).join();
}

TEST_F(BackupRestore, WhatAFailedAttemptLeftIsClearedThoughItsOwnerMayNotWriteThere) {
  if (::geteuid() != 0) GTEST_SKIP() << "becoming another user needs root";
  ASSERT_EQ(::chown(dir_.path().c_str(), 12345, 12345), 0);
  ASSERT_EQ(::chown(into_.c_str(), 12345, 12345), 0);
  const std::string sound = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_directory(at("mod", 0555)).ok());
    EXPECT_TRUE(writer.add_directory(at("mod/inner", 0555)).ok());
    EXPECT_TRUE(writer.add_file(at("mod/inner/a"), noise(1000), false).ok());
    EXPECT_TRUE(writer.add_file(at("mod/b"), noise(1000), false).ok());
    EXPECT_TRUE(writer.add_directory(at("blind", 0600)).ok());
    EXPECT_TRUE(writer.add_file(at("blind/c"), noise(1000), false).ok());
    EXPECT_TRUE(writer.add_file(at("last"), noise(1000, 2), false).ok());
  });
  std::string damaged = sound;
  damaged[damaged.find("last") + 100] ^= 1;
  as_user(12345, [&] {
    ASSERT_EQ(extract(damaged, into_).error().code, Code::data_loss);
    const auto again = extract(sound, into_);
    ASSERT_TRUE(again.ok()) << again.error().message;
  });
  EXPECT_EQ(read_text(into_ + "/mod/inner/a"), noise(1000));
  EXPECT_EQ(read_text(into_ + "/last"), noise(1000, 2));
  struct stat status {};
  ASSERT_EQ(::stat((into_ + "/mod").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0555u);
}

TEST_F(BackupRestore, WhatAFailedAttemptLeftIsClearedHoweverDeepItIs) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const std::string sound = make_archive([&](ArchiveWriter& writer) {
    std::string path = "d";
    for (int i = 0; i < 300; ++i, path += "/d") EXPECT_TRUE(writer.add_directory(at(path, 0755)).ok());
    EXPECT_TRUE(writer.add_file(at("last"), noise(1000), false).ok());
  });
  std::string damaged = sound;
  damaged[damaged.find("last") + 100] ^= 1;
  ASSERT_EQ(extract(damaged, into_).error().code, Code::data_loss);
  const rlimit few{200, before.rlim_max};  // as another process begins
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  const auto again = extract(sound, into_);
  EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(read_text(into_ + "/last"), noise(1000));
}

TEST_F(BackupRestore, ZerosBecomeHolesAndTheBytesAreRight) {
  std::string contents(4 << 20, '\0');
  contents.replace(5000, 10, "0123456789");
  contents.replace((3 << 20) + 1, 3, "abc");
  const std::string bytes = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.begin_file(at("sparse"), contents.size()).ok());
    EXPECT_TRUE(writer.write_file(contents).ok());
    EXPECT_TRUE(writer.end_file(ArchiveWriter::Keep::entry).ok());
    EXPECT_TRUE(writer.add_file(at("zeros"), std::string(100'000, '\0'), false).ok());
  });
  ASSERT_TRUE(extract(bytes, into_).ok());
  EXPECT_TRUE(read_text(into_ + "/sparse") == contents);
  EXPECT_TRUE(read_text(into_ + "/zeros") == std::string(100'000, '\0'));
  struct stat status {};
  ASSERT_EQ(::stat((into_ + "/sparse").c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
}

// Of this thread only.
void drop_capability(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  ASSERT_EQ(::syscall(SYS_capget, &header, data), 0);
  for (std::uint32_t* set : {&data[0].effective, &data[0].permitted}) *set &= ~(1u << capability);
  ASSERT_EQ(::syscall(SYS_capset, &header, data), 0);
}

TEST_F(BackupRestore, SetgidComesBackAndIsCountedWhereTheKernelLeavesItOut) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving files away needs root";
  ASSERT_EQ(::chown(into_.c_str(), 12345, 12346), 0);
  const std::string less = dir_ / "less";
  fs::create_directory(less);
  ASSERT_EQ(::chown(less.c_str(), 12345, 12346), 0);
  const std::string bytes = make_archive([&](ArchiveWriter& writer) {
    EXPECT_TRUE(writer.add_directory(at("shared", 02770)).ok());
    EXPECT_TRUE(writer.add_directory(at("shared/all", 01777)).ok());
    EXPECT_TRUE(writer.add_file(at("shared/tool", 06755), "x", false).ok());
    EXPECT_TRUE(writer.add_file(at("shared/plain", 0640), "x", false).ok());
  });
  const auto mode = [](const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777u;
  };
  const auto whole = extract(bytes, into_);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  EXPECT_TRUE(whole->not_restored.empty());
  EXPECT_EQ(mode(into_ + "/shared"), 02770u);
  EXPECT_EQ(mode(into_ + "/shared/all"), 01777u);
  EXPECT_EQ(mode(into_ + "/shared/tool"), 06755u);
  std::thread([&] {
    drop_capability(CAP_FSETID);
    const auto result = extract(bytes, less);
    ASSERT_TRUE(result.ok()) << result.error().message;
    const std::vector<Skipped> lost{{"file", "permissions", 1, "shared/tool"}, {"directory", "permissions", 1, "shared"}};
    EXPECT_EQ(result->not_restored, lost);
    EXPECT_EQ(*receipt_from_json(to_json(*result)), *result);
  }).join();
  EXPECT_EQ(mode(less + "/shared"), 0770u);
  EXPECT_EQ(mode(less + "/shared/tool"), 04755u);
  EXPECT_EQ(mode(less + "/shared/plain"), 0640u);
}

TEST_F(BackupRestore, SetuidIsKeptForAUserAndDroppedForRoot) {
  const std::string bytes =
      make_archive([&](ArchiveWriter& writer) { EXPECT_TRUE(writer.add_file(at("tool", 04755), "x", false).ok()); });
  const auto mine = extract(bytes, into_);
  ASSERT_TRUE(mine.ok());
  const std::vector<Skipped> withheld{{"file", "permissions", 1, "tool"}};
  EXPECT_EQ(mine->not_restored, ::geteuid() == 0 ? withheld : std::vector<Skipped>());
  struct stat status {};
  ASSERT_EQ(::stat((into_ + "/tool").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, ::geteuid() == 0 ? 0755u : 04755u);
  if (::geteuid() != 0) GTEST_SKIP() << "giving files away needs root";
  const std::string users = dir_ / "users";
  fs::create_directory(users);
  ASSERT_EQ(::chown(users.c_str(), 12345, 12346), 0);
  const auto theirs = extract(bytes, users);
  ASSERT_TRUE(theirs.ok());
  EXPECT_TRUE(theirs->not_restored.empty());
  ASSERT_EQ(::stat((users + "/tool").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 04755u);
  EXPECT_EQ(status.st_uid, 12345u);
  EXPECT_EQ(status.st_gid, 12346u);
}

}  // namespace
}  // namespace roost::agent
