// Channel: one curl multi handle with the connections that it keeps, and the transfers that run on it: to the API server by
// https, or to the agent of a pod by http, and then never through a proxy of the environment.
// Thread safety: none; a Client lends it to one call at a time.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compute/kubernetes/client.hpp"

namespace roost::kubernetes {

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct MultiDeleter {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct HeadersDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// One request on its way, and what came of it.
struct Transfer {
  const Request* request = nullptr;
  std::size_t max_bytes = 0;
  std::function<bool(std::string_view)> data;  // takes the body of a 200 instead of `body`; false ends the transfer
  std::chrono::seconds silence{0};
  std::chrono::milliseconds limit{0};  // for all of it; 0: the call's deadline

  bool done = false;
  bool sent = false;  // the server may have seen it
  CURLcode result = CURLE_OK;
  int status = 0;
  std::uint64_t retry_after_ms = 0;
  bool too_large = false;
  bool stopped = false;  // by `data`
  std::string body;
  std::string error;

  std::unique_ptr<CURL, EasyDeleter> easy;
  std::unique_ptr<curl_slist, HeadersDeleter> headers;
  std::unique_ptr<curl_slist, HeadersDeleter> connect_to;
  char error_text[CURL_ERROR_SIZE] = {};
};

class Channel {
 public:
  Channel(const Cluster& cluster, Identity identity);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] std::uint64_t revision() const { return identity_.revision; }
  void use_token(std::string token) { identity_.token = std::move(token); }
  // Until each is done, the deadline, or the cancellation; what is not done then is given up.
  void run(const sdk::Call& call, std::vector<Transfer>& transfers);
  // False where a transfer got no whole answer: with HTTP/2 its connection stays, and it may be one whose peer is gone without a
  // word, on which the next ones would wait in vain as well.
  [[nodiscard]] bool sound() const { return sound_; }

 private:
  void prepare(Transfer& transfer);
  void reap();

  const Cluster& cluster_;
  Identity identity_;
  std::string connect_to_;
  std::string base_url_;
  bool sound_ = true;
  std::unique_ptr<CURLM, MultiDeleter> multi_;
};

}  // namespace roost::kubernetes
