#include "backup/s3/client.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "backup/s3/hash.hpp"

namespace roost::backup_s3 {

namespace {

constexpr std::uint64_t kPauseMax_ms = 20'000;
constexpr std::uint64_t kRetryAfterMax_ms = 60'000;
constexpr std::int64_t kSkew_s = 240;  // servers refuse from five to fifteen minutes on

// A stranger's text for a message of ours: printable, and not too long.
std::string plain(std::string_view text, std::size_t most) {
  std::string out;
  for (const char c : text.substr(0, most)) out += c >= ' ' && c < 0x7f ? c : '?';
  return out;
}

bool one_of(std::string_view text, std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// "Not now", or damaged on its way: the same request again can succeed.
bool is_passing(int status, std::string_view code) {
  if (status == 501 || status == 505 || status == 507) return false;
  return status >= 500 || status == 429 || status == 408 ||
         one_of(code, {"SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "ThrottlingException",
                       "RequestLimitExceeded", "IncompleteBody", "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch",
                       "XAmzContentChecksumMismatch", "OperationAborted", "ConditionalRequestConflict"});
}

bool is_expired(std::string_view code) {
  return one_of(code, {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidAccessKeyId", "InvalidToken"});
}

roost_code code_of(int status, std::string_view code) {
  if (one_of(code, {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage"}) || status == 507) return ROOST_EXHAUSTED;
  if (one_of(code, {"InvalidPart", "NoSuchUpload", "IncompleteBody"})) return ROOST_UNAVAILABLE;  // the upload is to be repeated
  if (code == "NoSuchBucket") return ROOST_UNAVAILABLE;
  if (is_expired(code) || status == 401 || status == 403) return ROOST_DENIED;
  if (status == 404) return ROOST_NOT_FOUND;
  if (status == 409 || status == 412) return ROOST_CONFLICT;
  if (status == 501 || code == "NotImplemented") return ROOST_UNSUPPORTED;
  if (status >= 300 && status < 400) return ROOST_INVALID;
  if (status >= 400 && status < 500 && status != 429 && status != 408) return ROOST_INVALID;
  return ROOST_UNAVAILABLE;
}

std::string remedy(const S3Request& request, int status, std::string_view code) {
  if (code == "NoSuchBucket") return "; make the bucket, or correct backup.config.bucket";
  if (code == "RequestTimeTooSkewed") return "; set this machine's clock";
  if (code == "SignatureDoesNotMatch") return "; the secret key is wrong, or a proxy changes the request";
  if (code == "NotImplemented" || status == 501)
    return "; the server lacks what the configuration asks for (conditional_writes, checksum, sse, object_lock, tags, "
           "storage_class)";
  if (status >= 300 && status < 400) return "; correct backup.config.region or endpoint";
  const bool looks = request.method == "HEAD" || (request.method == "GET" && !request.key.empty());
  if (status == 401 || status == 403)
    return std::string("; the keys are wrong or lack a right") +
           (looks ? ", or there is no such object and they may not list the bucket" : "") +
           ": docs/backups-s3.md lists those that are needed";
  return {};
}

std::string where(const S3Request& request, const Settings& settings) {
  return request.method + " " + settings.bucket + "/" + request.key;
}

std::uint64_t retry_after_ms(const HttpResponse& response) {
  const std::string& value = response.header("retry-after");
  if (value.empty()) return 0;
  return std::min<std::uint64_t>(static_cast<std::uint64_t>(std::max(0L, std::strtol(value.c_str(), nullptr, 10))) * 1000,
                                 kRetryAfterMax_ms);
}

bool good_region(std::string_view region) {
  return !region.empty() && region.size() <= 40 &&
         region.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == region.npos;
}

}  // namespace

// One try: what was answered, and what that means.
struct Client::Attempt {
  const S3Request& request;
  Credential credential;
  HttpResponse response;
  std::string code;     // S3's name of the error
  std::string message;  // S3's words
  Xml document;
  bool failed = true;
  bool clock_tried = false, region_tried = false, credential_tried = false;

  void judge() {
    code.clear();
    message.clear();
    document = Xml();
    const bool answered = response.ending == Ending::answered || response.ending == Ending::stopped;
    const bool success = answered && response.status >= 200 && response.status < 300;
    failed = !success;
    if (response.ending != Ending::answered || (success && !request.expects_xml)) return;
    const std::optional<Xml> parsed = response.body.empty() ? std::nullopt : parse_xml(response.body);
    if (parsed && parsed->name == "Error") {
      failed = true;
      code = plain((*parsed)["Code"].text, 60);
      message = plain((*parsed)["Message"].text, 160);
    } else if (success && !parsed) {
      failed = true;
      code = "InternalError";
      message = "the answer is not the XML document that was expected";
    } else if (parsed) {
      document = *parsed;
    }
  }

  [[nodiscard]] bool passing() const {
    if (response.ending == Ending::failed) return true;
    return response.ending == Ending::answered && is_passing(response.status, code);
  }
  // No answer, or one that says little about what became of it.
  [[nodiscard]] bool maybe_done() const {
    return response.sent && (response.ending != Ending::answered || response.status >= 500 || response.status == 200 ||
                             one_of(code, {"RequestTimeout", "OperationAborted", "ConditionalRequestConflict"}));
  }
  [[nodiscard]] std::string text() const {
    if (response.ending == Ending::failed || response.ending == Ending::untrusted) return plain(response.error, 200);
    if (response.ending == Ending::too_large) return "the answer is larger than is believable";
    std::string out = "HTTP " + std::to_string(response.status) + (code.empty() ? "" : " " + code);
    if (!message.empty()) out += ": " + message;
    const std::string& id = response.header("x-amz-request-id");
    return id.empty() ? out : out + " (request " + plain(id, 40) + ")";
  }
};

Client::Client(const Settings& settings, sdk::Log log)
    : settings_(settings),
      log_(log),
      http_(settings.ca_pem, settings.connect_timeout, settings.stall_timeout),
      credentials_(settings.credentials, settings.region, http_, log, [this] { return now_s(); }),
      region_(settings.region) {}

std::int64_t Client::now_s() const { return static_cast<std::int64_t>(std::time(nullptr)) + clock_offset_s_; }

std::string Client::region() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return region_;
}

std::string Client::host() const {
  const std::string authority = settings_.endpoint.aws ? aws_host("s3", region()) : settings_.endpoint.authority;
  return settings_.style == Style::virtual_host ? settings_.bucket + "." + authority : authority;
}

HttpRequest Client::build(const S3Request& request, const Credential& credential) const {
  SignedRequest sign;
  sign.method = request.method;
  sign.path = settings_.style == Style::path ? "/" + settings_.bucket : std::string();
  if (!request.key.empty() || sign.path.empty()) sign.path += "/" + uri_encode(request.key, Slash::keep);
  sign.query = encode_query(request.query);
  sign.payload_hash = settings_.unsigned_payload && !request.body.empty()
                          ? std::string(kUnsignedPayload)
                          : hex(request.body_sha256.empty() ? sha256(request.body) : request.body_sha256);
  sign.headers = request.headers;
  const std::string authority = host();
  sign.headers.emplace_back("Host", authority);
  sign.headers.emplace_back("x-amz-date", amz_date(now_s()));
  sign.headers.emplace_back("x-amz-content-sha256", sign.payload_hash);
  if (!credential.session_token.empty()) sign.headers.emplace_back("x-amz-security-token", credential.session_token);
  HttpRequest http;
  http.method = request.method;
  http.url =
      (settings_.endpoint.tls ? "https://" : "http://") + authority + sign.path + (sign.query.empty() ? "" : "?" + sign.query);
  http.headers = sign.headers;
  http.headers.emplace_back("Authorization",
                            authorization(sign, {credential.access_key_id, credential.secret_access_key, region(), "s3"}));
  if (request.method == "PUT" || request.method == "POST") http.headers.emplace_back("Content-Type", "application/octet-stream");
  http.body = request.body;
  http.max_body = request.max_body;
  http.sink = request.sink;
  http.fresh_connection = request.fresh_connection;
  return http;
}

// Whether something of ours was wrong that the answer tells how to mend; each once.
bool Client::mend(Attempt& attempt) {
  const HttpResponse& response = attempt.response;
  if (response.ending != Ending::answered) return false;
  const std::time_t theirs = curl_getdate(response.header("date").c_str(), nullptr);
  const std::int64_t offset = static_cast<std::int64_t>(theirs) - static_cast<std::int64_t>(std::time(nullptr));
  // A HEAD's answer has no body to say it in.
  const bool skewed = attempt.code == "RequestTimeTooSkewed" || (attempt.request.method == "HEAD" && response.status == 403 &&
                                                                 std::abs(offset - clock_offset_s_) > kSkew_s);
  if (skewed && theirs > 0 && !attempt.clock_tried) {
    attempt.clock_tried = true;
    log_.warn("the clock of this machine differs by " + std::to_string(offset) + " s from the S3 server's; the server's is used");
    clock_offset_s_ = offset;
    return true;
  }
  const std::string& named = response.header("x-amz-bucket-region");
  const bool elsewhere = response.status == 301 || response.status == 307 || attempt.code == "AuthorizationHeaderMalformed" ||
                         (response.status == 400 && attempt.request.method == "HEAD");
  if (elsewhere && !attempt.region_tried && good_region(named) && named != region()) {
    attempt.region_tried = true;
    log_.warn("the bucket " + settings_.bucket + " is in region " + named + "; set backup.config.region to it");
    const std::lock_guard<std::mutex> lock(mutex_);
    region_ = named;
    return true;
  }
  const bool expired =
      is_expired(attempt.code) || (attempt.request.method == "HEAD" && (response.status == 400 || response.status == 403));
  if (expired && !attempt.credential_tried) {
    attempt.credential_tried = true;
    return credentials_.rejected(attempt.credential);
  }
  return false;
}

void Client::pause(const sdk::Call& call, int tried, std::uint64_t at_least_ms, bool maybe_done) const {
  std::uint64_t most = static_cast<std::uint64_t>(settings_.backoff.count()) << std::min(tried - 1, 16);
  most = std::min(most, kPauseMax_ms);
  const std::uint64_t random = std::strtoull(random_hex(4).c_str(), nullptr, 16);
  const std::uint64_t wait_ms = std::max(at_least_ms, most / 2 + random % (most / 2 + 1));
  if (call.sleep_for(std::chrono::milliseconds(wait_ms))) return;
  const bool late = call.remaining().count() == 0;
  throw S3Error(late ? ROOST_DEADLINE : ROOST_CANCELLED, late ? "the deadline passed" : "the call was cancelled", 0, "",
                maybe_done);
}

HttpResponse Client::send(const sdk::Call& call, const S3Request& request) {
  Attempt attempt{request, {}, {}, {}, {}, {}};
  bool maybe_done = false;
  for (int tried = 1;; ++tried) {
    attempt.credential = credentials_.get(call);
    attempt.response = http_.send(call, build(request, attempt.credential));
    attempt.judge();
    if (!attempt.failed) return std::move(attempt.response);
    maybe_done = maybe_done || attempt.maybe_done();
    const std::string what = where(request, settings_) + ": " + attempt.text();
    if (attempt.response.ending == Ending::out_of_time) {
      const bool late = call.remaining().count() == 0;
      throw S3Error(late ? ROOST_DEADLINE : ROOST_CANCELLED, late ? "the deadline passed" : "the call was cancelled", 0, "",
                    maybe_done);
    }
    if (attempt.response.ending == Ending::untrusted) {
      throw S3Error(ROOST_UNAVAILABLE, "S3 " + what + "; the server's certificate is not trusted: set ca_file", 0, "",
                    maybe_done);
    }
    if (mend(attempt)) {
      --tried;
      continue;
    }
    const std::uint64_t wait_ms = retry_after_ms(attempt.response);
    if (!attempt.passing() || request.sink || tried >= settings_.attempts) {
      const int status = attempt.response.ending == Ending::answered ? attempt.response.status : 0;
      const roost_code code = attempt.passing() ? ROOST_UNAVAILABLE : code_of(status, attempt.code);
      throw S3Error(code, "S3 " + what + remedy(request, status, attempt.code), status, attempt.code, maybe_done,
                    code == ROOST_EXHAUSTED ? 60'000 : wait_ms);
    }
    log_.info("S3 " + what + "; it is tried again");
    pause(call, tried, wait_ms, maybe_done);
  }
}

Xml Client::send_for_xml(const sdk::Call& call, S3Request request) {
  request.expects_xml = true;
  const HttpResponse response = send(call, request);
  return parse_xml(response.body).value_or(Xml());
}

}  // namespace roost::backup_s3
