// HeadScanner: finds the end of a message's head in bytes that arrive piece by piece, and refuses line shapes that parsers
// disagree about (bare LF, folded lines) as soon as they are seen. It looks at each byte once.
// Thread safety: one thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace roost::http {

class HeadScanner {
 public:
  enum class Result { more, complete, bare_lf, folded, too_many_lines };

  // `input`: the head from its first byte, as far as it has arrived; the same bytes as last time with more behind them.
  [[nodiscard]] Result scan(std::string_view input, int lines_max);
  [[nodiscard]] std::size_t length() const { return scanned_; }         // of the head, once complete
  [[nodiscard]] std::size_t first_line() const { return first_line_; }  // its length; 0: not complete yet
  void reset() { *this = HeadScanner(); }

 private:
  std::size_t scanned_ = 0;
  std::size_t line_start_ = 0;
  std::size_t first_line_ = 0;
  int lines_ = 0;
};

}  // namespace roost::http
