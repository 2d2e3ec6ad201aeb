#include "http/request_reader.hpp"

#include <algorithm>
#include <limits>
#include <optional>

#include "http/chunk_parser.hpp"
#include "http/head_scanner.hpp"
#include "http/target.hpp"

namespace roost::http {
namespace {

constexpr std::size_t kAroundTarget = 64;  // method and version
constexpr int kLeadingEmptyLines = 4;      // RFC 9112 section 2.2 asks to skip at least one

}  // namespace

struct RequestReader::Impl {
  class Parser final : public ChunkParser<true> {
   public:
    Parser(Impl& owner, Request& request) : owner_(owner), request_(request) {}

   private:
    void on_request_impl(beast::http::verb, BeastView method, BeastView target, int version, BeastError&) override {
      request_.method.assign(method.data(), method.size());
      request_.target.assign(target.data(), target.size());
      owner_.framing.http10 = version < 11;
    }
    void on_response_impl(int, BeastView, int, BeastError&) override {}
    void on_field_impl(beast::http::field field, BeastView name, BeastView value, BeastError& error) override {
      if (!owner_.in_head) return;
      if (!owner_.field(field, view(name), view(value), request_)) error = beast::http::error::bad_field;
    }

    Impl& owner_;
    Request& request_;
  };

  enum class State { head, sized_body, chunked_body, over, refused };

  explicit Impl(ReaderLimits reader_limits) : limits(reader_limits) {}

  Step refuse(int why_status, std::string why) {
    state = State::refused;
    status = why_status;
    detail = std::move(why);
    return {Event::refused, 0, {}};
  }

  void begin() {
    scanner.reset();
    parser.reset();
    in_head = true;
    hosts = headers = upgrades = 0;
    te_seen = te_unknown = cl_seen = websocket = false;
    state = State::head;
  }

  // False: the field is refused; `detail` and `status` say why.
  bool field(beast::http::field id, std::string_view name, std::string_view value, Request& request);
  Step read_head(std::string_view input, Request& request);
  Step parse_head(std::string_view head, std::size_t skipped, Request& request);
  Step check_head(std::size_t consumed, Request& request);
  std::optional<Step> check_framing();
  std::optional<Step> check_target(Request& request);
  Step read_sized(std::string_view input);
  Step read_chunked(std::string_view input);

  const ReaderLimits limits;
  State state = State::head;
  HeadScanner scanner;
  std::optional<Parser> parser;
  Framing framing;
  int status = 400;
  std::string detail;
  std::uint64_t left = 0;  // of a sized body
  int hosts = 0;
  int upgrades = 0;
  std::size_t headers = 0;
  bool in_head = true;
  bool te_seen = false, te_unknown = false, cl_seen = false, websocket = false;
  int empty_lines = 0;
};

bool RequestReader::Impl::field(beast::http::field id, std::string_view name, std::string_view value, Request& request) {
  using beast::http::field;
  const auto refuse_field = [&](const char* why) {
    detail = why;
    return false;
  };
  if (headers < request.headers.size()) {  // the strings of the request before are used again
    request.headers[headers].first.clear();
    request.headers[headers].second.assign(value);
  } else {
    request.headers.emplace_back(std::string(), value);
  }
  append_lower(request.headers[headers].first, name);
  ++headers;
  switch (id) {
    case field::host:
      ++hosts;
      request.host.clear();
      append_lower(request.host, value);
      return true;
    case field::content_length:
      if (cl_seen) return refuse_field("more than one Content-Length");
      if (te_seen) return refuse_field("both Content-Length and Transfer-Encoding");
      if (value.empty() || value.size() > 18 || value.find_first_not_of("0123456789") != std::string_view::npos) {
        return refuse_field("Content-Length is not a decimal number of at most 18 digits");
      }
      cl_seen = true;
      return true;
    case field::transfer_encoding:
      if (te_seen) return refuse_field("more than one Transfer-Encoding");
      if (cl_seen) return refuse_field("both Content-Length and Transfer-Encoding");
      te_seen = true;
      te_unknown = !equals_ignoring_case(value, "chunked");
      return true;
    case field::expect:
      if (equals_ignoring_case(value, "100-continue")) {
        framing.expect_continue = true;
      } else {
        framing.expect_unknown = true;
      }
      return true;
    case field::upgrade:
      ++upgrades;
      websocket = equals_ignoring_case(value, "websocket");
      return true;
    default: return true;
  }
}

RequestReader::Step RequestReader::Impl::read_head(std::string_view input, Request& request) {
  std::size_t skipped = 0;
  while (input.size() >= 2 && input[0] == '\r' && input[1] == '\n') {
    if (++empty_lines > kLeadingEmptyLines) return refuse(400, "empty lines where a request should begin");
    input.remove_prefix(2);
    skipped += 2;
  }
  if (input.empty() || (input.size() == 1 && input[0] == '\r')) return {Event::more, skipped, {}};
  const auto first = static_cast<unsigned char>(input.front());
  if (first <= 0x20 || first >= 0x7f) return refuse(400, "this is not an HTTP/1.1 request (is it TLS?)");
  const auto found = scanner.scan(input, limits.header_count + 1);
  if (found == HeadScanner::Result::complete && scanner.length() <= limits.header_bytes) {
    return parse_head(input.substr(0, scanner.length()), skipped, request);
  }
  if (found == HeadScanner::Result::bare_lf) return refuse(400, "a line ends with LF alone: lines end with CR LF");
  if (found == HeadScanner::Result::folded) return refuse(400, "a header field is folded over several lines");
  if (found == HeadScanner::Result::too_many_lines) {
    return refuse(431, "more than " + std::to_string(limits.header_count) + " header fields");
  }
  const std::size_t first_line = scanner.first_line() > 0 ? scanner.first_line() : input.size();
  if (first_line > limits.target_bytes + kAroundTarget) {
    return refuse(414, "the request's target is longer than " + std::to_string(limits.target_bytes) + " bytes");
  }
  if (input.size() > limits.header_bytes) {
    return refuse(431, "the header is larger than " + std::to_string(limits.header_bytes) + " bytes");
  }
  return {Event::more, skipped, {}};
}

RequestReader::Step RequestReader::Impl::parse_head(std::string_view head, std::size_t skipped, Request& request) {
  request.host.clear();
  detail.clear();
  framing = Framing{};
  parser.emplace(*this, request);
  parser->header_limit(static_cast<std::uint32_t>(std::min<std::size_t>(limits.header_bytes + 1024, 1U << 30)));
  parser->body_limit(std::numeric_limits<std::uint64_t>::max());  // routes have limits of their own; none means 0 to Beast 1.74
  BeastError error;
  const std::size_t consumed = parser->put(boost::asio::buffer(head.data(), head.size()), error);
  if (error == beast::http::error::bad_version) return refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
  if (error == beast::http::error::bad_content_length && detail.empty()) {
    detail = te_seen   ? "both Content-Length and Transfer-Encoding"
             : cl_seen ? "more than one Content-Length"
                       : "Content-Length is not a number";
  }
  if (error == beast::http::error::bad_transfer_encoding && detail.empty()) {
    detail = cl_seen ? "both Content-Length and Transfer-Encoding" : "more than one Transfer-Encoding";
  }
  if (error) return refuse(400, detail.empty() ? "malformed request: " + error.message() : std::string(detail));
  if (consumed != head.size()) return refuse(400, "malformed request: the header does not end where its empty line is");
  request.headers.resize(headers);
  in_head = false;
  return check_head(skipped + consumed, request);
}

RequestReader::Step RequestReader::Impl::check_head(std::size_t consumed, Request& request) {
  if (request.target.size() > limits.target_bytes) {
    return refuse(414, "the request's target is longer than " + std::to_string(limits.target_bytes) + " bytes");
  }
  if (auto refused = check_framing()) return *refused;
  if (auto refused = check_target(request)) return *refused;
  framing.keep_alive = parser->keep_alive();
  // Nothing else is upgraded to: with "h2c" a client would speak to the upstream unseen, past every header that is set or
  // removed.
  framing.upgrade = upgrades == 1 && websocket && parser->upgrade() && !framing.http10 && !framing.has_body();
  state = framing.chunked ? State::chunked_body : framing.length > 0 ? State::sized_body : State::over;
  left = framing.length;
  empty_lines = 0;
  return {Event::head, consumed, {}};
}

std::optional<RequestReader::Step> RequestReader::Impl::check_framing() {
  if (te_seen && framing.http10) return refuse(400, "Transfer-Encoding in an HTTP/1.0 request");
  if (te_unknown) return refuse(501, "the only transfer coding understood here is chunked");
  if (te_seen && !parser->chunked()) return refuse(400, "malformed Transfer-Encoding");
  framing.chunked = te_seen;
  if (cl_seen) {
    const auto length = parser->content_length();
    if (!length) return refuse(400, "malformed Content-Length");
    framing.has_length = true;
    framing.length = *length;
  }
  return std::nullopt;
}

std::optional<RequestReader::Step> RequestReader::Impl::check_target(Request& request) {
  if (hosts != 1) return refuse(400, hosts == 0 ? "the Host header is missing" : "more than one Host header");
  if (!valid_host(request.host)) return refuse(400, "the Host header is malformed");
  std::string_view authority;
  std::string_view rest;
  if (split_absolute(request.target, authority, rest)) {
    if (!equals_ignoring_case(authority, request.host)) return refuse(400, "the target names another host than the Host header");
    std::string origin_form = !rest.empty() && rest.front() == '/' ? std::string(rest) : '/' + std::string(rest);
    request.target = std::move(origin_form);
  }
  if (request.target.find('#') != std::string::npos) return refuse(400, "the target holds a fragment");
  request.query.clear();
  if (request.target == "*" && request.method == "OPTIONS") {
    request.path = "*";
    return std::nullopt;
  }
  if (request.method == "CONNECT" || request.method == "TRACE") return refuse(501, request.method + " is not served here");
  if (request.target.front() != '/') return refuse(400, "the target must begin with a slash");
  const auto mark = request.target.find('?');
  if (mark != std::string::npos) request.query.assign(request.target, mark + 1, std::string::npos);
  framing.path_refusal = normalise_path(std::string_view(request.target).substr(0, mark), request.path);
  if (!framing.path_refusal.empty()) request.path.clear();
  return std::nullopt;
}

RequestReader::Step RequestReader::Impl::read_sized(std::string_view input) {
  if (input.empty()) return {Event::more, 0, {}};
  const auto piece = input.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left, input.size())));
  left -= piece.size();
  if (left == 0) state = State::over;
  return {Event::body, piece.size(), piece};
}

RequestReader::Step RequestReader::Impl::read_chunked(std::string_view input) {
  ChunkStep step = read_chunk(*parser, input, limits.header_bytes);
  switch (step.event) {
    case ChunkStep::Event::piece: return {Event::body, step.consumed, step.piece};
    case ChunkStep::Event::more: return {Event::more, step.consumed, {}};
    case ChunkStep::Event::complete: begin(); return {Event::complete, step.consumed, {}};
    case ChunkStep::Event::refused: break;
  }
  return refuse(400, "malformed chunked body: " + step.why);
}

RequestReader::RequestReader(ReaderLimits limits) : impl_(std::make_unique<Impl>(limits)) {}
RequestReader::~RequestReader() = default;

RequestReader::Step RequestReader::next(std::string_view input, Request& request) {
  switch (impl_->state) {
    case Impl::State::head: return impl_->read_head(input, request);
    case Impl::State::sized_body: return impl_->read_sized(input);
    case Impl::State::chunked_body: return impl_->read_chunked(input);
    case Impl::State::over: impl_->begin(); return {Event::complete, 0, {}};
    case Impl::State::refused: break;
  }
  return {Event::refused, 0, {}};
}

const Framing& RequestReader::framing() const { return impl_->framing; }
int RequestReader::status() const { return impl_->status; }
const std::string& RequestReader::detail() const { return impl_->detail; }

}  // namespace roost::http
