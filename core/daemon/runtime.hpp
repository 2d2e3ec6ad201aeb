// Runtime: the running daemon: configuration, backends, engine, gateway, API and server, wired and in the right order.
// Thread safety: start, reload, tick, stop and the destructor from the main thread only.
// Invariants: a reload that fails leaves everything as it was; stop() answers within its deadlines, whatever a plugin does.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "config/config.hpp"
#include "host/host_api.hpp"

namespace roost::daemon {

// What plugins may call: their log, and the complaints about them. For as long as the process lives.
[[nodiscard]] const HostApi& host_api();

class Runtime {
 public:
  // Serves once it returns; the sessions may still be loading (/ready says).
  [[nodiscard]] static Result<std::unique_ptr<Runtime>> start(config::Config config);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // Reads the configuration's file again and takes over what can change while running; says in the log what needs a restart.
  [[nodiscard]] Status reload();
  // Once a second or so: keeps event streams alive, watches what workspaces can reach.
  void tick();
  // True where the engine's thread still does its work: asked between two calls of the watchdog.
  [[nodiscard]] bool alive();
  [[nodiscard]] Status ready() const;

  // For people who start it in a terminal: the address, the key, a command to try.
  [[nodiscard]] std::string banner() const;

  // Readiness off, requests answered, the engine's calls back, the plugins quiet. False: something is stuck; end by _exit.
  [[nodiscard]] bool stop();
  [[nodiscard]] std::int64_t stop_deadline_ms() const;  // longer than any stop that goes as it should

 private:
  class Impl;
  explicit Runtime(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost::daemon
