#include "telemetry/audit.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "telemetry/log.hpp"

namespace roost::telemetry {
namespace {

namespace fs = std::filesystem;

class AuditTest : public testing::Test {
 protected:
  AuditTest() {
    std::string pattern = (fs::temp_directory_path() / "roost-audit-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    options_.path = directory_ / "audit.log";
  }
  ~AuditTest() override { fs::remove_all(directory_); }

  std::unique_ptr<Audit> open() {
    auto audit = Audit::open(options_, system_clock());
    EXPECT_TRUE(audit.ok()) << audit.error().message;
    return std::move(audit).value();
  }
  static std::string read(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static AuditEntry entry(const std::string& target) {
    return {"guide", "session.delete", target, "done", Json::object({{"backup", "b1"}})};
  }

  fs::path directory_;
  Audit::Options options_;
};

TEST_F(AuditTest, Every_entry_is_one_line_of_json_in_a_file_only_its_owner_reads) {
  const auto audit = open();
  ASSERT_TRUE(audit->record(entry("abc12345"), Durability::durable).ok());
  ASSERT_TRUE(audit->record({"a\nb", "x", "", "refused", {}}, Durability::buffered).ok());
  std::ifstream in(options_.path);
  std::string line;
  std::vector<Json> lines;
  while (std::getline(in, line)) {
    auto parsed = Json::parse(line);
    ASSERT_TRUE(parsed.ok()) << line;
    lines.push_back(*parsed);
  }
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["target"].as_string(), "abc12345");
  EXPECT_EQ(lines[0]["details"]["backup"].as_string(), "b1");
  EXPECT_EQ(lines[1]["actor"].as_string(), "a\nb");
  struct stat info {};
  ASSERT_EQ(::stat(options_.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(AuditTest, It_is_appended_to_after_a_restart_and_a_torn_line_is_ended) {
  (void)open()->record(entry("one"), Durability::durable);
  std::ofstream(options_.path, std::ios::app) << "{\"torn\":";
  (void)open()->record(entry("two"), Durability::durable);
  const std::string text = read(options_.path);
  EXPECT_NE(text.find("\"one\""), std::string::npos);
  EXPECT_NE(text.find("{\"torn\":\n{\"time\""), std::string::npos) << text;
}

TEST_F(AuditTest, It_is_rotated_by_size_and_keeps_so_many_files) {
  options_.file_bytes = 400;
  options_.files = 2;
  const auto audit = open();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(audit->record(entry("n" + std::to_string(i)), Durability::buffered).ok());
  EXPECT_NE(read(options_.path).find("\"n19\""), std::string::npos);
  EXPECT_TRUE(fs::exists(options_.path + ".1"));
  EXPECT_TRUE(fs::exists(options_.path + ".2"));
  EXPECT_FALSE(fs::exists(options_.path + ".3"));
  EXPECT_LE(fs::file_size(options_.path + ".1"), 400u);
}

TEST_F(AuditTest, A_secret_does_not_reach_the_file) {
  log::register_secrets({"very-secret-key"});
  const auto audit = open();
  ASSERT_TRUE(
      audit->record({"very-secret-key", "x", "", "", Json::object({{"k", "very-secret-key"}})}, Durability::buffered).ok());
  EXPECT_EQ(read(options_.path).find("very-secret"), std::string::npos);
}

// In a child: the limit and its signal are the process's.
TEST_F(AuditTest, A_full_disk_is_said_and_leaves_no_half_line) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{300, 300};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    auto audit = Audit::open(options_, system_clock());
    Status last;
    for (int i = 0; audit.ok() && i < 10 && last.ok(); ++i)
      last = (*audit)->record(entry("n" + std::to_string(i)), Durability::durable);
    ::_exit(!last.ok() && last.error().code == Code::exhausted ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  const std::string text = read(options_.path);
  ASSERT_FALSE(text.empty());
  EXPECT_EQ(text.back(), '\n');
}

TEST_F(AuditTest, A_directory_that_is_missing_is_refused) {
  options_.path = directory_ / "none/audit.log";
  EXPECT_FALSE(Audit::open(options_, system_clock()).ok());
}

}  // namespace
}  // namespace roost::telemetry
