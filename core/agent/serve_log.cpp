#include "agent/serve_log.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace roost::agent {

LogSink::~LogSink() {
  if (input_.open()) loop_.remove(input_.get());
}

Result<Fd> LogSink::open() {
  if (input_.open()) {
    drain();
    if (input_.open()) loop_.remove(input_.get());
  }
  ROOST_TRY(Pipe pipe, make_pipe());
  input_ = std::move(pipe.read);
  ::fcntl(input_.get(), F_SETFL, O_NONBLOCK);
  loop_.add(input_.get(), EPOLLIN, [this](std::uint32_t) { drain(); });
  return std::move(pipe.write);
}

void LogSink::drain() {
  char buffer[16 * 1024];
  for (int i = 0; i < 16 && input_.open(); ++i) {  // a program that never stops writing must not starve the rest
    const ssize_t n = ::read(input_.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    if (n == 0) {
      loop_.remove(input_.get());
      input_.reset();
      return;
    }
    write({buffer, static_cast<std::size_t>(n)});
  }
}

void LogSink::write(std::string_view data) {
  tail_.append(data.substr(data.size() > 512 ? data.size() - 512 : 0));
  if (tail_.size() > 512) tail_.erase(0, tail_.size() - 512);
  if (path_.empty()) return print(data);
  if (file_.open() && size_ + static_cast<std::int64_t>(data.size()) > limit_) {
    ::rename(path_.c_str(), (path_ + ".1").c_str());
    file_.reset();
  }
  if (!file_.open()) {
    file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat info {};
    size_ = file_.open() && ::fstat(file_.get(), &info) == 0 ? info.st_size : 0;
  }
  const ssize_t n = file_.open() ? ::write(file_.get(), data.data(), data.size()) : -1;
  if (n > 0) size_ += n;
}

// As much as whoever reads it has room for: a pipe that can be written to takes PIPE_BUF bytes at once. Of the rest it is said
// how much it was, once there is room again.
void LogSink::print(std::string_view data) {
  const auto write_some = [](std::string_view text) {
    pollfd out{STDOUT_FILENO, POLLOUT, 0};
    if (::poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0) return ssize_t{-1};
    return ::write(STDOUT_FILENO, text.data(), std::min<std::size_t>(text.size(), PIPE_BUF));
  };
  if (dropped_ > 0 &&
      write_some("\nroost-agent: " + std::to_string(dropped_) + " bytes of output were dropped: nobody read it\n") > 0)
    dropped_ = 0;
  while (dropped_ == 0 && !data.empty()) {
    const ssize_t n = write_some(data);
    if (n <= 0) break;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  dropped_ += data.size();
}

std::string LogSink::last_line() const {
  std::string_view text = tail_;
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (const std::size_t line = text.rfind('\n'); line != std::string_view::npos) text.remove_prefix(line + 1);
  std::string printable;
  for (const char c : text.substr(0, 200)) printable += c >= 0x20 && c < 0x7F ? c : '?';
  return printable;
}

}  // namespace roost::agent
