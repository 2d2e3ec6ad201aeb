// What both readers share of Boost.Beast's parser: the callbacks that a chunked body needs, and the loop over its chunks.
// Thread safety: one thread. Trailer fields are read and dropped: nobody asked for them.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace roost::http {

namespace beast = boost::beast;
using BeastError = beast::error_code;
using BeastView = beast::string_view;

inline std::string_view view(BeastView text) { return {text.data(), text.size()}; }

template <bool is_request>
class ChunkParser : public beast::http::basic_parser<is_request> {
 public:
  std::string_view piece;
  std::uint64_t chunk_left = 0;

 private:
  void on_header_impl(BeastError&) override {}
  void on_body_init_impl(boost::optional<std::uint64_t> const&, BeastError&) override {}
  std::size_t on_body_impl(BeastView body, BeastError&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t size, BeastView, BeastError&) override { chunk_left = size; }
  std::size_t on_chunk_body_impl(std::uint64_t, BeastView body, BeastError&) override {
    piece = view(body);
    chunk_left -= body.size();
    return body.size();
  }
  void on_finish_impl(BeastError&) override {}
};

struct ChunkStep {
  enum class Event { more, piece, complete, refused };
  Event event = Event::more;
  std::size_t consumed = 0;
  std::string_view piece;
  std::string why;  // where refused
};

// Whether so few bytes can still become a chunk's header; the line end of the chunk before it may come first.
inline bool may_begin_chunk(std::string_view bytes) {
  if (bytes.substr(0, 1) == "\r") bytes.remove_prefix(1);
  if (bytes.substr(0, 1) == "\n") bytes.remove_prefix(1);
  return bytes.empty() || std::isxdigit(static_cast<unsigned char>(bytes.front())) != 0;
}

// The next piece of a chunked body. Without `eager`, Beast stops after each element, so that a piece is handed over before the
// next chunk's header is read. `header_max`: bytes of one chunk's header, or of the trailer.
template <bool is_request>
[[nodiscard]] ChunkStep read_chunk(ChunkParser<is_request>& parser, std::string_view input, std::size_t header_max) {
  // The shortest chunk there is, "0\r\n\r\n". Beast 1.74 asserts that it gets as much of the last chunk at once.
  constexpr std::size_t kChunkMin = 5;
  std::size_t consumed = 0;
  while (true) {
    parser.piece = {};
    BeastError error;
    const std::string_view rest = input.substr(consumed);
    const bool enough = rest.size() >= (parser.chunk_left > 0 ? 1 : kChunkMin);
    const std::size_t used = !enough ? 0 : parser.put(boost::asio::buffer(rest.data(), rest.size()), error);
    consumed += used;
    if (error && error != beast::http::error::need_more) return {ChunkStep::Event::refused, 0, {}, error.message()};
    if (parser.is_done()) return {ChunkStep::Event::complete, consumed, {}, {}};
    if (!parser.piece.empty()) return {ChunkStep::Event::piece, consumed, parser.piece, {}};
    if (used > 0) continue;
    if (!enough && parser.chunk_left == 0 && !may_begin_chunk(rest)) return {ChunkStep::Event::refused, 0, {}, "bad chunk"};
    if (rest.size() > header_max) return {ChunkStep::Event::refused, 0, {}, "a chunk's header or the trailer is too long"};
    return {ChunkStep::Event::more, consumed, {}, {}};
  }
}

}  // namespace roost::http
