#include "agent/serve_supervisor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

namespace roost::agent {
namespace {

constexpr std::int64_t kKeptRestartMs = 500;
constexpr std::int64_t kKeptEndMs = 3000;

}  // namespace

Supervisor::~Supervisor() {
  if (process_) kill_sandbox(*process_, cgroup_ ? &*cgroup_ : nullptr);
}

Status Supervisor::watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.open()) return errno_error("signalfd");
  loop_.add(signals_.get(), EPOLLIN, [this](std::uint32_t) { on_signal(); });
  return {};
}

Status Supervisor::prepare() {
  if (!loop_.valid()) return errno_error("epoll");
  ROOST_CHECK(watch_signals());
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);  // what leaves its parent inside stays ours to reap
  directory_.reset(::open(spec_.socket_directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory_.open()) return errno_error(spec_.socket_directory);
  const uid_t owner = spec_.sandbox.host_uid >= 0 ? static_cast<uid_t>(spec_.sandbox.host_uid) : ::geteuid();
  log_ = std::make_unique<LogSink>(loop_, spec_.log, spec_.log_bytes);
  ready_probe_ = std::make_unique<ReadyProbe>(loop_, directory_.get(), "app.sock", owner, spec_.ready_path);
  front_ = std::make_unique<Front>(loop_, directory_.get(), "app.sock", owner);
  ROOST_CHECK(front_->listen(spec_.run + "/front.sock"));
  if (!spec_.api_socket.empty()) {
    api_ = std::make_unique<LocalApi>(loop_, LocalApiSpec{spec_.id, spec_.api_url_file, spec_.token_file});
    ROOST_CHECK(api_->listen(spec_.api_socket, spec_.sandbox.host_uid));
  }
  ROOST_TRY(control_listener_, listen_unix(spec_.run + "/control.sock", 0600));
  loop_.add(control_listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_control(); });
  return replace_file(spec_.run + "/status.json",
                      status().dump());  // a successor could not find what is left: then rather not begin
}

void Supervisor::run() {
  set_limits();
  for (Kept& kept : kept_) start_kept(kept);
  start();
  loop_.run();
  end_kept();
  front_.reset();
  api_.reset();
  ::unlink((spec_.run + "/front.sock").c_str());
  ::unlink((spec_.run + "/control.sock").c_str());
}

void Supervisor::set_limits() {
  if (spec_.cgroup.empty()) return;
  auto made = Cgroup::create(spec_.cgroup);
  if (!made) {
    limits_report_ = "none (" + made.error().message + ")";
    return;
  }
  cgroup_ = std::move(*made);
  cgroup_->kill_all();  // leftovers of a supervisor that was killed
  const auto limited = cgroup_->limit(spec_.limits);
  limits_in_force_ = limited.ok();
  limits_report_ = limited ? cgroup_->describe() : "none (" + limited.error().message + ")";
}

void Supervisor::start() {
  restart_timer_ = 0;
  if (state_ == State::stopping) return;
  ::unlinkat(directory_.get(), "app.sock", 0);
  started_ms_ = monotonic_ms();
  auto output = log_->open();
  if (!output) return fail("StartFailed", output.error().message);
  auto process = start_sandbox(spec_.sandbox, cgroup_ ? &*cgroup_ : nullptr, output->get());
  output->reset();
  if (!process) {
    log_->drain();
    const std::string line = log_->last_line();
    return fail("StartFailed", process.error().message + (line.empty() ? "" : ": " + line));
  }
  process_ = std::move(*process);
  report_ = process_->report;
  network_restarts_ = 0;
  // Whoever comes after a kill of this process must be able to find the workload: recorded first, released then.
  auto released = replace_file(spec_.run + "/status.json", status().dump());
  if (released) released = release_sandbox(*process_);
  if (!released) kill_sandbox(*process_, cgroup_ ? &*cgroup_ : nullptr);  // its end is seen like any other
  publish();
  probe(spec_.ready_interval_ms);
}

void Supervisor::probe(std::int64_t delay_ms) {
  if (probe_timer_ != 0) loop_.cancel(probe_timer_);
  probe_timer_ = loop_.after(delay_ms, [this] {
    probe_timer_ = 0;
    ready_probe_->ask([this](bool ready, std::int64_t heartbeat_us) {
      if (!process_ || state_ == State::stopping) return;
      front_->heartbeat(std::min(heartbeat_us, wall_us()));  // the workload's word: never in the future
      if (ready && !ready_) {
        ready_ = true;
        state_ = State::running;
        reason_.clear();
        message_.clear();
        publish();
      }
      probe(ready_ ? spec_.heartbeat_interval_ms : spec_.ready_interval_ms);
    });
  });
}

void Supervisor::on_signal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo == SIGCHLD) reap();
    if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) stop(spec_.stop_grace_ms);
  }
}

void Supervisor::reap() {
  int status = 0;
  for (pid_t pid = 0; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (process_ && pid == process_->outer) ended(status);
    if (process_ && pid == process_->network) {
      process_->network = -1;
      restart_network();
    }
    note_end_of_kept(pid);
  }
}

void Supervisor::restart_network() {
  if (state_ == State::stopping || !alive(process_->init) || ++network_restarts_ > 5) return;
  auto network = start_network(process_->init.pid, spec_.sandbox);
  if (network) {
    process_->network = network->pid;
    process_->network_life = std::move(network->life);
    return;
  }
  report_.network = "none (" + network.error().message + ")";
  publish();
}

void Supervisor::start_kept(Kept& kept) {
  if (kept.pid > 0 || state_ == State::stopping) return;
  kept.pid = kept.start();
  if (kept.pid < 0) loop_.after(kKeptRestartMs, [this, &kept] { start_kept(kept); });
}

void Supervisor::note_end_of_kept(pid_t pid) {
  for (Kept& kept : kept_) {
    if (kept.pid != pid) continue;
    kept.pid = -1;
    loop_.after(kKeptRestartMs, [this, &kept] { start_kept(kept); });
  }
}

void Supervisor::end_kept() {
  for (const Kept& kept : kept_) {
    if (kept.pid > 0) ::kill(kept.pid, SIGTERM);
  }
  const std::int64_t deadline_ms = monotonic_ms() + kKeptEndMs;
  for (Kept& kept : kept_) {
    while (kept.pid > 0 && ::waitpid(kept.pid, nullptr, WNOHANG) == 0) {
      if (!wait_for(signals_.get(), POLLIN, deadline_ms)) {
        ::kill(kept.pid, SIGKILL);
        ::waitpid(kept.pid, nullptr, 0);
        break;
      }
      signalfd_siginfo info{};
      (void)!::read(signals_.get(), &info, sizeof info);
    }
    kept.pid = -1;
  }
}

void Supervisor::ended(int status) {
  last_exit_ = Json::object();
  if (WIFEXITED(status)) last_exit_.set("code", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) last_exit_.set("signal", WTERMSIG(status));
  last_exit_.set("at", wall_us());
  process_->outer_id = {};
  ready_ = false;
  if (on_ready_) on_ready_(false);
  if (probe_timer_ != 0) loop_.cancel(std::exchange(probe_timer_, 0));
  ready_probe_->abandon();
  front_->close_all();
  clear();
}

void Supervisor::clear() {
  if (kill_timer_ != 0) loop_.cancel(std::exchange(kill_timer_, 0));
  if (!process_) return;
  kill_sandbox(*process_, cgroup_ ? &*cgroup_ : nullptr);
  if (process_->network > 0) {
    ::waitpid(std::exchange(process_->network, -1), nullptr, 0);
  }
  if (remains()) {
    kill_timer_ = loop_.after(20, [this] { clear(); });
    return;
  }
  process_.reset();
  cleared();
}

bool Supervisor::remains() {
  if (spec_.container && ::getpid() == 1) {
    std::vector<pid_t> kept;
    for (const Kept& one : kept_) kept.push_back(one.pid);
    if (kill_container(kept)) return true;
  }
  // The outer process counts until it was reaped: its exit status belongs to the answer.
  return process_->outer_id.pid != 0 || alive(process_->init) || (cgroup_ && !cgroup_->empty());
}

void Supervisor::cleared() {
  log_->drain();
  if (state_ == State::stopping) {
    // The namespace's init came to us when the outer process ended.
    for (pid_t pid = 0; (pid = ::waitpid(-1, nullptr, WNOHANG)) > 0;) {
      note_end_of_kept(pid);
    }
    if (cgroup_) cgroup_->remove();
    (void)replace_file(spec_.run + "/exit.json",
                       Json::object({{"incarnation", spec_.incarnation}, {"last_exit", last_exit_}}).dump());
    publish();
    loop_.stop();
    return;
  }
  const bool quick = monotonic_ms() - started_ms_ < spec_.quick_exit_ms;
  quick_exits_ = quick ? quick_exits_ + 1 : 0;
  const std::string line = log_->last_line();
  const std::string how = "the workload ended by itself: " + last_exit_.dump() + (line.empty() ? "" : ", last output: " + line);
  if (quick_exits_ >= spec_.max_quick_exits) return fail("CrashLoop", how);
  state_ = State::starting;
  reason_ = "Restarting";
  message_ = how;
  ++restarts_;
  publish();
  const std::int64_t doublings = std::clamp<std::int64_t>(quick_exits_ - 1, 0, 16);
  restart_timer_ = loop_.after(std::min(spec_.backoff_ms << doublings, spec_.backoff_max_ms), [this] { start(); });
}

void Supervisor::stop(std::int64_t grace_ms) {
  if (restart_timer_ != 0) loop_.cancel(std::exchange(restart_timer_, 0));
  if (probe_timer_ != 0) loop_.cancel(std::exchange(probe_timer_, 0));
  const bool again = std::exchange(state_, State::stopping) == State::stopping;
  ready_ = false;
  if (!again) publish();
  if (!process_) {
    if (!again) loop_.after(0, [this] { cleared(); });
    return;
  }
  if (!again) ask_to_stop(*process_);
  if (!again || grace_ms == 0) {
    if (kill_timer_ != 0) loop_.cancel(kill_timer_);
    kill_timer_ = loop_.after(grace_ms, [this] { clear(); });
  }
}

void Supervisor::fail(const std::string& reason, const std::string& message) {
  state_ = State::failed;
  ready_ = false;
  reason_ = reason;
  message_ = message;
  publish();
  if (!spec_.container) return;
  std::fprintf(stderr, "roost-agent: %s: %s\n", reason.c_str(), message.c_str());
  loop_.stop();
}

Status Supervisor::resize(const Json& request) {
  Limits limits = spec_.limits;
  ROOST_TRY(limits.cpu_millis, request.get_int("cpu_millis"));
  ROOST_TRY(limits.memory_bytes, request.get_int("memory_bytes"));
  if (limits.cpu_millis < 0 || limits.memory_bytes < 0) return Error{Code::invalid, "a size below zero", 0};
  if (cgroup_ && limits_in_force_) {
    if (auto done = cgroup_->limit(limits); !done) {
      (void)cgroup_->limit(spec_.limits);  // one of them may have been changed
      return done;
    }
  }
  spec_.limits = limits;
  publish();
  return {};
}

}  // namespace roost::agent
