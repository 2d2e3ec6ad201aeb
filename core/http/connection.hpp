// Connection: one client's socket, from accept to close. It reads requests one after the other, hands each to a handler or to a
// proxy, and writes the answers in order. It holds no thread while it waits.
// Thread safety: the loop's thread only. Invariants: one request at a time; while the client does not read, nothing more is read
// from it; after a framing error nothing more is parsed; what is buffered is bounded in each direction.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/context.hpp"
#include "http/exchange.hpp"
#include "http/out_buffer.hpp"
#include "http/proxy.hpp"
#include "http/request_reader.hpp"
#include "http/socket.hpp"
#include "http/writer.hpp"

namespace roost::http {

class Connection final : public Pollable, public ProxyClient, public std::enable_shared_from_this<Connection> {
 public:
  // spare: past the limit of connections; it is for one request to a Run::probe route, which must come soon.
  enum class Place { ordinary, spare };
  Connection(std::shared_ptr<Context> context, LoopState& home, Poco::Net::StreamSocket socket, std::string peer,
             bool counted_peer, Place place);
  ~Connection() override;

  void open();
  void drain();  // close as soon as nothing is in flight
  void close();

  // From an Exchange; ignored where another request is being served by now.
  void answer(std::uint64_t serial, Response response);
  [[nodiscard]] bool begin_stream(std::uint64_t serial, Response head, std::shared_ptr<StreamState> stream);
  void stream_ready();

  void ready(bool readable, bool writable) override;
  void expired(Deadline& deadline) override;

  OutBuffer& client_out() override { return out_; }
  void proxy_event() override { resume(); }

 private:
  enum class Phase { head, body, answering, streaming, proxying, tunnel, closing, lingering, closed };

  // connection.cpp: bytes, turns, deadlines
  void receive();
  void resume();              // go on with what is buffered
  void turn();                // run the machine, flush, decide what to wait for
  [[nodiscard]] bool step();  // one transition; false: it needs something from outside
  [[nodiscard]] bool step_head();
  void yield();
  [[nodiscard]] bool step_body();
  [[nodiscard]] bool step_answering();
  [[nodiscard]] bool step_streaming();
  [[nodiscard]] bool step_proxying();
  [[nodiscard]] bool pump_request_body();
  [[nodiscard]] bool step_tunnel();
  void keep_input();
  void flush();
  void wait();
  void set_deadlines();
  void finish_close();
  [[nodiscard]] int wanted() const;

  // dispatch.cpp: from a head to an answer
  void begin_request();
  void route_request();
  void dispatch();
  void dispatch_pooled(const std::shared_ptr<Exchange>& exchange);
  void begin_proxy();
  void refuse(Response response);                            // the request is understood but not served
  void refuse_framing(int status, std::string_view detail);  // nothing behind it can be trusted
  void write_answer(Response& response);
  void write_stream_head(Response& head);
  void end_of_answer();
  void observe(int status);
  [[nodiscard]] const Request& current_request() const { return pooled_request_ ? *pooled_request_ : request_; }

  const std::shared_ptr<Context> context_;
  LoopState& home_;
  const std::shared_ptr<Loop> loop_;
  Poco::Net::StreamSocket socket_;
  const std::string peer_;
  const bool counted_peer_;
  const Place place_;

  Phase phase_ = Phase::head;
  bool in_turn_ = false;
  int requests_in_turn_ = 0;
  bool yielded_ = false;  // its requests wait until the loop has served the others
  bool input_ended_ = false;
  bool keep_alive_ = true;
  bool request_read_ = true;  // the present request's last byte has been read
  bool send_shut_ = false;

  std::string in_;          // what is left between turns
  std::string_view input_;  // what is left in this turn: of in_, or of the loop's scratch
  OutBuffer out_;
  RequestReader reader_;
  Request request_;
  std::shared_ptr<const Request> pooled_request_;  // instead of request_ while the pool has it

  const VirtualServer* server_ = nullptr;
  const Route* route_ = nullptr;
  std::uint64_t serial_ = 0;
  std::int64_t began_ns_ = 0;
  std::weak_ptr<Exchange> exchange_;
  std::optional<Response> answer_;
  std::optional<Response> refusal_;  // answered once the body is read
  std::shared_ptr<StreamState> stream_;
  std::optional<Response> stream_head_;
  bool stream_chunked_ = false;
  std::optional<std::uint64_t> stream_left_;  // of the announced length
  std::shared_ptr<ProxyExchange> proxy_;
  std::function<Response(const Error&)> on_upstream_error_;

  Deadline idle_{*this};  // keep-alive, lingering
  Deadline header_{*this};
  Deadline whole_{*this};    // header and body
  Deadline sending_{*this};  // no progress while the client should read
  Held idle_count_, in_flight_, stream_count_, proxied_count_, tunnel_count_;
};

}  // namespace roost::http
