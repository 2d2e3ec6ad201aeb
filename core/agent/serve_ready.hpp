// ReadyProbe: asks the workload over its socket whether it is ready: a GET that must answer 200.
// Thread safety: none; it lives on one Loop. One question at a time; a new one abandons the last.
#pragma once

#include <functional>
#include <string>

#include "agent/serve_loop.hpp"

namespace roost::agent {

class ReadyProbe {
 public:
  // heartbeat_us: what the answer says of the editor's last sign of life (code-server's lastHeartbeat); 0: nothing.
  using Done = std::function<void(bool ready, std::int64_t heartbeat_us)>;
  static constexpr std::int64_t kTimeoutMs = 5000;

  ReadyProbe(Loop& loop, int directory, std::string socket, uid_t owner, std::string path)
      : loop_(loop), directory_(directory), socket_(std::move(socket)), owner_(owner), path_(std::move(path)) {}
  ~ReadyProbe() { abandon(); }
  ReadyProbe(const ReadyProbe&) = delete;
  ReadyProbe& operator=(const ReadyProbe&) = delete;

  void ask(Done done);  // an empty path: the socket's answering the connection is enough
  void abandon();

 private:
  void on_events(std::uint32_t events);
  void finish(bool ready);

  Loop& loop_;
  int directory_;
  std::string socket_;
  uid_t owner_;
  std::string path_;
  Fd connection_;
  Loop::TimerId timer_ = 0;
  std::string request_;
  std::string answer_;
  Done done_;
};

}  // namespace roost::agent
