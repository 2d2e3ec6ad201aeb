// LogSink: the workload's output on disk, bounded: at most two files of `bytes` each (NAME and NAME.1); without a name, on this
// process's own output, which a container's runtime bounds. A full disk loses lines, and so does a runtime that reads none of
// them: never the workload, or who visits it. Thread safety: none; it lives on one Loop.
#pragma once

#include <string>

#include "agent/serve_loop.hpp"
#include "agent/serve_posix.hpp"

namespace roost::agent {

class LogSink {
 public:
  LogSink(Loop& loop, std::string path, std::int64_t bytes) : loop_(loop), path_(std::move(path)), limit_(bytes) {}
  ~LogSink();
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;

  // A new pipe whose write end becomes a program's output; what the last one still held is read first.
  [[nodiscard]] Result<Fd> open();
  void drain();                                 // reads what is there
  [[nodiscard]] std::string last_line() const;  // of the program's output, at most 200 printable characters

 private:
  void write(std::string_view data);
  void print(std::string_view data);
  Loop& loop_;
  std::string path_;
  std::int64_t limit_;
  std::int64_t size_ = 0;
  std::size_t dropped_ = 0;  // bytes of what this process was to print
  Fd input_;
  Fd file_;
  std::string tail_;
};

}  // namespace roost::agent
