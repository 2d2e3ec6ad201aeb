#include "cli/sse.hpp"

#include <algorithm>
#include <charconv>

namespace roost::cli {
namespace {

constexpr std::int64_t kLongestRetryMs = 60'000;

}  // namespace

Status SseParser::feed(std::string_view bytes, const Sink& sink) {
  for (const char c : bytes) {
    if (after_return_ && c == '\n') {  // the second half of CR LF
      after_return_ = false;
      continue;
    }
    after_return_ = c == '\r';
    if (c == '\n' || c == '\r') {
      std::string line;
      line.swap(line_);
      ROOST_CHECK(take_line(line, sink));
      continue;
    }
    if (line_.size() + data_.size() >= limit_) {
      return Error{Code::data_loss, "the stream sent an event of more than " + std::to_string(limit_) + " bytes", 0};
    }
    line_ += c;
  }
  return {};
}

Status SseParser::take_line(std::string_view line, const Sink& sink) {
  if (!begun_ && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  begun_ = true;
  if (!line.empty()) {
    if (line.front() == ':') return {};
    const std::size_t colon = line.find(':');
    std::string_view value = colon == std::string_view::npos ? std::string_view{} : line.substr(colon + 1);
    if (value.starts_with(' ')) value.remove_prefix(1);
    take_field(line.substr(0, colon), value);
    return {};
  }
  last_id_ = id_;
  SseEvent event{id_, type_.empty() ? "message" : std::move(type_), std::move(data_)};
  const bool whole = has_data_;
  type_.clear();
  data_.clear();
  has_data_ = false;
  return whole ? sink(event) : Status{};
}

void SseParser::take_field(std::string_view name, std::string_view value) {
  if (name == "data") {
    if (has_data_) data_ += '\n';
    data_ += value;
    has_data_ = true;
  } else if (name == "event") {
    type_ = value;
  } else if (name == "id") {
    // It goes back in a header: what cannot stand in one is left out, as the standard says of NUL.
    const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
    if (value.size() <= 256 && std::none_of(value.begin(), value.end(), control)) id_ = value;
  } else if (name == "retry") {
    std::int64_t retry_ms = 0;
    const auto [stop, error] = std::from_chars(value.data(), value.data() + value.size(), retry_ms);
    if (error == std::errc{} && stop == value.data() + value.size() && retry_ms >= 0)
      retry_ms_ = std::min(retry_ms, kLongestRetryMs);
  }
}

}  // namespace roost::cli
