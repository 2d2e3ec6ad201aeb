// The tasks in the container that compute-kubernetes runs them in.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <chrono>
#include <thread>

#include "agent/backup_agent.hpp"

namespace roost::agent {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class BackupJob : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "a container's root needs root here";
    fs::create_directories(volume_ + "/private");
    write_text(volume_ + "/private/file", noise(3 << 20));
    write_text(volume_ + "/small", "mine");
    // Its user's, and nobody else's.
    for (const char* name : {"", "/private", "/private/file", "/small"}) {
      ASSERT_EQ(::lchown((volume_ + name).c_str(), kUser, kUser), 0);
      ASSERT_EQ(::chmod((volume_ + name).c_str(), fs::is_directory(volume_ + name) ? 0700 : 0600), 0);
    }
  }
  TaskRun job(const std::string& kind, const std::string& volume) {
    TaskRun run;
    run.kind = kind;
    run.volume = volume;
    run.as_job = true;
    return run;
  }

  static constexpr uid_t kUser = 12345;
  Agent agent_;
  std::string volume_ = agent_.dir() / "volume";
};

TEST_F(BackupJob, BackupVerifyAndRestoreAnswerInTheTerminationLog) {
  const auto saved = agent_.run(job("backup", volume_));
  ASSERT_TRUE(saved.succeeded()) << saved.document.dump() << agent_.output();
  EXPECT_EQ(saved.receipt().files, 3);
  EXPECT_TRUE(saved.receipt().skipped.empty());
  EXPECT_EQ(agent_.unfinished(), 0u);

  const auto verified = agent_.run(job("verify", ""));
  ASSERT_TRUE(verified.succeeded()) << verified.document.dump() << agent_.output();
  EXPECT_EQ(verified.receipt().archive_sha256, saved.receipt().archive_sha256);
  EXPECT_GT(verified.receipt().verified_at_us, 0);
  EXPECT_EQ(agent_.output(), "Backup completed for abcd1234\n");  // what the guide shows of its log

  const std::string fresh = agent_.dir() / "fresh";
  fs::create_directory(fresh);
  ASSERT_EQ(::lchown(fresh.c_str(), kUser, kUser), 0);
  const auto restored = agent_.run(job("restore", fresh));
  ASSERT_TRUE(restored.succeeded()) << restored.document.dump() << agent_.output();
  EXPECT_EQ(read_text(fresh + "/private/file"), read_text(volume_ + "/private/file"));
  struct stat info {};
  ASSERT_EQ(::stat((fresh + "/private/file").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kUser);
  EXPECT_EQ(info.st_mode & 07777u, 0600u);
}

TEST_F(BackupJob, ItNeedsEachOfItsCapabilities) {
  ASSERT_EQ(::chmod((volume_ + "/private").c_str(), 02770), 0);
  TaskRun backup = job("backup", volume_);
  backup.without = "CAP_DAC_READ_SEARCH";
  const auto blind = agent_.run(backup);
  EXPECT_FALSE(blind.succeeded() && blind.receipt().skipped.empty() && blind.receipt().files == 3) << blind.document.dump();
  fs::remove(agent_.stored());
  ASSERT_TRUE(agent_.run(job("backup", volume_)).succeeded()) << agent_.output();
  for (const char* without : {"", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID"}) {
    const std::string fresh = agent_.dir() / ("fresh" + std::string(without));
    fs::create_directory(fresh);
    ASSERT_EQ(::chmod(fresh.c_str(), 0755), 0);  // root's, as a new volume is
    TaskRun restore = job("restore", fresh);
    restore.without = without;
    restore.owner = kUser;
    const auto restored = agent_.run(restore);
    const auto is = [&](const std::string& name, mode_t mode) {
      struct stat info {};
      return ::stat((fresh + name).c_str(), &info) == 0 && info.st_uid == kUser && info.st_gid == kUser &&
             (info.st_mode & 07777u) == mode;
    };
    const bool whole = restored.succeeded() && is("", 02775) && is("/private", 02770) && is("/private/file", 0600);
    EXPECT_EQ(whole, std::string(without).empty()) << without << " " << restored.document.dump() << agent_.output();
  }
}

TEST_F(BackupJob, AFailureIsToldThereToo) {
  write_text(agent_.stored(), "not an archive");
  const auto failed = agent_.run(job("verify", ""));
  EXPECT_NE(failed.status, 0);
  EXPECT_EQ(failed.reason(), "Corrupt") << failed.document.dump() << agent_.output();
  EXPECT_THAT(agent_.output(), ::testing::Not(HasSubstr("completed")));
  write_text(agent_.stored(), "");
  ASSERT_EQ(::chmod(agent_.store().c_str(), 0500), 0);
  ASSERT_EQ(::lchown(agent_.store().c_str(), kUser, kUser), 0);  // a claim that does not belong to the task's user
  fs::remove(agent_.stored());
  const auto refused = agent_.run(job("backup", volume_));
  EXPECT_EQ(refused.reason(), "Unreadable") << refused.document.dump();
  EXPECT_THAT(refused.message(), HasSubstr(agent_.store()));
}

// The first process of a process namespace ignores what it does not handle.
TEST_F(BackupJob, SigtermEndsItThoughItIsTheFirstProcess) {
  for (int i = 0; i < 64; ++i) write_text(volume_ + "/noise-" + std::to_string(i), noise(1 << 20, static_cast<std::uint64_t>(i)));
  TaskRun run = job("backup", volume_);
  const pid_t outer = agent_.start(run);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (agent_.unfinished() == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  const std::string children = "/proc/" + std::to_string(outer) + "/task/" + std::to_string(outer) + "/children";
  const pid_t agent = static_cast<pid_t>(std::atoi(read_text(children).c_str()));
  ASSERT_GT(agent, 1);
  ::kill(agent, SIGTERM);
  const auto outcome = agent_.wait(outer);
  EXPECT_EQ(outcome.reason(), "Cancelled") << outcome.document.dump() << agent_.output();
  EXPECT_TRUE(fs::is_empty(agent_.store()));
}

}  // namespace
}  // namespace roost::agent
