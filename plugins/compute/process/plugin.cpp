// compute-process: workspaces as processes of this machine. The plugin keeps nothing in memory: what is, is told by the volumes,
// the supervisors' locks and their control sockets, so that a new daemon finds everything that an old one began.
#include <sys/inotify.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <set>

#include "compute/process/tasks.hpp"
#include "compute/process/workloads.hpp"

namespace roost::compute_process {

using std::chrono::milliseconds;

namespace {

std::string checked_id(std::string_view id) {
  std::string text(id);
  if (!valid_id(text)) throw sdk::Failure(ROOST_INVALID, "an id is 8 lower-case hex digits");
  return text;
}

struct WorkspaceSpec {
  std::string id;
  std::int64_t generation = 0;
  bool running = false;
  Size size;
  std::string volume;
  std::string token;
  std::string uid;
  std::string api_token;  // secret
  bool create = false;
};

WorkspaceSpec parse_spec(std::string_view text) {
  const Object::Ptr json = parse_object(text, "workspace-spec");
  const Object::Ptr size = object_of(*json, "size");
  const Object::Ptr volume = object_of(*json, "volume");
  WorkspaceSpec spec;
  spec.id = checked_id(text_of(*json, "id"));
  spec.generation = number_of(*json, "generation");
  spec.running = text_of(*json, "state") == "running";
  spec.size = {number_of(*size, "cpu_millis"), number_of(*size, "memory_bytes")};
  spec.volume = text_of(*volume, "name");
  spec.token = text_of(*volume, "token");
  spec.uid = text_of(*volume, "uid");
  spec.api_token = text_of(*json, "token");
  spec.create = flag_of(*volume, "create");
  if (!spec.running && text_of(*json, "state") != "stopped") throw sdk::Failure(ROOST_INVALID, "state: running or stopped");
  if (spec.generation < 1) throw sdk::Failure(ROOST_INVALID, "generation: 1 or more");
  if (spec.size.cpu_millis < 1 || spec.size.memory_bytes < 1)
    throw sdk::Failure(ROOST_INVALID, "size: cpu_millis and memory_bytes, above zero");
  if (!valid_volume_name(spec.volume) || spec.volume.substr(4, 8) != spec.id) {
    throw sdk::Failure(ROOST_INVALID, "volume.name: pvc-ID or pvc-ID-gN, of this id");
  }
  if (spec.token.empty()) throw sdk::Failure(ROOST_INVALID, "volume.token: empty");
  return spec;
}

// What was applied last: kept durably, so that an older apply that comes late is refused by a new daemon too.
struct Applied {
  std::int64_t generation = 0;
  std::string volume;
  std::string token;
  std::string made;                   // uid of the volume that was made under that name and token
  std::string uncertain_boot;         // in that boot, processes may have been left that nobody can find
  std::vector<std::string> removed;   // uids of volumes of this session that are gone
  std::vector<std::string> restored;  // names of volumes that restores made
  bool operator==(const Applied&) const = default;
};

}  // namespace

class Plugin final : public sdk::ComputePlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 16;

  Plugin(const sdk::Call&, const sdk::OpenArgs& args)
      : settings_(Settings::load(args.config, args.log)), volumes_(settings_), workloads_(settings_), tasks_(settings_) {
    inotify_ = Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!inotify_.open() || ::inotify_add_watch(inotify_.get(), (settings_.run + "/events").c_str(), IN_CLOSE_WRITE) < 0) {
      throw failure("inotify on " + settings_.run + "/events");
    }
    watch_token_ = random_hex(8);
  }

  std::string apply(const sdk::Call& call, std::string_view text) override {
    const WorkspaceSpec spec = parse_spec(text);
    make_directory(home(spec.id), 0700);
    const Lock lock(call, home(spec.id) + "/operation.lock");
    fence(spec);
    const auto volume = settle_volume(call, spec);
    if (spec.running && volume) {
      ensure_running(call, spec, *volume);
    } else if (!spec.running) {
      ensure_stopped(call, spec);
    }
    return describe(call, spec.id);
  }

  std::string observe(const sdk::Call& call, std::string_view id, std::uint32_t) override {
    return describe(call, checked_id(id));
  }

  void list(const sdk::Call& call, std::string_view after, std::uint32_t limit, sdk::Sink& sink) override {
    std::set<std::string> ids;
    for (const auto& found : {volumes_.sessions(), workloads_.sessions(), names_in(settings_.data + "/workspaces")}) {
      for (const std::string& id : found) {
        if (valid_id(id) && id > after) ids.insert(id);
      }
    }
    std::uint32_t count = 0;
    for (const std::string& id : ids) {
      if (count++ == limit) return;
      call.check();
      if (!sink.emit(id, describe(call, id))) return;
    }
  }

  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) override {
    if (!resume.empty() && resume != watch_token_) throw sdk::Failure(ROOST_EXPIRED, "this watch began in another process");
    const std::lock_guard lock(watch_mutex_);
    std::set<std::string> changed;
    if (resume.empty()) (void)read_events(changed);
    changed.clear();
    while (call.wait(inotify_.get(), POLLIN) != 0) {
      if (!read_events(changed)) throw sdk::Failure(ROOST_EXPIRED, "events were lost");
      for (const std::string& id : changed) {
        if (!sink.emit(id, {})) return;
      }
      if (!changed.empty()) break;
    }
    sink.resume(watch_token_);
  }

  void remove(const sdk::Call& call, std::string_view text) override {
    const Object::Ptr request = parse_object(text, "request");
    const std::string id = checked_id(text_of(*request, "id"));
    const std::string part = text_of(*request, "part");
    if (part != "workload" && part != "volume") throw sdk::Failure(ROOST_INVALID, "part: workload or volume");
    if (!exists(home(id)) && volumes_.of_session(id).empty() && !volumes_.in_trash(text_of(*request, "uid"))) return;
    make_directory(home(id), 0700);
    Lock lock(call, home(id) + "/operation.lock");
    if (part == "workload") return remove_workload(call, id, text_of(*request, "incarnation"));
    remove_volume(call, id, text_of(*request, "uid"));
    if (volumes_.of_session(id).empty()) {
      remove_tree(home(id), nullptr);
      workloads_.forget(id);
      ::unlink((settings_.run + "/events/" + id).c_str());
    }
  }

  std::string task_start(const sdk::Call& call, std::string_view text) override {
    const Object::Ptr spec = parse_object(text, "task-spec");
    const std::string name = Tasks::name_of(*spec);
    const std::string id = text_of(*spec, "id");
    const std::string kind = text_of(*spec, "kind");
    if (kind != "backup" && kind != "verify" && kind != "restore")
      throw sdk::Failure(ROOST_INVALID, "kind: backup, verify or restore");
    make_directory(home(id), 0700);
    const Lock lock(call, home(id) + "/operation.lock");
    if (tasks_.known(name)) return tasks_.observe(name);
    std::optional<Volume> volume;
    if (kind == "restore") volume = settle_target(call, *spec);
    if (kind == "backup") {
      const Object::Ptr wanted = object_of(*spec, "volume");
      volume = volumes_.find(text_of(*wanted, "name"));
      if (!volume || volume->uid.empty())
        throw sdk::Failure(ROOST_CONFLICT, "the volume " + text_of(*wanted, "name") + " is not there");
      check_identity(*volume, text_of(*wanted, "token"), text_of(*wanted, "uid"));
      if (!flag_of(*spec, "live") && lock_holder(volume->lock()))
        throw sdk::Failure(ROOST_CONFLICT, "a workload uses the volume " + volume->name);
    }
    tasks_.start(call, *spec, volume ? &*volume : nullptr);
    return tasks_.observe(name);
  }

  std::string task_observe(const sdk::Call&, std::string_view text) override {
    return tasks_.observe(Tasks::name_of(*parse_object(text, "request")));
  }

  void task_remove(const sdk::Call& call, std::string_view text) override {
    const Object::Ptr request = parse_object(text, "request");
    const std::string name = Tasks::name_of(*request);
    const std::string id = text_of(*request, "id");
    if (!exists(home(id))) return tasks_.remove(call, name);
    const Lock lock(call, home(id) + "/operation.lock");
    tasks_.remove(call, name);
  }

  std::string activity(const sdk::Call& call, std::string_view raw) override {
    const std::string id = checked_id(raw);
    const Object::Ptr answer = workloads_.activity(call, id);
    if (!answer.isNull() && answer->has("signals")) return dump(*answer);
    Object none;
    none.set("id", id);
    none.set("signals", Array::Ptr(new Array));
    return dump(none);
  }

 private:
  std::string home(const std::string& id) const { return settings_.data + "/workspaces/" + id; }

  // ---- what was applied
  Applied applied(const std::string& id) const {
    const Object::Ptr json = read_object(home(id) + "/applied.json");
    if (json.isNull()) return {};
    return {number_of(*json, "generation"),   text_of(*json, "volume"),   text_of(*json, "token"),    text_of(*json, "made"),
            text_of(*json, "uncertain_boot"), texts_of(*json, "removed"), texts_of(*json, "restored")};
  }

  void record(const std::string& id, const Applied& before, const Applied& now) {
    if (before == now) return;
    Object json;
    json.set("generation", now.generation);
    json.set("volume", now.volume);
    json.set("token", now.token);
    json.set("made", now.made);
    json.set("uncertain_boot", now.uncertain_boot);
    const auto list = [](const std::vector<std::string>& texts) {
      Array::Ptr array(new Array);
      for (const std::string& text : texts) array->add(text);
      return array;
    };
    json.set("removed", list(now.removed));
    json.set("restored", list(now.restored));
    replace_file(home(id) + "/applied.json", dump(json));
  }

  void fence(const WorkspaceSpec& spec) {
    const Applied before = applied(spec.id);
    if (spec.generation < before.generation) {
      throw sdk::Failure(ROOST_CONFLICT, "generation " + std::to_string(spec.generation) + " is older than " +
                                             std::to_string(before.generation) + ", which was applied already");
    }
    Applied now = before;
    if (now.volume != spec.volume || now.token != spec.token) now.made.clear();
    now.generation = spec.generation;
    now.volume = spec.volume;
    now.token = spec.token;
    record(spec.id, before, now);
  }

  // ---- the volume
  static void check_identity(const Volume& volume, const std::string& token, const std::string& uid) {
    if (volume.uid.empty())
      throw sdk::Failure(ROOST_CONFLICT, "the volume " + volume.name + " has no readable volume.json: it is not touched");
    if (volume.token != token) throw sdk::Failure(ROOST_CONFLICT, "the volume " + volume.name + " is another session's");
    if (!uid.empty() && volume.uid != uid) {
      throw sdk::Failure(ROOST_CONFLICT, "the volume " + volume.name + " has the uid " + volume.uid + ", not " + uid);
    }
  }

  std::optional<Volume> settle_volume(const sdk::Call& call, const WorkspaceSpec& spec) {
    auto volume = volumes_.find(spec.volume);
    if (volume) {
      check_identity(*volume, spec.token, spec.uid);
      remember_made(spec.id, volume->uid);
      return volume;
    }
    // One that had an identity is lost when it is not there: never made anew, empty.
    if (!spec.create || !spec.uid.empty()) return std::nullopt;
    if (const std::string made = applied(spec.id).made; !made.empty()) {  // the caller may have crashed before it learnt the uid
      throw sdk::Failure(ROOST_DATA_LOSS, "the volume " + spec.volume + " was made (uid " + made +
                                              ") and is gone: bring it back to " + settings_.data +
                                              "/volumes; it is not replaced by an empty one");
    }
    volume = volumes_.create(call, spec.volume, spec.token);
    remember_made(spec.id, volume->uid);
    return volume;
  }

  // The volume that a restore fills: found by its token, or made.
  Volume settle_target(const sdk::Call& call, const Object& spec) {
    const std::string id = text_of(spec, "id");
    const Object::Ptr wanted = object_of(spec, "volume");
    const std::string name = text_of(*wanted, "name"), token = text_of(*wanted, "token");
    if (!valid_volume_name(name) || name.substr(4, 8) != id || token.empty())
      throw sdk::Failure(ROOST_INVALID, "volume: pvc-ID or pvc-ID-gN of this id, and a token");
    const Applied before = applied(id);
    if (number_of(spec, "generation") < before.generation) {
      throw sdk::Failure(ROOST_CONFLICT, "this restore is of generation " + std::to_string(number_of(spec, "generation")) + "; " +
                                             std::to_string(before.generation) + " was applied since");
    }
    if (auto volume = volumes_.find(name)) {
      check_identity(*volume, token, text_of(*wanted, "uid"));
      if (lock_holder(volume->lock())) throw sdk::Failure(ROOST_CONFLICT, "a workload uses the volume " + name);
      return *volume;
    }
    if (!flag_of(*wanted, "create") || !text_of(*wanted, "uid").empty())
      throw sdk::Failure(ROOST_CONFLICT, "the volume " + name + " is not there");
    check_room(number_of(spec, "bytes"));
    Applied now = before;
    if (std::find(now.restored.begin(), now.restored.end(), name) == now.restored.end()) now.restored.push_back(name);
    record(id, before, now);
    return volumes_.create(call, name, token);
  }

  void check_room(std::int64_t bytes) const {
    struct statvfs info {};
    if (::statvfs(settings_.data.c_str(), &info) != 0) throw failure(settings_.data);
    const auto free = static_cast<std::int64_t>(info.f_bavail) * static_cast<std::int64_t>(info.f_frsize);
    if (bytes <= free) return;
    throw sdk::Failure(ROOST_EXHAUSTED, "the restore needs " + std::to_string(bytes) + " bytes beside what is there; " +
                                            std::to_string(free) + " are free on the disk that holds " + settings_.data);
  }

  void remember_made(const std::string& id, const std::string& uid) {
    const Applied before = applied(id);
    Applied now = before;
    now.made = uid;
    record(id, before, now);
  }

  void remove_volume(const sdk::Call& call, const std::string& id, const std::string& uid) {
    if (uid.empty() || uid.find('/') != std::string::npos || uid.starts_with("."))
      throw sdk::Failure(ROOST_INVALID, "uid: which volume?");
    const Applied before = applied(id);
    if (volumes_.in_trash(uid)) volumes_.empty_trash(call, uid);
    const auto all = volumes_.of_session(id);
    const auto found = std::find_if(all.begin(), all.end(), [&uid](const Volume& volume) { return volume.uid == uid; });
    if (found == all.end()) {
      const bool gone = std::find(before.removed.begin(), before.removed.end(), uid) != before.removed.end();
      if (all.empty() || gone) return;
      throw sdk::Failure(ROOST_CONFLICT, "no volume of " + id + " has the uid " + uid + "; there is one with " + all.front().uid);
    }
    const bool in_use = (workloads_.alive(id) || workloads_.remains(id)) &&
                        (workloads_.volume_uid(id) == uid || workloads_.volume_uid(id).empty());
    if (in_use || lock_holder(found->lock())) throw sdk::Failure(ROOST_CONFLICT, "a workload uses the volume " + found->name);
    if (before.uncertain_boot == boot_id()) {
      throw sdk::Failure(
          ROOST_CONFLICT,
          "processes of the workload may be left that cannot be found: it ran without a sandbox and without a cgroup. "
          "End them, then remove \"uncertain_boot\" from " +
              home(id) + "/applied.json, or restart the machine");
    }
    for (const std::string& task : tasks_.of_session(id)) {
      if (tasks_.uses_volume(task, uid))
        throw sdk::Failure(ROOST_CONFLICT, "the task " + task + " uses the volume " + found->name);
    }
    Applied now = before;
    now.removed.push_back(uid);
    if (now.made == uid) now.made.clear();
    if (now.removed.size() > 16) now.removed.erase(now.removed.begin());
    std::erase(now.restored, found->name);
    record(id, before, now);
    volumes_.remove(call, *found);
  }

  // ---- the workload
  void ensure_running(const sdk::Call& call, const WorkspaceSpec& spec, const Volume& volume) {
    const Object::Ptr status = workloads_.status(call, spec.id);
    if (!status.isNull()) {
      const std::string state = text_of(*status, "state");
      const bool right = workloads_.volume_uid(spec.id) == volume.uid;
      if (right && (state == "starting" || state == "running")) {
        const Object::Ptr size = object_of(*status, "size");
        const Size in_force{number_of(*size, "cpu_millis"), number_of(*size, "memory_bytes")};
        if (in_force != spec.size || number_of(*status, "generation") < spec.generation) {
          workloads_.resize(call, spec.id, spec.generation, spec.size);
        }
        return;
      }
    }
    end_workload(call, spec.id);  // never two: what failed, stops, lost its supervisor or uses another volume ends first
    call.check();
    workloads_.start(call, spec.id, spec.generation, volume, spec.size, spec.api_token);
  }

  void ensure_stopped(const sdk::Call& call, const WorkspaceSpec& spec) {
    if (workloads_.alive(spec.id)) return workloads_.ask_to_stop(call, spec.id);
    end_workload(call, spec.id);
  }

  void end_workload(const sdk::Call& call, const std::string& id) {
    const Applied before = applied(id);
    bool certain = workloads_.end(call, id);
    if (const auto volume = volumes_.find(before.volume)) certain = workloads_.end_stray(call, *volume) && certain;
    if (certain) return;
    Applied now = before;
    now.uncertain_boot = boot_id();
    record(id, before, now);
  }

  void remove_workload(const sdk::Call& call, const std::string& id, const std::string& incarnation) {
    const Object::Ptr status = workloads_.status(call, id);
    if (!status.isNull() && !incarnation.empty() && text_of(*status, "incarnation") != incarnation) {
      throw sdk::Failure(ROOST_CONFLICT, "another incarnation runs: " + text_of(*status, "incarnation"));
    }
    end_workload(call, id);
    workloads_.forget(id);
  }

  // ---- what is
  std::string describe(const sdk::Call& call, const std::string& id) {
    const Applied was = applied(id);
    Object answer;
    answer.set("id", id);
    answer.set("generation", was.generation);
    answer.set("volume", describe_volume(id, was));
    answer.set("volumes", describe_volumes(id, was));
    Object::Ptr workload(new Object);
    const Object::Ptr status = workloads_.status(call, id);
    if (status.isNull()) {
      const auto used = volumes_.find(was.volume);
      const bool stray = used && lock_holder(used->lock());
      workload->set("state", stray || workloads_.remains(id) ? "stopping" : "none");
      workload->set("ready", false);
      workload->set("incarnation", "");
      answer.set("endpoint", "");
    } else {
      for (const char* member : {"state", "ready", "incarnation", "size", "reason", "message"}) {
        if (status->has(member)) workload->set(member, status->get(member));
      }
      explain_full_disk(*workload);
      answer.set("endpoint", workloads_.endpoint(id));
      Object::Ptr isolation = object_of(*status, "isolation");
      isolation->set("disk", "not limited: volume.size_bytes is not enforced here");
      answer.set("isolation", isolation);
    }
    answer.set("workload", workload);
    return dump(answer);
  }

  Object::Ptr describe_volume(const std::string& id, const Applied& was) const {
    Object::Ptr json(new Object);
    auto volume = was.volume.empty() ? std::nullopt : volumes_.find(was.volume);
    if (!volume && was.volume.empty()) {
      const auto all = volumes_.of_session(id);
      if (!all.empty()) volume = all.front();
    }
    const bool foreign = volume && (volume->uid.empty() || (!was.token.empty() && volume->token != was.token));
    json->set("state", !volume ? "missing" : foreign ? "foreign" : "present");
    if (volume) {
      json->set("name", volume->name);
      json->set("token", volume->token);
      json->set("uid", volume->uid);
    }
    return json;
  }

  // All of them, without going through those of other sessions.
  Array::Ptr describe_volumes(const std::string& id, const Applied& was) const {
    std::set<std::string> names(was.restored.begin(), was.restored.end());
    names.insert("pvc-" + id);
    if (!was.volume.empty()) names.insert(was.volume);
    Array::Ptr array(new Array);
    for (const std::string& name : names) {
      const auto volume = volumes_.find(name);
      if (!volume) continue;
      Object::Ptr json(new Object);
      json->set("name", volume->name);
      json->set("token", volume->token);
      json->set("uid", volume->uid);
      array->add(json);
    }
    return array;
  }

  void explain_full_disk(Object& workload) const {
    if (flag_of(workload, "ready")) return;
    struct statvfs info {};
    if (::statvfs(settings_.data.c_str(), &info) != 0 || info.f_bavail > 0) return;
    workload.set("reason", "NoSpace");
    workload.set("message", "the disk that holds the volumes is full: make room on it");
  }

  // false: the kernel dropped some.
  bool read_events(std::set<std::string>& changed) const {
    alignas(inotify_event) char buffer[16 * 1024];
    for (;;) {
      const ssize_t n = ::read(inotify_.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return true;
      for (ssize_t at = 0; at < n;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        if ((event->mask & IN_Q_OVERFLOW) != 0) return false;
        if (event->len > 0 && valid_id(event->name)) changed.insert(event->name);
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
  }

  Settings settings_;
  Volumes volumes_;
  Workloads workloads_;
  Tasks tasks_;
  Fd inotify_;
  std::string watch_token_;
  std::mutex watch_mutex_;
};

}  // namespace roost::compute_process

ROOST_COMPUTE_PLUGIN(roost::compute_process::Plugin, "compute-process", ROOST_PLUGIN_VERSION)
