// The kubeconfig's exec program: started without a shell, its output bounded in time and size.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "compute/kubernetes/credentials.hpp"
#include "roost/plugin.hpp"

extern char** environ;

namespace roost::kubernetes {
namespace {

constexpr std::size_t kOutputMax = 1 << 20;

struct Pipe {
  int fds[2] = {-1, -1};
  Pipe() {
    if (::pipe2(fds, O_CLOEXEC) != 0) throw sdk::Failure(ROOST_INTERNAL, std::string("pipe: ") + std::strerror(errno));
  }
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_end(int end) {
    if (fds[end] >= 0) ::close(fds[end]);
    fds[end] = -1;
  }
};

// What the program finds in its environment: ours, what the kubeconfig adds, and what the protocol wants.
std::vector<std::string> environment_of(const ExecSource& source) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
  for (const auto& [name, value] : source.environment) environment.push_back(name + "=" + value);
  const Json info = Json::object(
      {{"apiVersion", source.api_version}, {"kind", "ExecCredential"}, {"spec", Json::object({{"interactive", false}})}});
  environment.push_back("KUBERNETES_EXEC_INFO=" + info.dump());
  return environment;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> made;
  for (std::string& text : texts) made.push_back(text.data());
  made.push_back(nullptr);
  return made;
}

pid_t spawn(const ExecSource& source, int output) {
  std::vector<std::string> words = source.command;
  std::vector<std::string> environment = environment_of(source);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, 1);
  posix_spawnattr_t attributes;  // the host blocks signals that the program must not find blocked
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setpgroup(&attributes, 0);  // a group of its own, so that what it starts can be ended with it
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  pid_t pid = -1;
  const int failed =
      ::posix_spawnp(&pid, words.front().c_str(), &actions, &attributes, pointers(words).data(), pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0)
    throw sdk::Failure(ROOST_DENIED,
                       "the kubeconfig's exec program " + words.front() + " cannot be started: " + std::strerror(failed));
  return pid;
}

// Until the end of the output; false where it takes too long or is too much.
bool read_all(int fd, std::chrono::steady_clock::time_point until, std::string& output) {
  while (output.size() <= kOutputMax) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
    pollfd ready{fd, POLLIN, 0};
    if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) <= 0) return false;
    char buffer[4096];
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got == 0) return true;
    if (got < 0 && errno != EINTR) return false;
    if (got > 0) output.append(buffer, static_cast<std::size_t>(got));
  }
  return false;
}

// Its end; false where it takes too long. It has closed its output, so its end is near.
bool wait_for(pid_t pid, std::chrono::steady_clock::time_point until, int* status) {
  while (std::chrono::steady_clock::now() < until) {
    const pid_t ended = ::waitpid(pid, status, WNOHANG);
    if (ended == pid) return true;
    if (ended < 0 && errno != EINTR) return false;
    ::poll(nullptr, 0, 10);
  }
  return false;
}

}  // namespace

std::string run_program(const ExecSource& source, std::chrono::seconds limit) {
  Pipe pipe;
  const auto until = std::chrono::steady_clock::now() + limit;
  const pid_t pid = spawn(source, pipe.fds[1]);
  pipe.close_end(1);
  std::string output;
  int status = 0;
  const bool ended = read_all(pipe.fds[0], until, output) && wait_for(pid, until, &status);
  if (!ended) {
    ::kill(-pid, SIGKILL);
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    throw sdk::Failure(ROOST_DENIED, "the kubeconfig's exec program " + source.command.front() + " gave no answer in time");
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw sdk::Failure(ROOST_DENIED, "the kubeconfig's exec program " + source.command.front() + " failed");
  }
  return output;
}

}  // namespace roost::kubernetes
