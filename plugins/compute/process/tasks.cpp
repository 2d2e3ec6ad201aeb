#include "compute/process/tasks.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "compute/process/workloads.hpp"

namespace roost::compute_process {

using std::chrono::milliseconds;

namespace {

constexpr const char* kVolumeInside = "/volume";
constexpr std::size_t kResultMax = 4096;

Array::Ptr words(std::initializer_list<std::string> texts) {
  Array::Ptr array(new Array);
  for (const std::string& text : texts) array->add(text);
  return array;
}

std::string failed(const std::string& reason, const std::string& message) {
  Object task;
  task.set("state", "failed");
  task.set("reason", reason);
  task.set("message", message);
  return dump(task);
}

// What the backup plugin needs to see: its own directory and what it described, at the same paths as here.
void add_plugin_mounts(Array& mounts, const Object& backup) {
  std::set<std::string> done;
  const auto add = [&](const std::string& path, bool writable) {
    const bool system = path == "/" || path == "/usr" || path.starts_with("/usr/");
    if (path.starts_with("/") && !(system && !writable) && done.insert(path).second) mounts.add(mount_json(path, path, writable));
  };
  const Array::Ptr described = array_of(backup, "mounts");
  for (std::size_t i = 0; i < described->size(); ++i) {
    const Object::Ptr mount = described->getObject(static_cast<unsigned>(i));
    if (!mount.isNull()) add(text_of(*mount, "path"), flag_of(*mount, "writable"));
  }
  add(std::filesystem::path(text_of(backup, "manifest")).parent_path().string(), false);
  for (const char* path : {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/passwd", "/etc/group"}) {
    if (::access(path, R_OK) == 0) add(path, false);
  }
}

}  // namespace

std::string Tasks::name_of(const Object& request) {
  const std::string id = text_of(request, "id");
  const std::string operation = text_of(request, "operation");
  const std::int64_t attempt = number_of(request, "attempt");
  if (!valid_id(id) || !valid_id(operation) || attempt < 1)
    throw sdk::Failure(ROOST_INVALID, "a task is named by id, operation and attempt");
  return id + "-" + operation + "-" + std::to_string(attempt);
}

bool Tasks::runs(const std::string& name) const {
  return lock_holder(directory(name) + "/lock").has_value() || leftovers(directory(name) + "/status.json");
}

bool Tasks::known(const std::string& name) const { return exists(directory(name) + "/begun") || runs(name); }

std::vector<std::string> Tasks::of_session(const std::string& id) const {
  std::vector<std::string> names = names_in(settings_.data + "/tasks");
  std::erase_if(names, [&id](const std::string& name) { return !name.starts_with(id + "-"); });
  return names;
}

bool Tasks::uses_volume(const std::string& name, const std::string& uid) const {
  const Object::Ptr runner = read_object(directory(name) + "/runner.json");
  return runs(name) && (runner.isNull() || text_of(*runner, "volume_uid") == uid);
}

std::string Tasks::runner_spec(const std::string& name, const Object& spec, const Volume* volume) const {
  const std::string run = directory(name);
  const std::string kind = text_of(spec, "kind");
  const bool sandboxed = settings_.sandbox != "none";
  Array::Ptr mounts(new Array);
  add_plugin_mounts(*mounts, *object_of(spec, "backup"));
  mounts->add(mount_json(settings_.agent, "/task/roost-agent", false));
  mounts->add(mount_json(run + "/spec.json", "/task/spec.json", false));
  mounts->add(mount_json(run + "/out", "/task/out", true));
  if (volume != nullptr) mounts->add(mount_json(volume->path + "/data", kVolumeInside, kind == "restore"));
  const std::string place = sandboxed ? "/task" : run;
  Object::Ptr sandbox(new Object);
  sandbox->set("kind", settings_.sandbox);
  sandbox->set("network", "host");  // a backup may go over the network, and the program is ours
  sandbox->set("trusted", true);
  sandbox->set("restores", kind == "restore");
  sandbox->set("mounts", mounts);
  sandbox->set("command", words({sandboxed ? "/task/roost-agent" : settings_.agent, kind, "--spec", place + "/spec.json",
                                 "--result", place + "/out/result.json", "--progress", place + "/out/progress.json"}));
  Array::Ptr environment(new Array);
  for (const std::string& variable : agent_environment()) environment->add(variable);
  sandbox->set("environment", environment);
  sandbox->set("directory", "/");
  sandbox->set("hostname", "task");
  Object runner;
  runner.set("id", text_of(spec, "id"));
  runner.set("run", run);
  runner.set("events", settings_.run + "/events");
  runner.set("cgroup", settings_.limits ? cgroup_name(settings_, "task-" + name) : std::string());
  runner.set("pids", 256);
  runner.set("volume_uid", volume == nullptr ? std::string() : volume->uid);
  runner.set("sandbox", sandbox);
  return dump(runner);
}

void Tasks::start(const sdk::Call& call, const Object& spec, const Volume* volume) {
  const std::string name = name_of(spec);
  const std::string run = directory(name);
  Object task = spec;
  if (volume != nullptr) {
    task.set("volume_path", settings_.sandbox == "none" ? volume->path + "/data" : std::string(kVolumeInside));
    Object::Ptr named(new Object(*object_of(spec, "volume")));
    named->set("uid", volume->uid);  // of one that was just made, nobody else knows it yet
    task.set("volume", named);
  }
  make_directory(run, 0700);
  make_directory(run + "/out", 0700);
  replace_file(run + "/spec.json", dump(task), 0600);
  replace_file(run + "/runner.json", runner_spec(name, spec, volume), 0600);
  try {
    start_supervisor(call, settings_.agent, "task", run + "/runner.json");
  } catch (const sdk::Failure& problem) {
    if (problem.code() != ROOST_OUTCOME_UNKNOWN)
      ::unlink((run + "/spec.json").c_str());  // nobody reads it, and it may hold secrets
    throw;
  }
}

std::string Tasks::observe(const std::string& name) const {
  const std::string run = directory(name);
  const bool begun = exists(run + "/begun");
  const bool running = runs(name);  // asked first: an end in between shows as running once more, never as killed
  if (begun && !running)
    ::unlink((run + "/spec.json").c_str());  // its supervisor was killed before it could; it may hold secrets
  Object::Ptr task;
  if (running) {
    task = new Object;
    task->set("state", "running");
    const Object::Ptr progress = read_object(run + "/out/progress.json");
    if (!progress.isNull()) task->set("progress", progress);
  } else if (const auto result = read_file(run + "/out/result.json", kResultMax)) {
    task = try_parse(*result);
    const std::string state = task.isNull() ? "" : text_of(*task, "state");
    const Object::Ptr exit = read_object(run + "/exit.json");
    const bool well = exit.isNull() || number_of(*exit, "code", -1) == 0;
    if (state != "failed" && !(state == "succeeded" && well))
      task = try_parse(failed("Killed", "the task ended without a result that can be believed"));
  } else if (exists(run + "/begun")) {
    const std::string output = read_file(run + "/output", 64 << 10).value_or("");
    const std::size_t line = output.find_last_not_of('\n') == std::string::npos ? 0 : output.find_last_not_of('\n') + 1;
    task = try_parse(failed(
        "Killed", "the task was ended before it could answer" +
                      (line == 0 ? "" : ": " + output.substr(line > 200 ? line - 200 : 0, std::min<std::size_t>(line, 200)))));
    if (task.isNull()) task = try_parse(failed("Killed", "the task was ended before it could answer"));
  } else {
    task = new Object;
    task->set("state", "none");
  }
  // name is ID-OPERATION-ATTEMPT
  task->set("operation", name.substr(9, 8));
  task->set("attempt", static_cast<Poco::Int64>(std::strtoll(name.c_str() + 18, nullptr, 10)));
  return dump(*task);
}

void Tasks::remove(const sdk::Call& call, const std::string& name) {
  const std::string run = directory(name);
  if (!exists(run)) return;
  const auto begun = std::chrono::steady_clock::now();
  while (const auto holder = lock_holder(run + "/lock")) {
    const bool patient = std::chrono::steady_clock::now() - begun < milliseconds(5000);
    kill_process(*holder, patient ? SIGTERM : SIGKILL);
    if (!call.sleep_for(milliseconds(10))) throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "the task " + name + " is still ending");
  }
  (void)kill_leftovers(call, run + "/status.json");
  remove_tree(run, &call);
}

}  // namespace roost::compute_process
