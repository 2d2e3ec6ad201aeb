#include "cli/terminal.hpp"

#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/interrupt.hpp"

namespace roost::cli {
namespace {

int columns_of(int fd) {
  winsize size{};
  return ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// 0, or errno.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, 1000);
      continue;
    }
    if (n < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return 0;
}

// Bytes of stdin: 0 at its end. CANCELLED by an interrupt.
Result<std::size_t> read_stdin(char* buffer, std::size_t size) {
  while (!interrupted()) {
    pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {interrupt_fd(), POLLIN, 0}};
    if (::poll(ready, interrupt_fd() >= 0 ? 2 : 1, -1) < 0 || interrupted()) continue;
    const ssize_t n = ::read(STDIN_FILENO, buffer, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR && errno != EAGAIN)
      return Error{Code::invalid, std::string("cannot read standard input: ") + std::strerror(errno), 0};
  }
  return interruption();
}

// No echo while it lives.
class Silence {
 public:
  explicit Silence(bool wanted) {
    if (!wanted || ::tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    quiet.c_lflag |= ICANON | ECHONL;
    on_ = ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet) == 0;
  }
  ~Silence() {
    if (on_) ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  termios before_{};
  bool on_ = false;
};

}  // namespace

Terminal Terminal::find() {
  Terminal terminal;
  terminal.in_is_tty = ::isatty(STDIN_FILENO) == 1;
  terminal.out_is_tty = ::isatty(STDOUT_FILENO) == 1;
  terminal.err_is_tty = ::isatty(STDERR_FILENO) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  terminal.colour = terminal.out_is_tty && !(no_color && *no_color) && term && std::strcmp(term, "dumb") != 0;
  return terminal;
}

Style Terminal::style() const { return {out_is_tty ? columns_of(STDOUT_FILENO) : 0, colour}; }
int Terminal::err_columns() const { return columns_of(STDERR_FILENO); }

void Terminal::out(std::string_view text) {
  if (failed_ == 0) failed_ = write_all(STDOUT_FILENO, text);
}

void Terminal::err(std::string_view text) const { (void)write_all(STDERR_FILENO, text); }

Status Terminal::written() const {
  if (failed_ == 0) return {};
  return Error{Code::internal, std::string("cannot write the output: ") + std::strerror(failed_), 0};
}

Result<std::string> Terminal::ask(const std::string& prompt, Echo echo) const {
  const Silence silence(in_is_tty && echo == Echo::off);
  if (in_is_tty) err(prompt);
  std::string line;
  char c = 0;
  while (line.size() < 8192) {
    ROOST_TRY(const std::size_t n, read_stdin(&c, 1));
    if (n == 0 || c == '\n') break;
    line += c;
  }
  return line;
}

Result<std::string> Terminal::read_all(std::size_t most) const {
  std::string text;
  char buffer[16 << 10];
  while (true) {
    ROOST_TRY(const std::size_t n, read_stdin(buffer, sizeof buffer));
    if (n == 0) return text;
    text.append(buffer, n);
    if (text.size() > most) return Error{Code::invalid, "standard input is larger than " + std::to_string(most) + " bytes", 0};
  }
}

}  // namespace roost::cli
