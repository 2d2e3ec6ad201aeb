#include "compute/kubernetes/client.hpp"

#include <algorithm>
#include <random>
#include <utility>

#include "compute/kubernetes/channel.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::size_t kObjectMax = 8u << 20;
constexpr std::size_t kListMax = 512u << 20;
constexpr int kAttempts = 5;
constexpr std::int64_t kBackoffMs = 100;

std::string where(const Request& request) { return request.method + " " + request.path.substr(0, request.path.find('?')); }

// 5xx that say "not now". After a mutating request they may mean that it was done all the same: every request of ours can be
// repeated (names, UIDs and resource versions make the second one harmless).
bool is_passing(int status) { return status == 429 || status == 500 || status == 502 || status == 503 || status == 504; }

roost_code code_of(int status, const std::string& reason, const std::string& message, bool mutating) {
  switch (status) {
    case 400:
    case 405:
    case 406:
    case 413:
    case 415:
    case 422: return ROOST_INVALID;
    case 401: return ROOST_DENIED;
    case 403: return message.find("exceeded quota") != std::string::npos ? ROOST_EXHAUSTED : ROOST_DENIED;
    case 404: return ROOST_NOT_FOUND;
    case 409: return reason == "AlreadyExists" ? ROOST_EXISTS : ROOST_CONFLICT;
    case 410: return ROOST_EXPIRED;
    case 429: return ROOST_UNAVAILABLE;
    default: break;
  }
  if (status < 500) return ROOST_INTERNAL;
  return mutating ? ROOST_OUTCOME_UNKNOWN : ROOST_UNAVAILABLE;
}

// See ApiError::field.
std::string field_of(const Json& status) {
  std::string field;
  for (const Json& cause : status["details"]["causes"].items()) {
    const std::string& named = cause["field"].str();
    if (field.empty() || named == "metadata.uid") field = named;
  }
  return field;
}

// What the API server says about an error, or the beginning of whatever a proxy said instead.
ApiError error_of(const Transfer& transfer) {
  const Request& request = *transfer.request;
  std::string reason;
  std::string field;
  std::string message = transfer.body.substr(0, 200);
  try {
    const Json status = Json::parse(transfer.body, "Status");
    reason = status["reason"].str();
    message = status["message"].str();
    field = field_of(status);
  } catch (const sdk::Failure&) {
    message.clear();  // not from an API server; nothing of it is worth showing
  }
  const roost_code code = code_of(transfer.status, reason, message, request.mutating());
  return ApiError(code,
                  where(request) + ": " + std::to_string(transfer.status) + " " + (reason.empty() ? "" : reason + ": ") + message,
                  transfer.status, reason, transfer.retry_after_ms, field);
}

// Why a transfer that got no whole answer failed.
ApiError failure_of(const Transfer& transfer, const sdk::Call& call) {
  const Request& request = *transfer.request;
  const bool lost = request.mutating() && transfer.sent;
  if (!transfer.done) {
    const bool late = call.remaining().count() == 0;
    if (lost) return ApiError(ROOST_OUTCOME_UNKNOWN, where(request) + ": no answer in time; it may have been done", 0, "");
    return ApiError(late ? ROOST_DEADLINE : ROOST_CANCELLED, where(request) + (late ? ": no answer in time" : ": cancelled"), 0,
                    "");
  }
  if (transfer.too_large) return ApiError(ROOST_INTERNAL, where(request) + ": the answer is larger than expected", 0, "");
  const std::string what = where(request) + ": " + transfer.error;
  if (lost) return ApiError(ROOST_OUTCOME_UNKNOWN, what + "; it may have been done", 0, "");
  const bool untrusted = transfer.result == CURLE_PEER_FAILED_VERIFICATION || transfer.result == CURLE_SSL_CERTPROBLEM;
  return ApiError(untrusted ? ROOST_DENIED : ROOST_UNAVAILABLE, what, 0, "");
}

std::chrono::milliseconds backoff(int attempt, std::uint64_t retry_after_ms) {
  thread_local std::minstd_rand random(std::random_device{}());
  const std::int64_t base = retry_after_ms != 0 ? static_cast<std::int64_t>(retry_after_ms) : kBackoffMs << attempt;
  return std::chrono::milliseconds(base + static_cast<std::int64_t>(random() % static_cast<unsigned long>(base / 4 + 1)));
}

// Waits before the next attempt; false: there is none, for want of attempts or of time.
bool wait_to_repeat(const sdk::Call& call, int attempt, std::uint64_t retry_after_ms) {
  if (attempt + 1 >= kAttempts) return false;
  const std::chrono::milliseconds pause = backoff(attempt, retry_after_ms);
  return pause < call.remaining() && call.sleep_for(pause);
}

}  // namespace

// A channel for the time of one call; it goes back unless its connections may be dead.
struct Client::Lease {
  Client& client;
  std::unique_ptr<Channel> channel;
  ~Lease() {
    if (channel == nullptr || !channel->sound()) return;
    const std::lock_guard<std::mutex> lock(client.mutex_);
    client.idle_.push_back(std::move(channel));
  }
};

Client::Client(std::unique_ptr<Credentials> credentials, sdk::Log log) : credentials_(std::move(credentials)), log_(log) {}
Client::~Client() = default;

Client::Lease Client::lease() {
  Identity identity = credentials_->identity();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<Channel> channel = std::move(idle_.back());
      idle_.pop_back();
      if (channel->revision() != identity.revision) continue;
      channel->use_token(identity.token);
      return Lease{*this, std::move(channel)};
    }
  }
  return Lease{*this, std::make_unique<Channel>(credentials_->cluster(), std::move(identity))};
}

std::vector<Outcome> Client::send_all(const sdk::Call& call, const std::vector<Request>& requests) {
  std::vector<Outcome> outcomes(requests.size());
  std::vector<std::size_t> open;
  for (std::size_t i = 0; i < requests.size(); ++i) open.push_back(i);
  bool refused = false;
  for (int attempt = 0; !open.empty(); ++attempt) {
    std::vector<Transfer> transfers(open.size());
    std::uint64_t retry_after_ms = 0;
    {
      Lease lease = this->lease();
      for (std::size_t i = 0; i < open.size(); ++i) {
        transfers[i].request = &requests[open[i]];
        transfers[i].max_bytes = kObjectMax;
      }
      lease.channel->run(call, transfers);
      for (const Transfer& transfer : transfers) {
        if (transfer.status == 401 && !refused) credentials_->rejected(lease.channel->revision());
      }
    }
    std::vector<std::size_t> again;
    const bool refused_before = refused;  // all that were refused together are sent again
    for (std::size_t i = 0; i < open.size(); ++i) {
      const Transfer& transfer = transfers[i];
      Outcome& outcome = outcomes[open[i]];
      outcome = {};
      if (!transfer.done || transfer.result != CURLE_OK) {
        outcome.error = std::make_shared<ApiError>(failure_of(transfer, call));
      } else if (transfer.status >= 200 && transfer.status < 300) {
        outcome.object = Json::parse(transfer.body, where(*transfer.request));
      } else {
        outcome.error = std::make_shared<ApiError>(error_of(transfer));
        if (is_passing(transfer.status) || (transfer.status == 401 && !refused_before)) again.push_back(open[i]);
        retry_after_ms = std::max(retry_after_ms, transfer.retry_after_ms);
        refused = refused || transfer.status == 401;
      }
    }
    open = std::move(again);
    if (open.empty() || !wait_to_repeat(call, attempt, retry_after_ms)) break;
  }
  return outcomes;
}

Json Client::send(const sdk::Call& call, const Request& request) {
  call.check();
  std::vector<Outcome> outcomes = send_all(call, {request});
  if (outcomes.front().error != nullptr) throw ApiError(*outcomes.front().error);
  return std::move(outcomes.front().object);
}

Json Client::list(const sdk::Call& call, const std::string& path, const std::function<void(Json)>& item) {
  const Request request = Request::get(path);
  bool refused = false;
  for (int attempt = 0;; ++attempt) {
    std::vector<Transfer> transfers(1);
    const Transfer& transfer = transfers[0];
    transfers[0].request = &request;
    transfers[0].max_bytes = kListMax;
    {
      Lease lease = this->lease();
      lease.channel->run(call, transfers);
      if (transfer.status == 401) credentials_->rejected(lease.channel->revision());
    }
    if (!transfer.done || transfer.result != CURLE_OK) throw failure_of(transfer, call);
    if (transfer.status == 200) return Json::parse_list(transfer.body, where(request), item);
    const bool passing = is_passing(transfer.status) || (transfer.status == 401 && !std::exchange(refused, true));
    if (!passing || !wait_to_repeat(call, attempt, transfer.retry_after_ms)) throw error_of(transfer);
  }
}

void Client::stream(const sdk::Call& call, const std::string& path, std::chrono::seconds silence,
                    const std::function<bool(std::string_view)>& line) {
  const Request request = Request::get(path);
  Lease lease = this->lease();
  std::string rest;
  std::vector<Transfer> transfers(1);
  transfers[0].request = &request;
  transfers[0].max_bytes = kObjectMax;
  transfers[0].silence = silence;
  std::exception_ptr thrown;  // what `line` throws must not pass through curl
  transfers[0].data = [&](std::string_view data) {
    try {
      rest.append(data);
      std::size_t begin = 0;
      for (std::size_t end = rest.find('\n'); end != std::string::npos; end = rest.find('\n', begin)) {
        if (end > begin && !line(std::string_view(rest).substr(begin, end - begin))) return false;
        begin = end + 1;
      }
      rest.erase(0, begin);
      return rest.size() <= kObjectMax;
    } catch (...) {
      thrown = std::current_exception();
      return false;
    }
  };
  lease.channel->run(call, transfers);
  const Transfer& transfer = transfers[0];
  if (thrown) std::rethrow_exception(thrown);
  if (transfer.stopped) return;
  if (!transfer.done || transfer.result != CURLE_OK) throw failure_of(transfer, call);
  if (transfer.status == 401) credentials_->rejected(lease.channel->revision());
  if (transfer.status != 200) throw error_of(transfer);
}

std::optional<std::string> Client::text(const sdk::Call& call, const std::string& path, std::size_t max_bytes,
                                        std::chrono::milliseconds limit) {
  const Request request = Request::get(path);
  Lease lease = this->lease();
  std::vector<Transfer> transfers(1);
  transfers[0].request = &request;
  transfers[0].max_bytes = max_bytes;
  transfers[0].limit = limit;
  lease.channel->run(call, transfers);
  Transfer& transfer = transfers[0];
  if (!transfer.done || transfer.result != CURLE_OK || transfer.status != 200) return std::nullopt;
  return std::move(transfer.body);
}

}  // namespace roost::kubernetes
