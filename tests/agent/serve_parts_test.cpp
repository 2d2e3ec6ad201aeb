#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "agent/sandbox.hpp"
#include "agent/serve_handover.hpp"
#include "agent/serve_log.hpp"
#include "agent/serve_spec.hpp"

namespace roost::agent {
namespace {

namespace fs = std::filesystem;

class ServeParts : public testing::Test {
 protected:
  ServeParts() {
    std::string pattern = (fs::temp_directory_path() / "rs-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ServeParts() override { fs::remove_all(path_); }
  [[nodiscard]] std::string text(const std::string& name) const { return read_file(path_ + "/" + name, 8 << 20).value_or(""); }
  std::string path_;
};

TEST_F(ServeParts, TheLogIsBoundedAndItsEndIsKnown) {
  Loop loop;
  LogSink log(loop, path_ + "/log", 10'000);
  auto output = log.open();
  ASSERT_TRUE(output.ok());
  for (int i = 0; i < 1000; ++i) {
    const std::string line = "line " + std::to_string(i) + " of a workload that talks a lot\n";
    ASSERT_EQ(::write(output->get(), line.data(), line.size()), static_cast<ssize_t>(line.size()));
    log.drain();
  }
  EXPECT_LE(text("log").size(), 10'000u);
  EXPECT_LE(text("log.1").size(), 10'000u);
  EXPECT_TRUE(text("log").ends_with("line 999 of a workload that talks a lot\n"));
  EXPECT_EQ(log.last_line(), "line 999 of a workload that talks a lot");
}

std::string read_what_is_there(int fd) {
  std::string all;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(fd, buffer, sizeof buffer)) > 0;) all.append(buffer, static_cast<std::size_t>(n));
  return all;
}

// In a child, whose output it is.
TEST_F(ServeParts, OutputThatNobodyReadsHoldsNobodyUpAndIsCounted) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);  // for one that waits for ever
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0 || ::dup2(pipe[1], STDOUT_FILENO) < 0) ::_exit(2);
    ::fcntl(pipe[0], F_SETFL, O_NONBLOCK);
    Loop loop;
    LogSink log(loop, "", 0);
    auto output = log.open();
    const std::string block(16 << 10, 'x');
    for (int i = 0; i < 100; ++i) {
      if (::write(output->get(), block.data(), block.size()) != static_cast<ssize_t>(block.size())) ::_exit(3);
      log.drain();
    }
    const std::size_t dropped = 100 * block.size() - read_what_is_there(pipe[0]).size();
    if (::write(output->get(), "later\n", 6) != 6) ::_exit(4);
    log.drain();
    const std::string wanted =
        "\nroost-agent: " + std::to_string(dropped) + " bytes of output were dropped: nobody read it\nlater\n";
    ::_exit(dropped > 0 && read_what_is_there(pipe[0]) == wanted ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(ServeParts, ALogThatIsALinkIsNotWritten) {
  std::ofstream(path_ + "/victim") << "precious";
  fs::create_symlink(path_ + "/victim", path_ + "/log");
  Loop loop;
  LogSink log(loop, path_ + "/log", 10'000);
  auto output = log.open();
  ASSERT_EQ(::write(output->get(), "x\n", 2), 2);
  log.drain();
  EXPECT_EQ(text("victim"), "precious");
}

TEST_F(ServeParts, ALockHasOneHolderAndNamesIt) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto held = take_lock(path_ + "/lock", path_);
    (void)!::write(ready[1], held.ok() ? "+" : "-", 1);
    ::pause();
    ::_exit(0);
  }
  char word = 0;
  ASSERT_EQ(::read(ready[0], &word, 1), 1);
  EXPECT_EQ(word, '+');
  EXPECT_EQ(take_lock(path_ + "/lock", path_).error().code, Code::conflict);
  EXPECT_TRUE(text("lock").starts_with(std::to_string(child) + " "));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(take_lock(path_ + "/lock", path_).ok());
}

TEST_F(ServeParts, AProcessIsToldFromItsSuccessorByItsStart) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  const ProcessId real{child, start_time_of(child)};
  EXPECT_TRUE(alive(real));
  kill_process({child, real.start_time + 1}, SIGKILL);  // another one of that pid is meant
  EXPECT_TRUE(alive(real));
  kill_process(real, SIGKILL);
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_FALSE(alive(real));
}

TEST_F(ServeParts, ReplaceLeavesTheOldFileWhereItCannotWrite) {
  ASSERT_TRUE(replace_file(path_ + "/f", "one").ok());
  EXPECT_EQ(text("f"), "one");
  fs::create_directory(path_ + "/f.new");  // in the way of the temporary name
  std::ofstream(path_ + "/f.new/x") << "x";
  EXPECT_FALSE(replace_file(path_ + "/f", "two").ok());
  EXPECT_EQ(text("f"), "one");
}

TEST_F(ServeParts, ASpecIsCheckedBeforeAnythingIsStarted) {
  const auto load = [&](const std::string& document) {
    std::ofstream(path_ + "/spec") << document;
    return ServeSpec::load(path_ + "/spec");
  };
  const std::string head =
      R"({"id":"a","incarnation":"i","generation":1,"run":"/r","socket_directory":"/s","log":"/l","sandbox":)";
  EXPECT_TRUE(load(head + R"({"kind":"bubblewrap","network":"auto","command":["/bin/true"]}})").ok());
  EXPECT_FALSE(load(head + R"({"kind":"bubblewrap","network":"auto","command":[]}})").ok());
  EXPECT_FALSE(load(head + R"({"kind":"chroot","network":"auto","command":["/bin/true"]}})").ok());
  EXPECT_FALSE(load(head + R"({"kind":"none","network":"all","command":["/bin/true"]}})").ok());
  EXPECT_FALSE(
      load(head + R"({"kind":"none","network":"auto","command":["/bin/true"],"mounts":[{"source":"x","target":"/y"}]}})").ok());
  EXPECT_FALSE(load(head + R"({"kind":"none","network":"auto","command":["/bin/true"]},"backoff_ms":0})").ok());
  EXPECT_FALSE(load("{}").ok());
  EXPECT_FALSE(load("not JSON").ok());
}

TEST_F(ServeParts, TheSandboxShowsNoMoreThanItIsGiven) {
  SandboxSpec spec;
  spec.command = {"/bin/true"};
  spec.mounts = {{"/a", "/workspace", true}, {"/b", "/opt/b", false}};
  const auto arguments = bubblewrap_arguments(spec, spec.mounts, true, 7);
  const auto follows = [&](const std::string& option, const std::string& first) {
    for (std::size_t i = 0; i + 1 < arguments.size(); ++i) {
      if (arguments[i] == option && arguments[i + 1] == first) return true;
    }
    return false;
  };
  for (const char* option : {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
                             "--die-with-parent", "--disable-userns"}) {
    EXPECT_NE(std::find(arguments.begin(), arguments.end(), option), arguments.end()) << option;
  }
  EXPECT_TRUE(follows("--bind", "/a"));
  EXPECT_TRUE(follows("--ro-bind", "/b"));
  EXPECT_FALSE(follows("--bind", "/b"));
  EXPECT_TRUE(follows("--remount-ro", "/"));
  EXPECT_FALSE(follows("--ro-bind", "/"));
  EXPECT_FALSE(follows("--ro-bind", "/etc"));
}

}  // namespace
}  // namespace roost::agent
