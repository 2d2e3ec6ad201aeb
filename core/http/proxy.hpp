// ProxyExchange: one request passed on to an upstream, and its answer passed back, both framed anew; after a 101, a raw tunnel.
// It buffers at most 48 KiB a direction besides one read of 16 KiB, and stops reading a side while the other does not take it.
// Thread safety: the loop's thread only. It calls its client at the end of its own turns only (proxy_event), never from
// within a call of the client.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/loop.hpp"
#include "http/out_buffer.hpp"
#include "http/request_reader.hpp"
#include "http/response_reader.hpp"
#include "http/server.hpp"

namespace roost::http {

class ProxyClient {
 public:
  virtual ~ProxyClient() = default;
  virtual OutBuffer& client_out() = 0;  // where the answer goes
  virtual void proxy_event() = 0;       // something changed: look at the state, flush, read on
};

class ProxyExchange final : public Pollable, public std::enable_shared_from_this<ProxyExchange> {
 public:
  static constexpr std::size_t kBuffer = 48 << 10;

  enum class State {
    waiting,    // nothing was answered yet
    answering,  // the head of an answer was passed on
    complete,   // the whole answer was passed on
    failed,     // see error(); nothing was answered
    broken,     // the answer broke off in the middle: the client's connection must be cut
    tunnel,     // after a 101
  };

  struct Limits {
    std::int64_t answer_ns = 0;  // for the head of an answer, once the upstream takes no more of the request
    std::int64_t idle_ns = 0;    // without a byte in either direction, once the head was passed on
  };

  ProxyExchange(std::shared_ptr<Loop> loop, ProxyClient& client, Upstream upstream, Limits limits);
  ~ProxyExchange() override;

  void start(const Request& request, const Framing& framing);
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const Error& error() const { return error_; }
  [[nodiscard]] int status() const { return status_; }
  [[nodiscard]] bool must_close() const { return must_close_; }  // the answer ends with the connection

  // How many bytes of the request's body (or of the tunnel) it takes now.
  [[nodiscard]] std::size_t room() const;
  void send(std::string_view piece);
  void send_end();  // the request is complete; of a tunnel: the client will send no more
  [[nodiscard]] bool upstream_ended() const { return upstream_ended_; }
  [[nodiscard]] bool sent_everything() const { return up_.empty(); }
  void client_drained();  // the client's buffer has room
  void close();

  void ready(bool readable, bool writable) override;
  void expired(Deadline& deadline) override;

 private:
  void connect();
  void connected();
  void write_request_head(const Request& request, const Framing& framing);
  void receive();
  void take(std::string_view input);
  [[nodiscard]] bool take_head();
  void pass_head(AnswerFraming framing);
  void pass_body(std::string_view piece);
  void finish();
  void upstream_over();
  void fail(Code code, std::string message);
  void flush();
  void wait();
  void count(std::int64_t up, std::int64_t down);
  void report_traffic(bool now);

  const std::shared_ptr<Loop> loop_;
  ProxyClient* client_;
  const Upstream upstream_;
  const Limits limits_;
  std::optional<Poco::Net::StreamSocket> socket_;
  State state_ = State::waiting;
  Error error_;
  int status_ = 0;
  int connect_tries_ = 0;
  bool connecting_ = false, client_http10_ = false, client_keeps_ = true, wants_upgrade_ = false, chunked_up_ = false;
  bool chunked_down_ = false, must_close_ = false;
  bool request_ended_ = false, up_dead_ = false, send_shut_ = false, upstream_ended_ = false;
  std::string in_;  // what is left of the upstream's bytes between turns
  OutBuffer up_;    // towards the upstream
  ResponseReader reader_;
  std::int64_t up_bytes_ = 0, down_bytes_ = 0, reported_ns_ = 0;
  Deadline retry_{*this};    // of a connection attempt
  Deadline waiting_{*this};  // for the connection, then for the answer's head, then for any byte at all
};

}  // namespace roost::http
