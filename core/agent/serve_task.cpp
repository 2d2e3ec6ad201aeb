// `roost-agent task`: supervises one task, which is another run of this program in a sandbox: holds the task's lock, reaps, and
// leaves the exit status. It has no control socket: SIGTERM stops it, within a few seconds.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "agent/commands.hpp"
#include "agent/sandbox.hpp"
#include "agent/serve_handover.hpp"
#include "base/json.hpp"

namespace roost::agent {
namespace {

// For a task to take back what it began, such as an upload in parts. Whoever stops it waits for longer.
constexpr std::int64_t kGraceMs = 3'000;

struct Task {
  std::string id;
  std::string run;  // directory of lock, begun, exit.json
  std::string events;
  std::string cgroup;
  Limits limits;
  SandboxSpec sandbox;
};

Result<Task> load_task(const std::string& path) {
  ROOST_TRY(const std::string text, read_file(path));
  auto json = Json::parse(text);
  if (!json) return json.error().context(path);
  Task task;
  ROOST_TRY(task.id, json->get_string("id"));
  ROOST_TRY(task.run, json->get_string("run"));
  task.events = (*json)["events"].as_string();
  task.cgroup = (*json)["cgroup"].as_string();
  task.limits = {(*json)["size"]["cpu_millis"].as_int(), (*json)["size"]["memory_bytes"].as_int(), (*json)["pids"].as_int()};
  ROOST_TRY(task.sandbox, SandboxSpec::parse((*json)["sandbox"]));
  return task;
}

void announce(const Task& task) {
  if (!task.events.empty()) (void)write_file(task.events + "/" + task.id, "1", 0600);
}

// What a later observer needs to be sure that nothing is left, should this process be killed.
Status record(const Task& task, const SandboxProcess& process, const std::optional<Cgroup>& cgroup) {
  Json directories = Json::array();
  if (cgroup) {
    for (const auto& directory : cgroup->directories()) directories.push(directory);
  }
  const auto identity = [](const ProcessId& id) {
    return Json::object({{"pid", id.pid}, {"start_time", static_cast<std::int64_t>(id.start_time)}});
  };
  return replace_file(task.run + "/status.json", Json::object({{"init", identity(process.init)},
                                                               {"outer", identity(process.outer_id)},
                                                               {"boot_id", boot_id()},
                                                               {"cgroups", directories}})
                                                     .dump());
}

int run_to_the_end(const Task& task, const HandOver& given) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  Fd signals(::signalfd(-1, &set, SFD_CLOEXEC));
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  std::optional<Cgroup> cgroup;
  if (!task.cgroup.empty()) {
    if (auto made = Cgroup::create(task.cgroup)) {
      cgroup = std::move(*made);
      cgroup->kill_all();
      (void)cgroup->limit(task.limits);
    }
  }
  Cgroup* group = cgroup ? &*cgroup : nullptr;
  Fd output(::open((task.run + "/output").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!output.open()) return given.refuse(errno_error(task.run + "/output"));
  // From here on the task has begun: a later attempt to start it finds it, whatever becomes of this process.
  if (const auto begun = replace_file(task.run + "/begun", "1"); !begun) return given.refuse(begun.error());
  auto process = start_sandbox(task.sandbox, group, output.get());
  if (!process) {
    ::unlink((task.run + "/begun").c_str());
    return given.refuse(process.error());
  }
  auto released = record(task, *process, cgroup);
  if (released) released = release_sandbox(*process);
  if (!released) kill_sandbox(*process, group);  // its end is seen below
  given.ready();
  announce(task);

  int status = 0;
  bool reaped = false;
  std::int64_t kill_at_ms = -1;  // since it was told to stop
  while (!reaped) {
    pollfd told{signals.get(), POLLIN, 0};
    const int left_ms = kill_at_ms < 0 ? -1 : static_cast<int>(std::max<std::int64_t>(kill_at_ms - monotonic_ms(), 0));
    const int ready = ::poll(&told, 1, left_ms);
    if (ready < 0) continue;
    if (ready == 0) {
      kill_sandbox(*process, group);
      kill_at_ms = monotonic_ms() + kGraceMs;
      continue;
    }
    signalfd_siginfo info{};
    if (::read(signals.get(), &info, sizeof info) < 0 && errno != EINTR) break;
    if ((info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) && kill_at_ms < 0) {
      ask_to_stop(*process);
      kill_at_ms = monotonic_ms() + kGraceMs;
    }
    int each = 0;
    for (pid_t pid = 0; (pid = ::waitpid(-1, &each, WNOHANG)) > 0;) {
      if (pid != process->outer) continue;
      reaped = true;
      status = each;
    }
  }
  process->outer_id = {};
  kill_sandbox(*process, group);
  while (alive(process->init) || (cgroup && !cgroup->empty())) {
    ::poll(nullptr, 0, 10);
    kill_sandbox(*process, group);
  }
  while (::waitpid(-1, nullptr, WNOHANG) > 0) {  // the namespace's init came to us when the outer process ended
  }
  if (cgroup) cgroup->remove();
  ::unlink((task.run + "/spec.json").c_str());  // it may hold secrets of the backup's storage
  Json exit = Json::object();
  if (WIFEXITED(status)) exit.set("code", WEXITSTATUS(status));
  if (WIFSIGNALED(status)) exit.set("signal", WTERMSIG(status));
  (void)replace_file(task.run + "/exit.json", exit.dump());
  announce(task);
  return 0;
}

}  // namespace

int supervise_task(int argc, char** argv) {
  return hand_over(argc, argv, [](const HandOver& given) {
    auto task = load_task(given.spec);
    if (!task) return given.refuse(task.error());
    if (const auto locked = take_lock(task->run + "/lock", task->run); !locked) return given.refuse(locked.error());
    if (::access((task->run + "/begun").c_str(), F_OK) == 0) {
      given.ready();  // it ran already
      return 0;
    }
    return run_to_the_end(*task, given);
  });
}

}  // namespace roost::agent
