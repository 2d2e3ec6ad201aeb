// Settings: the plugin's configuration, resolved: absolute paths, the command with its mounts, the agent's program.
// Thread safety: immutable once made.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "compute/process/json.hpp"
#include "roost/plugin.hpp"

namespace roost::compute_process {

struct Mount {
  std::string source;
  std::string target;
};

struct Settings {
  std::string data;  // volumes/, workspaces/, tasks/, trash/
  std::string run;   // ws/ID/, events/
  std::string agent;
  std::vector<std::string> command;      // {socket}, {workspace}, {home}, {node} and {code_server} are replaced
  std::vector<std::string> environment;  // NAME=value
  std::vector<Mount> mounts;             // read-only
  std::string sandbox;                   // bubblewrap, none
  std::string network;                   // auto, none, host
  std::vector<std::string> blocked;
  bool block_host = true;
  bool limits = true;
  std::int64_t uid_first = 0;  // of the host's users for workspaces, where this process is root; 0: its own
  std::int64_t uid_count = 0;
  std::int64_t pids = 0;
  std::int64_t tmp_bytes = 0;
  std::int64_t log_bytes = 0;
  std::int64_t stop_grace_ms = 0;
  std::string ready_path;
  std::string api_url_file;  // the daemon's URL, for the workspaces' local API; empty: they have none
  Object::Ptr restart;  // as the agent reads it: quick_exit_ms, max_quick_exits, backoff_ms, backoff_max_ms, ready_interval_ms

  // INVALID, with what to do, where a program is missing or a path cannot be used.
  static Settings load(std::string_view config, const sdk::Log& log);
};

inline constexpr const char* kSocket = "/run/roost/app.sock";
inline constexpr const char* kWorkspace = "/workspace";
inline constexpr const char* kHome = "/home/user";
inline constexpr const char* kApi = "/roost/api";  // with the socket of the local API

}  // namespace roost::compute_process
