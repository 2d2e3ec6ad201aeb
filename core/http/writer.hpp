// Writing heads and chunks of HTTP/1.1 (RFC 9112). Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "http/http.hpp"

namespace roost::http {

// What the server decides about an answer, besides its own status and headers.
struct AnswerHead {
  int status = 200;
  bool close = false;
  bool keep_alive = false;  // says so to an HTTP/1.0 client
  bool chunked = false;
  std::optional<std::uint64_t> length;
  std::string_view date;     // empty: the headers hold one
  std::string_view upgrade;  // of a 101; empty: none
};

// Headers that the server owns are left out of `headers` and `more`; line breaks and NUL in a value become spaces.
void write_answer_head(std::string& out, const AnswerHead& head, const Headers& headers, const Headers& more);

void write_header(std::string& out, std::string_view name, std::string_view value);
void write_chunk_size(std::string& out, std::size_t size);  // "1f\r\n"; the data and "\r\n" follow

// Connection, Keep-Alive, TE, Trailer, Transfer-Encoding, Upgrade, Proxy-Connection: they concern one hop only (RFC 9110, 7.6.1).
[[nodiscard]] bool hop_by_hop(std::string_view lower_case_name);
// A 1xx, 204 or 304 never has a body.
[[nodiscard]] bool bodiless(int status);
[[nodiscard]] std::string without_cookie(std::string_view cookie_header, std::string_view name);

}  // namespace roost::http
