// Fuzzes the request front (RequestReader, router, query) and the reader of upstreams' answers. Besides memory errors it looks
// for what smuggling is made of: the same bytes must mean the same requests however they arrive.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "http/http.hpp"
#include "http/request_reader.hpp"
#include "http/response_reader.hpp"
#include "http/target.hpp"

namespace {

using namespace roost::http;

void require(bool holds) {
  if (!holds) std::abort();
}

const Router& router() {
  static const Router instance = [] {
    Router r;
    for (const char* pattern : {"/", "/session/create", "/session/{}", "/session/{}/status", "/files/{}/{*}"})
      r.add({"GET", pattern, Run::inline_, {}});
    return r;
  }();
  return instance;
}

void check(const Request& request, const Framing& framing) {
  require(!request.host.empty() && valid_host(request.host));
  require(request.headers.size() <= 20);
  require(!(framing.chunked && framing.has_length));
  for (const auto& [name, value] : request.headers) {
    require(!name.empty() && name.find_first_of(" \t\r\n:") == std::string::npos);
    require(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
  }
  if (framing.path_refusal.empty() && request.path != "*") {
    require(request.path.front() == '/' && request.path.find("//") == std::string::npos);
    require(request.path.find("/../") == std::string::npos && request.path.find('\\') == std::string::npos &&
            request.path.find('\0') == std::string::npos);
    (void)router().match(request.method, request.path);
  }
  (void)request.query_parameter("user_id");
  (void)trace_id_of(request.header("traceparent"));
}

// What a stream of bytes means, when it arrives in pieces of `step`.
std::string meaning(std::string_view bytes, std::size_t step) {
  RequestReader reader({2048, 512, 20});
  Request request;
  std::string pending;
  std::string said;
  std::size_t given = 0;
  while (true) {
    const auto next = reader.next(pending, request);
    require(next.consumed <= pending.size());
    switch (next.event) {
      case RequestReader::Event::head:
        check(request, reader.framing());
        said += "H" + request.method + request.target + "\n";
        break;
      case RequestReader::Event::body: said.append(next.piece); break;
      case RequestReader::Event::complete: said += "\nC"; break;
      case RequestReader::Event::refused: return said + "R" + std::to_string(reader.status());
      case RequestReader::Event::more:
        pending.erase(0, next.consumed);
        if (given == bytes.size()) return said + "M";
        pending.append(bytes.substr(given, step));
        given += std::min(step, bytes.size() - given);
        continue;
    }
    pending.erase(0, next.consumed);
  }
}

void answers(std::string_view bytes, std::size_t step) {
  ResponseReader reader;
  std::string pending;
  std::size_t given = 0;
  while (true) {
    const bool ended = given == bytes.size();
    const auto next = reader.next(pending, ended);
    require(next.consumed <= pending.size());
    if (next.event == ResponseReader::Event::refused || next.event == ResponseReader::Event::complete) return;
    pending.erase(0, next.consumed);
    if (next.event != ResponseReader::Event::more) continue;
    if (ended) std::abort();  // at the end it must have come to a conclusion
    pending.append(bytes.substr(given, step));
    given += std::min(step, bytes.size() - given);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 8192) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t step = 1 + data[0] % 64;
  const std::string whole = meaning(bytes, bytes.size());
  const std::string pieces = meaning(bytes, step);
  // A refusal may be seen later in one than in the other, and its status may differ (431 or 400); never what was understood
  // before.
  const auto understood = [](const std::string& said) {
    const auto end = said.rfind('R');
    return end != std::string::npos && said.size() - end == 4 ? said.substr(0, end) : said;
  };
  const std::string a = understood(whole);
  const std::string b = understood(pieces);
  const bool refused = a.size() != whole.size() || b.size() != pieces.size();
  require(refused ? (a.substr(0, b.size()) == b.substr(0, a.size())) : whole == pieces);
  answers(bytes, bytes.size());
  answers(bytes, step);
  return 0;
}
