#include "compute/process/workloads.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

namespace roost::compute_process {

using std::chrono::milliseconds;

namespace {

Object question(const char* op) {
  Object object;
  object.set("op", op);
  return object;
}

}  // namespace

Object::Ptr mount_json(const std::string& source, const std::string& target, bool writable) {
  Object::Ptr mount(new Object);
  mount->set("source", source);
  mount->set("target", target);
  mount->set("writable", writable);
  return mount;
}

std::string cgroup_name(const Settings& settings, const std::string& name) {
  std::uint32_t hash = 0x811C9DC5u;  // FNV-1a
  for (const char c : settings.data) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193u;
  return std::to_string(hash) + "-" + name;
}

std::vector<std::string> Workloads::sessions() const {
  std::vector<std::string> ids = names_in(settings_.run + "/ws");
  std::erase_if(ids, [](const std::string& id) { return !valid_id(id); });
  return ids;
}

Object::Ptr Workloads::status(const sdk::Call& call, const std::string& id) const {
  Object::Ptr answer = ask_supervisor(call, directory(id) + "/control.sock", question("status"));
  if (!answer.isNull() && answer->has("state")) return answer;
  if (!alive(id)) return nullptr;
  answer = read_object(directory(id) + "/status.json");
  if (!answer.isNull()) return answer;
  answer = new Object;  // it has its lock and nothing else yet
  answer->set("state", "starting");
  return answer;
}

Object::Ptr Workloads::activity(const sdk::Call& call, const std::string& id) const {
  return ask_supervisor(call, directory(id) + "/control.sock", question("activity"));
}

std::string Workloads::volume_uid(const std::string& id) const {
  const Object::Ptr spec = read_object(directory(id) + "/spec.json");
  return spec.isNull() ? "" : text_of(*spec, "volume_uid");
}

std::string Workloads::serve_spec(const std::string& id, std::int64_t generation, const Volume& volume, const Size& size) const {
  const std::string run = directory(id);
  Array::Ptr mounts(new Array);
  mounts->add(mount_json(volume.path + "/data", kWorkspace, true));
  mounts->add(mount_json(volume.path + "/home", kHome, true));
  mounts->add(mount_json(volume.path + "/run", "/run/roost", true));
  if (has_api()) {
    mounts->add(mount_json(run + "/api", kApi, false));
    mounts->add(mount_json(settings_.agent, "/roost/bin/roost-agent", false));
  }
  for (const Mount& mount : settings_.mounts) mounts->add(mount_json(mount.source, mount.target, false));
  const auto list = [](const std::vector<std::string>& texts) {
    Array::Ptr array(new Array);
    for (const std::string& text : texts) array->add(text);
    return array;
  };
  std::vector<std::string> command = settings_.command;
  std::vector<std::string> environment = settings_.environment;
  if (has_api()) environment.push_back("ROOST_API_SOCKET=" + std::string(kApi) + "/api.sock");
  if (settings_.sandbox == "none") {  // nothing is bound anywhere: the host's own paths
    const std::pair<std::string, std::string> places[] = {{kSocket, volume.path + "/run/app.sock"},
                                                          {kWorkspace, volume.path + "/data"},
                                                          {kHome, volume.path + "/home"},
                                                          {kApi, run + "/api"}};
    for (auto* words : {&command, &environment}) {
      for (std::string& word : *words) {
        for (const auto& [from, to] : places) {
          if (const std::size_t at = word.find(from); at != std::string::npos) word.replace(at, from.size(), to);
        }
        for (const Mount& mount : settings_.mounts) {
          if (const std::size_t at = word.find(mount.target); at != std::string::npos)
            word.replace(at, mount.target.size(), mount.source);
        }
      }
    }
  }
  Object::Ptr sandbox(new Object);
  sandbox->set("kind", settings_.sandbox);
  sandbox->set("network", settings_.network);
  sandbox->set("host_uid", volume.host_uid);
  sandbox->set("block_host", settings_.block_host);
  sandbox->set("blocked", list(settings_.blocked));
  sandbox->set("mounts", mounts);
  sandbox->set("command", list(command));
  sandbox->set("environment", list(environment));
  sandbox->set("directory", settings_.sandbox == "none" ? volume.path + "/data" : std::string(kWorkspace));
  sandbox->set("hostname", "workspace-" + id);
  sandbox->set("tmp_bytes", settings_.tmp_bytes);
  if (settings_.sandbox != "none") sandbox->set("etc", run + "/etc");
  Object::Ptr limits(new Object);
  limits->set("cpu_millis", size.cpu_millis);
  limits->set("memory_bytes", size.memory_bytes);
  Object spec = *settings_.restart;
  spec.set("id", id);
  spec.set("incarnation", random_hex(8));
  spec.set("generation", generation);
  spec.set("volume_uid", volume.uid);
  spec.set("run", run);
  spec.set("events", settings_.run + "/events");
  spec.set("volume_lock", volume.lock());
  spec.set("socket_directory", volume.path + "/run");
  spec.set("log", settings_.data + "/workspaces/" + id + "/workload.log");
  spec.set("log_bytes", settings_.log_bytes);
  if (has_api()) {
    spec.set("api_socket", run + "/api/api.sock");
    spec.set("api_url_file", settings_.api_url_file);
    spec.set("token_file", run + "/token");
  }
  spec.set("cgroup", settings_.limits ? cgroup_name(settings_, id) : std::string());
  spec.set("size", limits);
  spec.set("pids", settings_.pids);
  spec.set("ready_path", settings_.ready_path);
  spec.set("stop_grace_ms", settings_.stop_grace_ms);
  spec.set("sandbox", sandbox);
  return dump(spec);
}

void Workloads::start(const sdk::Call& call, const std::string& id, std::int64_t generation, const Volume& volume,
                      const Size& size, const std::string& api_token) {
  const std::string run = directory(id);
  make_directory(run, 0700);
  for (const char* part : {"/home", "/run"}) {
    if (exists(volume.path + part)) continue;
    make_directory(volume.path + part, 0700);
    own(volume.path + part, volume.host_uid);
  }
  for (const char* name : {"/status.json", "/exit.json"}) ::unlink((run + name).c_str());
  if (has_api()) {
    make_directory(run + "/api", 0755);
    // Whatever the umask is: the workload's user passes through it. What lies above it is closed to everybody.
    if (::chmod((run + "/api").c_str(), 0755) != 0) throw failure(run + "/api");
    replace_file(run + "/token", api_token);
  }
  replace_file(run + "/spec.json", serve_spec(id, generation, volume, size));
  start_supervisor(call, settings_.agent, "serve", run + "/spec.json");
}

void Workloads::resize(const sdk::Call& call, const std::string& id, std::int64_t generation, const Size& size) {
  Object request = question("resize");
  request.set("generation", generation);
  request.set("cpu_millis", size.cpu_millis);
  request.set("memory_bytes", size.memory_bytes);
  const Object::Ptr answer = ask_supervisor(call, directory(id) + "/control.sock", request);
  if (answer.isNull()) throw sdk::Failure(ROOST_UNAVAILABLE, "the supervisor of " + id + " does not answer");
  if (answer->has("error")) {
    throw sdk::Failure(static_cast<roost_code>(number_of(*answer, "code", ROOST_INTERNAL)), text_of(*answer, "error"));
  }
}

void Workloads::ask_to_stop(const sdk::Call& call, const std::string& id) {
  (void)ask_supervisor(call, directory(id) + "/control.sock", question("stop"));
}

bool Workloads::end(const sdk::Call& call, const std::string& id) {
  const std::string run = directory(id);
  if (alive(id)) ask_to_stop(call, id);
  const auto patience = milliseconds(settings_.stop_grace_ms + 5000);
  const auto begun = std::chrono::steady_clock::now();
  while (const auto holder = lock_holder(run + "/lock")) {
    // It answers to nothing any more: what it started dies with it.
    if (std::chrono::steady_clock::now() - begun > patience) kill_process(*holder, SIGKILL);
    if (!call.sleep_for(milliseconds(10)))
      throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "the workload of " + id + " is still stopping");
  }
  return kill_leftovers(call, run + "/status.json");
}

bool Workloads::end_stray(const sdk::Call& call, const Volume& volume) {
  const auto patience = milliseconds(settings_.stop_grace_ms + 5000);
  const auto begun = std::chrono::steady_clock::now();
  std::string run;
  while (const auto holder = lock_holder(volume.lock())) {
    run = holder->run;
    kill_process(*holder, std::chrono::steady_clock::now() - begun > patience ? SIGKILL : SIGTERM);
    if (!call.sleep_for(milliseconds(10)))
      throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "a workload that uses the volume " + volume.name + " is still stopping");
  }
  return run.empty() || kill_leftovers(call, run + "/status.json");
}

void Workloads::forget(const std::string& id) { remove_tree(directory(id), nullptr); }

}  // namespace roost::compute_process
