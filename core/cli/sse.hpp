// SseParser: Server-Sent Events out of bytes as they come (WHATWG HTML, "Server-sent events"). Thread safety: used by one thread.
// Invariants: a line, and an event, is at most `limit` bytes; an event that the stream's end cuts off is not handed out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost::cli {

struct SseEvent {
  std::string id;    // the last one that the stream has given
  std::string type;  // "message" where it has none
  std::string data;
};

class SseParser {
 public:
  using Sink = std::function<Status(const SseEvent&)>;
  explicit SseParser(std::size_t limit = 1 << 20) : limit_(limit) {}

  // The sink's error, or DATA_LOSS for what is larger than the limit.
  [[nodiscard]] Status feed(std::string_view bytes, const Sink& sink);
  // To come back with: of the last event that was whole, or of an id that came without one. Empty: there was none yet.
  [[nodiscard]] const std::string& last_id() const { return last_id_; }
  [[nodiscard]] std::int64_t retry_ms() const { return retry_ms_; }  // 0: not stated

 private:
  [[nodiscard]] Status take_line(std::string_view line, const Sink& sink);
  void take_field(std::string_view name, std::string_view value);

  std::size_t limit_;
  std::string line_, data_, type_, id_, last_id_;
  bool has_data_ = false;
  bool begun_ = false;  // the byte order mark may only stand first
  bool after_return_ = false;
  std::int64_t retry_ms_ = 0;
};

}  // namespace roost::cli
