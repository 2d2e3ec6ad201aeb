// Client: requests to the API server through libcurl, TLS verified. A call ends at its deadline or when it is cancelled; a 429 or
// a passing 5xx is tried again a few times, as Retry-After says. Every answer that is not a success becomes an ApiError.
// Thread safety: may be used from any thread; each call has a connection of its own for its time.
// Invariant: a mutating request that may have reached the server and whose answer was lost ends in OUTCOME_UNKNOWN.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "compute/kubernetes/credentials.hpp"
#include "compute/kubernetes/json.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {

// A Status of the API server (or its absence), with the code that the host is told.
class ApiError : public sdk::Failure {
 public:
  ApiError(roost_code code, const std::string& message, int status, std::string reason, std::uint64_t retry_after_ms = 0,
           std::string field = {})
      : Failure(code, message, retry_after_ms), status_(status), reason_(std::move(reason)), field_(std::move(field)) {}
  [[nodiscard]] int status() const { return status_; }                 // of HTTP; 0: there was no answer
  [[nodiscard]] const std::string& reason() const { return reason_; }  // e.g. "AlreadyExists"
  // Of an object that was refused as invalid: "metadata.uid" where it is another one's, else the first field that is named; may
  // be empty.
  [[nodiscard]] const std::string& field() const { return field_; }

 private:
  int status_;
  std::string reason_;
  std::string field_;
};

struct Request {
  std::string method;
  std::string path;  // with its query
  std::string body;
  std::string content_type = "application/json";

  static Request get(std::string path) { return {"GET", std::move(path), {}}; }
  static Request post(std::string path, const Json& object) { return {"POST", std::move(path), object.dump()}; }
  static Request put(std::string path, const Json& object) { return {"PUT", std::move(path), object.dump()}; }
  static Request merge_patch(std::string path, const Json& patch) {
    return {"PATCH", std::move(path), patch.dump(), "application/merge-patch+json"};
  }
  static Request strategic_patch(std::string path, const Json& patch) {
    return {"PATCH", std::move(path), patch.dump(), "application/strategic-merge-patch+json"};
  }
  static Request json_patch(std::string path, const Json& operations) {
    return {"PATCH", std::move(path), operations.dump(), "application/json-patch+json"};
  }
  static Request remove(std::string path, const Json& options) { return {"DELETE", std::move(path), options.dump()}; }
  [[nodiscard]] bool mutating() const { return method != "GET"; }
};

// One request's outcome: an object, or why not.
struct Outcome {
  Json object;
  std::shared_ptr<const ApiError> error;
  [[nodiscard]] bool is(int status) const { return error != nullptr && error->status() == status; }
};

class Channel;  // a curl multi handle and its connections

class Client {
 public:
  Client(std::unique_ptr<Credentials> credentials, sdk::Log log);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] const Cluster& cluster() const { return credentials_->cluster(); }
  // Throws ApiError, or DEADLINE or CANCELLED where nothing was done.
  Json send(const sdk::Call& call, const Request& request);
  // All at once, over one connection; answers in the order of the requests, and throws nothing of a single one.
  std::vector<Outcome> send_all(const sdk::Call& call, const std::vector<Request>& requests);
  // A GET whose list is read item by item; answers the list without its items. `item` sees those of one answer only.
  Json list(const sdk::Call& call, const std::string& path, const std::function<void(Json)>& item);
  // A GET whose answer never ends (a watch): each line goes to `line`, which answers false to end it. Returns when the server
  // ends it; throws as send does, but tries once. `silence` is the longest time without a byte.
  void stream(const sdk::Call& call, const std::string& path, std::chrono::seconds silence,
              const std::function<bool(std::string_view)>& line);
  // What a GET answers, as it is, for what can be done without: tried once, within `limit`. Nothing where it fails.
  std::optional<std::string> text(const sdk::Call& call, const std::string& path, std::size_t max_bytes,
                                  std::chrono::milliseconds limit);

 private:
  struct Lease;
  Lease lease();

  std::unique_ptr<Credentials> credentials_;
  sdk::Log log_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Channel>> idle_;  // guarded by mutex_
};

}  // namespace roost::kubernetes
