// The Jobs that run tasks: a copying one beside the volume, and the verifying one that sees the backup store only.
#include "compute/kubernetes/objects.hpp"
#include "compute/kubernetes/quantity.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {
namespace {

Json task_labels(const Settings& settings, const Task& task) {
  const Json ours = Json::object({{kManagedBy, kManager},
                                  {kRole, "task"},
                                  {kSession, task.id},
                                  {kOperation, task.operation},
                                  {kAttempt, std::to_string(task.attempt)},
                                  {kTask, task.kind}});
  return merge(settings.labels, ours);
}

// The mounts that the backup plugin asked for: on Kubernetes each is a claim.
void add_backup_mounts(const Task& task, Json& volumes, Json& mounts) {
  int number = 0;
  for (const Json& mount : task.document["backup"]["mounts"].items()) {
    const std::string& path = mount["path"].str();
    const std::string& claim = mount["claim"].str();
    if (claim.empty()) {
      throw sdk::Failure(ROOST_INVALID, "the backup plugin needs " + path +
                                            " in the task, but names no PersistentVolumeClaim for it: set its `claim`");
    }
    const std::string name = "backup-" + std::to_string(number++);
    volumes.push(Json::object({{"name", name}, {"persistentVolumeClaim", Json::object({{"claimName", claim}})}}));
    mounts.push(
        Json::object({{"name", name}, {"mountPath", path}, {"readOnly", !mount["writable"].boolean() || task.kind != "backup"}}));
  }
}

// A backup reads files whatever their mode; a restore gives them to their user, with their modes (FSETID: the setgid bits); a
// verification sees nothing of a user's and reads what root has written. tests/agent/backup_job_test.cpp takes each away.
Json capabilities(const Task& task) {
  Json out = Json::object({{"drop", Json::array({"ALL"})}});
  if (task.kind == "backup") out.set("add", Json::array({"DAC_READ_SEARCH"}));
  if (task.kind == "restore") out.set("add", Json::array({"DAC_OVERRIDE", "CHOWN", "FOWNER", "FSETID"}));
  return out;
}

Json task_container(const Settings& settings, const Task& task, const Json& mounts) {
  Json command = Json::array();
  for (const std::string& word : settings.task_command) command.push(word);
  for (const char* word : {task.kind.c_str(), "--spec", "/roost/task/spec.json", "--result", "/dev/termination-log", "--progress",
                           "/tmp/progress.json", "--print-progress", "2"}) {
    command.push(word);
  }
  const Json size =
      Json::object({{"cpu", cpu_text(settings.task_size.cpu_millis)}, {"memory", memory_text(settings.task_size.memory_bytes)}});
  const Json security =
      Json::object({{"allowPrivilegeEscalation", false}, {"readOnlyRootFilesystem", true}, {"capabilities", capabilities(task)}});
  return Json::object({{"name", "task"},
                       {"image", settings.task_image},
                       {"imagePullPolicy", settings.image_pull_policy},
                       {"command", command},
                       {"resources", Json::object({{"limits", size}, {"requests", size}})},
                       {"securityContext", security},
                       {"terminationMessagePath", "/dev/termination-log"},
                       {"terminationMessagePolicy", "File"},
                       {"volumeMounts", mounts}});
}

Json task_pod(const Settings& settings, const Task& task) {
  Json volumes = Json::array(
      {Json::object({{"name", "task"},
                     {"secret", Json::object({{"secretName", job_name(task.id, task.kind, task.operation, task.attempt)},
                                              {"defaultMode", 0440}})}}),
       Json::object({{"name", "tmp"}, {"emptyDir", Json::object()}})});
  Json mounts = Json::array({Json::object({{"name", "task"}, {"mountPath", "/roost/task"}, {"readOnly", true}}),
                             Json::object({{"name", "tmp"}, {"mountPath", "/tmp"}})});
  if (!task.volume.name.empty()) {
    volumes.push(
        Json::object({{"name", "workspace"}, {"persistentVolumeClaim", Json::object({{"claimName", task.volume.name}})}}));
    mounts.push(Json::object({{"name", "workspace"}, {"mountPath", "/workspace"}, {"readOnly", task.kind != "restore"}}));
  }
  add_backup_mounts(task, volumes, mounts);
  Json pod = Json::object({{"restartPolicy", "Never"},
                           {"automountServiceAccountToken", false},
                           {"enableServiceLinks", false},
                           {"terminationGracePeriodSeconds", 10},
                           {"securityContext", Json::object({{"runAsUser", settings.task_user},
                                                             {"runAsGroup", settings.task_group},
                                                             {"seccompProfile", Json::object({{"type", "RuntimeDefault"}})}})},
                           {"containers", Json::array({task_container(settings, task, mounts)})},
                           {"volumes", volumes}});
  if (task.live) {  // a volume that is mounted on one node only can be read there only
    const Json beside =
        Json::object({{"topologyKey", "kubernetes.io/hostname"},
                      {"labelSelector", Json::object({{"matchLabels", Json::object({{"app", workload_name(task.id)}})}})}});
    pod.set("affinity",
            Json::object(
                {{"podAffinity", Json::object({{"requiredDuringSchedulingIgnoredDuringExecution", Json::array({beside})}})}}));
  }
  return pod;
}

}  // namespace

std::string job_name(const std::string& id, const std::string& kind, const std::string& operation, std::int64_t attempt) {
  if (kind == "verify") return "backup-" + id;
  const std::string name = kind + "-" + id + "-" + operation;
  return attempt == 1 ? name : name + "-" + std::to_string(attempt);
}

Json job(const Settings& settings, const Task& task) {
  Json labels = task_labels(settings, task);
  Json annotations = Json::object({{kArchive, task.document["archive"].str()}});
  if (!task.volume.uid.empty()) annotations.set(kVolumeUid, task.volume.uid);
  Json spec =
      Json::object({{"backoffLimit", 0},  // only this attempt's outcome counts; the engine makes the next one
                    {"podReplacementPolicy", "Failed"},
                    {"activeDeadlineSeconds", settings.task_deadline_s},
                    {"template", Json::object({{"metadata", Json::object({{"labels", labels}, {"annotations", annotations}})},
                                               {"spec", task_pod(settings, task)}})}});
  if (task.kind == "verify") {
    labels.set("session-uuid", task.id);
    labels.set("job-type", "backup");
    spec.set("ttlSecondsAfterFinished", settings.task_keep_s);
  }
  return Json::object(
      {{"apiVersion", "batch/v1"},
       {"kind", "Job"},
       {"metadata", Json::object({{"name", job_name(task.id, task.kind, task.operation, task.attempt)}, {"labels", labels}})},
       {"spec", spec}});
}

Json task_secret(const Settings& settings, const Task& task, const std::string& job_uid) {
  Json document = task.document;
  if (!task.volume.name.empty()) document.set("volume_path", "/workspace");
  const std::string name = job_name(task.id, task.kind, task.operation, task.attempt);
  const Json owner = Json::object({{"apiVersion", "batch/v1"}, {"kind", "Job"}, {"name", name}, {"uid", job_uid}});
  return Json::object(
      {{"apiVersion", "v1"},
       {"kind", "Secret"},
       {"type", "Opaque"},
       {"metadata",
        Json::object({{"name", name}, {"labels", task_labels(settings, task)}, {"ownerReferences", Json::array({owner})}})},
       {"stringData", Json::object({{"spec.json", document.dump()}})}});
}

}  // namespace roost::kubernetes
