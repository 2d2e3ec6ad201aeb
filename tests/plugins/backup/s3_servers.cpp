#include "plugins/backup/s3_servers.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "backup/s3/client.hpp"
#include "backup/s3/hash.hpp"
#include "plugins/backup/backup_plugin.hpp"

namespace roost::backup_test {

namespace {

const std::string kFixture = std::string(ROOST_SOURCE_DIR) + "/tests/s3/fixture";

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return fd;
  ::close(fd);
  return -1;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  ::close(fd);
  return ntohs(address.sin_port);
}

// A server's process: ended with this one, also when this one is killed.
class Running {
 public:
  explicit Running(const std::string& name) {
    server_.name = name;
    server_.port = free_port();
    server_.directory = directory_.path();
    const std::string port = std::to_string(server_.port);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int log = ::open((server_.directory + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(log, 1);
      ::dup2(log, 2);
      ::execl(kFixture.c_str(), "fixture", name.c_str(), (server_.directory + "/store").c_str(), port.c_str(), nullptr);
      ::_exit(127);
    }
    const std::int64_t deadline = system_clock().monotonic_ns() + 60'000'000'000;
    while (system_clock().monotonic_ns() < deadline) {
      const int fd = connect_to(server_.port);
      if (fd >= 0) {
        ::close(fd);
        return;
      }
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) break;
      ::poll(nullptr, 0, 20);
    }
    std::fprintf(stderr, "%s does not start; its log is %s/log\n", name.c_str(), server_.directory.c_str());
    std::abort();
  }
  ~Running() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  [[nodiscard]] const S3Server& server() const { return server_; }

 private:
  TempDir directory_;
  S3Server server_;
  pid_t pid_ = -1;
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

}  // namespace

std::string s3_missing() {
  if (std::system((kFixture + " built").c_str()) == 0) return {};
  return "the S3 servers are not built here: ./dev test unit builds them where Go is (tests/s3/fixture programs)";
}

const S3Server& s3_server(const std::string& name) {
  static std::map<std::string, std::unique_ptr<Running>> running;
  auto& one = running[name];
  if (one == nullptr) one = std::make_unique<Running>(name);
  return one->server();
}

backup_s3::HttpResponse ask_s3(const S3Server& server, const std::string& bucket, const backup_s3::S3Request& request) {
  backup_s3::Settings settings;
  settings.endpoint = {false, server.endpoint().substr(7), false};
  settings.region = "us-east-1";
  settings.bucket = bucket;
  settings.credentials = {backup_s3::CredentialSource::secret, kS3AccessKey, kS3SecretKey, {}, {}, {}, {}, {}, {}, {}};
  backup_s3::Client client(settings, sdk::Log());
  roost_call raw{};
  raw.size = sizeof raw;
  raw.cancel_fd = -1;
  raw.deadline_ns = static_cast<std::uint64_t>(system_clock().monotonic_ns()) + 30'000'000'000;
  return client.send(sdk::Call(&raw), request);
}

std::string make_bucket(const S3Server& server, Bucket kind) {
  const std::string name = "t-" + backup_s3::random_hex(6);
  backup_s3::S3Request request;
  request.method = "PUT";
  if (kind == Bucket::lock) request.headers = {{"x-amz-bucket-object-lock-enabled", "true"}};
  ask_s3(server, name, request);
  return name;
}

std::size_t unfinished_uploads(const S3Server& server, const std::string& bucket) {
  backup_s3::S3Request request;
  request.method = "GET";
  request.query = {{"uploads", ""}};
  const auto document = backup_s3::parse_xml(ask_s3(server, bucket, request).body);
  std::size_t count = 0;
  for (const backup_s3::Xml& child : document.value().children) count += child.name == "Upload" ? 1 : 0;
  return count;
}

Json s3_config(const std::string& endpoint, const std::string& bucket) {
  // moto says of every upload that it was begun in 2010: none of them is to be ended for its age.
  return Json::object({{"endpoint", endpoint}, {"bucket", bucket}, {"stale_after_s", 0}, {"backoff_ms", 5}});
}

Secrets s3_secrets() { return {{"access_key_id", kS3AccessKey}, {"secret_access_key", kS3SecretKey}}; }

bool Exchange::receive() {
  char buffer[65536];
  std::size_t head = std::string::npos;
  std::size_t length = 0;
  while (head == std::string::npos || raw_.size() < head + 4 + length) {
    const ssize_t got = ::recv(fd_, buffer, sizeof buffer, 0);
    if (got <= 0) break;
    raw_.append(buffer, static_cast<std::size_t>(got));
    if (head != std::string::npos || (head = raw_.find("\r\n\r\n")) == std::string::npos) continue;
    std::size_t at = raw_.find("\r\n") + 2;
    const std::string line = raw_.substr(0, at - 2);
    method = line.substr(0, line.find(' '));
    target = line.substr(method.size() + 1, line.rfind(' ') - method.size() - 1);
    while (at < head) {
      const std::size_t end = raw_.find("\r\n", at);
      const std::size_t colon = raw_.find(':', at);
      headers[lower(raw_.substr(at, colon - at))] = raw_.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    const auto found = headers.find("content-length");
    if (found != headers.end()) length = std::stoul(found->second);
  }
  if (head == std::string::npos) return false;
  body = raw_.substr(head + 4);
  return true;
}

void Exchange::send(const std::string& raw) { write_all(fd_, raw); }

void Exchange::reply(int status, const std::string& content, const std::string& more_headers) {
  send("HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(content.size()) +
       (keep ? "\r\n" : "\r\nConnection: close\r\n") + more_headers + "\r\n" + (method == "HEAD" ? std::string() : content));
}

std::string Exchange::forward_damaged(int port) {
  raw_.back() = static_cast<char>(raw_.back() ^ 1);
  return forward(port);
}

std::string Exchange::forward(int port) {
  const int fd = connect_to(port);
  std::string request = raw_;
  const std::size_t end = request.find("\r\n") + 2;
  request.insert(end, "Connection: close\r\n");
  std::string answer;
  if (fd < 0 || !write_all(fd, request)) return answer;
  char buffer[65536];
  for (ssize_t got = 0; (got = ::recv(fd, buffer, sizeof buffer, 0)) > 0;) answer.append(buffer, static_cast<std::size_t>(got));
  ::close(fd);
  constexpr std::string_view kClose = "Connection: close\r\n";  // of that connection, not of this one
  const std::size_t at = answer.find(kClose);
  if (keep && at < answer.find("\r\n\r\n")) answer.erase(at, kClose.size());
  return answer;
}

void Exchange::wait_for_hangup() {
  char byte = 0;
  while (::recv(fd_, &byte, 1, 0) > 0) {
  }
}

bool Exchange::has(const std::string& header, const std::string& value) const {
  const auto found = headers.find(header);
  return found != headers.end() && found->second == value;
}

TestServer::TestServer(Handler handler) : handler_(std::move(handler)) {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
      ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

TestServer::~TestServer() {
  over_ = true;
  ::shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  ::close(listener_);
  std::vector<std::thread> threads;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void TestServer::accept_loop() {
  while (!over_) {
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (over_) {
      ::close(fd);
      return;
    }
    open_.push_back(fd);
    threads_.emplace_back([this, fd] { serve(fd); });
  }
}

void TestServer::serve(int fd) {
  for (int earlier = 0;; ++earlier) {
    Exchange exchange;
    exchange.fd_ = fd;
    exchange.earlier = earlier;
    if (!exchange.receive()) break;
    handler_(exchange);
    if (!exchange.keep) break;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  open_.erase(std::find(open_.begin(), open_.end(), fd));
  ::close(fd);
}

}  // namespace roost::backup_test
