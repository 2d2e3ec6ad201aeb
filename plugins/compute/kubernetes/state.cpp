#include "compute/kubernetes/state.hpp"

#include <Poco/Base64Decoder.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <sstream>

#include "compute/kubernetes/objects.hpp"
#include "compute/kubernetes/quantity.hpp"

namespace roost::kubernetes {
namespace {

bool is_id(std::string_view text) {
  return text.size() == 8 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::int64_t number(const std::string& text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

Size read_limits(const Json& resources, Size fallback) {
  const Json& limits = resources["limits"];
  if (limits.has("cpu")) fallback.cpu_millis = cpu_millis(limits["cpu"].str());
  if (limits.has("memory")) fallback.memory_bytes = memory_bytes(limits["memory"].str());
  return fallback;
}

const Json& container_named(const Json& list, std::string_view name) {
  static const Json none;
  for (const Json& container : list.items()) {
    if (container["name"].str() == name) return container;
  }
  return none;
}

// Why a container does not run: what it waits for, else how it ended.
void read_trouble(const Json& status, PodState& pod) {
  const Json& waiting = status["state"]["waiting"];
  const Json& ended = status["state"]["terminated"].is_null() ? status["lastState"]["terminated"] : status["state"]["terminated"];
  const std::string& why = waiting["reason"].str();
  if (why == "ContainerCreating" || why == "PodInitializing") return;
  if (!why.empty()) {
    pod.trouble = why;
    pod.message = waiting["message"].str();
    if (why == "CrashLoopBackOff" && !ended["reason"].str().empty()) {
      pod.message = "it ended with code " + std::to_string(ended["exitCode"].integer()) + " (" + ended["reason"].str() + ") " +
                    ended["message"].str().substr(0, 200);
    }
    return;
  }
  const Json& now = status["state"]["terminated"];
  if (now.is_object()) {
    pod.trouble = now["reason"].str();
    pod.message = "it ended with code " + std::to_string(now["exitCode"].integer());
  }
}

void read_conditions(const Json& status, PodState& pod) {
  for (const Json& condition : status["conditions"].items()) {
    const std::string& type = condition["type"].str();
    const bool holds = condition["status"].str() == "True";
    if (type == "Ready") pod.ready = holds;
    if (type == "PodScheduled" && !holds) {
      pod.scheduling = condition["reason"].str();
      if (pod.message.empty()) pod.message = condition["message"].str();
    }
    if (type == "PodResizePending" && holds) pod.resize = condition["reason"].str();
  }
}

std::string decode(const std::string& base64) {
  std::istringstream in(base64);
  Poco::Base64Decoder decoder(in);
  return std::string(std::istreambuf_iterator<char>(decoder), {});
}

// The claim of the session's volume in a pod's spec.
std::string read_claim(const Json& pod) {
  for (const Json& volume : pod["volumes"].items()) {
    if (volume["name"].str() == "workspace") return volume["persistentVolumeClaim"]["claimName"].str();
  }
  return {};
}

}  // namespace

const char* name_of(Kind kind) {
  static constexpr const char* kNames[kKinds] = {
      "persistentvolumeclaims", "deployments", "pods", "services", "routes", "secrets", "jobs", "storageclasses"};
  return kNames[static_cast<int>(kind)];
}

bool SessionState::empty() const {
  return volumes.empty() && workloads.empty() && pods.empty() && services.empty() && routes.empty() && secrets.empty() &&
         jobs.empty();
}

bool SessionState::is_record() const {
  const bool other = !volumes.empty() || !workloads.empty() || !services.empty() || !routes.empty() || !secrets.empty();
  return !other &&
         std::all_of(jobs.begin(), jobs.end(), [](const JobState& job) { return job.task == "verify" && job.succeeded; }) &&
         std::all_of(pods.begin(), pods.end(), [](const PodState& pod) { return pod.task && pod.ended && pod.claim.empty(); });
}

const VolumeState* SessionState::volume(const std::string& name) const {
  const auto found = std::find_if(volumes.begin(), volumes.end(), [&](const VolumeState& volume) { return volume.name == name; });
  return found == volumes.end() ? nullptr : &*found;
}

std::string session_of(Kind kind, const Json& object) {
  const Json& metadata = object["metadata"];
  const std::string& name = metadata["name"].str();
  std::string id;
  switch (kind) {
    case Kind::volume:
      if (name.compare(0, 4, "pvc-") == 0 && (name.size() == 12 || name.compare(12, 2, "-g") == 0)) id = name.substr(4, 8);
      break;
    case Kind::pod:
    case Kind::job: id = metadata["labels"][kSession].str(); break;
    case Kind::storage_class: break;
    default:
      if (name.size() == 13 && name.compare(0, 5, "user-") == 0) id = name.substr(5);
  }
  return is_id(id) ? id : std::string();
}

Object read_object(const Json& object) {
  const Json& metadata = object["metadata"];
  return {metadata["name"].str(), metadata["uid"].str(), metadata["resourceVersion"].str(), metadata.has("deletionTimestamp")};
}

VolumeState read_volume(const Json& object) {
  VolumeState volume{read_object(object)};
  const Json& annotations = object["metadata"]["annotations"];
  volume.token = annotations[kToken].str();
  volume.generation = number(annotations[kGeneration].str());
  volume.bound = object["status"]["phase"].str() == "Bound";
  volume.storage_class = object["spec"]["storageClassName"].str();
  return volume;
}

WorkloadState read_workload(const Json& object) {
  WorkloadState workload{read_object(object)};
  workload.generation = number(object["metadata"]["annotations"][kGeneration].str());
  workload.replicas = object["spec"]["replicas"].integer(1);
  const Json& pod = object["spec"]["template"]["spec"];
  workload.claim = read_claim(pod);
  workload.size = read_limits(container_named(pod["containers"], kContainer)["resources"], {});
  for (const Json& condition : object["status"]["conditions"].items()) {
    if (condition["type"].str() != "ReplicaFailure" || condition["status"].str() != "True") continue;
    workload.trouble = condition["reason"].str();
    workload.message = condition["message"].str();
  }
  return workload;
}

PodState read_pod(const Json& object) {
  PodState pod{read_object(object)};
  const Json& labels = object["metadata"]["labels"];
  const Json& status = object["status"];
  pod.task = labels[kRole].str() == "task";
  pod.phase = status["phase"].str();
  pod.address = status["podIP"].str();
  pod.node = object["spec"]["nodeName"].str();
  pod.claim = read_claim(object["spec"]);
  if (pod.task) pod.job = labels["batch.kubernetes.io/job-name"].str();
  if (pod.task) pod.job_uid = labels["batch.kubernetes.io/controller-uid"].str();
  const std::string container = pod.task ? "task" : kContainer;
  pod.asked = read_limits(container_named(object["spec"]["containers"], container)["resources"], {});
  const Json& main = container_named(status["containerStatuses"], container);
  pod.size = read_limits(main["resources"], pod.asked);
  pod.started = main["state"].has("running");
  const bool final_phase = pod.phase == "Succeeded" || pod.phase == "Failed";
  pod.over = final_phase && !pod.deleting;
  pod.ended = final_phase || main["state"].has("terminated");
  pod.result = main["state"]["terminated"]["message"].str();
  for (const Json& init : status["initContainerStatuses"].items()) {
    if (!init["state"].has("running") && init["state"]["terminated"]["exitCode"].integer(1) != 0) read_trouble(init, pod);
  }
  if (pod.trouble.empty()) read_trouble(main, pod);
  if (status.has("reason")) {  // the pod as a whole: Evicted, NodeLost, ...
    pod.trouble = status["reason"].str();
    pod.message = status["message"].str();
  }
  read_conditions(status, pod);
  return pod;
}

// What the server filled in does not count; what Roost wrote does.
PlainState read_service(const Settings& settings, const std::string& id, const Json& object) {
  PlainState plain{read_object(object)};
  plain.drifted = !contains(object["spec"], service(settings, id)["spec"]);
  return plain;
}

PlainState read_route(const Settings& settings, const std::string& id, const Json& object) {
  PlainState plain{read_object(object)};
  const Json& spec = object["spec"];
  const std::string& host = settings.exposure == "gateway"
                                ? (spec["hostnames"].items().empty() ? std::string() : spec["hostnames"].items().front().str())
                                : (spec["rules"].items().empty() ? std::string() : spec["rules"].items().front()["host"].str());
  plain.digest = host;
  plain.drifted = host.find(id) == std::string::npos || !contains(spec, route(settings, id, host)["spec"]);
  return plain;
}

PlainState read_secret(const Json& object) {
  PlainState plain{read_object(object)};
  Json data = Json::object();
  for (const Json::Member& member : object["data"].members()) data.set(member.first, decode(member.second.str()));
  plain.digest = secret_digest(data);
  plain.token = data["token"].str();
  plain.drifted = plain.digest != object["metadata"]["annotations"][kDigest].str();
  return plain;
}

JobState read_job(const Json& object) {
  JobState job{read_object(object)};
  const Json& labels = object["metadata"]["labels"];
  job.operation = labels[kOperation].str();
  job.attempt = number(labels[kAttempt].str());
  job.task = labels[kTask].str();
  for (const Json& finalizer : object["metadata"]["finalizers"].items()) {
    job.going = job.going || (job.deleting && finalizer.str() == "foregroundDeletion");
  }
  for (const Json& condition : object["status"]["conditions"].items()) {
    if (condition["status"].str() != "True") continue;
    const std::string& type = condition["type"].str();
    job.succeeded = job.succeeded || type == "Complete";
    if (type != "Failed") continue;
    job.failed = true;
    job.reason = condition["reason"].str();
    job.message = condition["message"].str();
  }
  return job;
}

bool older(const std::string& a, const std::string& b) {
  const auto decimal = [](const std::string& text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (!decimal(a) || !decimal(b)) return false;
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

}  // namespace roost::kubernetes
