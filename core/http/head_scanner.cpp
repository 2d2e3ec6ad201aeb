#include "http/head_scanner.hpp"

#include <cstring>

namespace roost::http {

HeadScanner::Result HeadScanner::scan(std::string_view input, int lines_max) {
  while (scanned_ < input.size()) {
    const void* found = std::memchr(input.data() + scanned_, '\n', input.size() - scanned_);
    if (found == nullptr) {
      scanned_ = input.size();
      return Result::more;
    }
    const std::size_t feed = static_cast<std::size_t>(static_cast<const char*>(found) - input.data());
    if (feed == line_start_ || input[feed - 1] != '\r') return Result::bare_lf;
    scanned_ = feed + 1;
    if (feed - line_start_ == 1) return Result::complete;
    if (lines_ > 0 && (input[line_start_] == ' ' || input[line_start_] == '\t')) return Result::folded;
    if (++lines_ > lines_max) return Result::too_many_lines;
    line_start_ = scanned_;
    if (lines_ == 1) first_line_ = feed;
  }
  return Result::more;
}

}  // namespace roost::http
