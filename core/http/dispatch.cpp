// The part of Connection that leads from a request's head to its answer.
#include "base/clock.hpp"
#include "http/connection.hpp"
#include "http/target.hpp"

namespace roost::http {
namespace {

constexpr std::uint64_t kSkipMax = 64 << 10;  // a refused request's body up to here is read, so that the connection can be kept

Response overloaded_answer(std::string_view detail) {
  Response response = problem(503, detail);
  response.headers.emplace_back("retry-after", "1");
  return response;
}

// RFC 9110 lets a POST without Content-Length have no body; one that announces content without its length has lost it.
bool lacks_length(const Request& request, const Framing& framing) {
  if (framing.has_length || framing.chunked) return false;
  if (framing.expect_continue) return true;
  const bool carries = request.method == "POST" || request.method == "PUT" || request.method == "PATCH";
  return carries && !request.header("content-type").empty();
}

}  // namespace

void Connection::begin_request() {
  header_.disarm();
  began_ns_ = system_clock().monotonic_ns();
  context_->counters.requests.fetch_add(1, std::memory_order_relaxed);
  const Framing& framing = reader_.framing();
  keep_alive_ = keep_alive_ && framing.keep_alive && place_ == Place::ordinary;
  request_read_ = false;
  request_.peer = peer_;
  request_.body.clear();
  request_.parameters.clear();
  const std::string_view trace = trace_id_of(request_.header("traceparent"));
  request_.trace_id = trace.empty() ? loop_->new_trace_id() : std::string(trace);
  route_ = nullptr;
  server_ = context_->choose(request_.host);
  phase_ = Phase::body;
  if (server_ == nullptr) {
    refuse(problem(421, "this server does not answer for the host '" + request_.host + "'"));
  } else if (framing.expect_unknown) {
    refuse(problem(417, "the only expectation understood here is 100-continue"));
  } else if (server_->proxy) {
    if (place_ == Place::spare) return refuse(overloaded_answer(kNoPlace));
    begin_proxy();
  } else {
    route_request();
  }
}

void Connection::route_request() {
  const Framing& framing = reader_.framing();
  if (!framing.path_refusal.empty()) return refuse(problem(400, framing.path_refusal));
  if (request_.path == "*") {  // OPTIONS of the whole server
    Response response;
    response.status = 204;
    return refuse(std::move(response));
  }
  Router::Match match = server_->router->match(request_.method, request_.path);
  if (match.route == nullptr && match.allow.empty()) return refuse(problem(404, "there is nothing at " + request_.path));
  if (match.route == nullptr) {
    Response response;
    if (request_.method == "OPTIONS") {
      response.status = 204;
    } else {
      response = problem(405, request_.method + " is not possible here; possible are " + match.allow);
    }
    response.headers.emplace_back("allow", std::move(match.allow));
    return refuse(std::move(response));
  }
  if (place_ == Place::spare && match.route->run != Run::probe) return refuse(overloaded_answer(kNoPlace));
  route_ = match.route;
  request_.parameters = std::move(match.parameters);
  if (server_->gatekeeper) {
    if (auto refused = server_->gatekeeper(request_, *route_)) return refuse(std::move(*refused));
  }
  if (lacks_length(request_, framing)) {
    keep_alive_ = false;
    return refuse(problem(411, "the request announces a body without its length: send Content-Length (0 where there is none)"));
  }
  if (framing.length > route_->body_limit) {
    return refuse(problem(413, "the body is larger than " + std::to_string(route_->body_limit) + " bytes"));
  }
  if (framing.has_body() && framing.expect_continue && !framing.http10 && input_.empty())
    out_.append("HTTP/1.1 100 Continue\r\n\r\n");
  if (framing.length > 0) request_.body.reserve(static_cast<std::size_t>(framing.length));
}

// Reads a short body to its end, so that the connection can go on; else answers at once and closes.
void Connection::refuse(Response response) {
  const Framing& framing = reader_.framing();
  context_->counters.rejected.fetch_add(1, std::memory_order_relaxed);
  if (!framing.has_body() || (!framing.chunked && !framing.expect_continue && framing.length <= kSkipMax)) {
    refusal_ = std::move(response);
    return;
  }
  keep_alive_ = false;
  phase_ = Phase::answering;
  answer_ = std::move(response);
}

void Connection::refuse_framing(int status, std::string_view detail) {
  context_->counters.rejected.fetch_add(1, std::memory_order_relaxed);
  if (began_ns_ == 0) {  // no head was read: what the parser left behind is not a request
    began_ns_ = system_clock().monotonic_ns();
    server_ = nullptr;
    request_.method.clear();
    request_.path.clear();
    request_.peer = peer_;
    request_.trace_id = loop_->new_trace_id();
  }
  keep_alive_ = false;
  request_read_ = false;
  refusal_.reset();
  Response response = problem(status, detail);
  write_answer(response);
}

void Connection::dispatch() {
  ++serial_;
  phase_ = Phase::answering;
  std::atomic<bool>& late = context_->answers_late(*server_, *route_);
  const bool counted = route_->run != Run::waiting && route_->run != Run::probe;
  if (counted && (route_->run == Run::pooled || late.load(std::memory_order_relaxed)) && context_->overloaded()) {
    answer_ = overloaded_answer("too many requests are being served: try again shortly");
    return;
  }
  if (counted) in_flight_.hold(context_->counters.in_flight);
  auto exchange = std::make_shared<Exchange>(loop_, weak_from_this(), serial_, context_->options.stream_buffer);
  exchange_ = exchange;
  if (route_->run == Run::pooled) {
    dispatch_pooled(exchange);
    return;
  }
  try {
    route_->handler(request_, Responder(exchange));
  } catch (...) {
    exchange->respond(problem(500, "the request failed because of a defect in the server"));
  }
  exchange.reset();  // where the handler let go of its responder, this answers 500
  if (!answer_ && !stream_head_ && !late.load(std::memory_order_relaxed)) late.store(true, std::memory_order_relaxed);
}

void Connection::dispatch_pooled(const std::shared_ptr<Exchange>& exchange) {
  auto request = std::make_shared<const Request>(std::move(request_));
  request_ = Request();
  pooled_request_ = request;
  std::function<void()> work = [request, exchange, route = route_] {
    try {
      route->handler(*request, Responder(exchange));
    } catch (...) {
      exchange->respond(problem(500, "the request failed because of a defect in the server"));
    }
  };
  if (!context_->pool.submit(std::move(work))) exchange->respond(overloaded_answer("the server is busy: try again shortly"));
}

void Connection::write_answer(Response& response) {
  in_flight_.release();
  if (context_->draining) keep_alive_ = false;
  const Request& request = current_request();
  AnswerHead head;
  head.status = response.status;
  head.close = !keep_alive_;
  head.keep_alive = keep_alive_ && reader_.framing().http10;
  head.date = loop_->date();
  if (!bodiless(response.status)) head.length = response.body.size();
  static const Headers kNone;
  std::string& tail = out_.tail();
  const std::size_t before = tail.size();
  write_answer_head(tail, head, response.headers, server_ == nullptr ? kNone : server_->response_headers);
  out_.grown(tail.size() - before);
  if (head.length && request.method != "HEAD") out_.append_owned(std::move(response.body));
  observe(response.status);
  end_of_answer();
}

void Connection::write_stream_head(Response& response) {
  in_flight_.release();
  const bool http10 = reader_.framing().http10;
  if (http10 || context_->draining) keep_alive_ = false;
  const bool head_only = current_request().method == "HEAD" || bodiless(response.status);
  stream_left_ = response.stream_length;
  stream_chunked_ = !http10 && !stream_left_;
  AnswerHead head;
  head.status = response.status;
  head.close = !keep_alive_;
  head.chunked = stream_chunked_ && !bodiless(response.status);
  if (!bodiless(response.status)) head.length = response.stream_length;
  head.date = loop_->date();
  std::string& tail = out_.tail();
  const std::size_t before = tail.size();
  write_answer_head(tail, head, response.headers, server_->response_headers);
  out_.grown(tail.size() - before);
  observe(response.status);
  if (head_only) {
    const auto stream = std::move(stream_);
    stream_.reset();
    end_of_answer();
    stream->close();
    return;
  }
  if (!response.body.empty()) stream_->write_first(std::move(response.body));
  stream_count_.hold(context_->counters.streams);
  phase_ = Phase::streaming;
  if (context_->draining) stream_->end();
}

void Connection::end_of_answer() {
  exchange_.reset();
  pooled_request_.reset();
  on_upstream_error_ = nullptr;
  began_ns_ = 0;
  route_ = nullptr;
  ++serial_;  // a late answer finds nobody
  in_flight_.release();
  whole_.disarm();  // the next request has a time of its own, even where its first bytes are here already
  if (request_.body.capacity() > kSkipMax) request_.body = std::string();
  phase_ = keep_alive_ ? Phase::head : Phase::closing;
}

void Connection::observe(int status) {
  if (!context_->observer) return;
  const std::string_view pattern = route_ == nullptr ? std::string_view{} : std::string_view(route_->pattern);
  context_->observer(current_request(), pattern, status, std::chrono::nanoseconds(system_clock().monotonic_ns() - began_ns_));
}

// ---- proxying ---------------------------------------------------------------------------------------------------------
void Connection::begin_proxy() {
  const Framing& framing = reader_.framing();
  ProxyDecision decision;
  try {
    decision = server_->proxy(request_);
  } catch (...) {
    decision.answer = problem(500, "the request failed because of a defect in the server");
  }
  if (decision.answer) return refuse(std::move(*decision.answer));
  if (!decision.upstream) return refuse(problem(502, "there is no upstream for this request"));
  if (framing.has_body() && framing.expect_continue && !framing.http10 && input_.empty())
    out_.append("HTTP/1.1 100 Continue\r\n\r\n");
  on_upstream_error_ = std::move(decision.on_upstream_error);
  const ServerOptions& options = context_->options;
  const ProxyExchange::Limits limits{std::chrono::nanoseconds(options.proxy_answer_deadline).count(),
                                     std::chrono::nanoseconds(options.proxy_idle_timeout).count()};
  proxy_ = std::make_shared<ProxyExchange>(loop_, *this, std::move(*decision.upstream), limits);
  proxied_count_.hold(context_->counters.proxied);
  phase_ = Phase::proxying;
  proxy_->start(request_, framing);
}

bool Connection::step_proxying() {
  if (!request_read_ && !pump_request_body()) return phase_ != Phase::closed;
  const auto proxy = proxy_;
  switch (proxy->state()) {
    case ProxyExchange::State::waiting:
    case ProxyExchange::State::answering:
      if (input_ended_ && request_read_) close();  // nobody is left to answer
      return false;
    case ProxyExchange::State::broken: close(); return false;
    case ProxyExchange::State::tunnel:
      observe(101);
      proxied_count_.release();
      tunnel_count_.hold(context_->counters.tunnels);
      phase_ = Phase::tunnel;
      if (context_->draining) close();
      return true;
    case ProxyExchange::State::complete:
      keep_alive_ = keep_alive_ && request_read_ && !proxy->must_close() && !context_->draining;
      observe(proxy->status());
      break;
    case ProxyExchange::State::failed: {
      keep_alive_ = keep_alive_ && request_read_;
      const Error& error = proxy->error();
      Response response =
          on_upstream_error_ ? on_upstream_error_(error) : problem(error.code == Code::deadline ? 504 : 502, error.message);
      proxy->close();
      proxy_.reset();
      proxied_count_.release();
      write_answer(response);
      return true;
    }
  }
  proxy->close();
  proxy_.reset();
  proxied_count_.release();
  end_of_answer();
  return true;
}

// False: the request cannot be passed on to its end; the phase has changed.
bool Connection::pump_request_body() {
  while (const std::size_t room = proxy_->room()) {
    const std::string_view view = input_.substr(0, room);
    const auto read = reader_.next(view, request_);
    input_.remove_prefix(read.consumed);
    if (read.event == RequestReader::Event::body) {
      proxy_->send(read.piece);
      continue;
    }
    if (read.event == RequestReader::Event::complete) {
      request_read_ = true;
      proxy_->send_end();
      return true;
    }
    const bool refused = read.event == RequestReader::Event::refused;
    if (!refused && !(input_ended_ && view.size() == input_.size() + read.consumed)) return true;
    const bool answered = proxy_->state() != ProxyExchange::State::waiting;
    proxy_->close();
    proxy_.reset();
    proxied_count_.release();
    if (answered) {
      close();
    } else {
      refuse_framing(refused ? reader_.status() : 400,
                     refused ? std::string_view(reader_.detail()) : "the body ended before its announced end");
    }
    return false;
  }
  return true;
}

bool Connection::step_tunnel() {
  while (!input_.empty()) {
    const std::size_t room = proxy_->room();
    if (room == 0) break;
    const std::string_view piece = input_.substr(0, room);
    proxy_->send(piece);
    input_.remove_prefix(piece.size());
  }
  if (input_ended_ && input_.empty()) proxy_->send_end();
  if (proxy_->state() == ProxyExchange::State::broken) {  // now, or by what was sent just now: nothing more comes of it
    close();
    return false;
  }
  if (proxy_->upstream_ended() && out_.empty() && !send_shut_) {
    shutdown_send(socket_);
    send_shut_ = true;
  }
  if (send_shut_ && input_ended_ && input_.empty() && proxy_->sent_everything()) close();
  return false;
}

}  // namespace roost::http
