// DaemonProcess: the real roostd as a child, with a data directory and a port of its own; spoken to over HTTP, signals and the
// notify socket. TemporaryDirectory goes with its scope. Thread safety: one thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace roost::daemon {

class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  std::string write(const std::string& name, const std::string& text) const;  // answers the file's path
  [[nodiscard]] std::string read(const std::string& name) const;              // "" where there is none

 private:
  std::string path_;
};

struct Exit {
  int code = -1;  // 128 + N: ended by the signal N
  std::string output;
};

struct Reply {
  int status = 0;  // 0: no connection
  std::string body;
};

class DaemonProcess {
 public:
  using Environment = std::map<std::string, std::string>;

  // `directory` outlives it. The configuration is minimal(); nothing is started yet.
  explicit DaemonProcess(const TemporaryDirectory& directory);
  ~DaemonProcess();  // kills it
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // A configuration that starts: the embedded backends under the directory, port 0, and `more` at the end.
  [[nodiscard]] static std::string minimal(const TemporaryDirectory& directory, const std::string& auth,
                                           const std::string& more = "");
  void configure(const std::string& yaml) const;

  Environment environment;
  void start(const std::vector<std::string>& arguments = {});  // with --config unless arguments say otherwise
  bool start_ready();                                          // and waits for /ready
  [[nodiscard]] pid_t pid() const { return pid_; }
  void signal(int number) const;
  Exit wait();  // until it ends; at most 30 s
  Exit run(const std::vector<std::string>& arguments);
  [[nodiscard]] std::string output() const;  // both streams, so far
  bool wait_output(const std::string& text) const;

  [[nodiscard]] int port() const;  // from the line that it printed; 0: not yet
  [[nodiscard]] Reply get(const std::string& path, const std::string& key = {}, const std::string& host = {}) const;
  // Sends the request and leaves the connection open; the socket.
  [[nodiscard]] int open_stream(const std::string& path, const std::string& key) const;

 private:
  const TemporaryDirectory& directory_;
  pid_t pid_ = -1;
};

// Waits until the condition holds, at most 30 s.
template <class Condition>
bool eventually(Condition condition);

void sleep_a_little();
[[nodiscard]] bool over(int& rounds);

template <class Condition>
bool eventually(Condition condition) {
  for (int rounds = 0; !condition();) {
    if (over(rounds)) return false;
    sleep_a_little();
  }
  return true;
}

}  // namespace roost::daemon
