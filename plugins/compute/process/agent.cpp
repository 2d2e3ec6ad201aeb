#include "compute/process/agent.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace roost::compute_process {
namespace {

constexpr std::chrono::seconds kPatience{3};

class SpawnSetup {
 public:
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSetup() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

pid_t spawn(const std::vector<std::string>& words, int error_fd) {
  SpawnSetup setup;
  ::posix_spawn_file_actions_addopen(&setup.actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&setup.actions, 1, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&setup.actions, error_fd, 2);
  // Not every library marks its descriptors close-on-exec: an inherited listener would swallow the daemon's connections.
  ::posix_spawn_file_actions_addclosefrom_np(&setup.actions, 3);
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&setup.attributes, &all);
  ::posix_spawnattr_setsigmask(&setup.attributes, &none);
  ::posix_spawnattr_setflags(&setup.attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  const std::vector<std::string> environment = agent_environment();
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  for (const auto& variable : environment) envp.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, argv[0], &setup.actions, &setup.attributes, argv.data(), envp.data());
  if (error != 0) {
    errno = error;
    throw failure(words[0]);
  }
  return pid;
}

}  // namespace

std::vector<std::string> agent_environment() {
  std::vector<std::string> environment = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8"};
  for (const char* name : {"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}) {
    if (const char* value = std::getenv(name)) environment.push_back(std::string(name) + "=" + value);
  }
  return environment;
}

void start_supervisor(const sdk::Call& call, const std::string& program, const std::string& command, const std::string& spec) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) throw failure("pipe");
  const Fd read_end(fds[0]);
  pid_t pid = -1;
  {
    const Fd write_end(fds[1]);
    pid = spawn({program, command, "--spec", spec}, write_end.get());
  }
  std::string message;
  bool ended = false;
  while (!ended && call.wait(read_end.get(), POLLIN) != 0) {
    char buffer[512];
    const ssize_t n = ::read(read_end.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n > 0 && message.size() < 4096) message.append(buffer, static_cast<std::size_t>(n));
    ended = n <= 0;
  }
  if (!ended) ::kill(pid, SIGKILL);  // only its waiting half: the supervisor itself goes on, and is found again
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended) throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "the supervisor had not said yet that it is ready");
  while (!message.empty() && message.back() == '\n') message.pop_back();
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  const bool held = WIFEXITED(status) && WEXITSTATUS(status) == 3;
  throw sdk::Failure(held ? ROOST_CONFLICT : ROOST_INTERNAL,
                     "roost-agent " + command + ": " + (message.empty() ? "it ended at once" : message));
}

Object::Ptr ask_supervisor(const sdk::Call& call, const std::string& socket, const Object& question) {
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!fd.open() || socket.size() >= sizeof address.sun_path) return nullptr;
  std::memcpy(address.sun_path, socket.data(), socket.size());
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return nullptr;
  const std::string line = dump(question) + "\n";
  if (::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) return nullptr;
  std::string answer;
  const auto begun = std::chrono::steady_clock::now();
  while (answer.find('\n') == std::string::npos && answer.size() < (256u << 10)) {
    pollfd entry{fd.get(), POLLIN, 0};
    if (::poll(&entry, 1, 50) == 0) {
      // It answers at once or it hangs; while it starts its workload it may take some seconds.
      if (call.cancelled() || std::chrono::steady_clock::now() - begun > kPatience) return nullptr;
      continue;
    }
    char buffer[4096];
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return nullptr;
    answer.append(buffer, static_cast<std::size_t>(n));
  }
  return try_parse(answer.substr(0, answer.find('\n')));
}

}  // namespace roost::compute_process
