#include "cli/http.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <optional>

#include "cli/interrupt.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

constexpr std::size_t kHeadersMax = 100;
constexpr std::size_t kHeaderMax = 8192;

}  // namespace

struct Http::Handles {
  CURLM* multi = nullptr;
  CURL* easy = nullptr;  // kept, and with it the connection
  Handles() : multi(curl_multi_init()), easy(curl_easy_init()) {}
  ~Handles() {
    if (easy) curl_easy_cleanup(easy);
    if (multi) curl_multi_cleanup(multi);
  }
};

// One request while it is under way.
struct Http::Transfer {
  const HttpRequest& request;
  HttpResponse response{};
  std::optional<Error> refused{};  // why we ended it
  std::int64_t left_ms = 0;
  curl_slist* list = nullptr;
  char detail[CURL_ERROR_SIZE] = "";

  explicit Transfer(const HttpRequest& r) : request(r) {}
  ~Transfer() { curl_slist_free_all(list); }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  static std::size_t take_body(char* data, std::size_t, std::size_t size, void* context) {
    auto& self = *static_cast<Transfer*>(context);
    HttpResponse& response = self.response;
    if (self.request.sink && response.status >= 200 && response.status < 300) {
      const Status taken = self.request.sink(response, {data, size});
      if (taken.ok()) return size;
      self.refused = taken.error();
      return 0;
    }
    if (response.body.size() + size > kMaxBody) {
      self.refused = Error{Code::exhausted, "the answer is larger than " + human_bytes(kMaxBody), 0};
      return 0;
    }
    response.body.append(data, size);
    return size;
  }

  static std::size_t take_header(char* data, std::size_t, std::size_t size, void* context) {
    auto& self = *static_cast<Transfer*>(context);
    HttpResponse& response = self.response;
    std::string_view line(data, size);
    if ((line == "\r\n" || line == "\n") && self.request.opened && response.status >= 200 && response.status < 300) {
      const Status opened = self.request.opened(response);
      if (opened.ok()) return size;
      self.refused = opened.error();
      return 0;
    }
    if (line.starts_with("HTTP/")) {  // after a 100 Continue the real ones follow
      response.headers.clear();
      const std::size_t space = line.find(' ');
      response.status = 0;
      for (std::size_t i = space + 1; space != std::string_view::npos && i < line.size() && i < space + 4; ++i) {
        if (line[i] >= '0' && line[i] <= '9') response.status = response.status * 10 + (line[i] - '0');
      }
      return size;
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || response.headers.size() >= kHeadersMax || size > kHeaderMax) return size;
    std::string name(line.substr(0, colon));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    line.remove_prefix(colon + 1);
    const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
    while (!line.empty() && blank(line.front())) line.remove_prefix(1);
    while (!line.empty() && blank(line.back())) line.remove_suffix(1);
    response.headers[name] = std::string(line);
    return size;
  }
};

const std::string& HttpResponse::header(const std::string& name) const {
  static const std::string none;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

Http::Http(HttpSettings settings) : settings_(std::move(settings)) {
  static const CURLcode once = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)once;
  handles_ = std::make_unique<Handles>();
}

Http::~Http() = default;

void Http::prepare(const HttpRequest& request, Transfer& transfer) {
  CURL* easy = handles_->easy;
  curl_easy_reset(easy);
  const auto add = [&](const std::string& line) { transfer.list = curl_slist_append(transfer.list, line.c_str()); };
  add("Expect:");
  if (!settings_.key.empty()) add("X-API-Key: " + settings_.key);
  for (const std::string& header : request.headers) add(header);
  curl_easy_setopt(easy, CURLOPT_URL, (settings_.base + request.target).c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  if (request.method != "GET") {
    add(request.body.empty() ? "Content-Type:" : "Content-Type: application/json");
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.list);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(settings_.connect_ms));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>((request.stall_ms + 999) / 1000));
  constexpr std::int64_t kMostMs = 0x7FFFFFFF;  // 24 days; libcurl takes no more
  if (request.timeout_ms > 0 && request.timeout_ms < kMostMs)
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout_ms));
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "roostctl/" ROOST_VERSION);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, Transfer::take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, Transfer::take_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.detail);
  // A proxy of the environment has nothing to do with this machine, and should not hear its key.
  if (is_loopback(settings_.base)) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  if (!settings_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, settings_.ca_file.c_str());
}

Result<HttpResponse> Http::send(const HttpRequest& request) {
  if (!handles_->multi || !handles_->easy) return Error{Code::internal, "libcurl cannot be set up", 0};
  Transfer transfer(request);
  prepare(request, transfer);
  curl_multi_add_handle(handles_->multi, handles_->easy);
  std::optional<CURLcode> ended;
  while (!ended && !interrupted()) {
    int running = 0;
    int left = 0;
    curl_multi_perform(handles_->multi, &running);
    while (const CURLMsg* message = curl_multi_info_read(handles_->multi, &left)) {
      if (message->msg == CURLMSG_DONE) ended = message->data.result;
    }
    if (ended) break;
    curl_waitfd wake{interrupt_fd(), CURL_WAIT_POLLIN, 0};
    curl_multi_poll(handles_->multi, &wake, interrupt_fd() >= 0 ? 1 : 0, 1000, nullptr);
  }
  curl_multi_remove_handle(handles_->multi, handles_->easy);
  if (!ended) return interruption();
  if (transfer.refused) return *transfer.refused;
  if (*ended != CURLE_OK) return failure(*ended, request, transfer.detail);
  return std::move(transfer.response);
}

Error Http::failure(int curl_code, const HttpRequest& request, const char* detail) const {
  const auto code = static_cast<CURLcode>(curl_code);
  const std::string why = printable(*detail ? detail : curl_easy_strerror(code));
  const std::string where = settings_.base;
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return {Code::unavailable,
              "cannot reach " + where + ": " + why + "; is the address right (--url, ROOST_URL), and does roostd run?", 0};
    case CURLE_OPERATION_TIMEDOUT: {
      double connected = 0;
      curl_easy_getinfo(handles_->easy, CURLINFO_CONNECT_TIME, &connected);
      return {connected > 0 ? Code::deadline : Code::unavailable, "no answer from " + where + " in time: " + why, 0};
    }
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return {Code::internal, "the certificate of " + where + " is not trusted: " + why + "; name its authority with --ca-file",
              0};
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL: return {Code::internal, where + " does not answer in HTTP: " + why, 0};
    default: return {Code::outcome_unknown, request.method + " " + where + request.target + " broke off: " + why, 0};
  }
}

}  // namespace roost::cli
