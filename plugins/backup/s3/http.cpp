#include "backup/s3/http.hpp"

#include <algorithm>
#include <optional>

namespace roost::backup_s3 {

namespace {

constexpr std::size_t kIdleMax = 16;
constexpr std::size_t kHeadersMax = 100;
constexpr std::size_t kHeaderMax = 8192;

struct MultiDeleter {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Transfer {
  const HttpRequest& request;
  HttpResponse& response;
  CURL* easy;
};

std::size_t take_body(char* data, std::size_t, std::size_t size, void* context) {
  const Transfer& transfer = *static_cast<Transfer*>(context);
  long status = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_RESPONSE_CODE, &status);
  transfer.response.status = static_cast<int>(status);
  if (transfer.request.sink && (status == 200 || status == 206)) {
    if (status == 206 && transfer.request.sink(transfer.response, {data, size})) return size;
    transfer.response.ending = Ending::stopped;
    return 0;
  }
  if (transfer.response.body.size() + size > transfer.request.max_body) {
    transfer.response.ending = Ending::too_large;
    return 0;
  }
  transfer.response.body.append(data, size);
  return size;
}

std::size_t take_header(char* data, std::size_t, std::size_t size, void* context) {
  std::map<std::string, std::string>& headers = static_cast<Transfer*>(context)->response.headers;
  std::string_view line(data, size);
  if (line.substr(0, 5) == "HTTP/") headers.clear();  // after a 100 Continue the real ones follow
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || headers.size() >= kHeadersMax || size > kHeaderMax) return size;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  line.remove_prefix(colon + 1);
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!line.empty() && blank(line.front())) line.remove_prefix(1);
  while (!line.empty() && blank(line.back())) line.remove_suffix(1);
  headers[name] = std::string(line);
  return size;
}

// Until the transfer ends; nullopt where the call ends first.
std::optional<CURLcode> run(const sdk::Call& call, CURLM* multi) {
  while (!call.cancelled()) {
    int running = 0;
    int left = 0;
    curl_multi_perform(multi, &running);
    while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg == CURLMSG_DONE) return message->data.result;
    }
    curl_waitfd cancel{call.cancel_fd(), CURL_WAIT_POLLIN, 0};
    const std::int64_t left_ms = call.remaining().count() / 1'000'000 + 1;
    const std::int64_t most_ms = call.cancel_fd() >= 0 ? 60'000 : 50;
    curl_multi_poll(multi, &cancel, call.cancel_fd() >= 0 ? 1 : 0, static_cast<int>(std::min(left_ms, most_ms)), nullptr);
  }
  return std::nullopt;
}

bool is_trust(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
}

}  // namespace

struct Http::Handle {
  std::unique_ptr<CURLM, MultiDeleter> multi{curl_multi_init()};
};

const std::string& HttpResponse::header(const std::string& name) const {
  static const std::string none;
  const auto found = headers.find(name);
  return found == headers.end() ? none : found->second;
}

Http::Http(std::string ca_pem, std::chrono::seconds connect_timeout, std::chrono::seconds stall_timeout)
    : ca_pem_(std::move(ca_pem)), connect_timeout_(connect_timeout), stall_timeout_(stall_timeout) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

Http::~Http() = default;

std::unique_ptr<Http::Handle> Http::take() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.empty()) return std::make_unique<Handle>();
  std::unique_ptr<Handle> handle = std::move(idle_.back());
  idle_.pop_back();
  return handle;
}

// Everything but what differs from one answer to the next.
void Http::prepare(CURL* easy, const HttpRequest& request) const {
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
  if (request.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else {
    if (request.method == "PUT" || request.method == "POST") {
      curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data() == nullptr ? "" : request.body.data());
      curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(connect_timeout_.count() * 1000));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(stall_timeout_.count()));
  if (request.limit.count() > 0) curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.limit.count()));
  if (request.direct) curl_easy_setopt(easy, CURLOPT_PROXY, "");
  if (request.fresh_connection) curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "roost");
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
  if (ca_pem_.empty()) return;
  curl_blob blob{const_cast<char*>(ca_pem_.data()), ca_pem_.size(), CURL_BLOB_NOCOPY};
  curl_easy_setopt(easy, CURLOPT_CAINFO_BLOB, &blob);
}

HttpResponse Http::send(const sdk::Call& call, const HttpRequest& request) {
  HttpResponse response;
  std::unique_ptr<Handle> handle = take();
  const std::unique_ptr<CURL, EasyDeleter> easy(curl_easy_init());
  if (easy == nullptr || handle->multi == nullptr) throw sdk::Failure(ROOST_INTERNAL, "curl cannot be set up");
  std::unique_ptr<curl_slist, ListDeleter> headers(curl_slist_append(nullptr, "Expect:"));
  for (const auto& [name, value] : request.headers) {
    headers.reset(curl_slist_append(headers.release(), (name + ": " + value).c_str()));
  }
  Transfer transfer{request, response, easy.get()};
  char error_text[CURL_ERROR_SIZE] = {};
  prepare(easy.get(), request);
  curl_easy_setopt(easy.get(), CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy.get(), CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, error_text);
  curl_multi_add_handle(handle->multi.get(), easy.get());
  const std::optional<CURLcode> result = run(call, handle->multi.get());
  long status = 0;
  long request_bytes = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(easy.get(), CURLINFO_REQUEST_SIZE, &request_bytes);
  curl_multi_remove_handle(handle->multi.get(), easy.get());
  response.status = static_cast<int>(status);
  response.sent = request_bytes > 0;
  if (!result) {
    response.ending = Ending::out_of_time;
  } else if (*result == CURLE_OK) {
    response.ending = Ending::answered;
  } else {  // where the receiver of the body ended it, it said why
    if (is_trust(*result)) response.ending = Ending::untrusted;
    response.error = error_text[0] != '\0' ? error_text : curl_easy_strerror(*result);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(handle));
  return response;
}

}  // namespace roost::backup_s3
