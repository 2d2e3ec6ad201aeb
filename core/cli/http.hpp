// Http: one HTTP request at a time, over libcurl. Never follows a redirect, for the key would go along. Thread safety: one
// thread. Invariants: an answer in memory is at most kMaxBody bytes; a truncated answer is an error, never a short one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace roost::cli {

inline constexpr std::size_t kMaxBody = 64 << 20;

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of one that stands twice the last
  std::string body;                            // empty where the sink took it

  [[nodiscard]] const std::string& header(const std::string& name) const;  // "" where there is none
};

struct HttpRequest {
  std::string method = "GET";
  std::string target;                // path and query, encoded
  std::string body;                  // JSON; empty: none
  std::vector<std::string> headers;  // "Name: value"
  // Called once the head of a 2xx answer is there; its error ends the request and is returned.
  std::function<Status(const HttpResponse& head)> opened;
  // Takes a 2xx answer's body in pieces; its error ends the request and is returned.
  std::function<Status(const HttpResponse& head, std::string_view piece)> sink;
  std::int64_t timeout_ms = 0;     // for all of it; 0: none
  std::int64_t stall_ms = 60'000;  // without a byte
};

struct HttpSettings {
  std::string base;     // see base_url
  std::string key;      // empty: none is sent
  std::string ca_file;  // PEM; empty: the system's authorities
  std::int64_t connect_ms = 10'000;
};

class Http {
 public:
  explicit Http(HttpSettings settings);
  ~Http();
  Http(const Http&) = delete;
  Http& operator=(const Http&) = delete;

  // Any answer, whatever its status. UNAVAILABLE: nothing was sent. OUTCOME_UNKNOWN: it broke on the way. DEADLINE: the time was
  // over. CANCELLED: an interrupt. EXHAUSTED: the answer is too large. INTERNAL: the server's certificate is not trusted.
  [[nodiscard]] Result<HttpResponse> send(const HttpRequest& request);
  [[nodiscard]] const std::string& base() const { return settings_.base; }
  [[nodiscard]] const HttpSettings& settings() const { return settings_; }

 private:
  struct Handles;
  struct Transfer;
  void prepare(const HttpRequest& request, Transfer& transfer);
  [[nodiscard]] Error failure(int curl_code, const HttpRequest& request, const char* detail) const;

  HttpSettings settings_;
  std::unique_ptr<Handles> handles_;
};

}  // namespace roost::cli
