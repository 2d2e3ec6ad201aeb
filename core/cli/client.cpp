#include "cli/client.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>

#include "cli/interrupt.hpp"
#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr std::int64_t kRequestMs = 30'000;
constexpr int kMostTries = 8;
constexpr std::int64_t kFirstWaitMs = 200, kLongestWaitMs = 5'000;
constexpr std::int64_t kWorthANoteMs = 2'000;

// Answers that say "not now": a proxy's, or the server's own.
bool is_passing(int status) { return status == 429 || status == 502 || status == 503 || status == 504; }

}  // namespace

std::optional<std::int64_t> retry_wait_ms(const Attempt& attempt, double jitter) {
  if (attempt.tries >= kMostTries) return std::nullopt;
  bool again = false;
  if (attempt.status != 0) {
    // 429 and 503 are Roost's word that nothing was done; 502 and 504 are a proxy's, which does not know.
    const bool nothing_done = attempt.status == 429 || attempt.status == 503;
    again = attempt.repeat == Repeat::safe ? is_passing(attempt.status) : nothing_done;
  } else {
    again = attempt.error == Code::unavailable || (attempt.error == Code::outcome_unknown && attempt.repeat == Repeat::safe);
  }
  if (!again) return std::nullopt;
  const std::int64_t backoff_ms = std::min(kFirstWaitMs << (attempt.tries - 1), kLongestWaitMs);
  const auto wait_ms =
      std::max(attempt.retry_after_ms, static_cast<std::int64_t>(static_cast<double>(backoff_ms) * (0.5 + jitter / 2)));
  if (wait_ms >= attempt.left_ms) return std::nullopt;
  return wait_ms;
}

std::int64_t retry_after_ms(const std::string& value, std::int64_t now_us) {
  std::int64_t seconds = 0;
  const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (error == std::errc{} && stop == value.data() + value.size()) return std::clamp<std::int64_t>(seconds, 0, 86'400) * 1000;
  const std::int64_t at_s = value.empty() ? -1 : static_cast<std::int64_t>(curl_getdate(value.c_str(), nullptr));
  return at_s < 0 ? 0 : std::clamp<std::int64_t>(at_s - now_us / 1'000'000, 0, 86'400) * 1000;
}

std::int64_t Client::left_ms(std::int64_t most_ms) const {
  if (deadline_ns_ == 0) return most_ms;
  return std::clamp<std::int64_t>((deadline_ns_ - clock_.monotonic_ns()) / 1'000'000, 0, most_ms);
}

std::string Client::idempotency_header() { return "Idempotency-Key: roostctl-" + random_.hex(16); }

Result<HttpResponse> Client::call(HttpRequest request, Repeat repeat) {
  const std::int64_t end_ns =
      clock_.monotonic_ns() + left_ms(request.timeout_ms > 0 ? request.timeout_ms : kRequestMs) * 1'000'000;
  for (int tries = 1;; ++tries) {
    const std::int64_t left = (end_ns - clock_.monotonic_ns()) / 1'000'000;
    if (left <= 0) return Error{Code::deadline, "the time is over (--timeout)", 0};
    request.timeout_ms = left;
    Result<HttpResponse> answer = http_.send(request);
    Attempt attempt{tries, repeat, 0, Code::internal, 0, (end_ns - clock_.monotonic_ns()) / 1'000'000};
    if (answer.ok()) {
      attempt.status = answer->status;
      attempt.retry_after_ms = retry_after_ms(answer->header("retry-after"), clock_.wall_us());
    } else {
      attempt.error = answer.error().code;
    }
    const auto wait_ms = retry_wait_ms(attempt, random_.uniform());
    if (!wait_ms) return answer;
    if (*wait_ms >= kWorthANoteMs) {
      const std::string why = answer.ok() ? "the server answered " + std::to_string(answer->status) : answer.error().message;
      note_(why + "; trying again in " + human_seconds(*wait_ms / 1000));
    }
    ROOST_CHECK(sleep_ms(*wait_ms));
  }
}

}  // namespace roost::cli
