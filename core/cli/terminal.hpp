// Terminal: the three standard streams, and what is known about them. Thread safety: one thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.hpp"
#include "cli/table.hpp"

namespace roost::cli {

struct Terminal {
  bool in_is_tty = false, out_is_tty = false, err_is_tty = false;
  bool colour = false;  // a terminal, TERM is not dumb, NO_COLOR is not set

  [[nodiscard]] static Terminal find();
  [[nodiscard]] Style style() const;  // of stdout: its width is asked anew each time
  [[nodiscard]] int err_columns() const;
  // At once; the first failure is kept for `flush`.
  void out(std::string_view text);
  void err(std::string_view text) const;
  [[nodiscard]] Status written() const;  // INTERNAL where not all of stdout could be written

  // A line from stdin, without an echo where that is a terminal and `secret`. CANCELLED by an interrupt.
  enum class Echo { on, off };
  [[nodiscard]] Result<std::string> ask(const std::string& prompt, Echo echo) const;
  // All of stdin, at most `most` bytes (INVALID).
  [[nodiscard]] Result<std::string> read_all(std::size_t most) const;

 private:
  int failed_ = 0;  // errno
};

}  // namespace roost::cli
