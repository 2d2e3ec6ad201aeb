// Http: one request at a time through libcurl, TLS verified, ended by the call's deadline or cancellation. It follows no
// redirect and judges no status: that is its callers' work. Bodies are bounded. Connections are kept; what one took that broke
// before any answer, libcurl sends once more and tells nobody, but for a request on a fresh connection. Thread safety: any
// thread; each request has a connection of its own for its time.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "backup/s3/sigv4.hpp"
#include "roost/plugin.hpp"

namespace roost::backup_s3 {

struct HttpResponse;
// Is given the answer's head with each piece of its body; false ends the transfer, which counts as well ended. Throws nothing: it
// is called from within libcurl.
using BodySink = std::function<bool(const HttpResponse&, std::string_view)>;

struct HttpRequest {
  std::string method;
  std::string url;
  Pairs headers;
  std::string_view body;
  std::size_t max_body = 1u << 20;     // of the answer; more is a failure
  BodySink sink = {};                  // takes the body of a 206 instead; a 200 ends the transfer
  bool direct = false;                 // past any proxy: for link-local services
  bool fresh_connection = false;       // for what must not be sent twice unnoticed
  std::chrono::milliseconds limit{0};  // besides the call's deadline; 0: none
};

enum class Ending { answered, stopped, failed, untrusted, too_large, out_of_time };

struct HttpResponse {
  Ending ending = Ending::failed;
  bool sent = false;                           // the server may have seen the request
  int status = 0;                              // also of an answer that was cut
  std::map<std::string, std::string> headers;  // by lower-case name
  std::string body;
  std::string error;

  [[nodiscard]] const std::string& header(const std::string& name) const;
};

class Http {
 public:
  Http(std::string ca_pem, std::chrono::seconds connect_timeout, std::chrono::seconds stall_timeout);
  ~Http();
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;

  HttpResponse send(const sdk::Call& call, const HttpRequest& request);

 private:
  struct Handle;
  std::unique_ptr<Handle> take();
  void prepare(CURL* easy, const HttpRequest& request) const;

  const std::string ca_pem_;
  const std::chrono::seconds connect_timeout_;
  const std::chrono::seconds stall_timeout_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_;  // guarded by mutex_
};

}  // namespace roost::backup_s3
