// What is special to backup-directory.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <ctime>
#include <fstream>

#include "plugins/backup/backup_plugin.hpp"

namespace roost::backup_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

std::unique_ptr<BackupPlugin> open_at(const std::string& path, Json more = Json::object()) {
  more.set("path", path);
  auto opened = BackupPlugin::open("backup-directory", more);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? *std::move(opened) : nullptr;
}

void make_file(const std::string& path, int age_s) {
  std::ofstream(path) << "bytes";
  const std::time_t then = std::time(nullptr) - age_s;
  const timespec times[2] = {{then, 0}, {then, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

// From here on this thread reads no file from that place on: EIO, as of a disk.
bool break_the_disk(std::uint32_t from) {
  sock_filter lines[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                         BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pread64, 0, 3),
                         BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[3])),
                         BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, from, 0, 1),
                         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
                         BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog filter{sizeof lines / sizeof *lines, lines};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

// In children: what is broken stays so.
TEST(BackupDirectory, AnArchiveIsDamagedWhereOnePlaceCannotBeReadAndNotWhereTheDiskIsAway) {
  const TempDir dir;
  ASSERT_TRUE(open_at(dir.path())->put("a.zip", noise(3u << 20)).ok());
  ASSERT_TRUE(open_at(dir.path())->put("small.zip", "x").ok());
  struct Case {
    std::uint32_t from;
    const char* name;
    std::uint64_t offset;
    Code code;
  };
  for (const Case& one : {Case{2u << 20, "a.zip", 2u << 20, Code::data_loss}, Case{2u << 20, "a.zip", 1u << 20, Code{}},
                          Case{0, "a.zip", 1u << 20, Code::unavailable}, Case{0, "small.zip", 0, Code::unavailable}}) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto plugin = open_at(dir.path());
      if (!break_the_disk(one.from)) ::_exit(2);
      ::_exit(code_of(plugin->read(one.name, one.offset, 100)) == one.code ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << one.from << " " << one.name << " " << status;
  }
}

TEST(BackupDirectory, MakesItsDirectoryForNobodyElse) {
  const TempDir dir;
  const auto plugin = open_at(dir / "a/b");
  ASSERT_TRUE(plugin->put("x.zip", "data").ok());
  struct stat status {};
  ASSERT_EQ(::stat((dir / "a/b").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat((dir / "a/b/x.zip").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST(BackupDirectory, TheGroupReadsArchivesWhereThatIsSet) {
  const TempDir dir;
  const mode_t old = ::umask(077);  // as the agent has it
  const auto plugin = open_at(dir / "a", Json::object({{"group_readable", true}}));
  EXPECT_TRUE(plugin->put("x.zip", "data").ok());
  ::umask(old);
  struct stat status {};
  ASSERT_EQ(::stat((dir / "a/x.zip").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
  const Json described = *plugin->describe();  // a task must write them so as well
  EXPECT_TRUE(described["config"]["group_readable"].as_bool());
}

TEST(BackupDirectory, AClaimThatIsNotMountedIsNoticed) {
  const TempDir dir;
  const auto opened = BackupPlugin::open("backup-directory", Json::object({{"path", dir / "backups"}, {"claim", "backup-pvc"}}));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.error().code, Code::unavailable);
  EXPECT_THAT(opened.error().message, HasSubstr("backups"));
  EXPECT_FALSE(fs::exists(dir / "backups"));
}

TEST(BackupDirectory, DescribesAnAbsolutePathAndTheClaim) {
  const TempDir dir;
  fs::create_directory(dir.path() / "real");
  fs::create_symlink("real", dir.path() / "link");
  const auto plugin = open_at(dir / "link", Json::object({{"claim", "backup-pvc"}}));
  const Json described = *plugin->describe();
  const std::string real = fs::canonical(dir.path() / "real");
  EXPECT_EQ(described["config"]["path"].as_string(), real);
  EXPECT_FALSE(described["config"]["create"].as_bool(true));
  const Json& mount = described["mounts"].items().at(0);
  EXPECT_EQ(mount["path"].as_string(), real);
  EXPECT_TRUE(mount["writable"].as_bool());
  EXPECT_EQ(mount["claim"].as_string(), "backup-pvc");
}

TEST(BackupDirectory, OldUnfinishedFilesOfAnybodyAreRemovedUnlessTheirWriterLives) {
  const TempDir dir;
  const auto plugin = open_at(dir.path());
  make_file(dir / ".put-old.zip-0000000000000000-00000001", 2 * 86400);
  make_file(dir / ".put-young.zip-0000000000000000-00000001", 60);
  make_file(dir / ".put-locked.zip-0000000000000000-00000001", 2 * 86400);
  make_file(dir / ".other", 2 * 86400);
  const int locked = ::open((dir / ".put-locked.zip-0000000000000000-00000001").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::flock(locked, LOCK_EX), 0);
  ASSERT_TRUE(plugin->put("x.zip", "data").ok());
  EXPECT_FALSE(fs::exists(dir / ".put-old.zip-0000000000000000-00000001"));
  EXPECT_TRUE(fs::exists(dir / ".put-young.zip-0000000000000000-00000001"));
  EXPECT_TRUE(fs::exists(dir / ".put-locked.zip-0000000000000000-00000001"));
  EXPECT_TRUE(fs::exists(dir / ".other"));
  ::close(locked);
}

// The descriptor under which this process writes what is no archive yet; -1: none.
int unfinished() {
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code closed;
    if (fs::read_symlink(entry.path(), closed).string().find("/.put-") != std::string::npos)
      return std::stoi(entry.path().filename().string());
  }
  return -1;
}

TEST(BackupDirectory, APartThatTheDiskDidNotTakeIsGivenAgain) {
  const TempDir dir;
  const auto plugin = open_at(dir.path());
  roost_put* const put = *plugin->put_begin("x.zip");
  ASSERT_TRUE(plugin->put_part(put, "one ").ok());
  const int file = unfinished(), kept = ::dup(file), none = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  ASSERT_EQ(::dup2(none, file), file);  // a descriptor that takes nothing
  EXPECT_EQ(code_of(plugin->put_part(put, "two")), Code::unavailable);
  ASSERT_EQ(::dup2(kept, file), file);
  EXPECT_EQ(::pwrite(file, "tw and more", 11, 4), 11);  // as a write that was cut short
  EXPECT_TRUE(plugin->put_part(put, "two").ok());
  const auto committed = plugin->put_commit(put);
  ASSERT_TRUE(committed.ok()) << committed.error().message;
  EXPECT_EQ(*plugin->read("x.zip", 0, 100), "one two");
  ::close(kept);
  ::close(none);
}

TEST(BackupDirectory, APageIsFullThoughAnArchiveGoesWhileItIsListed) {
  const TempDir dir;
  const auto plugin = open_at(dir.path());
  for (const char* name : {"a", "b", "c", "d", "e"}) ASSERT_TRUE(plugin->put(name, "data").ok());
  struct Page {
    std::string gone;
    std::vector<std::string> names;
  } page{dir / "b", {}};
  roost_sink sink{};
  sink.size = sizeof sink;
  sink.context = &page;
  sink.emit = [](const roost_sink* self, const roost_record* record) -> std::int32_t {
    auto& to = *static_cast<Page*>(self->context);
    to.names.emplace_back(record->key.data, record->key.size);
    fs::remove(to.gone);
    return 0;
  };
  PluginCall call = plugin->make_call({});
  ASSERT_EQ(plugin->table().list(plugin->get(), call.raw(), {}, {}, 3, &sink, call.error()), ROOST_OK);
  EXPECT_THAT(page.names, ElementsAre("a", "c", "d")) << "one that is not full is taken for the last";
}

TEST(BackupDirectory, LinksAndDirectoriesAreNoArchives) {
  const TempDir dir;
  const auto plugin = open_at(dir.path());
  fs::create_symlink("/etc/passwd", dir.path() / "link");
  fs::create_directory(dir.path() / "folder");
  EXPECT_TRUE(plugin->list()->empty());
  EXPECT_EQ(code_of(plugin->read("link", 0, 10)), Code::not_found);
  EXPECT_EQ(code_of(plugin->read("folder", 0, 10)), Code::not_found);
  EXPECT_EQ(code_of(plugin->put("link", "data")), Code::exists);
  EXPECT_EQ(code_of(plugin->stat(".other")), Code::invalid);
}

}  // namespace
}  // namespace roost::backup_test
