#include "agent/local_api.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "agent/front.hpp"
#include "base/json.hpp"

namespace roost::agent {
namespace {

namespace beast = boost::beast::http;

constexpr std::int64_t kRequestMs = 15'000;    // for a whole request
constexpr std::int64_t kExchangeMs = 120'000;  // for all of it; a claim waits 50 s at most
constexpr std::size_t kMaxHeader = 8 << 10;
constexpr std::size_t kChunk = 64 << 10;
constexpr std::size_t kMessageId = 16;

struct Url {
  std::string authority;  // as the Host header says it
  std::string name;
  std::uint16_t port = 80;
};

Result<std::string> first_line(const std::string& path) {
  ROOST_TRY(std::string text, read_file(path, 4096));
  text.resize(std::min(text.find('\n'), text.size()));
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7F; });
  if (text.empty() || !printable) return Error{Code::invalid, path + ": one printable word is expected", 0};
  return text;
}

Result<Url> parse_url(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  const Error wrong{Code::invalid, "the daemon's URL must be http://HOST:PORT, not \"" + std::string(text) + "\"", 0};
  if (!text.starts_with(kScheme)) return wrong;
  Url url;
  url.authority = text.substr(kScheme.size());
  const std::string_view all = url.authority;
  const auto colon = all.rfind(':');
  const bool has_port = colon != std::string_view::npos && all.find(']', colon) == std::string_view::npos;
  url.name = all.substr(0, has_port ? colon : all.size());
  if (has_port) {
    const auto number = std::from_chars(all.data() + colon + 1, all.data() + all.size(), url.port);
    if (number.ec != std::errc{} || number.ptr != all.data() + all.size() || url.port == 0) return wrong;
  }
  if (url.name.empty() || url.name.find_first_of("/?#@") != std::string::npos) return wrong;
  return url;
}

// The address that is written there; NOT_FOUND where it is a name.
Result<SocketAddress> literal_address(const Url& url) {
  SocketAddress address;
  if (url.name.size() > 2 && url.name.front() == '[' && url.name.back() == ']') {
    auto* const in6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(url.port);
    address.size = sizeof *in6;
    if (::inet_pton(AF_INET6, url.name.substr(1, url.name.size() - 2).c_str(), &in6->sin6_addr) == 1) return address;
  }
  auto* const in4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  in4->sin_family = AF_INET;
  in4->sin_port = htons(url.port);
  address.size = sizeof *in4;
  if (::inet_pton(AF_INET, url.name.c_str(), &in4->sin_addr) == 1) return address;
  return Error{Code::not_found, url.name + " is not an IP address", 0};
}

std::string answer_text(int status, std::string_view title, std::string_view detail) {
  const std::string body = Json::object({{"title", title}, {"status", status}, {"detail", detail}}).dump();
  return "HTTP/1.1 " + std::to_string(status) + " " + std::string(title) +
         "\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

}  // namespace

std::string consumer_path(std::string_view id, std::string_view method, std::string_view target) {
  constexpr std::string_view kPrefix = "/messages/";
  constexpr std::string_view kAck = "/ack";
  if (method != "POST" || !target.starts_with(kPrefix)) return {};
  const std::string_view rest = target.substr(kPrefix.size());
  const bool ack =
      rest.size() == kMessageId + kAck.size() && rest.ends_with(kAck) && rest.find_first_not_of("0123456789abcdef") == kMessageId;
  if (rest != "claim" && !ack) return {};
  return "/session/" + std::string(id) + std::string(target);
}

// One request and its answer: the client, then the daemon, whose bytes are passed back until it closes.
class LocalApi::Exchange {
 public:
  Exchange(LocalApi& api, std::uint64_t id, Fd client) : api_(api), id_(id), client_(std::move(client)) {
    parser_.header_limit(kMaxHeader);
    parser_.body_limit(kMaxBody);
    watch_client(EPOLLIN);
    timer_ = api_.loop_.after(kRequestMs, [this] { timed_out(); });
  }
  ~Exchange() {
    if (timer_ != 0) api_.loop_.cancel(timer_);
    if (client_watched_) api_.loop_.remove(client_.get());
    drop_daemon();
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

 private:
  void watch_client(std::uint32_t events);
  void watch_daemon(std::uint32_t events);  // 0: not at all, for a connection that broke is reported whatever is asked
  void drop_daemon();
  void finish() { api_.exchanges_.erase(id_); }  // destroys this
  void refuse(int status, std::string_view title, std::string_view detail);
  void timed_out();
  void on_client(std::uint32_t events);
  void read_request();
  void on_daemon();
  [[nodiscard]] Status forward(const std::string& path);
  void flush();

  LocalApi& api_;
  const std::uint64_t id_;
  Fd client_;
  Fd daemon_;
  bool client_watched_ = false;
  bool daemon_watched_ = false;
  bool complete_ = false;  // the request was read
  bool answered_ = false;  // something of an answer is on its way
  bool ended_ = false;     // nothing comes after `out_`
  beast::request_parser<beast::string_body> parser_;
  std::string request_;  // to the daemon
  std::string in_;       // of the client, not parsed yet
  std::string out_;      // to the client
  Loop::TimerId timer_ = 0;
};

void LocalApi::Exchange::watch_client(std::uint32_t events) {
  if (client_watched_) return api_.loop_.modify(client_.get(), events);
  client_watched_ = true;
  api_.loop_.add(client_.get(), events, [this](std::uint32_t happened) { on_client(happened); });
}

void LocalApi::Exchange::watch_daemon(std::uint32_t events) {
  if (daemon_watched_ == (events != 0)) {
    if (daemon_watched_) api_.loop_.modify(daemon_.get(), events);
    return;
  }
  daemon_watched_ = events != 0;
  if (!daemon_watched_) return api_.loop_.remove(daemon_.get());
  api_.loop_.add(daemon_.get(), events, [this](std::uint32_t) { on_daemon(); });
}

void LocalApi::Exchange::drop_daemon() {
  watch_daemon(0);
  daemon_.reset();
}

void LocalApi::Exchange::refuse(int status, std::string_view title, std::string_view detail) {
  drop_daemon();
  complete_ = ended_ = answered_ = true;
  out_ = answer_text(status, title, detail);
  flush();
}

void LocalApi::Exchange::timed_out() {
  timer_ = 0;
  if (answered_) return finish();
  timer_ = api_.loop_.after(kRequestMs, [this] { timed_out(); });
  refuse(complete_ ? 504 : 408, complete_ ? "Gateway Timeout" : "Request Timeout",
         complete_ ? "the daemon did not answer" : "the request did not come in time");
}

void LocalApi::Exchange::on_client(std::uint32_t events) {
  if (!complete_) return read_request();
  if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0) return finish();  // a claim of a client that went away ends
  if ((events & EPOLLOUT) != 0) flush();
}

void LocalApi::Exchange::read_request() {
  char buffer[16 << 10];
  const ssize_t n = ::recv(client_.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return finish();
  in_.append(buffer, static_cast<std::size_t>(n));
  boost::system::error_code error;
  while (!in_.empty() && !parser_.is_done()) {
    const std::size_t used = parser_.put(boost::asio::buffer(in_), error);
    in_.erase(0, used);
    if (error == beast::error::need_more && in_.size() <= kMaxHeader) return;
    if (error == beast::error::body_limit) return refuse(413, "Content Too Large", "at most 262144 bytes");
    if (error) return refuse(400, "Bad Request", "that is not HTTP/1.1: " + error.message());
  }
  if (!parser_.is_done()) return;
  complete_ = true;
  const auto& request = parser_.get();
  const auto text = [](const auto& view) { return std::string_view(view.data(), view.size()); };
  const std::string path = consumer_path(api_.spec_.id, text(request.method_string()), text(request.target()));
  if (path.empty())
    return refuse(404, "Not Found", "there are POST /messages/claim and POST /messages/{id}/ack, and nothing else");
  if (const Status sent = forward(path); !sent) {
    return refuse(503, "Service Unavailable", "the daemon cannot be reached: " + sent.error().message);
  }
}

Status LocalApi::Exchange::forward(const std::string& path) {
  ROOST_TRY(const std::string url, first_line(api_.spec_.url_file));
  ROOST_TRY(const std::string token, first_line(api_.spec_.token_file));
  ROOST_TRY(const Url parsed, parse_url(url));
  auto address = literal_address(parsed);
  if (!address && api_.spec_.look_up) address = api_.spec_.look_up(parsed.name, parsed.port);
  if (!address) return address.error();
  Fd fd(::socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.open()) return errno_error("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address->storage), address->size) != 0 && errno != EINPROGRESS)
    return errno_error(parsed.authority);
  const std::string& body = parser_.get().body();
  request_ = "POST " + path + " HTTP/1.1\r\nHost: " + parsed.authority + "\r\nX-API-Key: " + token +
             "\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) +
             "\r\n\r\n" + body;
  daemon_ = std::move(fd);
  watch_daemon(EPOLLOUT);
  watch_client(EPOLLRDHUP);
  api_.loop_.cancel(timer_);
  timer_ = api_.loop_.after(kExchangeMs, [this] { timed_out(); });
  return {};
}

void LocalApi::Exchange::on_daemon() {
  if (!request_.empty()) {
    const ssize_t n = ::send(daemon_.get(), request_.data(), request_.size(), MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) return refuse(503, "Service Unavailable", std::string("the daemon cannot be reached: ") + std::strerror(errno));
    request_.erase(0, static_cast<std::size_t>(n));
    if (request_.empty()) watch_daemon(EPOLLIN);
    return;
  }
  out_.resize(kChunk);
  const ssize_t n = ::recv(daemon_.get(), out_.data(), out_.size(), 0);
  out_.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 && !answered_) return refuse(503, "Service Unavailable", "the daemon closed the connection; ask again");
  answered_ = true;
  ended_ = n <= 0;
  flush();
}

// Nothing more is read of the daemon before the client has taken what there is.
void LocalApi::Exchange::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(client_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno != EAGAIN) return finish();
    if (n < 0) {
      watch_daemon(0);
      return watch_client(EPOLLOUT | EPOLLRDHUP);
    }
    out_.erase(0, static_cast<std::size_t>(n));
  }
  if (ended_) return finish();
  if (daemon_.open()) watch_daemon(EPOLLIN);
  watch_client(EPOLLRDHUP);
}

LocalApi::LocalApi(Loop& loop, LocalApiSpec spec) : loop_(loop), spec_(std::move(spec)) {}

LocalApi::~LocalApi() {
  exchanges_.clear();
  if (listener_.open()) loop_.remove(listener_.get());
}

Status LocalApi::listen(const std::string& path, std::int64_t owner) {
  ROOST_TRY(listener_, listen_unix(path, 0600));
  if (owner >= 0 && ::chown(path.c_str(), static_cast<uid_t>(owner), static_cast<gid_t>(owner)) != 0) return errno_error(path);
  loop_.add(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_some(); });
  return {};
}

void LocalApi::accept_some() {
  for (int i = 0; i < 16; ++i) {
    Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client.open()) return;
    if (exchanges_.size() >= kMaxExchanges) {
      const std::string full = answer_text(503, "Service Unavailable", "too many requests of this workspace are under way");
      (void)!::send(client.get(), full.data(), full.size(), MSG_NOSIGNAL);
      continue;
    }
    const std::uint64_t id = next_++;
    exchanges_.emplace(id, std::make_unique<Exchange>(*this, id, std::move(client)));
  }
}

}  // namespace roost::agent
