#include "compute/kubernetes/channel.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace roost::kubernetes {
namespace {

std::size_t take_body(char* data, std::size_t, std::size_t size, void* context) {
  Transfer& transfer = *static_cast<Transfer*>(context);
  if (transfer.data) {
    long status = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) {
      if (transfer.data({data, size})) return size;
      transfer.stopped = true;
      return 0;
    }
  }
  if (transfer.body.size() + size > transfer.max_bytes) {
    transfer.too_large = true;
    return 0;
  }
  transfer.body.append(data, size);
  return size;
}

std::size_t take_header(char* data, std::size_t, std::size_t size, void* context) {
  static constexpr char kName[] = "retry-after:";
  constexpr std::size_t length = sizeof kName - 1;
  if (size > length && ::strncasecmp(data, kName, length) == 0) {
    const long seconds = std::strtol(std::string(data + length, size - length).c_str(), nullptr, 10);
    static_cast<Transfer*>(context)->retry_after_ms = static_cast<std::uint64_t>(std::clamp(seconds, 0L, 600L)) * 1000;
  }
  return size;
}

// A peer that is gone without a word (a node, a load balancer) is given up after that time: what was sent to it is not
// acknowledged, nor are a quiet watch's keep-alives. TCP by itself takes a quarter of an hour.
int set_peer_limit(void*, curl_socket_t socket, curlsocktype) {
  const unsigned limit_ms = 30'000;
  ::setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);  // of another kind of socket: refused
  return CURL_SOCKOPT_OK;
}

void set_blob(CURL* easy, CURLoption option, const std::string& pem) {
  if (pem.empty()) return;
  curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_COPY};
  curl_easy_setopt(easy, option, &blob);
}

}  // namespace

Channel::Channel(const Cluster& cluster, Identity identity)
    : cluster_(cluster), identity_(std::move(identity)), base_url_(cluster.url) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  multi_.reset(curl_multi_init());
  if (multi_ == nullptr) throw sdk::Failure(ROOST_INTERNAL, "curl cannot be set up");
  curl_multi_setopt(multi_.get(), CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
  if (!cluster_.server_name.empty()) {  // ask for the name that the certificate bears, at the address that was given
    const std::string authority = cluster_.url.substr(8);
    const std::size_t colon = authority.rfind(':');
    const std::string port = colon == std::string::npos ? "443" : authority.substr(colon + 1);
    connect_to_ = cluster_.server_name + ":" + port + ":" + authority.substr(0, colon) + ":" + port;
    base_url_ = "https://" + cluster_.server_name + ":" + port;
  }
}

void Channel::prepare(Transfer& transfer) {
  transfer.easy.reset(curl_easy_init());
  CURL* easy = transfer.easy.get();
  if (easy == nullptr) throw sdk::Failure(ROOST_INTERNAL, "curl cannot be set up");
  const Request& request = *transfer.request;
  curl_slist* headers = nullptr;
  headers = curl_slist_append(headers, "Accept: application/json, */*;q=0.1");
  headers = curl_slist_append(headers, "Expect:");
  if (!identity_.token.empty()) headers = curl_slist_append(headers, ("Authorization: Bearer " + identity_.token).c_str());
  if (!request.body.empty()) headers = curl_slist_append(headers, ("Content-Type: " + request.content_type).c_str());
  transfer.headers.reset(headers);
  if (!connect_to_.empty()) {
    transfer.connect_to.reset(curl_slist_append(nullptr, connect_to_.c_str()));
    curl_easy_setopt(easy, CURLOPT_CONNECT_TO, transfer.connect_to.get());
  }
  curl_easy_setopt(easy, CURLOPT_URL, (base_url_ + request.path).c_str());
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  if (!request.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  }
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  const bool plain = base_url_.compare(0, 7, "http://") == 0;
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http" : "https");
  if (plain) curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
  curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);  // requests that go together share one connection
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
  curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, set_peer_limit);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "roost");
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error_text);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  if (transfer.silence.count() > 0) {
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(transfer.silence.count()));
  }
  if (transfer.limit.count() > 0) curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(transfer.limit.count()));
  set_blob(easy, CURLOPT_CAINFO_BLOB, cluster_.ca_pem);
  set_blob(easy, CURLOPT_SSLCERT_BLOB, identity_.certificate_pem);
  set_blob(easy, CURLOPT_SSLKEY_BLOB, identity_.key_pem);
}

// Takes the answers of the transfers that ended.
void Channel::reap() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    long status = 0;
    curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
    transfer->done = true;
    transfer->result = message->data.result;
    transfer->status = static_cast<int>(status);
    transfer->error = transfer->error_text[0] != '\0' ? transfer->error_text : curl_easy_strerror(transfer->result);
  }
}

void Channel::run(const sdk::Call& call, std::vector<Transfer>& transfers) {
  for (Transfer& transfer : transfers) {
    prepare(transfer);
    curl_multi_add_handle(multi_.get(), transfer.easy.get());
  }
  int running = static_cast<int>(transfers.size());
  while (running > 0) {
    curl_multi_perform(multi_.get(), &running);
    reap();
    if (running == 0 || call.cancelled()) break;
    curl_waitfd cancel{call.cancel_fd(), CURL_WAIT_POLLIN, 0};
    const std::int64_t left_ms = call.remaining().count() / 1'000'000 + 1;
    const std::int64_t most_ms = call.cancel_fd() >= 0 ? 60'000 : 50;
    curl_multi_poll(multi_.get(), &cancel, call.cancel_fd() >= 0 ? 1 : 0, static_cast<int>(std::min(left_ms, most_ms)), nullptr);
  }
  for (Transfer& transfer : transfers) {
    // The request's bytes are counted from the moment that curl begins to write them.
    long request_bytes = 0;
    curl_off_t pretransfer_us = 0;
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_REQUEST_SIZE, &request_bytes);
    curl_easy_getinfo(transfer.easy.get(), CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us);
    transfer.sent = request_bytes > 0 || pretransfer_us > 0;
    sound_ = sound_ && transfer.done && transfer.result == CURLE_OK;
    curl_multi_remove_handle(multi_.get(), transfer.easy.get());
    transfer.easy.reset();
  }
}

}  // namespace roost::kubernetes
