// The HTTP server's vocabulary: Request, Response, Responder, Router. Nothing here knows of sessions.
// Thread safety: Request and Response are plain values; a Responder may be used from any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::http {

using Headers = std::vector<std::pair<std::string, std::string>>;  // names in lower case

struct Request {
  std::string method;  // as sent: "GET"
  std::string target;  // as sent: "/session/abc/status?x=1"
  std::string path;    // decoded, normalised, without the query; never holds "..", "//", NUL or a backslash
  std::string query;   // raw, without '?'
  std::string host;    // the Host header in lower case with its port, e.g. "localhost:8080"
  std::string peer;    // the client's address without its port
  Headers headers;
  std::string body;
  std::vector<std::string> parameters;  // of the route's {}, in order
  std::string trace_id;                 // 32 hex digits, from traceparent or made here
  // Left by the gatekeeper for the handler of the same request (who calls, for example); null where it left nothing.
  mutable std::shared_ptr<const void> context;

  [[nodiscard]] std::string_view header(std::string_view lower_case_name) const;  // "" where absent
  [[nodiscard]] std::string query_parameter(std::string_view name) const;         // decoded; "" where absent
  [[nodiscard]] bool has_query_parameter(std::string_view name) const;
};

struct Response {
  int status = 200;
  Headers headers;  // content-length, date, connection are the server's
  std::string body;
  // Of a stream's head: how long the whole body is, where that is known. It is said as Content-Length, and a stream that ends
  // before it closes the connection.
  std::optional<std::uint64_t> stream_length;

  [[nodiscard]] static Response json(int status, const Json& body);
  [[nodiscard]] static Response json_text(int status, std::string body);  // already serialised
};

// RFC 9457 problem+json: {"type":"about:blank","title":…,"status":…,"detail":…, …extra}.
[[nodiscard]] Response problem(int status, std::string_view detail, Json extra = Json::object());
// The status that stands for an error's code, with its message as detail and Retry-After where it says one.
[[nodiscard]] Response problem(const Error& error);

// A response whose body is written piece by piece (SSE). The server bounds what is buffered: a client that does not read is
// cut off.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual bool write(std::string data) = 0;  // [any thread] false: the client is gone, or too slow
  virtual void end() = 0;                    // [any thread]
  virtual void abort() = 0;  // [any thread] closes the connection, so that the client sees that something is missing
  // Once all that was written is out of the server's hands, or the client is gone; at once where it is so already. A writer that
  // waits for it is never cut off for writing too much. Runs on any thread.
  virtual void when_drained(std::function<void()> drained) = 0;
  virtual void on_close(std::function<void()> closed) = 0;  // once; also when it is closed already. Runs on any thread.
};

// Answers one request, once; dropped without an answer it answers 500. Copies share the one answer.
class Responder {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual void respond(Response response) = 0;
    virtual std::shared_ptr<Stream> stream(Response head) = 0;
    [[nodiscard]] virtual bool open() const = 0;  // false: the client is gone
  };
  explicit Responder(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
  void operator()(Response response) const { sink_->respond(std::move(response)); }
  [[nodiscard]] std::shared_ptr<Stream> stream(Response head) const { return sink_->stream(std::move(head)); }
  [[nodiscard]] bool open() const { return sink_->open(); }

 private:
  std::shared_ptr<Sink> sink_;
};

// `inline_` handlers run on the event loop: memory only, microseconds. `pooled` ones run on the bounded pool and may block
// briefly. Either may answer later, from any thread, through the responder. `waiting` ones run as inline_ ones do, and answer
// when something happens: they do not count among the requests in flight, so many that wait keep nobody from being served.
// `probe` ones run as inline_ ones do, answer at once, and are served whatever the load: on a connection past the limit as well.
enum class Run { inline_, pooled, waiting, probe };
using Handler = std::function<void(const Request&, Responder)>;

struct Route {
  std::string method;
  std::string pattern;  // "/session/{}/status": {} is one segment, {*} at the end the rest
  Run run = Run::inline_;
  Handler handler;
  std::size_t body_limit = 64 << 10;  // bytes; more is 413
};

// Called with the headers, before the body is read: an answer refuses the request (401, 403, 429, ...).
using Gatekeeper = std::function<std::optional<Response>(const Request&, const Route&)>;

// A matched path with another method is 405 with Allow; HEAD is answered as GET without a body; OPTIONS with Allow.
class Router {
 public:
  void add(Route route);  // before the server starts
  struct Match {
    const Route* route = nullptr;  // null: see `allow`
    std::vector<std::string> parameters;
    std::string allow;  // "GET, HEAD": the path exists, the method does not; empty: 404
  };
  [[nodiscard]] Match match(std::string_view method, std::string_view path) const;
  [[nodiscard]] const std::vector<Route>& routes() const { return routes_; }

 private:
  struct Pattern {
    std::vector<std::string> segments;  // "" stands for {}
    bool rest = false;                  // ends with {*}
  };
  std::vector<Route> routes_;
  std::vector<Pattern> patterns_;  // of the route with the same index
};

}  // namespace roost::http
