#include "http/proxy.hpp"

#include <algorithm>

#include "http/socket.hpp"
#include "http/target.hpp"
#include "http/writer.hpp"

namespace roost::http {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kConnectNs = 10'000 * kMillisecond;
constexpr std::int64_t kRetryNs = 20 * kMillisecond;  // where a listener's queue is full
constexpr int kConnectTries = 250;
constexpr std::int64_t kReportNs = 1'000 * kMillisecond;

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& n) { return n == name; });
}

bool names(const Headers& headers, std::string_view name) {
  return std::any_of(headers.begin(), headers.end(), [&](const auto& header) { return header.first == name; });
}

// What a Connection header names concerns this hop only.
std::vector<std::string> connection_tokens(const Headers& headers) {
  std::vector<std::string> tokens;
  for (const auto& [name, value] : headers) {
    if (name != "connection") continue;
    for_each_token(value, [&](std::string_view token) { append_lower(tokens.emplace_back(), token); });
  }
  return tokens;
}

bool replaced(std::string_view name) {
  return name == "content-length" || name == "expect" || name == "forwarded" || name.substr(0, 12) == "x-forwarded-";
}

}  // namespace

ProxyExchange::ProxyExchange(std::shared_ptr<Loop> loop, ProxyClient& client, Upstream upstream, Limits limits)
    : loop_(std::move(loop)), client_(&client), upstream_(std::move(upstream)), limits_(limits) {}

ProxyExchange::~ProxyExchange() = default;

void ProxyExchange::start(const Request& request, const Framing& framing) {
  client_http10_ = framing.http10;
  client_keeps_ = framing.keep_alive;
  wants_upgrade_ = framing.upgrade;
  if (request.method == "HEAD") reader_.to_head_request();
  write_request_head(request, framing);
  loop_->arm(waiting_, kConnectNs);
  connect();
}

void ProxyExchange::write_request_head(const Request& request, const Framing& framing) {
  std::string head;
  head.reserve(1024);
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n");
  const auto tokens = connection_tokens(request.headers);
  for (const auto& [name, value] : request.headers) {
    if (hop_by_hop(name) || replaced(name) || contains(tokens, name) || contains(upstream_.remove_headers, name)) continue;
    if (names(upstream_.set_headers, name)) continue;
    if (name == "cookie" && !upstream_.remove_cookie.empty()) {
      const std::string kept = without_cookie(value, upstream_.remove_cookie);
      if (!kept.empty()) write_header(head, name, kept);
      continue;
    }
    write_header(head, name, value);
  }
  const auto forwarded = [&](std::string_view name, std::string_view value) {
    if (!names(upstream_.set_headers, name)) write_header(head, name, value);
  };
  forwarded("x-forwarded-for", request.peer);
  forwarded("x-forwarded-host", request.host);
  forwarded("x-forwarded-proto", "http");
  for (const auto& [name, value] : upstream_.set_headers) write_header(head, name, value);
  chunked_up_ = framing.chunked;
  if (framing.chunked) head.append("transfer-encoding: chunked\r\n");
  if (framing.has_length) write_header(head, "content-length", std::to_string(framing.length));
  if (wants_upgrade_) {
    write_header(head, "upgrade", request.header("upgrade"));
    head.append("connection: Upgrade\r\n\r\n");
  } else {
    head.append("connection: close\r\n\r\n");
  }
  up_.append_owned(std::move(head));
}

void ProxyExchange::connect() {
  Connecting attempt = begin_connect(upstream_.address);
  if (attempt.descriptor >= 0) {
    connecting_ = true;
    socket_ = adopt_stream(attempt.descriptor);
    loop_->open(*socket_, shared_from_this());
    wait();
  } else if (attempt.busy && ++connect_tries_ < kConnectTries) {
    loop_->arm(retry_, kRetryNs);
  } else {
    fail(attempt.error.code, std::move(attempt.error.message));
  }
}

void ProxyExchange::connected() {
  const int error = connect_error(*socket_);
  if (error != 0) {
    fail(Code::unavailable, "cannot connect to the upstream");
    return;
  }
  connecting_ = false;
  loop_->arm(waiting_, limits_.answer_ns);
  flush();
}

std::size_t ProxyExchange::room() const { return up_dead_ ? kBuffer : kBuffer - std::min(kBuffer, up_.size()); }

void ProxyExchange::send(std::string_view piece) {
  if (up_dead_ || piece.empty()) return;
  count(static_cast<std::int64_t>(piece.size()), 0);
  if (chunked_up_ && state_ != State::tunnel) {
    std::string& tail = up_.tail();
    const std::size_t before = tail.size();
    write_chunk_size(tail, piece.size());
    up_.grown(tail.size() - before);
    up_.append(piece);
    up_.append("\r\n");
  } else {
    up_.append(piece);
  }
  flush();
  wait();
}

void ProxyExchange::send_end() {
  if (state_ == State::tunnel) {
    request_ended_ = true;
  } else if (chunked_up_ && !up_dead_) {
    up_.append("0\r\n\r\n");
  }
  if (!connecting_ && state_ == State::waiting) loop_->arm(waiting_, limits_.answer_ns);
  flush();
  wait();
}

void ProxyExchange::flush() {
  if (!socket_ || connecting_) return;
  std::int64_t sent = 0;
  const auto result = up_.flush(*socket_, sent);
  // An upload may take its time: the upstream owes its answer from the last byte that it took.
  if (sent > 0 && state_ == State::waiting) loop_->arm(waiting_, limits_.answer_ns);
  if (result == OutBuffer::Flush::failed) {
    // An upstream may answer early and close; what it said is still to be read. A tunnel has no such answer.
    up_dead_ = true;
    up_.clear();
    if (state_ == State::tunnel) state_ = State::broken;
  }
  if (state_ == State::tunnel && request_ended_ && up_.empty() && !send_shut_) {
    send_shut_ = true;
    shutdown_send(*socket_);
  }
}

void ProxyExchange::ready(bool readable, bool writable) {
  const auto self = shared_from_this();
  if (connecting_) {
    if (writable) connected();
  } else {
    if (writable) flush();
    if (readable) receive();
  }
  wait();
  if (client_ != nullptr) client_->proxy_event();
}

void ProxyExchange::receive() {
  if (upstream_ended_ || !socket_ || client_ == nullptr) return;
  const Io io = receive_some(*socket_, loop_->scratch(), Loop::kScratch);
  switch (io.state) {
    case Io::State::blocked: return;
    case Io::State::moved: {
      count(0, static_cast<std::int64_t>(io.bytes));
      const std::string_view fresh(loop_->scratch(), io.bytes);
      if (in_.empty()) {
        take(fresh);
      } else {
        in_.append(fresh);
        const std::string whole = std::move(in_);
        in_.clear();
        take(whole);
      }
      return;
    }
    case Io::State::failed:
    case Io::State::ended: upstream_ended_ = true; upstream_over();
  }
}

void ProxyExchange::upstream_over() {
  if (state_ == State::tunnel) return;  // the client's side shuts down once it has flushed
  const std::string whole = std::move(in_);
  in_.clear();
  take(whole);
}

void ProxyExchange::take(std::string_view input) {
  while (state_ == State::waiting || state_ == State::answering) {
    const auto step = reader_.next(input, upstream_ended_);
    input.remove_prefix(step.consumed);
    switch (step.event) {
      case ResponseReader::Event::more: in_.assign(input); return;
      case ResponseReader::Event::body: pass_body(step.piece); break;
      case ResponseReader::Event::complete: finish(); return;
      case ResponseReader::Event::head:
        if (!take_head()) return;
        break;
      case ResponseReader::Event::refused:
        if (state_ == State::waiting) {
          fail(Code::unavailable, "the upstream cannot be understood: " + reader_.detail());
        } else {
          state_ = State::broken;
        }
        return;
    }
  }
  if (state_ == State::tunnel && client_ != nullptr) client_->client_out().append(input);
}

bool ProxyExchange::take_head() {
  loop_->arm(waiting_, limits_.idle_ns);
  status_ = reader_.status();
  if (status_ == 101 && !wants_upgrade_) {
    fail(Code::unavailable, "the upstream switched protocols without being asked");
    return false;
  }
  pass_head(reader_.framing());
  state_ = status_ == 101 ? State::tunnel : State::answering;
  return true;
}

void ProxyExchange::pass_head(AnswerFraming framing) {
  AnswerHead head;
  head.status = status_;
  head.length = framing.length;
  const bool unknown_length = framing.chunked || framing.until_close;
  chunked_down_ = unknown_length && !client_http10_;
  must_close_ = unknown_length && client_http10_;
  head.chunked = chunked_down_;
  must_close_ = must_close_ || client_http10_ || !client_keeps_;
  head.close = must_close_;
  const auto tokens = connection_tokens(reader_.headers());
  Headers kept;
  std::string_view upgrade;
  for (const auto& [name, value] : reader_.headers()) {
    if (name == "upgrade") upgrade = value;
    if (!contains(tokens, name)) kept.emplace_back(name, value);
  }
  if (status_ == 101) head.upgrade = upgrade.empty() ? std::string_view("websocket") : upgrade;
  if (!names(kept, "date")) head.date = loop_->date();
  static const Headers kNone;
  OutBuffer& out = client_->client_out();
  std::string& tail = out.tail();
  const std::size_t before = tail.size();
  write_answer_head(tail, head, kept, kNone);
  out.grown(tail.size() - before);
}

void ProxyExchange::pass_body(std::string_view piece) {
  OutBuffer& out = client_->client_out();
  if (!chunked_down_) {
    out.append(piece);
    return;
  }
  std::string& tail = out.tail();
  const std::size_t before = tail.size();
  write_chunk_size(tail, piece.size());
  out.grown(tail.size() - before);
  out.append(piece);
  out.append("\r\n");
}

void ProxyExchange::finish() {
  if (chunked_down_) client_->client_out().append("0\r\n\r\n");
  state_ = State::complete;
}

void ProxyExchange::fail(Code code, std::string message) {
  state_ = State::failed;
  error_ = Error{code, std::move(message), 0};
}

void ProxyExchange::client_drained() { wait(); }

void ProxyExchange::wait() {
  if (!socket_) return;
  int mode = 0;
  if (connecting_) {
    mode = Loop::kWrite;
  } else {
    if (!up_.empty()) mode |= Loop::kWrite;
    const bool wanted = state_ == State::waiting || state_ == State::answering || state_ == State::tunnel;
    if (wanted && !upstream_ended_ && client_ != nullptr && client_->client_out().size() < kBuffer) mode |= Loop::kRead;
  }
  if (loop_->wait_for(*socket_, mode)) return;
  if (state_ == State::waiting) {
    fail(Code::unavailable, "the upstream cannot be watched: the system's limits are reached");
  } else {
    state_ = State::broken;
  }
}

void ProxyExchange::expired(Deadline& deadline) {
  const auto self = shared_from_this();
  if (&deadline == &retry_) {
    connect();
  } else if (state_ == State::waiting) {
    fail(Code::deadline,
         connecting_ || !socket_ ? "the upstream does not accept the connection" : "the upstream does not answer");
  } else if (state_ == State::answering || state_ == State::tunnel) {
    state_ = State::broken;  // TCP keep-alive finds a peer that is gone; this finds one that is there and has died inside
  }
  if (client_ != nullptr) client_->proxy_event();
}

void ProxyExchange::close() {
  const auto self = shared_from_this();
  client_ = nullptr;
  retry_.disarm();
  waiting_.disarm();
  report_traffic(true);
  if (socket_) loop_->close(*socket_);
  socket_.reset();
}

void ProxyExchange::count(std::int64_t up, std::int64_t down) {
  up_bytes_ += up;
  down_bytes_ += down;
  if (state_ == State::answering || state_ == State::tunnel) loop_->arm(waiting_, limits_.idle_ns);
  report_traffic(false);
}

void ProxyExchange::report_traffic(bool now) {
  if (!upstream_.on_traffic || (up_bytes_ == 0 && down_bytes_ == 0)) return;
  if (!now && reported_ns_ != 0 && loop_->now_ns() - reported_ns_ < kReportNs) return;
  reported_ns_ = loop_->now_ns();
  upstream_.on_traffic(up_bytes_, down_bytes_);
  up_bytes_ = down_bytes_ = 0;
}

}  // namespace roost::http
