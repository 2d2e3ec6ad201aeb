#include "plugins/store/redis/redis_server.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>

#include "plugins/store/driver.hpp"

namespace roost::store_suite {
namespace {

// Debian's redis-tools holds the server under the name of one of its tools: it goes by the name it is called by. So that no
// service has to be installed.
std::string program() {
  if (const char* given = ::getenv("ROOST_REDIS_SERVER")) return given;
  for (const char* path : {"/usr/bin/redis-server", "/usr/local/bin/redis-server", "/usr/bin/redis-check-rdb"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  std::fprintf(stderr, "no redis-server: install redis-tools or redis-server, or name it in ROOST_REDIS_SERVER\n");
  std::_Exit(1);
}

}  // namespace

RedisServer::RedisServer(std::filesystem::path directory, Options options)
    : directory_(std::move(directory)), options_(std::move(options)) {
  std::filesystem::create_directories(directory_);
  start();
}

RedisServer::~RedisServer() { kill(); }

void RedisServer::start() {
  const std::string name = options_.sentinel ? "redis-sentinel" : "redis-server";
  const std::string conf = (directory_ / "redis.conf").string();
  {
    std::ofstream out(conf);
    out << "dir " << directory_.string() << "\nunixsocket " << socket() << "\nlogfile " << (directory_ / "log").string()
        << "\nport " << options_.port << "\nbind 127.0.0.1 127.0.0.2\n";
    if (!options_.sentinel) out << "appendonly yes\nappendfsync always\nsave \"\"\n";
    for (const std::string& line : options_.lines) out << line << "\n";
  }
  const std::string binary = program();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, 0);
    ::dup2(null, 1);
    ::dup2(null, 2);
    ::execl(binary.c_str(), name.c_str(), conf.c_str(), nullptr);
    ::_exit(127);
  }
  wait_until_it_answers();
}

void RedisServer::wait_until_it_answers() {
  const bool answers = eventually([&] {
    const std::string said = cli({"PING"});
    return said == "PONG" || said.find("NOAUTH") != std::string::npos || said.find("LOADING") != std::string::npos;
  });
  if (answers) return;
  std::fprintf(stderr, "redis-server does not answer; its log is in %s\n", directory_.c_str());
  std::_Exit(1);
}

void RedisServer::signal(int number) const { ::kill(pid_, number); }

void RedisServer::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGCONT);
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string RedisServer::cli(const std::vector<std::string>& words) const {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) return {};
  const std::string path = socket();
  std::vector<const char*> argv{"redis-cli", "-s", path.c_str()};
  for (const std::string& word : words) argv.push_back(word.c_str());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(pipe[1], 1);
    ::dup2(pipe[1], 2);
    ::execvp("redis-cli", const_cast<char* const*>(argv.data()));
    ::_exit(127);
  }
  ::close(pipe[1]);
  std::string out;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(pipe[0], buffer, sizeof buffer)) > 0;) out.append(buffer, static_cast<std::size_t>(got));
  ::close(pipe[0]);
  ::waitpid(child, nullptr, 0);
  while (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  (void)::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
  (void)::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  ::close(fd);
  return ntohs(address.sin_port);
}

std::string shared_redis_socket() {
  constexpr const char* kVariable = "ROOST_TEST_REDIS_SOCKET";
  if (const char* given = ::getenv(kVariable)) return given;
  static const TestDirectory directory;
  static const RedisServer server(directory.path() / "redis");
  ::setenv(kVariable, server.socket().c_str(), 1);
  return server.socket();
}

}  // namespace roost::store_suite
