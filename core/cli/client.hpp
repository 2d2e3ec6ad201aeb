// Client: requests that are repeated where that is safe, within a deadline. Thread safety: one thread.
// Invariants: a call that could act twice is repeated only where nothing was done, or with the idempotency key of the first try.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/clock.hpp"
#include "cli/http.hpp"

namespace roost::cli {

// safe: GET, a DELETE that says what it deleted, a call with an idempotency key. once: only where nothing was sent or done.
enum class Repeat { safe, once };

// How long to wait before the next try, in milliseconds; none: do not try again. `tries` is how many there were. Pure.
struct Attempt {
  int tries = 1;
  Repeat repeat = Repeat::safe;
  int status = 0;  // 0: no answer, then `error` says why
  Code error = Code::internal;
  std::int64_t retry_after_ms = 0;  // what the server asked for; 0: nothing
  std::int64_t left_ms = 0;         // until the deadline
};
[[nodiscard]] std::optional<std::int64_t> retry_wait_ms(const Attempt& attempt, double jitter);

// Retry-After in milliseconds: seconds or a date (RFC 9110, 10.2.3); 0 where it is neither.
[[nodiscard]] std::int64_t retry_after_ms(const std::string& value, std::int64_t now_us);

class Client {
 public:
  using Note = std::function<void(const std::string&)>;  // told of a wait that a person would wonder about
  Client(Http& http, Clock& clock, Random& random, Note note)
      : http_(http), clock_(clock), random_(random), note_(std::move(note)) {}

  void set_deadline(std::int64_t monotonic_ns) { deadline_ns_ = monotonic_ns; }  // of everything; 0: none
  [[nodiscard]] std::int64_t left_ms(std::int64_t most_ms) const;                // until the deadline, at most that; 0: over
  // The answer, whatever its status, of the last try. request.timeout_ms is for all tries together (0: kRequestMs).
  [[nodiscard]] Result<HttpResponse> call(HttpRequest request, Repeat repeat);
  [[nodiscard]] Http& http() { return http_; }
  [[nodiscard]] std::string idempotency_header();  // a new one

 private:
  Http& http_;
  Clock& clock_;
  Random& random_;
  Note note_;
  std::int64_t deadline_ns_ = 0;
};

}  // namespace roost::cli
