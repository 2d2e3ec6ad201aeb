#include "host/compute_documents.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace roost {
namespace {

Error wrong(const char* member, const char* expected) {
  return Error{Code::invalid, std::string("\"") + member + "\" must be " + expected, 0};
}

// The index of a name among the names of an enumeration.
template <class Enum, std::size_t N>
Result<Enum> named(const Json& value, const std::array<const char*, N>& names, const char* member, const char* expected) {
  const auto found = std::find(names.begin(), names.end(), value.as_string());
  if (!value.is_string() || found == names.end()) return wrong(member, expected);
  return static_cast<Enum>(found - names.begin());
}

constexpr std::array<const char*, 3> kVolumeStates{"missing", "present", "foreign"};
constexpr std::array<const char*, 5> kWorkloadStates{"none", "starting", "running", "stopping", "failed"};
constexpr std::array<const char*, 3> kTaskKinds{"backup", "verify", "restore"};
constexpr std::array<const char*, 4> kTaskStates{"none", "running", "succeeded", "failed"};

Json volume_json(const Volume& volume) {
  return Json::object({{"name", volume.name}, {"token", volume.token}, {"uid", volume.uid}});
}

Observed observed_from(const Json& document, WorkloadState state) {
  const Json& workload = document["workload"];
  Observed observed;
  observed.ready = workload["ready"].as_bool() && state == WorkloadState::running;
  observed.incarnation = workload["incarnation"].as_string();
  observed.size.cpu_millis = workload["size"]["cpu_millis"].as_int();
  observed.size.memory_bytes = workload["size"]["memory_bytes"].as_int();
  observed.reason = workload["reason"].as_string();
  observed.message = workload["message"].as_string();
  observed.endpoint = document["endpoint"].as_string();
  observed.isolation = document["isolation"];
  // A failed workload counts while something of it is there; one that is ending does not.
  const bool there = state == WorkloadState::starting || state == WorkloadState::running ||
                     (state == WorkloadState::failed && !observed.incarnation.empty());
  observed.replicas = there ? 1 : 0;
  return observed;
}

}  // namespace

const char* to_string(TaskKind kind) { return kTaskKinds[static_cast<std::size_t>(kind)]; }

Json to_json(const WorkspaceSpec& spec) {
  Json volume = volume_json(spec.volume);
  volume.set("create", spec.create_volume).set("size_bytes", spec.volume.size_bytes);
  Json document = Json::object({{"id", spec.id}, {"user_id", spec.user_id}, {"generation", spec.generation}});
  document.set("state", spec.running ? "running" : "stopped").set("size", to_json(spec.size)).set("volume", std::move(volume));
  document.set("login_secret", spec.login_secret).set("token", spec.token).set("url", spec.url);
  return document;
}

Result<Workspace> workspace_from_json(const Json& document) {
  Workspace workspace;
  ROOST_TRY(workspace.id, document.get_string("id"));
  ROOST_TRY(workspace.volume_state,
            named<VolumeState>(document["volume"]["state"], kVolumeStates, "volume.state", "missing, present or foreign"));
  ROOST_TRY(workspace.workload_state, named<WorkloadState>(document["workload"]["state"], kWorkloadStates, "workload.state",
                                                           "none, starting, running, stopping or failed"));
  const Json& generation = document["generation"];
  if (!generation.is_null() && !generation.is_int()) return wrong("generation", "an integer");
  workspace.generation = generation.as_int();
  workspace.volume_uid = document["volume"]["uid"].as_string();
  workspace.observed = observed_from(document, workspace.workload_state);
  if (const Json* volumes = document.find("volumes")) {
    // Read as none it would mean that every volume of the session is lost.
    if (!volumes->is_array()) return wrong("volumes", "a list, or absent");
    workspace.volumes.emplace();
    for (const Json& each : volumes->items()) {
      SeenVolume seen{each["name"].as_string(), each["token"].as_string(), each["uid"].as_string()};
      if (seen.name.empty()) return wrong("volumes", "volumes with a name");
      workspace.volumes->push_back(std::move(seen));
    }
  }
  if (workspace.volume_state == VolumeState::present && workspace.volume_uid.empty())
    return wrong("volume.uid", "given for a volume that is present");
  return workspace;
}

Json to_json(const TaskSpec& spec, Json backup) {
  Json document =
      Json::object({{"id", spec.id}, {"user_id", spec.user_id}, {"operation", spec.operation}, {"attempt", spec.attempt}});
  document.set("kind", to_string(spec.kind));
  if (spec.kind != TaskKind::verify) document.set("volume", volume_json(spec.volume)).set("live", spec.live);
  if (spec.exclusions) document.set("exclusions", true);
  if (spec.kind == TaskKind::restore) {
    document.set("volume", volume_json(spec.volume).set("create", true).set("size_bytes", spec.volume.size_bytes));
    document.set("generation", spec.generation).set("bytes", spec.bytes);
  }
  document.set("archive", spec.archive).set("backup_id", spec.backup_id).set("backup", std::move(backup));
  return document;
}

Result<Task> task_from_json(const Json& document) {
  Task task;
  ROOST_TRY(task.state, named<TaskState>(document["state"], kTaskStates, "state", "none, running, succeeded or failed"));
  task.reason = document["reason"].as_string();
  task.message = document["message"].as_string();
  task.progress_bytes = document["progress"]["bytes"].as_int();
  task.progress_files = document["progress"]["files"].as_int();
  task.total_bytes = document["progress"]["total_bytes"].as_int(-1);
  task.total_files = document["progress"]["total_files"].as_int(-1);
  if (task.state == TaskState::succeeded) {
    if (!document["receipt"].is_object()) return wrong("receipt", "given for a task that succeeded");
    ROOST_TRY(task.receipt, receipt_from_json(document["receipt"]));
  }
  return task;
}

Result<Json> backup_for_task(const Json& description, const Manifest& manifest, const Secrets& secrets) {
  if (!description["config"].is_object()) return wrong("config", "an object");
  Json wanted = Json::object();
  for (const Json& name : description["secrets"].items()) {
    const auto found =
        std::find_if(secrets.begin(), secrets.end(), [&](const auto& secret) { return secret.first == name.as_string(); });
    if (found == secrets.end()) {
      return Error{Code::invalid,
                   "plugin \"" + manifest.name + "\": its tasks need the secret \"" + name.as_string() +
                       "\"; set backup.secrets." + name.as_string(),
                   0};
    }
    wanted.set(found->first, found->second);
  }
  for (const auto& [name, value] : description["secret_values"].members()) {
    if (!value.is_string()) return wrong("secret_values", "texts");
    wanted.set(name, value);
  }
  Json backup =
      Json::object({{"manifest", manifest.path.string()}, {"config", description["config"]}, {"secrets", std::move(wanted)}});
  backup.set("mounts", description["mounts"].is_array() ? description["mounts"] : Json::array());
  return backup;
}

}  // namespace roost
