// A disk that is full: said as EXHAUSTED, nothing acknowledged is lost, and it goes on when there is room.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "plugins/store/driver.hpp"

namespace roost::store_sqlite {
namespace {

using store_suite::put;
using store_suite::remove;
using store_suite::StoreDriver;
using store_suite::TestDirectory;

// Fills the store until it refuses; how many documents of 16 KiB it took.
int fill(StoreDriver& store, Code& refusal) {
  const std::string value(16 << 10, 'x');
  for (int i = 0; i < 10'000; ++i) {
    const auto made = store.commit("p", {}, {put("k" + std::to_string(i), value)});
    if (made.ok()) continue;
    refusal = made.error().code;
    return i;
  }
  return -1;
}

TEST(SqliteFull, The_largest_size_is_kept_and_deleting_makes_room) {
  const TestDirectory directory;
  StoreDriver store("store-sqlite", Json::object({{"path", (directory.path() / "store.db").string()}, {"max_bytes", 2 << 20}}));
  ASSERT_TRUE(store.opened().ok()) << store.opened().error().message;
  Code refusal{};
  const int taken = fill(store, refusal);
  EXPECT_EQ(refusal, Code::exhausted);
  EXPECT_GT(taken, 50);
  EXPECT_LT(taken, 130);
  EXPECT_EQ(store.count("p", "").value_or(0), static_cast<std::uint64_t>(taken));
  EXPECT_EQ(store.get("p", "k0")->value.size(), std::size_t{16} << 10);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(store.commit("p", {}, {remove("k" + std::to_string(i))}).ok());
  EXPECT_TRUE(store.commit("p", {}, {put("again", std::string(16 << 10, 'y'))}).ok());
  EXPECT_LE(std::filesystem::file_size(directory.path() / "store.db"), std::uint64_t{2} << 20);
}

TEST(SqliteFull, A_second_instance_as_a_reload_opens_it_brings_its_own_largest_size) {
  const TestDirectory directory;
  const std::string path = (directory.path() / "store.db").string();
  StoreDriver before("store-sqlite", Json::object({{"path", path}, {"max_bytes", 1 << 20}}));
  Code refusal{};
  (void)fill(before, refusal);
  ASSERT_EQ(refusal, Code::exhausted);
  StoreDriver after("store-sqlite", Json::object({{"path", path}}));
  EXPECT_TRUE(after.commit("p", {}, {put("large", std::string(1 << 20, 'x'))}).ok());
}

TEST(SqliteFull, One_commit_that_is_too_large_does_not_take_its_neighbours_with_it) {
  const TestDirectory directory;
  StoreDriver store("store-sqlite", Json::object({{"path", (directory.path() / "store.db").string()}, {"max_bytes", 1 << 20}}));
  std::atomic<int> small_done{0}, large_refused{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 10; ++n) {
        if (i % 2 == 0) {
          small_done += store.commit("p", {}, {put("s" + std::to_string(i), "x")}).ok() ? 1 : 0;
        } else {
          const auto large = store.commit(
              "p", {}, {put("l" + std::to_string(i), std::string(1 << 20, 'x')), put("m", std::string(1 << 20, 'x'))});
          large_refused += !large.ok() && large.error().code == Code::exhausted ? 1 : 0;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(small_done, 40);
  EXPECT_EQ(large_refused, 40);
}

// A file system of two MiB; needs root. Elsewhere the two other tests stand for it.
TEST(SqliteFull, A_full_disk_is_exhausted_and_recovers_without_a_restart) {
  const TestDirectory directory;
  if (::mount("tmpfs", directory.path().c_str(), "tmpfs", 0, "size=2m") != 0) GTEST_SKIP() << "mounting a tmpfs needs root";
  struct Unmount {
    std::string path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{directory.path().string()};
  const std::string ballast = (directory.path() / "ballast").string();
  {
    StoreDriver store("store-sqlite", Json::object({{"path", (directory.path() / "store.db").string()}}));
    ASSERT_TRUE(store.opened().ok()) << store.opened().error().message;
    ASSERT_TRUE(store.commit("p", {}, {put("first", "x")}).ok());
    const std::string bytes(900 << 10, 'b');
    FILE* file = std::fopen(ballast.c_str(), "w");
    ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
    std::fclose(file);
    Code refusal{};
    const int taken = fill(store, refusal);
    EXPECT_EQ(refusal, Code::exhausted);
    EXPECT_GT(taken, 0);
    EXPECT_EQ(store.count("p", "k").value_or(0), static_cast<std::uint64_t>(taken));  // reads go on
    std::filesystem::remove(ballast);
    const auto after = store.commit("p", {}, {put("after", "x")});
    EXPECT_TRUE(after.ok()) << after.error().message;
  }
  StoreDriver store("store-sqlite", Json::object({{"path", (directory.path() / "store.db").string()}}));
  EXPECT_TRUE(store.get("p", "first").ok());
  EXPECT_TRUE(store.get("p", "after").ok());
}

// In a child: the limit is the process's.
TEST(SqliteFull, A_limit_on_the_size_of_files_is_exhausted_too) {
  const TestDirectory directory;
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    StoreDriver store("store-sqlite", Json::object({{"path", (directory.path() / "store.db").string()}}));
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Code refusal{};
    const int taken = fill(store, refusal);
    const bool right =
        taken > 0 && refusal == Code::exhausted && store.count("p", "k").value_or(0) == static_cast<std::uint64_t>(taken);
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace roost::store_sqlite
