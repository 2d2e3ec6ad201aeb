#include "http/response_reader.hpp"

#include <algorithm>
#include <limits>

#include "http/chunk_parser.hpp"
#include "http/head_scanner.hpp"
#include "http/target.hpp"
#include "http/writer.hpp"

namespace roost::http {
namespace {

constexpr std::size_t kHeadMax = 64 << 10;
constexpr int kHeadersMax = 256;
constexpr int kInformationalMax = 16;

}  // namespace

struct ResponseReader::Impl {
  class Parser final : public ChunkParser<false> {
   public:
    explicit Parser(Impl& owner) : owner_(owner) {}

   private:
    void on_request_impl(beast::http::verb, BeastView, BeastView, int, BeastError&) override {}
    void on_response_impl(int code, BeastView, int, BeastError&) override { owner_.status = code; }
    void on_field_impl(beast::http::field field, BeastView name, BeastView value, BeastError& error) override {
      if (!owner_.in_head) return;
      owner_.headers.emplace_back(std::string(), view(value));
      append_lower(owner_.headers.back().first, view(name));
      if (field == beast::http::field::content_length) {
        const bool digits =
            !value.empty() && value.size() <= 18 && view(value).find_first_not_of("0123456789") == std::string_view::npos;
        if (owner_.lengths++ > 0 || !digits) error = beast::http::error::bad_content_length;
      }
      if (field == beast::http::field::transfer_encoding && !equals_ignoring_case(view(value), "chunked")) {
        error = beast::http::error::bad_transfer_encoding;
      }
    }

    Impl& owner_;
  };

  enum class State { head, sized, chunked, until_close, over, refused };

  Step refuse(std::string why) {
    state = State::refused;
    detail = std::move(why);
    return {Event::refused, 0, {}};
  }
  Step read_head(std::string_view input, bool ended);
  Step read_chunked(std::string_view input, bool ended);

  State state = State::head;
  HeadScanner scanner;
  std::optional<Parser> parser;
  bool head_request = false;
  bool in_head = true;
  int status = 0;
  int lengths = 0;
  int informational = 0;
  Headers headers;
  AnswerFraming framing;
  std::uint64_t left = 0;
  std::string detail;
};

ResponseReader::Step ResponseReader::Impl::read_head(std::string_view input, bool ended) {
  const auto found = scanner.scan(input, kHeadersMax + 1);
  if (found == HeadScanner::Result::more) {
    if (input.size() > kHeadMax) return refuse("the header of its answer is too large");
    if (ended)
      return refuse(input.empty() ? "it closed the connection without an answer" : "its answer breaks off in the header");
    return {Event::more, 0, {}};
  }
  if (found != HeadScanner::Result::complete || scanner.length() > kHeadMax)
    return refuse("the header of its answer is malformed or too large");
  const std::string_view head = input.substr(0, scanner.length());
  scanner.reset();
  headers.clear();
  lengths = 0;
  in_head = true;
  parser.emplace(*this);
  parser->header_limit(kHeadMax + 1024);
  parser->body_limit(std::numeric_limits<std::uint64_t>::max());
  BeastError error;
  const std::size_t consumed = parser->put(boost::asio::buffer(head.data(), head.size()), error);
  in_head = false;
  if (error || consumed != head.size()) return refuse("its answer is malformed: " + error.message());
  if (status < 200 && status != 101) {
    if (++informational > kInformationalMax) return refuse("it sends informational answers without end");
    return {Event::more, consumed, {}};
  }
  framing = {};
  if (status == 101 || head_request || bodiless(status)) {
    state = State::over;
    if (head_request && lengths > 0) framing.length = parser->content_length().value_or(0);
  } else if (parser->chunked()) {
    state = State::chunked;
    framing.chunked = true;
  } else if (lengths > 0) {
    left = parser->content_length().value_or(0);
    framing.length = left;
    state = left == 0 ? State::over : State::sized;
  } else {
    framing.until_close = true;
    state = State::until_close;
  }
  return {Event::head, consumed, {}};
}

ResponseReader::Step ResponseReader::Impl::read_chunked(std::string_view input, bool ended) {
  ChunkStep step = read_chunk(*parser, input, kHeadMax);
  switch (step.event) {
    case ChunkStep::Event::piece: return {Event::body, step.consumed, step.piece};
    case ChunkStep::Event::more:
      if (ended) return refuse("its answer breaks off in the body");
      return {Event::more, step.consumed, {}};
    case ChunkStep::Event::complete: state = State::over; return {Event::complete, step.consumed, {}};
    case ChunkStep::Event::refused: break;
  }
  return refuse("the chunks of its answer are malformed: " + step.why);
}

ResponseReader::ResponseReader() : impl_(std::make_unique<Impl>()) {}
ResponseReader::~ResponseReader() = default;
void ResponseReader::to_head_request() { impl_->head_request = true; }

ResponseReader::Step ResponseReader::next(std::string_view input, bool ended) {
  switch (impl_->state) {
    case Impl::State::head: {
      Step step = impl_->read_head(input, ended);
      std::size_t skipped = 0;
      while (step.event == Event::more && step.consumed > 0) {  // an informational answer was skipped
        skipped += step.consumed;
        step = impl_->read_head(input.substr(skipped), ended);
      }
      step.consumed += skipped;
      return step;
    }
    case Impl::State::sized: {
      if (input.empty()) return ended ? impl_->refuse("its answer breaks off in the body") : Step{};
      const auto piece = input.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(impl_->left, input.size())));
      impl_->left -= piece.size();
      if (impl_->left == 0) impl_->state = Impl::State::over;
      return {Event::body, piece.size(), piece};
    }
    case Impl::State::chunked: return impl_->read_chunked(input, ended);
    case Impl::State::until_close:
      if (!input.empty()) return {Event::body, input.size(), input};
      if (!ended) return {};
      impl_->state = Impl::State::over;
      return {Event::complete, 0, {}};
    case Impl::State::over: return {Event::complete, 0, {}};
    case Impl::State::refused: break;
  }
  return {Event::refused, 0, {}};
}

int ResponseReader::status() const { return impl_->status; }
const Headers& ResponseReader::headers() const { return impl_->headers; }
AnswerFraming ResponseReader::framing() const { return impl_->framing; }
const std::string& ResponseReader::detail() const { return impl_->detail; }

}  // namespace roost::http
