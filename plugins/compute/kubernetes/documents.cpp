#include "compute/kubernetes/documents.hpp"

#include <algorithm>

#include "compute/kubernetes/objects.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::size_t kMessageMax = 400;
constexpr std::size_t kSignalsMax = 16;

struct Reason {
  std::string name;  // empty: nothing is wrong
  std::string message;
  bool failed = false;  // it does not come up by waiting alone
};

bool is_one_of(const std::string& text, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(), [&](const char* name) { return text == name; });
}

// What hinders the pod that is there.
Reason reason_of_pod(const PodState& pod, const Surroundings& around) {
  if (is_one_of(pod.trouble,
                {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})) {
    return {"ImagePullBackOff", pod.message, true};
  }
  if (pod.trouble == "CrashLoopBackOff") return {"CrashLoopBackOff", pod.message, true};
  if (is_one_of(pod.trouble, {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}))
    return {pod.trouble, pod.message, true};
  if (pod.phase == "Failed") return {pod.trouble.empty() ? "PodFailed" : pod.trouble, pod.message, true};
  if (!pod.scheduling.empty()) {
    if (around.storage_class_missing) {
      return {"StorageClassMissing", "the volume's storage class does not exist: make it, or set storage_class; " + pod.message,
              true};
    }
    return {pod.scheduling, pod.message, false};  // Unschedulable: a node may come
  }
  if (!pod.trouble.empty()) return {pod.trouble, pod.message, false};
  if (around.wrong_size) return {"SizeChanged", "the pod was made anew and has another size than was asked for", true};
  if (pod.resize == "Infeasible") return {"ResizeInfeasible", "no room on the node for the size that was asked for", false};
  return {};
}

// What hinders the session where there is no pod, or what it lacks although there is one.
Reason reason_of_session(const SessionState& session, const Surroundings& around) {
  const WorkloadState& workload = *session.workload();
  if (workload.replicas > 1) return {"ReplicasEdited", "somebody asked for several pods; there may be one only", true};
  if (!workload.trouble.empty() && !has_workspace_pod(session)) {
    const bool quota = workload.message.find("exceeded quota") != std::string::npos;
    return {quota ? "QuotaExceeded" : workload.trouble, workload.message, true};
  }
  if (session.secrets.empty() || session.secrets.front().drifted)
    return {"SecretChanged", "the session's Secret is missing or was changed", true};
  if (session.services.empty() || session.services.front().drifted)
    return {"ServiceChanged", "the session's Service is missing or was changed", true};
  if (around.exposed && (session.routes.empty() || session.routes.front().drifted)) {
    return {"RouteChanged", "the session's Ingress or HTTPRoute is missing or was changed", true};
  }
  return {};
}

const char* state_of(const SessionState& session, const PodState* pod, const Reason& reason) {
  const WorkloadState* workload = session.workload();
  const bool wanted = workload != nullptr && workload->replicas > 0 && !workload->deleting;
  if (!wanted) return pod == nullptr ? "none" : "stopping";
  if (pod == nullptr) return reason.failed ? "failed" : "starting";
  if (pod->deleting) return "stopping";
  if (reason.failed) return "failed";
  return pod->started || pod->ready ? "running" : "starting";
}

Json volume_document(const std::string& id, const SessionState& session, bool foreign) {
  const VolumeState* volume = session.volume(volume_name(id, session));
  if (volume == nullptr) return Json::object({{"state", "missing"}});
  Json document = Json::object(
      {{"state", foreign || volume->token.empty() ? "foreign" : "present"}, {"name", volume->name}, {"uid", volume->uid}});
  if (!volume->token.empty()) document.set("token", volume->token);
  return document;
}

Json volumes_document(const SessionState& session) {
  Json list = Json::array();
  for (const VolumeState& volume : session.volumes) {
    Json entry = Json::object({{"name", volume.name}, {"uid", volume.uid}});
    if (!volume.token.empty()) entry.set("token", volume.token);
    list.push(entry);
  }
  return list;
}

Json failed_task(Json document, const std::string& reason, const std::string& message) {
  return document.set("state", "failed").set("reason", reason).set("message", message.substr(0, kMessageMax));
}

// What the agent left, where it is a whole document of the task's schema.
Json parse_result(const PodState* pod) {
  if (pod == nullptr || pod->result.empty()) return {};
  try {
    Json result = Json::parse(pod->result, "the task's result");
    return result["state"].is_string() ? result : Json();
  } catch (const sdk::Failure&) {
    return {};
  }
}

}  // namespace

std::string volume_name(const std::string& id, const SessionState& session) {
  const WorkloadState* workload = session.workload();
  if (workload != nullptr && !workload->claim.empty()) return workload->claim;
  const std::string first = "pvc-" + id;
  if (session.volume(first) != nullptr || session.volumes.empty()) return first;
  return std::max_element(session.volumes.begin(), session.volumes.end(),
                          [](const VolumeState& a, const VolumeState& b) {
                            return a.name.size() != b.name.size() ? a.name.size() < b.name.size() : a.name < b.name;
                          })
      ->name;
}

const PodState* workspace_pod(const SessionState& session) {
  const auto rank = [](const PodState& pod) { return pod.over ? 0 : pod.deleting ? 1 : 2; };
  const PodState* best = nullptr;
  for (const PodState& pod : session.pods) {
    if (!pod.task && (best == nullptr || rank(pod) > rank(*best))) best = &pod;
  }
  return best;
}

std::string pod_authority(const PodState& pod) {
  const bool v6 = pod.address.find(':') != std::string::npos;
  return (v6 ? "[" + pod.address + "]" : pod.address) + ":1111";
}

bool has_workspace_pod(const SessionState& session) {
  const PodState* pod = workspace_pod(session);
  return pod != nullptr && !pod->over;
}

Json workspace_document(const std::string& id, const SessionState& session, const Surroundings& around) {
  const WorkloadState* workload = session.workload();
  const PodState* pod = workspace_pod(session);
  const bool wanted = workload != nullptr && workload->replicas > 0 && !workload->deleting;
  if (pod != nullptr && pod->over && !wanted) pod = nullptr;
  Reason reason;
  const bool next_refused = wanted && pod != nullptr && pod->over && !workload->trouble.empty();
  if (wanted && pod != nullptr && !pod->deleting && !next_refused) reason = reason_of_pod(*pod, around);
  if (wanted && reason.name.empty()) reason = reason_of_session(session, around);
  const VolumeState* volume = session.volume(volume_name(id, session));
  if (reason.name.empty() && volume != nullptr && volume->deleting)
    reason = {"VolumeTerminating", "somebody deletes the volume", false};
  const std::string state = state_of(session, pod, reason);
  const bool ready = state == "running" && pod->ready;

  Json part = Json::object({{"state", state}, {"ready", ready}});
  if (pod != nullptr && !pod->over) {
    part.set("incarnation", pod->uid);
    part.set("size", Json::object({{"cpu_millis", pod->size.cpu_millis}, {"memory_bytes", pod->size.memory_bytes}}));
  }
  if (!reason.name.empty()) part.set("reason", reason.name).set("message", reason.message.substr(0, kMessageMax));
  std::int64_t generation = around.applied_generation;
  if (workload != nullptr) generation = std::max(generation, workload->generation);
  if (volume != nullptr) generation = std::max(generation, volume->generation);
  Json document = Json::object({{"id", id},
                                {"generation", generation},
                                {"volume", volume_document(id, session, around.volume_foreign)},
                                {"volumes", volumes_document(session)},
                                {"workload", part}});
  if (ready && !pod->address.empty()) document.set("endpoint", "tcp:" + pod_authority(*pod));
  return document;
}

Json read_signals(const std::string& text, std::int64_t now_us) {
  Json signals = Json::array();
  const Json answer = Json::parse(text, "the agent's answer");
  for (const Json& signal : answer["signals"].items()) {
    const std::string& name = signal["name"].str();
    const bool named =
        !name.empty() && name.size() <= 32 && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_") == std::string::npos;
    const std::int64_t at_us = signal["at"].integer();
    if (!named || at_us <= 0 || signals.items().size() >= kSignalsMax) continue;
    signals.push(Json::object({{"name", name}, {"at", std::min(at_us, now_us)}}));
  }
  return signals;
}

Json task_document(const JobState& job, const PodState* pod) {
  Json document = Json::object({{"operation", job.operation}, {"attempt", job.attempt}, {"state", "running"}});
  if (!job.succeeded && !job.failed) {
    if (pod != nullptr && !pod->ended && !pod->trouble.empty())  // of one that ended the Job will say how
      document.set("reason", pod->trouble).set("message", pod->message.substr(0, kMessageMax));
    if (pod != nullptr && !pod->scheduling.empty())
      document.set("reason", pod->scheduling).set("message", pod->message.substr(0, kMessageMax));
    return document;
  }
  const Json result = parse_result(pod);
  const bool agrees = !result.is_null() && result["state"].str() == (job.succeeded ? "succeeded" : "failed");
  if (agrees) {
    for (const char* member : {"state", "reason", "message", "receipt", "progress"}) {
      if (result.has(member)) document.set(member, result[member]);
    }
    return document;
  }
  if (job.succeeded) return failed_task(document, "NoResult", "the task's container ended well but left no result");
  if (job.reason == "DeadlineExceeded") return failed_task(document, "DeadlineExceeded", job.message);
  if (pod == nullptr) return failed_task(document, "Killed", "the task's pod is gone: its node was lost, or somebody deleted it");
  return failed_task(document, "Killed", "the task ended without a word of its own: " + pod->trouble + ": " + pod->message);
}

}  // namespace roost::kubernetes
