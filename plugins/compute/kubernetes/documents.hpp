// Documents: what is told to the host of a session and of a task, from what is known of the cluster. Pure functions.
#pragma once

#include <string>

#include "compute/kubernetes/state.hpp"

namespace roost::kubernetes {

// What else a workspace's document depends on.
struct Surroundings {
  bool storage_class_missing = false;   // that of the session's volume
  bool volume_foreign = false;          // an apply found that it bears another mark
  bool exposed = true;                  // an Ingress or HTTPRoute is expected
  bool wrong_size = false;              // the pod's, and it can be changed
  std::int64_t applied_generation = 0;  // a Deployment that is gone took its own with it; a resize does not touch it
};

// The name of the volume that a session has now: the one in its workload's template, else the one it was made with.
[[nodiscard]] std::string volume_name(const std::string& id, const SessionState& session);

// The pod of the workspace that counts: one that does not end, else one that does, else one that is over (a node evicted it, say:
// its ReplicaSet leaves it there and makes another). Null where there is none.
[[nodiscard]] const PodState* workspace_pod(const SessionState& session);
// Whether there is one that is not over.
[[nodiscard]] bool has_workspace_pod(const SessionState& session);

// Where its agent listens: ADDRESS:PORT. REQUIRES: the pod has an address.
[[nodiscard]] std::string pod_authority(const PodState& pod);

// By core/abi/schemas/workspace.json.
[[nodiscard]] Json workspace_document(const std::string& id, const SessionState& session, const Surroundings& surroundings);

// The signals in an agent's answer. The workspace's own user could answer in its place, so only names and times that have been
// are taken over, a few of them. Throws where it is not JSON.
[[nodiscard]] Json read_signals(const std::string& answer, std::int64_t now_us);

// By core/abi/schemas/task.json. `pod` may be null. REQUIRES: the job's pod is known, if there is one, where the job has ended.
[[nodiscard]] Json task_document(const JobState& job, const PodState* pod);

}  // namespace roost::kubernetes
