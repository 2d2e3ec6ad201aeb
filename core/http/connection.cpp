#include "http/connection.hpp"

#include "base/clock.hpp"

namespace roost::http {
namespace {

constexpr std::size_t kUnsentMax = 16 << 10;       // more than this unsent: the client's next request waits
constexpr int kRequestsPerTurn = 32;               // of a client that pipes requests together: then it is the others' turn
constexpr std::size_t kKeepStorage = 4 << 10;      // of an idle connection's input
constexpr std::int64_t kLingerNs = 2'000'000'000;  // to let a client read an answer that came before its request's end
constexpr std::int64_t kSpareNs = 2'000'000'000;   // for a connection past the limit to send its request
constexpr int kTunnelPatience = 5;                 // times the request deadline: a tunnel may rest longer than a request

std::int64_t ns(std::chrono::milliseconds time) { return std::chrono::nanoseconds(time).count(); }

ReaderLimits reader_limits(const ServerOptions& options) {
  return {options.header_bytes, options.target_bytes, options.header_count};
}

}  // namespace

Connection::Connection(std::shared_ptr<Context> context, LoopState& home, Poco::Net::StreamSocket socket, std::string peer,
                       bool counted_peer, Place place)
    : context_(std::move(context)),
      home_(home),
      loop_(home.loop),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      counted_peer_(counted_peer),
      place_(place),
      reader_(reader_limits(context_->options)) {}

Connection::~Connection() = default;

void Connection::open() {
  home_.connections.insert(this);
  loop_->open(socket_, shared_from_this());
  if (context_->draining) {
    close();
    return;
  }
  receive();  // the first request is often here already; and one that never sends has a deadline from now on
}

void Connection::drain() {
  const auto self = shared_from_this();
  if (phase_ == Phase::tunnel || (phase_ == Phase::head && in_.empty() && out_.empty())) {
    close();
    return;
  }
  keep_alive_ = false;
  if (phase_ == Phase::streaming) stream_->end();
  resume();
}

void Connection::close() {
  if (phase_ == Phase::closed) return;
  const auto self = shared_from_this();
  phase_ = Phase::closed;
  if (const auto exchange = exchange_.lock()) exchange->gone();
  if (proxy_) proxy_->close();
  proxy_.reset();
  loop_->close(socket_);
  for (Deadline* deadline : {&idle_, &header_, &whole_, &sending_}) deadline->disarm();
  for (Held* held : {&idle_count_, &in_flight_, &stream_count_, &proxied_count_, &tunnel_count_}) held->release();
  out_.clear();
  home_.connections.erase(this);
  context_->counters.open.fetch_sub(1, std::memory_order_relaxed);
  if (counted_peer_) context_->peer_closed(peer_);
  if (stream_) stream_->close();
  stream_.reset();
}

void Connection::answer(std::uint64_t serial, Response response) {
  if (serial != serial_ || phase_ != Phase::answering || answer_ || stream_head_) return;
  answer_ = std::move(response);
  resume();
}

bool Connection::begin_stream(std::uint64_t serial, Response head, std::shared_ptr<StreamState> stream) {
  if (serial != serial_ || phase_ != Phase::answering || answer_ || stream_head_) return false;
  stream_head_ = std::move(head);
  stream_ = std::move(stream);
  resume();
  return true;
}

void Connection::stream_ready() { resume(); }

void Connection::ready(bool readable, bool writable) {
  if (writable && phase_ != Phase::closed) {
    flush();
    if (!readable) resume();
  }
  if (readable && phase_ != Phase::closed) receive();
}

void Connection::receive() {
  const Io io = receive_some(socket_, loop_->scratch(), Loop::kScratch);
  if (io.state == Io::State::failed) {
    close();
    return;
  }
  if (io.state == Io::State::ended) input_ended_ = true;
  if (phase_ == Phase::lingering) {
    if (input_ended_) close();
    return;
  }
  const std::string_view fresh(loop_->scratch(), io.bytes);
  if (in_.empty()) {
    input_ = fresh;
  } else {
    in_.append(fresh);
    input_ = in_;
  }
  turn();
}

void Connection::resume() {
  if (in_turn_ || phase_ == Phase::closed) return;
  const auto self = shared_from_this();
  input_ = in_;
  turn();
}

void Connection::turn() {
  in_turn_ = true;
  requests_in_turn_ = 0;
  bool again = true;
  while (again && phase_ != Phase::closed) {
    while (phase_ != Phase::closed && step()) {
    }
    const bool had_output = !out_.empty();
    flush();
    again = had_output && out_.empty();  // what waited for room can go on
  }
  in_turn_ = false;
  keep_input();
  if (phase_ == Phase::closed) return;
  set_deadlines();
  wait();
}

bool Connection::step() {
  switch (phase_) {
    case Phase::head: return step_head();
    case Phase::body: return step_body();
    case Phase::answering: return step_answering();
    case Phase::streaming: return step_streaming();
    case Phase::proxying: return step_proxying();
    case Phase::tunnel: return step_tunnel();
    case Phase::closing:
      if (out_.empty()) finish_close();
      return false;
    case Phase::lingering:
    case Phase::closed: return false;
  }
  return false;
}

bool Connection::step_head() {
  if (out_.size() >= kUnsentMax) flush();
  if (out_.size() >= kUnsentMax || phase_ == Phase::closed) return false;
  if (input_.empty()) {
    if (!input_ended_ && keep_alive_) return false;
    phase_ = Phase::closing;
    return true;
  }
  if (requests_in_turn_ >= kRequestsPerTurn) {
    yield();
    return false;
  }
  const auto read = reader_.next(input_, request_);
  input_.remove_prefix(read.consumed);
  if (read.event == RequestReader::Event::head) {
    ++requests_in_turn_;
    try {
      begin_request();
    } catch (...) {  // a gatekeeper's defect
      refuse(problem(500, "the request failed because of a defect in the server"));
    }
    return true;
  }
  if (read.event == RequestReader::Event::refused) {
    refuse_framing(reader_.status(), reader_.detail());
    return true;
  }
  if (!input_ended_) return false;
  if (input_.empty()) return true;
  refuse_framing(400, "the connection ended in the middle of a header");
  return true;
}

void Connection::yield() {
  if (yielded_) return;
  yielded_ = true;
  loop_->post([self = weak_from_this()] {
    const auto connection = self.lock();
    if (!connection) return;
    connection->yielded_ = false;
    connection->resume();
  });
}

bool Connection::step_body() {
  const auto read = reader_.next(input_, request_);
  input_.remove_prefix(read.consumed);
  switch (read.event) {
    case RequestReader::Event::body:
      if (refusal_) return true;  // its answer is known: the body is only skipped
      if (request_.body.size() + read.piece.size() > route_->body_limit) {
        refuse_framing(413, "the body is larger than " + std::to_string(route_->body_limit) + " bytes");
        return true;
      }
      request_.body.append(read.piece);
      return true;
    case RequestReader::Event::complete:
      request_read_ = true;
      if (refusal_) {
        phase_ = Phase::answering;
        answer_ = std::move(refusal_);
        refusal_.reset();
      } else {
        dispatch();
      }
      return true;
    case RequestReader::Event::refused: refuse_framing(reader_.status(), reader_.detail()); return true;
    case RequestReader::Event::head:
    case RequestReader::Event::more: break;
  }
  if (!input_ended_) return false;
  refuse_framing(400, "the body ended after " + std::to_string(request_.body.size()) + " bytes, before its announced end");
  return true;
}

bool Connection::step_answering() {
  if (answer_) {
    Response response = std::move(*answer_);
    answer_.reset();
    write_answer(response);
    return true;
  }
  if (stream_head_) {
    Response head = std::move(*stream_head_);
    stream_head_.reset();
    write_stream_head(head);
    return true;
  }
  if (input_ended_) {
    if (const auto exchange = exchange_.lock()) exchange->gone();
  }
  return false;
}

bool Connection::step_streaming() {
  const auto stream = stream_;
  auto taken = stream->take();
  const bool too_much = stream_left_ && taken.data.size() > *stream_left_;
  if (taken.cut || input_ended_ || too_much) {
    close();
    return false;
  }
  if (stream_left_) *stream_left_ -= taken.data.size();
  if (!taken.data.empty()) {
    if (stream_chunked_) {
      std::string& tail = out_.tail();
      const std::size_t before = tail.size();
      write_chunk_size(tail, taken.data.size());
      out_.grown(tail.size() - before);
    }
    out_.append_owned(std::move(taken.data));
    if (stream_chunked_) out_.append("\r\n");
  }
  if (!taken.ended) return false;
  if (stream_left_.value_or(0) > 0) {
    close();
    return false;
  }
  if (stream_chunked_) out_.append("0\r\n\r\n");
  stream_.reset();
  stream_count_.release();
  end_of_answer();
  stream->close();
  return true;
}

void Connection::keep_input() {
  if (phase_ == Phase::closed || input_.empty()) {
    in_.clear();
    if (in_.capacity() > kKeepStorage) in_ = std::string();
  } else if (!in_.empty()) {
    in_.erase(0, in_.size() - input_.size());
  } else {
    in_.assign(input_);
  }
  input_ = {};
}

void Connection::flush() {
  if (out_.empty()) return;
  std::int64_t sent = 0;
  const auto result = out_.flush(socket_, sent);
  if (result == OutBuffer::Flush::failed) {
    close();
    return;
  }
  if (out_.empty()) {
    sending_.disarm();
  } else if (sent > 0 || !sending_.armed()) {
    loop_->arm(sending_, ns(context_->options.request_deadline) * (phase_ == Phase::tunnel ? kTunnelPatience : 1));
  }
  if (stream_) stream_->unsent(out_.size());
}

void Connection::set_deadlines() {
  const ServerOptions& options = context_->options;
  const bool idle = phase_ == Phase::head && in_.empty();
  if (idle != idle_count_.held()) {
    if (idle) {
      idle_count_.hold(context_->counters.idle);
    } else {
      idle_count_.release();
    }
  }
  if (idle) {
    loop_->arm(idle_, place_ == Place::spare ? kSpareNs : ns(options.idle_timeout));
  } else if (phase_ == Phase::tunnel && (input_ended_ || send_shut_)) {
    loop_->arm(idle_, ns(options.request_deadline) * kTunnelPatience);  // half closed: not for ever
  } else if (phase_ != Phase::lingering) {
    idle_.disarm();
  }
  const bool in_head = phase_ == Phase::head && !idle;
  if (!in_head) {
    header_.disarm();
  } else if (!header_.armed()) {
    loop_->arm(header_, place_ == Place::spare ? kSpareNs : ns(options.header_deadline));
  }
  // A proxied body that only waits for its upstream is not its sender's fault.
  const bool reading = in_head || phase_ == Phase::body || (phase_ == Phase::proxying && !request_read_ && proxy_->room() > 0);
  if (!reading) {
    whole_.disarm();
  } else if (!whole_.armed() || phase_ == Phase::proxying) {
    loop_->arm(whole_, ns(options.request_deadline));
  }
}

int Connection::wanted() const {
  const int write = out_.empty() ? 0 : Loop::kWrite;
  if (input_ended_) return write;
  bool read = false;
  switch (phase_) {
    case Phase::head: read = out_.size() < kUnsentMax && !yielded_; break;
    case Phase::body:
    case Phase::lingering: read = true; break;
    case Phase::answering:
    case Phase::streaming: read = in_.size() < Loop::kScratch; break;
    case Phase::proxying: read = request_read_ ? in_.size() < Loop::kScratch : proxy_->room() > 0; break;
    case Phase::tunnel: read = in_.empty(); break;
    case Phase::closing:
    case Phase::closed: break;
  }
  return write | (read ? Loop::kRead : 0);
}

void Connection::wait() {
  if (!loop_->wait_for(socket_, wanted())) {
    close();
    return;
  }
  if (proxy_) proxy_->client_drained();
}

void Connection::finish_close() {
  // Closing with bytes of the client unread sends a reset that can overtake the answer (RFC 9112, 9.6).
  if (input_ended_ || (request_read_ && input_.empty())) {
    close();
    return;
  }
  input_ = {};
  shutdown_send(socket_);
  phase_ = Phase::lingering;
  loop_->arm(idle_, kLingerNs);
}

void Connection::expired(Deadline& deadline) {
  const auto self = shared_from_this();
  if (&deadline == &sending_) context_->counters.timeouts.fetch_add(1, std::memory_order_relaxed);
  if (&deadline == &sending_ || &deadline == &idle_) {
    close();
    return;
  }
  context_->counters.timeouts.fetch_add(1, std::memory_order_relaxed);
  if (phase_ == Phase::proxying && proxy_->state() != ProxyExchange::State::waiting) {
    close();
    return;
  }
  if (proxy_) proxy_->close();
  proxy_.reset();
  refuse_framing(408, &deadline == &header_ ? "the header did not arrive in time" : "the request did not arrive in time");
  resume();
}

}  // namespace roost::http
