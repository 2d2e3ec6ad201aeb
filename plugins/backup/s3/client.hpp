// Client: requests to one bucket: signed, tried again where that helps, their errors told apart. What it repeats by itself: 5xx,
// 429, SlowDown, time-outs, broken connections and bodies that were damaged on the way, with growing pauses; once each: a clock
// that is wrong (by the server's Date), a bucket of another region, credentials that expired. Thread safety: any thread.
// Invariant: nothing is read beyond the stated limits, whatever the server sends.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "backup/s3/credentials.hpp"
#include "backup/s3/http.hpp"
#include "backup/s3/settings.hpp"
#include "backup/s3/sts.hpp"
#include "backup/s3/xml.hpp"
#include "roost/plugin.hpp"

namespace roost::backup_s3 {

// Why a request failed, with the code that the host is told.
class S3Error : public sdk::Failure {
 public:
  S3Error(roost_code code, const std::string& message, int status, std::string s3_code, bool maybe_done,
          std::uint64_t retry_after_ms = 0)
      : Failure(code, message, retry_after_ms), status_(status), s3_code_(std::move(s3_code)), maybe_done_(maybe_done) {}
  [[nodiscard]] int status() const { return status_; }  // of HTTP; 0: there was no answer
  [[nodiscard]] const std::string& s3_code() const { return s3_code_; }
  // Whether one of the tries may have had its effect, though no answer said so.
  [[nodiscard]] bool maybe_done() const { return maybe_done_; }

 private:
  int status_;
  std::string s3_code_;
  bool maybe_done_;
};

struct S3Request {
  std::string method;
  std::string key;  // empty: the bucket itself
  Pairs query;
  Pairs headers;  // besides host, date, payload hash, token
  std::string_view body;
  std::string body_sha256;  // raw; empty: the client computes it
  std::size_t max_body = 1u << 20;
  BodySink sink = {};  // of a 206; such a request is tried once, its caller carries on
  // Whether a 200 brings an XML document: <Error> in it is a failure, and something else than XML too.
  bool expects_xml = false;
  bool fresh_connection = false;  // each try is one request, so that its outcome is known or known to be unknown
};

class Client {
 public:
  // `settings` outlives it.
  Client(const Settings& settings, sdk::Log log);

  // A 2xx answer, or S3Error.
  HttpResponse send(const sdk::Call& call, const S3Request& request);
  // The same, and its document.
  Xml send_for_xml(const sdk::Call& call, S3Request request);
  // Sleeps before try number `tried` + 1; throws where the call ends first.
  void pause(const sdk::Call& call, int tried, std::uint64_t at_least_ms, bool maybe_done) const;
  Credential credential(const sdk::Call& call) { return credentials_.get(call); }
  Credential assume_role(const sdk::Call& call, const RoleRequest& wanted) { return credentials_.assume_role(call, wanted); }
  [[nodiscard]] std::int64_t now_s() const;  // by the server's clock, as far as it is known

 private:
  struct Attempt;
  HttpRequest build(const S3Request& request, const Credential& credential) const;
  [[nodiscard]] std::string host() const;
  [[nodiscard]] std::string region() const;
  bool mend(Attempt& attempt);

  const Settings& settings_;
  const sdk::Log log_;
  Http http_;
  Credentials credentials_;
  std::atomic<std::int64_t> clock_offset_s_{0};
  mutable std::mutex mutex_;
  std::string region_;  // guarded by mutex_
};

}  // namespace roost::backup_s3
