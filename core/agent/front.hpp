// Front: passes bytes between a workspace's visitors and its workload, WebSockets included, and meters them. The gateway has
// authenticated the visitor; the front's socket lies where the workload cannot write.
// The workload's socket lies in a directory that the workload can write, so it is opened without following links and must be a
// socket of the workload's own user (open_workload_socket).
// Thread safety: none; it lives on one Loop. Memory: at most 2 x 64 KiB a connection that has data waiting, none for an idle one.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>

#include "agent/front_activity.hpp"
#include "agent/serve_loop.hpp"
#include "agent/serve_posix.hpp"

namespace roost::agent {

// Connects to the socket NAME in the directory, non-blocking. NOT_FOUND: there is none yet; DENIED: it is not a socket, a link,
// or not of that user.
[[nodiscard]] Result<Fd> open_workload_socket(int directory, const std::string& name, uid_t owner);

// Listens on a unix socket; an old one is replaced. REQUIRES: the caller holds what makes it the path's only user.
[[nodiscard]] Result<Fd> listen_unix(const std::string& path, mode_t mode);

class Front {
 public:
  static constexpr std::size_t kBufferBytes = 64 * 1024;
  static constexpr std::size_t kMaxConnections = 4096;

  // `directory` (of the workload's socket) must stay open as long as the front lives.
  Front(Loop& loop, int directory, std::string name, uid_t owner)
      : loop_(loop), directory_(directory), name_(std::move(name)), owner_(owner) {}
  ~Front();
  Front(const Front&) = delete;
  Front& operator=(const Front&) = delete;

  [[nodiscard]] Status listen(const std::string& path);
  void close_all();  // every connection; it goes on listening
  [[nodiscard]] const FrontActivity& activity();
  void heartbeat(std::int64_t at_us) { activity_.heartbeat_us = std::max(activity_.heartbeat_us, at_us); }

 private:
  struct Side {
    Fd fd;
    std::string out;       // waiting to be written to fd
    bool answers = false;  // the workload's: it may answer early and close, and what it said is still to be read
    bool ended = false;    // EOF was read
    bool shut = false;     // EOF was passed on
    bool deaf = false;     // it takes nothing any more: what is for it is dropped
    bool watched = false;  // by the loop
    bool gone = false;     // wholly: it is not watched again
  };
  struct Connection {
    Side client;
    Side workload;
    bool websocket = false;
    WebSocketMeter meter;
  };
  void accept_some();
  void serve(std::uint64_t id, bool from_client, std::uint32_t events);
  bool pump(Connection& connection, Side& from, Side& to, bool from_client);
  bool flush(Side& side, bool other_ended);
  void watch(std::uint64_t id, Connection& connection);
  void close(std::uint64_t id);
  void note(Connection& connection, std::string_view data, bool from_client);

  Loop& loop_;
  int directory_;
  std::string name_;
  uid_t owner_;
  Fd listener_;
  std::uint64_t next_ = 1;
  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  FrontActivity activity_;
};

}  // namespace roost::agent
