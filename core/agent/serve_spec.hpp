// ServeSpec: what a supervisor is told, as the compute plugin writes it. It holds no secret.
// Thread safety: a plain value.
#pragma once

#include <cstdint>
#include <string>

#include "agent/sandbox.hpp"
#include "agent/sandbox_cgroup.hpp"
#include "base/result.hpp"

namespace roost::agent {

struct ServeSpec {
  std::string id;
  std::string incarnation;
  std::int64_t generation = 0;
  std::string run;               // directory of lock, control.sock, front.sock, status.json: the workload cannot write there
  std::string events;            // directory where the file named by the id is written at each change
  std::string volume_lock;       // in the volume: held as long as its workload may run; empty: none
  std::string socket_directory;  // the workload can write there; its socket is "app.sock" in it
  std::string log;               // empty: this process's own output
  std::int64_t log_bytes = 1 << 20;
  std::string cgroup;  // name of the group; empty: none
  // It is the first process of a container, and everything in there but what it keeps is the workload. Where that keeps failing
  // the container is to end, so that whoever runs it sees it.
  bool container = false;
  Limits limits;
  SandboxSpec sandbox;
  std::string ready_path = "/healthz";
  std::int64_t ready_interval_ms = 200;         // while it is not ready
  std::int64_t heartbeat_interval_ms = 15'000;  // once it is
  std::int64_t stop_grace_ms = 10'000;
  std::int64_t quick_exit_ms = 10'000;  // an end before that counts as quick
  std::int64_t max_quick_exits = 5;     // in a row: then it is reported as failed
  std::int64_t backoff_ms = 500;        // before a restart; doubles
  std::int64_t backoff_max_ms = 30'000;

  // The workspace's local API (local_api.hpp): its socket, and the files that hold the daemon's URL and the token. Empty: none.
  std::string api_socket;
  std::string api_url_file;
  std::string token_file;

  [[nodiscard]] static Result<ServeSpec> load(const std::string& path);
};

}  // namespace roost::agent
