// RequestReader: bytes into requests. Boost.Beast reads the grammar; this class adds the limits, refuses the shapes that
// smuggle requests (RFC 9112 section 11.2), and hands the body over in pieces. It knows no socket.
// Thread safety: one thread. Invariant: after `refused` the connection's framing is lost, so it must be closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "http/http.hpp"

namespace roost::http {

struct ReaderLimits {
  std::size_t header_bytes = 16 << 10;
  std::size_t target_bytes = 8 << 10;
  int header_count = 100;
};

// How a message goes on after its head.
struct Framing {
  bool http10 = false;
  bool keep_alive = true;
  bool chunked = false;
  bool has_length = false;
  std::uint64_t length = 0;
  bool expect_continue = false;
  bool expect_unknown = false;    // an expectation that nobody can meet: 417
  bool upgrade = false;           // Connection: Upgrade with Upgrade: websocket
  std::string_view path_refusal;  // why there is no normalised path; empty: there is one

  [[nodiscard]] bool has_body() const { return chunked || length > 0; }
};

class RequestReader {
 public:
  enum class Event {
    more,      // give it the bytes that are left again, with more behind them
    head,      // `request` holds everything but the body; framing() tells what follows
    body,      // a piece of the body, valid as long as the input is
    complete,  // the message is over; the next call begins another one
    refused,   // see status() and detail()
  };
  struct Step {
    Event event = Event::more;
    std::size_t consumed = 0;
    std::string_view piece;
  };

  explicit RequestReader(ReaderLimits limits);
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // `request` is the same object from a message's first byte until its head; its strings' storage is used again.
  [[nodiscard]] Step next(std::string_view input, Request& request);
  [[nodiscard]] const Framing& framing() const;  // of the last head
  [[nodiscard]] int status() const;
  [[nodiscard]] const std::string& detail() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost::http
