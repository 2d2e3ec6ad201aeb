// Supervisor: the life of one workspace's workload: starts it in its sandbox, says when it is ready, restarts it when it ends by
// itself (with backoff; CrashLoop after several quick ends), changes its limits in place, and ends it until nothing is left.
// It outlives the daemon and is spoken to over control.sock (JSON lines: {"op":"status"|"stop"|"resize"|"activity"}).
// Thread safety: none; one thread, one Loop. Invariant: it runs only while it holds the lock; status.json says what a successor
// must know to find leftovers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/front.hpp"
#include "agent/local_api.hpp"
#include "agent/sandbox.hpp"
#include "agent/serve_log.hpp"
#include "agent/serve_loop.hpp"
#include "agent/serve_ready.hpp"
#include "agent/serve_spec.hpp"
#include "base/json.hpp"

namespace roost::agent {

class Supervisor {
 public:
  explicit Supervisor(ServeSpec spec) : spec_(std::move(spec)) {}
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Both before prepare(). `changed` hears of readiness; `start` starts a process (its pid, or -1) that is started again whenever
  // it ends, and ended with the workload; there may be several.
  void on_ready(std::function<void(bool ready)> changed) { on_ready_ = std::move(changed); }
  void keep(std::function<pid_t()> start) { kept_.push_back({std::move(start)}); }

  // Sockets, signals, cgroup: from here on it can be spoken to.
  [[nodiscard]] Status prepare();
  // Until it was stopped and nothing of the workload is left.
  void run();
  [[nodiscard]] bool failed() const { return state_ == State::failed; }  // after run: why it ended

 private:
  enum class State { starting, running, stopping, failed };
  struct Control {
    Fd fd;
    std::string in;
  };
  struct Kept {
    std::function<pid_t()> start;
    pid_t pid = -1;
  };

  [[nodiscard]] Status watch_signals();
  void on_signal();
  void accept_control();
  void serve_control(std::uint64_t id);
  [[nodiscard]] std::string answer(const std::string& line);
  [[nodiscard]] Status resize(const Json& request);
  [[nodiscard]] Json status() const;
  [[nodiscard]] Json activity();
  void publish();

  void start();
  void set_limits();
  void stop(std::int64_t grace_ms);
  void reap();
  void ended(int status);
  void clear();  // until nothing is left; then `cleared`
  void cleared();
  [[nodiscard]] bool remains();  // of the workload
  void restart_network();
  void start_kept(Kept& kept);
  void note_end_of_kept(pid_t pid);
  void end_kept();
  void probe(std::int64_t delay_ms);
  void fail(const std::string& reason, const std::string& message);

  ServeSpec spec_;
  Loop loop_;
  Fd signals_;
  Fd directory_;
  Fd control_listener_;
  std::map<std::uint64_t, Control> controls_;
  std::uint64_t next_control_ = 1;
  std::optional<Cgroup> cgroup_;
  std::string limits_report_ = "none";
  bool limits_in_force_ = false;
  std::unique_ptr<LogSink> log_;
  std::unique_ptr<Front> front_;
  std::unique_ptr<LocalApi> api_;
  std::unique_ptr<ReadyProbe> ready_probe_;
  std::optional<SandboxProcess> process_;
  SandboxReport report_;
  State state_ = State::starting;
  bool ready_ = false;
  std::string reason_;
  std::string message_;
  std::int64_t started_ms_ = 0;
  std::int64_t quick_exits_ = 0;
  std::int64_t restarts_ = 0;
  int network_restarts_ = 0;
  Loop::TimerId restart_timer_ = 0;
  Loop::TimerId probe_timer_ = 0;
  Loop::TimerId kill_timer_ = 0;
  Json last_exit_ = Json::object();
  std::function<void(bool)> on_ready_;
  std::vector<Kept> kept_;  // grows before prepare() only
};

}  // namespace roost::agent
