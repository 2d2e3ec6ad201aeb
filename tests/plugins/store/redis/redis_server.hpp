// RedisServer: a real redis-server (or Sentinel) of a test's own, in a directory of its own, on a unix socket and, where a test
// needs one, a port; ended with the object, and with the test program if that dies. Thread safety: one thread at a time.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace roost::store_suite {

class RedisServer {
 public:
  struct Options {
    std::vector<std::string> lines;  // of redis.conf, after ours: append only, every write to the disk before its answer
    int port = 0;                    // 0: the unix socket alone
    bool sentinel = false;
  };
  // Starts it and waits until it answers. A failure ends the test program: without Redis there is nothing to test.
  RedisServer(std::filesystem::path directory, Options options);
  explicit RedisServer(std::filesystem::path directory) : RedisServer(std::move(directory), Options{}) {}
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  [[nodiscard]] std::string socket() const { return (directory_ / "redis.sock").string(); }
  [[nodiscard]] int port() const { return options_.port; }
  [[nodiscard]] const std::filesystem::path& directory() const { return directory_; }

  void signal(int number) const;
  void kill();                                                                           // SIGKILL, and waits for its end
  void start();                                                                          // again, with what it has on disk
  void set_lines(std::vector<std::string> lines) { options_.lines = std::move(lines); }  // for the next start

  // What redis-cli prints for this command, without the last line's end.
  [[nodiscard]] std::string cli(const std::vector<std::string>& words) const;

 private:
  void wait_until_it_answers();

  const std::filesystem::path directory_;
  Options options_;
  pid_t pid_ = -1;
};

// A port that nobody listens on, at the time of asking.
int free_port();

// The server that all tests of this program share, each under a key prefix of its own; a child program that a test starts finds
// it by the environment.
std::string shared_redis_socket();

}  // namespace roost::store_suite
