// Progress of long work: a bar that is drawn again and again on a terminal, now and then a line elsewhere. On stderr, so that
// what a script reads stays clean. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.hpp"
#include "cli/terminal.hpp"

namespace roost::cli {

struct Progress {
  std::string what;                         // "backup of 1823b3a8: verify"
  std::int64_t bytes = 0, total_bytes = 0;  // total 0: not known
  std::int64_t files = 0, total_files = 0;
};

// Of an operation's document: its step, and "progress" where there is one.
[[nodiscard]] Progress progress_of(const Json& operation);

// One line of at most `width` columns; bytes_per_s <= 0: not known. Pure.
[[nodiscard]] std::string progress_line(const Progress& progress, double bytes_per_s, int width);

class Reporter {
 public:
  Reporter(Terminal& terminal, bool quiet) : terminal_(terminal), quiet_(quiet) {}
  ~Reporter() { clear(); }
  Reporter(const Reporter&) = delete;
  Reporter& operator=(const Reporter&) = delete;

  void show(const Progress& progress, std::int64_t now_ns);
  void clear();  // takes the bar away

 private:
  Terminal& terminal_;
  bool quiet_;
  bool drawn_ = false;
  std::string said_;  // the last line's `what`
  std::int64_t said_ns_ = 0;
  std::int64_t began_ns_ = 0, began_bytes_ = 0;  // of this `what`, for the speed
};

}  // namespace roost::cli
