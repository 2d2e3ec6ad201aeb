#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <random>
#include <sstream>

#include "plugins/store/suite.hpp"

namespace roost::store_suite {
namespace {

struct Acknowledged {
  std::string log_key;
  std::uint64_t revision = 0;
};

// Runs the writer until it acknowledged so many commits, kills it at once, and reads the rest of what it said.
std::map<std::string, Acknowledged> run_and_kill(const std::string& plugin, const std::string& directory, int round,
                                                 int commits) {
  int pipe[2];
  EXPECT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], 1);
    const std::string program = std::string(ROOST_BINARY_DIR) + "/bin/store_suite_writer";
    ::execl(program.c_str(), program.c_str(), plugin.c_str(), directory.c_str(), std::to_string(round).c_str(), nullptr);
    ::_exit(9);
  }
  ::close(pipe[1]);
  std::string text;
  char buffer[4096];
  bool killed = false;
  for (ssize_t got = 0; (got = ::read(pipe[0], buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(got));
    if (killed || std::count(text.begin(), text.end(), '\n') < commits) continue;
    ::kill(child, SIGKILL);
    killed = true;
  }
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself: " << WEXITSTATUS(status);
  std::map<std::string, Acknowledged> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line) && !in.eof();) {
    std::istringstream fields(line);
    std::string key;
    Acknowledged acknowledged;
    fields >> key >> acknowledged.log_key >> acknowledged.revision;
    out[key] = acknowledged;
  }
  return out;
}

TEST_P(StoreSuite, Nothing_acknowledged_is_lost_by_a_kill_and_nothing_is_half_done) {
  store_.reset();
  std::mt19937 random(12345);
  std::map<std::string, Acknowledged> all;
  for (int round = 0; round < GetParam().crash_rounds; ++round) {
    const int commits = 20 + static_cast<int>(random() % 150);
    const auto acknowledged = run_and_kill(GetParam().plugin, directory_.path().string(), round, commits);
    EXPECT_GE(acknowledged.size(), 20u);
    all.insert(acknowledged.begin(), acknowledged.end());
    reopen();
    for (const auto& [key, was] : all) {
      const auto document = store_->get("p", "doc/" + key);
      ASSERT_TRUE(document.ok()) << "round " << round << ": " << key << " was acknowledged and is gone";
      EXPECT_EQ(document->value, key);
      EXPECT_EQ(document->revision, was.revision);
      EXPECT_EQ(value("p", was.log_key), key);
    }
    for (int t = 0; t < 4; ++t) {
      const std::string pair = "pair" + std::to_string(t);
      EXPECT_EQ(value("p", pair + "/a"), value("p", pair + "/b"));
    }
    // Of commits that were not acknowledged, each is whole or absent: as many documents as entries of the log.
    EXPECT_EQ(store_->count("p", "doc/").value_or(0), store_->count("p", "log/").value_or(1));
    const Document next = done("p", append("log/", "after"));  // the sequence goes on behind everything
    for (const auto& [key, was] : all) EXPECT_LT(was.log_key, next.key);
    (void)done("p", remove(next.key));
    store_.reset();
  }
}

}  // namespace
}  // namespace roost::store_suite
