// State: what is kept of the cluster's objects, session by session: the few members that decisions need, read from the API's
// documents by pure functions.
// Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compute/kubernetes/json.hpp"
#include "compute/kubernetes/settings.hpp"

namespace roost::kubernetes {

enum class Kind { volume, workload, pod, service, route, secret, job, storage_class };
inline constexpr int kKinds = 8;
[[nodiscard]] const char* name_of(Kind kind);

struct Object {
  std::string name;
  std::string uid;
  std::string version;    // resourceVersion
  bool deleting = false;  // it has a deletionTimestamp
};

struct VolumeState : Object {
  std::string token;
  std::int64_t generation = 0;
  bool bound = false;
  std::string storage_class;
};

struct WorkloadState : Object {
  std::int64_t generation = 0;  // roost.dev/generation
  std::int64_t replicas = 0;    // asked for
  std::string claim;            // the volume in its template
  Size size;                    // in its template
  std::string trouble;          // reason of a ReplicaFailure, e.g. FailedCreate
  std::string message;
};

struct PodState : Object {
  bool task = false;
  std::string phase;  // Pending, Running, Succeeded, Failed
  bool ready = false;
  bool started = false;  // the container runs
  bool ended = false;    // it ran to its end, which the pod's phase and the Job say a moment later
  // The pod itself is (phase Succeeded or Failed) and nobody deletes it: nothing of it runs again, though it may stay for long.
  bool over = false;
  std::string scheduling;  // reason why it is not scheduled
  std::string trouble;     // reason of a waiting or ended container, or of the pod
  std::string message;
  std::string resize;  // reason why a resize waits: Infeasible, Deferred
  Size size;           // in force, as far as the node says; else as asked
  Size asked;          // in its spec
  std::string address;
  std::string node;
  std::string job;  // of a task: its Job
  std::string job_uid;
  std::string claim;   // of the session's volume that it mounts; empty: none
  std::string result;  // what the task's container left as its termination message
};

struct PlainState : Object {
  std::string digest;    // Secret: of its data now
  std::string token;     // Secret: the session's; secret
  bool drifted = false;  // somebody changed what Roost wrote
};

struct JobState : Object {
  std::string operation;
  std::int64_t attempt = 0;
  std::string task;    // backup, verify, restore
  bool going = false;  // it is being deleted, and its pods before it
  bool succeeded = false;
  bool failed = false;
  std::string reason;
  std::string message;
};

// Everything of one session. Each list has at most one object of a name.
struct SessionState {
  std::vector<VolumeState> volumes;
  std::vector<WorkloadState> workloads;
  std::vector<PodState> pods;  // of workspaces and of tasks
  std::vector<PlainState> services;
  std::vector<PlainState> routes;
  std::vector<PlainState> secrets;
  std::vector<JobState> jobs;
  [[nodiscard]] bool empty() const;
  // Nothing is left but Jobs that verified a backup and stay for a while, for people to see.
  [[nodiscard]] bool is_record() const;
  [[nodiscard]] const WorkloadState* workload() const { return workloads.empty() ? nullptr : &workloads.front(); }
  [[nodiscard]] const VolumeState* volume(const std::string& name) const;
};

// The id that an object belongs to; empty: none of ours.
[[nodiscard]] std::string session_of(Kind kind, const Json& object);

[[nodiscard]] Object read_object(const Json& object);
[[nodiscard]] VolumeState read_volume(const Json& object);
[[nodiscard]] WorkloadState read_workload(const Json& object);
[[nodiscard]] PodState read_pod(const Json& object);
[[nodiscard]] PlainState read_service(const Settings& settings, const std::string& id, const Json& object);
[[nodiscard]] PlainState read_route(const Settings& settings, const std::string& id, const Json& object);
[[nodiscard]] PlainState read_secret(const Json& object);
[[nodiscard]] JobState read_job(const Json& object);

// Whether version a is known to be older than b. Versions are opaque except that, since Kubernetes 1.35, those which are decimal
// numbers are ordered as such; for others the answer is no.
[[nodiscard]] bool older(const std::string& a, const std::string& b);

}  // namespace roost::kubernetes
