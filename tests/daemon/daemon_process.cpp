#include "daemon/daemon_process.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

extern char** environ;

namespace roost::daemon {
namespace {

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "roostd-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryDirectory::write(const std::string& name, const std::string& text) const {
  std::ofstream(path_ + "/" + name, std::ios::trunc) << text;
  return path_ + "/" + name;
}

std::string TemporaryDirectory::read(const std::string& name) const {
  std::ifstream file(path_ + "/" + name);
  return {std::istreambuf_iterator<char>(file), {}};
}

DaemonProcess::DaemonProcess(const TemporaryDirectory& directory) : directory_(directory) {
  configure(minimal(directory, "[{name: test, key: the-key-of-this-test, scopes: [admin]}]"));
}

DaemonProcess::~DaemonProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::string DaemonProcess::minimal(const TemporaryDirectory& directory, const std::string& auth, const std::string& more) {
  const std::string& at = directory.path();
  return "data_dir: " + at + "/data\nhttp: {listen: \"127.0.0.1:0\"}\nstore: {plugin: store-sqlite, config: {path: " + at +
         "/store.db}}\ncompute: {plugin: compute-process, config: {data_dir: " + at + "/work, run_dir: " + at +
         "/run}}\nbackup: {plugin: backup-directory, config: {path: " + at + "/backups}}\nauth: {keys: " + auth + "}\n" + more;
}

void DaemonProcess::configure(const std::string& yaml) const { directory_.write("roost.yaml", yaml); }

void DaemonProcess::start(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{ROOSTD};
  if (arguments.empty()) words.insert(words.end(), {"--config", directory_.path() + "/roost.yaml"});
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    if (!text.starts_with("ROOST_") && !text.starts_with("NOTIFY_SOCKET=") && !text.starts_with("WATCHDOG_"))
      variables.push_back(text);
  }
  for (const auto& [name, value] : environment) variables.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const std::string log = directory_.path() + "/output";
  pid_ = ::fork();
  if (pid_ != 0) return;
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  ::dup2(out, 1);
  ::dup2(out, 2);
  ::execve(argv[0], argv.data(), envp.data());
  ::_exit(127);
}

bool DaemonProcess::start_ready() {
  start();
  bool ready = false;
  (void)eventually([&] {
    ready = get("/ready").status == 200;
    siginfo_t ended{};
    return ready || (::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == pid_);
  });
  return ready;
}

void DaemonProcess::signal(int number) const { ::kill(pid_, number); }

Exit DaemonProcess::wait() {
  Exit ended;
  int status = 0;
  const bool gone = eventually([&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; });
  ended.output = output();
  if (!gone) return ended;
  pid_ = -1;
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}

Exit DaemonProcess::run(const std::vector<std::string>& arguments) {
  start(arguments);
  return wait();
}

std::string DaemonProcess::output() const { return directory_.read("output"); }

bool DaemonProcess::wait_output(const std::string& text) const {
  return eventually([&] { return output().find(text) != std::string::npos; });
}

int DaemonProcess::port() const {
  const std::string text = output();
  const std::string mark = "listens on http://127.0.0.1:";
  const std::size_t at = text.find(mark);
  return at == std::string::npos ? 0 : std::atoi(text.c_str() + at + mark.size());
}

int DaemonProcess::open_stream(const std::string& path, const std::string& key) const {
  const int to = port();
  const int fd = to == 0 ? -1 : connect_to(to);
  if (fd < 0) return -1;
  const std::string request =
      "GET " + path + " HTTP/1.1\r\nHost: localhost:" + std::to_string(to) + "\r\nX-API-Key: " + key + "\r\n\r\n";
  if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) return -1;
  return fd;
}

Reply DaemonProcess::get(const std::string& path, const std::string& key, const std::string& host) const {
  const int to = port();
  const int fd = to == 0 ? -1 : connect_to(to);
  if (fd < 0) return {};
  std::string request = "GET " + path + " HTTP/1.1\r\nConnection: close\r\nHost: ";
  request += (host.empty() ? "localhost:" + std::to_string(to) : host) + "\r\n";
  if (!key.empty()) request += "X-API-Key: " + key + "\r\n";
  request += "\r\n";
  (void)!::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  std::string received;
  char buffer[4096];
  for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) received.append(buffer, static_cast<std::size_t>(n));
  ::close(fd);
  if (received.size() < 12) return {};
  const std::size_t end = received.find("\r\n\r\n");
  return {std::atoi(received.c_str() + 9), end == std::string::npos ? "" : received.substr(end + 4)};
}

void sleep_a_little() { ::usleep(10'000); }
bool over(int& rounds) { return ++rounds > 3000; }

}  // namespace roost::daemon
