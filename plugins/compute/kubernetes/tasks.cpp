// Tasks: Jobs that run the agent. One Job an attempt; what it leaves as its termination message is the task's result.
#include <algorithm>

#include "compute/kubernetes/compute.hpp"
#include "compute/kubernetes/objects.hpp"

namespace roost::kubernetes {
namespace {

constexpr std::uint64_t kOldPodRetryMs = 500;

const JobState* find_job(const SessionState& session, const std::string& operation, std::int64_t attempt) {
  const auto found = std::find_if(session.jobs.begin(), session.jobs.end(),
                                  [&](const JobState& job) { return job.operation == operation && job.attempt == attempt; });
  return found == session.jobs.end() ? nullptr : &*found;
}

// A volume that one pod at a time may use cannot be read beside the workspace's own.
void check_shared(const Json& claim, const Task& task) {
  if (!task.live) return;
  for (const Json& mode : claim["spec"]["accessModes"].items()) {
    if (mode.str() != "ReadWriteOncePod") return;
  }
  throw sdk::Failure(ROOST_UNSUPPORTED,
                     "volume " + task.volume.name +
                         " has the access mode ReadWriteOncePod: it cannot be backed up while the workspace runs. "
                         "Put the session to sleep first, or give new volumes the compute.config.access_mode "
                         "ReadWriteOnce");
}

}  // namespace

Compute::TaskName Compute::TaskName::parse(std::string_view text) {
  const Json request = Json::parse(text, "task request");
  TaskName name{request["id"].str(), request["operation"].str(), request["attempt"].integer(1)};
  check_id(name.id);
  check_id(name.operation);
  return name;
}

const PodState* Compute::task_pod(const SessionState& session, const JobState& job) const {
  const PodState* best = nullptr;
  for (const PodState& pod : session.pods) {
    if (pod.job_uid == job.uid && (best == nullptr || best->result.empty())) best = &pod;
  }
  return best;
}

// Read live: what is saved or filled must be this very volume.
void Compute::check_task_volume(const sdk::Call& call, const Task& task) {
  if (task.volume.name.empty()) return;
  const Outcome outcome = client_->send_all(call, {Request::get(path(Kind::volume, task.volume.name))}).front();
  if (outcome.is(404)) throw sdk::Failure(ROOST_CONFLICT, "volume " + task.volume.name + " is not there");
  if (outcome.error != nullptr) throw ApiError(*outcome.error);
  const VolumeState volume = read_volume(outcome.object);
  view_->put(Kind::volume, outcome.object);
  const bool ours =
      volume.token == task.volume.token && (task.volume.uid.empty() || volume.uid == task.volume.uid) && !volume.deleting;
  if (!ours)
    throw sdk::Failure(ROOST_CONFLICT, "volume " + task.volume.name + " is not the one expected: its UID is " + volume.uid);
  check_shared(outcome.object, task);
}

// The volume that a restore fills: made where it is not there, found by its token where an earlier start made it.
void Compute::ensure_target(const sdk::Call& call, Task& task) {
  if (task.volume.token.empty()) throw sdk::Failure(ROOST_INVALID, "task-spec: volume.token is missing");
  Spec spec;
  spec.id = task.id;
  spec.user_id = task.user_id;
  spec.generation = task.generation;
  spec.volume = task.volume;
  check_fence(spec, view_->session(task.id));
  if (task.bytes > task.volume.size_bytes) {
    throw sdk::Failure(ROOST_EXHAUSTED, "the restore needs " + std::to_string(task.bytes) + " bytes; volume " + task.volume.name +
                                            " has " + std::to_string(task.volume.size_bytes));
  }
  Outcome outcome = client_->send_all(call, {Request::get(path(Kind::volume, task.volume.name))}).front();
  if (outcome.is(404) && task.volume.create && task.volume.uid.empty()) {
    outcome = client_->send_all(call, {Request::post(path(Kind::volume), volume_claim(settings_, spec))}).front();
    if (outcome.error != nullptr && outcome.error->code() == ROOST_EXISTS)
      outcome = client_->send_all(call, {Request::get(path(Kind::volume, task.volume.name))}).front();
  }
  if (outcome.is(404)) throw sdk::Failure(ROOST_CONFLICT, "volume " + task.volume.name + " is not there");
  if (outcome.error != nullptr) throw ApiError(*outcome.error);
  view_->put(Kind::volume, outcome.object);
  const VolumeState volume = read_volume(outcome.object);
  if (volume.token != task.volume.token || volume.deleting)
    throw sdk::Failure(ROOST_CONFLICT, "volume " + task.volume.name + " is there and is not this restore's");
  task.volume.uid = volume.uid;
  task.document.at("volume").set("uid", volume.uid);
  task.document.set("owner", settings_.user);
}

// The restore's own Job, where it is there. Where somebody deleted it, its pod may write for its grace period still: the next one
// is made when no pod is left on the volume, as a workspace's is. Asked of the server itself.
std::optional<JobState> Compute::running_restore(const sdk::Call& call, const Task& task) {
  refresh_jobs(call, task.id);
  refresh_pods(call, task.id);
  const SessionState session = view_->session(task.id);
  const JobState* job = find_job(session, task.operation, task.attempt);
  if (job != nullptr && !job->deleting) return *job;
  for (const PodState& pod : session.pods) {
    if (pod.claim != task.volume.name || pod.over) continue;
    throw sdk::Failure(ROOST_CONFLICT, "volume " + task.volume.name + ": pod " + pod.name + " may still write to it",
                       kOldPodRetryMs);
  }
  return std::nullopt;
}

// A verify's Job has one name for all times: an earlier one makes room once it has ended.
JobState Compute::make_job(const sdk::Call& call, const Task& task) {
  const Json wanted = job(settings_, task);
  const std::string name = wanted["metadata"]["name"].str();
  for (int round = 0; round < 2; ++round) {
    const Outcome outcome = client_->send_all(call, {Request::post(path(Kind::job), wanted)}).front();
    if (outcome.error == nullptr) {
      view_->put(Kind::job, outcome.object);
      return read_job(outcome.object);
    }
    if (outcome.error->code() != ROOST_EXISTS) throw ApiError(*outcome.error);
    const Json present = client_->send(call, Request::get(path(Kind::job, name)));
    const JobState found = read_job(present);
    view_->put(Kind::job, present);
    const bool own = found.operation == task.operation && found.attempt == task.attempt;
    if (own && !found.deleting) return found;
    if (!own && !found.deleting && !found.succeeded && !found.failed)
      throw sdk::Failure(ROOST_CONFLICT, "Job " + name + " of another operation still runs", 1000);
    delete_job(call, task.id, found);
  }
  throw sdk::Failure(ROOST_CONFLICT, "Job " + name + " is there and is not this task's", 1000);
}

// One that an earlier Job of that name left goes when the cluster comes to it, and holds what was meant for that Job.
void Compute::ensure_task_secret(const sdk::Call& call, const Task& task, const std::string& job_uid) {
  const Json wanted = task_secret(settings_, task, job_uid);
  const std::string name = wanted["metadata"]["name"].str();
  for (int round = 0; round < 2; ++round) {
    const Outcome outcome = client_->send_all(call, {Request::post(path(Kind::secret), wanted)}).front();
    if (outcome.error == nullptr) return;
    if (outcome.error->code() != ROOST_EXISTS) throw ApiError(*outcome.error);
    const Outcome present = client_->send_all(call, {Request::get(path(Kind::secret, name))}).front();
    if (present.is(404)) continue;
    if (present.error != nullptr) throw ApiError(*present.error);
    const Json& metadata = present.object["metadata"];
    for (const Json& owner : metadata["ownerReferences"].items()) {
      if (owner["uid"].str() == job_uid) return;
    }
    delete_task_secret(call, name, metadata["uid"].str());
  }
  throw sdk::Failure(ROOST_CONFLICT, "Secret " + name + " is there and is not this task's", 1000);
}

std::string Compute::task_start(const sdk::Call& call, std::string_view text) {
  Task task = Task::parse(text);
  view_->wait_until_listed(call);
  if (task.kind == "restore") ensure_target(call, task);
  check_task_volume(call, task);
  const std::optional<JobState> present = task.kind == "restore" ? running_restore(call, task) : std::nullopt;
  const JobState made = present ? *present : make_job(call, task);
  if (!made.succeeded && !made.failed) ensure_task_secret(call, task, made.uid);
  const SessionState session = view_->session(task.id);
  return task_document(made, task_pod(session, made)).dump();
}

std::string Compute::task_observe(const sdk::Call& call, std::string_view text) {
  const TaskName name = TaskName::parse(text);
  view_->wait_until_listed(call);
  SessionState session = view_->session(name.id);
  const JobState* found = find_job(session, name.operation, name.attempt);
  if (found == nullptr || found->succeeded || found->failed) {  // news of its end: its pod's last word may not have come yet
    refresh_jobs(call, name.id);
    refresh_pods(call, name.id);
    session = view_->session(name.id);
    found = find_job(session, name.operation, name.attempt);
  }
  if (found == nullptr) return Json::object({{"state", "none"}}).dump();
  const PodState* const pod = task_pod(session, *found);
  Json document = task_document(*found, pod);
  if (lacks_pod(*found, pod != nullptr)) {
    document.set("reason", "NoPod")
        .set("message", "Job " + found->name + " has no pod yet: kubectl describe job " + found->name +
                            " says why, such as a quota or what the namespace forbids");
  }
  if (pod != nullptr && pod->started && !pod->ended && !found->succeeded && !found->failed) {
    if (Json told = progress(call, *pod); !told.is_null()) document.set("progress", std::move(told));
  }
  return document.dump();
}

// The Job with its pods: a finished pod would keep the volume's claim Terminating.
void Compute::delete_job(const sdk::Call& call, const std::string& id, const JobState& job) {
  const Json options = Json::object({{"apiVersion", "v1"},
                                     {"kind", "DeleteOptions"},
                                     {"propagationPolicy", "Foreground"},
                                     {"preconditions", Json::object({{"uid", job.uid}})}});
  if (!job.going) {
    const Outcome outcome = client_->send_all(call, {Request::remove(path(Kind::job, job.name), options)}).front();
    if (outcome.error != nullptr && !outcome.is(404)) throw ApiError(*outcome.error);
  }
  Patience patience;
  while (true) {
    refresh_jobs(call, id);
    refresh_pods(call, id);
    const SessionState session = view_->session(id);
    const bool job_left =
        std::any_of(session.jobs.begin(), session.jobs.end(), [&](const JobState& left) { return left.uid == job.uid; });
    const bool pod_left =
        std::any_of(session.pods.begin(), session.pods.end(), [&](const PodState& pod) { return pod.job == job.name; });
    if (!job_left && !pod_left) return;
    if (!patience.wait(call)) still_going("Job " + job.name + " is being deleted, and is not gone yet");
  }
}

// It may hold the keys of the backup's storage. The other tasks' goes with their Jobs, which own it.
void Compute::delete_task_secret(const sdk::Call& call, const std::string& name, const std::string& uid) {
  Json options = Json::object({{"apiVersion", "v1"}, {"kind", "DeleteOptions"}});
  if (!uid.empty()) options.set("preconditions", Json::object({{"uid", uid}}));
  const Outcome outcome = client_->send_all(call, {Request::remove(path(Kind::secret, name), options)}).front();
  if (outcome.error != nullptr && !outcome.is(404)) throw ApiError(*outcome.error);
}

void Compute::task_remove(const sdk::Call& call, std::string_view text) {
  const TaskName name = TaskName::parse(text);
  view_->wait_until_listed(call);
  refresh_jobs(call, name.id);
  const SessionState session = view_->session(name.id);
  const JobState* found = find_job(session, name.operation, name.attempt);
  if (found == nullptr) return;
  if (found->task == "verify" && found->succeeded) {  // nothing of it runs; it stays a day, for people to see
    delete_task_secret(call, found->name);
    return;
  }
  delete_job(call, name.id, *found);
}

}  // namespace roost::kubernetes
