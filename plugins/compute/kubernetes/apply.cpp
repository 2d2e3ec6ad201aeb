// apply: what a session's spec makes of the cluster. Writes of a create: 5; of a scale, a sleep or a wake: 1.
#include <algorithm>
#include <iterator>

#include "compute/kubernetes/compute.hpp"
#include "compute/kubernetes/objects.hpp"

namespace roost::kubernetes {
namespace {

constexpr int kRounds = 3;
constexpr std::uint64_t kOldPodRetryMs = 500;
constexpr std::chrono::milliseconds kReadyLimit{250};

[[noreturn]] void conflict(const std::string& message, std::uint64_t retry_after_ms = 0) {
  throw sdk::Failure(ROOST_CONFLICT, message, retry_after_ms);
}

// An object of that name stood in the way, or was not as the view had it: it pays to look again. A 422 is about that where a JSON
// patch did not fit, which names no field, or where the object is another one; any other field is refused the next time as well.
bool is_stale(const ApiError& error) {
  if (error.status() == 422) return error.field().empty() || error.field() == "metadata.uid";
  return error.status() == 409 || error.status() == 404;
}

}  // namespace

// A spec that is older than one already obeyed comes from a leader that was paused.
void Compute::check_fence(const Spec& spec, const SessionState& session) const {
  std::int64_t newest = session.workload() != nullptr ? session.workload()->generation : 0;
  if (const VolumeState* volume = session.volume(spec.volume.name)) newest = std::max(newest, volume->generation);
  {
    const std::lock_guard<std::mutex> lock(fence_mutex_);
    if (const auto known = fences_.find(spec.id); known != fences_.end()) newest = std::max(newest, known->second.accepted);
  }
  if (spec.generation < newest) {
    conflict("session " + spec.id + ": generation " + std::to_string(spec.generation) + " is older than " +
             std::to_string(newest) + ", which was applied");
  }
}

void Compute::accept(const Spec& spec) {
  const std::lock_guard<std::mutex> lock(fence_mutex_);
  std::int64_t& accepted = fences_[spec.id].accepted;
  accepted = std::max(accepted, spec.generation);
}

void Compute::applied(const Spec& spec) {
  const std::lock_guard<std::mutex> lock(fence_mutex_);
  Fence& fence = fences_[spec.id];
  if (spec.generation < fence.applied) return;
  fence.applied = spec.generation;
  fence.size = spec.size;
}

void Compute::forget(const std::string& id) {
  const std::lock_guard<std::mutex> lock(fence_mutex_);
  fences_.erase(id);
  foreign_.erase(id);
}

// What observe says of it until an apply with the right mark comes.
void Compute::note_foreign(const Spec& spec, const VolumeState& volume) {
  const std::lock_guard<std::mutex> lock(fence_mutex_);
  if (volume.token == spec.volume.token) {
    foreign_.erase(spec.id);
  } else {
    foreign_[spec.id] = volume.uid;
  }
}

std::string Compute::apply(const sdk::Call& call, std::string_view text) {
  const Spec spec = Spec::parse(text);
  view_->wait_until_listed(call);
  for (int round = 1;; ++round) {
    try {
      apply_once(call, spec);
      applied(spec);
      return document(spec.id);
    } catch (const ApiError& error) {
      const bool last = round == kRounds;
      if (!is_stale(error) || (last && error.status() == 422)) throw;
      if (last) conflict(error.what());
    }
    refresh(call, spec.id);
  }
}

void Compute::apply_once(const sdk::Call& call, const Spec& spec) {
  check_fence(spec, view_->session(spec.id));
  accept(spec);
  if (spec.running && exposed() && host_of(spec.url).empty())
    throw sdk::Failure(ROOST_INVALID, "session " + spec.id + ": its url names no host, which its Ingress needs");
  if (!spec.running) stop(call, spec);
  bool made = false;
  const bool there = ensure_volume(call, spec, &made);
  if (spec.running && there) start(call, spec, made);
}

bool Compute::ensure_volume(const sdk::Call& call, const Spec& spec, bool* made) {
  const SessionState session = view_->session(spec.id);
  const VolumeState* volume = session.volume(spec.volume.name);
  VolumeState found;
  if (volume == nullptr) {
    const bool create = spec.volume.create && spec.volume.uid.empty();  // one that had an identity is never made anew
    const Request request = create ? Request::post(path(Kind::volume), volume_claim(settings_, spec))
                                   : Request::get(path(Kind::volume, spec.volume.name));
    const Outcome outcome = client_->send_all(call, {request}).front();
    if (outcome.is(404) && !create) return false;
    if (outcome.error != nullptr && outcome.error->code() == ROOST_EXISTS) {
      found = read_volume(client_->send(call, Request::get(path(Kind::volume, spec.volume.name))));
    } else if (outcome.error != nullptr) {
      throw ApiError(*outcome.error);
    } else {
      view_->put(Kind::volume, outcome.object);
      found = read_volume(outcome.object);
      *made = create;
    }
    volume = &found;
  }
  note_foreign(spec, *volume);
  if (volume->token != spec.volume.token)
    conflict("volume " + spec.volume.name + " is there but is not this session's: it bears another mark");
  if (!spec.volume.uid.empty() && volume->uid != spec.volume.uid) {
    conflict("volume " + spec.volume.name + " is another one than expected: its UID is " + volume->uid + ", not " +
             spec.volume.uid);
  }
  if (spec.running && volume->deleting) conflict("volume " + spec.volume.name + " is being deleted");
  return true;
}

// Two pods never share a volume: the new one is asked for when nothing is left of the old one. Asked of the server itself, for
// a pod that a watch has not shown yet would count.
void Compute::check_no_pod(const sdk::Call& call, const std::string& id) {
  if (!has_workspace_pod(view_->session(id))) refresh_pods(call, id);
  if (has_workspace_pod(view_->session(id)))
    conflict("session " + id + ": the pod of the last run has not ended yet", kOldPodRetryMs);
}

// Where the Deployment itself is not written, its version does not fence: it is read instead.
void Compute::check_fence_live(const sdk::Call& call, const Spec& spec) {
  const Outcome outcome = client_->send_all(call, {Request::get(path(Kind::workload, workload_name(spec.id)))}).front();
  if (outcome.error != nullptr) throw ApiError(*outcome.error);
  view_->put(Kind::workload, outcome.object);
  check_fence(spec, view_->session(spec.id));
}

void Compute::start(const sdk::Call& call, const Spec& spec, bool fresh_volume) {
  SessionState session = view_->session(spec.id);
  const WorkloadState* workload = session.workload();
  if (workload != nullptr && workload->replicas == 1 && workload->generation != spec.generation) {
    check_fence_live(call, spec);
    session = view_->session(spec.id);
    workload = session.workload();
  }
  Writes writes;
  if (workload != nullptr && workload->deleting)
    conflict("session " + spec.id + ": its Deployment is being deleted", kOldPodRetryMs);
  if (workload == nullptr) {
    if (!fresh_volume) check_no_pod(call, spec.id);
    writes.emplace_back(Kind::workload, Request::post(path(Kind::workload), deployment(settings_, spec)));
  } else if (workload->replicas == 0) {
    check_no_pod(call, spec.id);
    writes.emplace_back(Kind::workload, change(*workload, spec, true));
  } else if (workload->claim != spec.volume.name) {
    conflict("session " + spec.id + " runs on volume " + workload->claim + ", not on " + spec.volume.name + ": stop it first");
  } else if (workload->replicas != 1) {
    writes.emplace_back(Kind::workload, change(*workload, spec, false));
  }
  write_start(call, spec.id, missing_secret(spec, session), std::move(writes), missing_ways(spec, session));
  const PodState* pod = workspace_pod(session);
  if (workload != nullptr && workload->replicas == 1 && pod != nullptr && !pod->deleting && !pod->over &&
      pod->asked != spec.size) {
    resize(call, spec, *pod, *workload);
  }
}

// The template catches up here, where its change rolls nobody.
void Compute::stop(const sdk::Call& call, const Spec& spec) {
  const SessionState session = view_->session(spec.id);
  const WorkloadState* workload = session.workload();
  if (workload == nullptr) {  // the volume keeps the generation, so that a start which is still on its way is refused
    const VolumeState* volume = session.volume(spec.volume.name);
    if (volume == nullptr || volume->token != spec.volume.token || volume->generation >= spec.generation) return;
    const Json annotations = Json::object({{kGeneration, std::to_string(spec.generation)}});
    const Json metadata =
        Json::object({{"uid", volume->uid}, {"resourceVersion", volume->version}, {"annotations", annotations}});
    const Json patch = Json::object({{"metadata", metadata}});
    return write(call,
                 {{Kind::volume, Request::merge_patch(path(Kind::volume, volume->name) + "?fieldManager=" + kManager, patch)}});
  }
  if (workload->deleting) return;
  if (workload->replicas == 0 && workload->generation >= spec.generation) return;
  const bool same_volume = workload->claim == spec.volume.name;
  write(call, {{Kind::workload, change(*workload, spec, workload->replicas != 0 && same_volume)}});
}

// A single pod comes up sooner where the controllers are busy with nothing else: what leads to it follows when it is ready, or
// when that takes longer, so that its visitors hear that it starts. Among other starts nothing is gained by that: all at once
// then.
void Compute::write_start(const sdk::Call& call, const std::string& id, Writes secret, Writes workload, Writes ways) {
  struct Counted {
    std::atomic<int>& count;
    const bool alone = ++count == 1;
    ~Counted() { --count; }
  } start{starts_};
  if (!start.alone || workload.empty() || ways.empty()) {
    for (Writes* more : {&workload, &ways}) std::move(more->begin(), more->end(), std::back_inserter(secret));
    return write(call, std::move(secret));
  }
  write(call, std::move(secret));
  write(call, std::move(workload));
  view_->wait_for(call, id, kReadyLimit, [](const SessionState& now) {
    const PodState* pod = workspace_pod(now);
    return pod != nullptr && pod->ready;
  });
  write(call, std::move(ways));
}

// Replicas and generation, and at no replicas the template. Only the version that the view has is changed: a newer one is 409.
Request Compute::change(const WorkloadState& workload, const Spec& spec, bool with_template) const {
  const auto replace = [](const char* where, Json value) {
    return Json::object({{"op", "replace"}, {"path", where}, {"value", std::move(value)}});
  };
  Json operations = Json::array(
      {replace("/metadata/uid", workload.uid), replace("/metadata/resourceVersion", workload.version),
       Json::object(
           {{"op", "add"}, {"path", "/metadata/annotations/roost.dev~1generation"}, {"value", std::to_string(spec.generation)}}),
       replace("/spec/replicas", spec.running ? 1 : 0)});
  if (with_template) operations.push(replace("/spec/template", pod_template(settings_, spec)));
  return Request::json_patch(path(Kind::workload, workload.name) + "?fieldManager=" + kManager, operations);
}

// Makes an object that is missing, or mends one that somebody changed.
void Compute::add(Kind kind, const std::vector<PlainState>& present, const Json& wanted, bool changed, Writes& writes) const {
  if (present.empty()) {
    writes.emplace_back(kind, Request::post(path(kind), wanted));
  } else if (changed) {
    const PlainState& old = present.front();
    Json patch = wanted;
    patch.at("metadata").set("uid", old.uid).set("resourceVersion", old.version);
    if (kind == Kind::secret && settings_.api_url.empty()) patch.set("data", Json::object({{"api-url", Json()}}));
    writes.emplace_back(kind, Request::merge_patch(path(kind, old.name) + "?fieldManager=" + kManager, patch));
  }
}

Compute::Writes Compute::missing_secret(const Spec& spec, const SessionState& session) const {
  const Json wanted = secret(settings_, spec);
  const bool changed = !session.secrets.empty() && session.secrets.front().digest != secret_digest(wanted["stringData"]);
  Writes writes;
  add(Kind::secret, session.secrets, wanted, changed, writes);
  return writes;
}

// What leads to the pod: its Service, and its Ingress or HTTPRoute.
Compute::Writes Compute::missing_ways(const Spec& spec, const SessionState& session) const {
  Writes writes;
  const bool service_changed = !session.services.empty() && session.services.front().drifted;
  add(Kind::service, session.services, service(settings_, spec.id), service_changed, writes);
  if (!exposed()) return writes;
  const std::string host = host_of(spec.url);
  const bool route_changed = !session.routes.empty() && (session.routes.front().drifted || session.routes.front().digest != host);
  add(Kind::route, session.routes, route(settings_, spec.id, host), route_changed, writes);
  return writes;
}

// All at once; then the first that failed, if any.
void Compute::write(const sdk::Call& call, Writes writes) {
  if (writes.empty()) return;
  call.check();
  std::vector<Request> requests;
  requests.reserve(writes.size());
  for (auto& [kind, request] : writes) requests.push_back(std::move(request));
  const std::vector<Outcome> outcomes = client_->send_all(call, requests);
  std::shared_ptr<const ApiError> worst;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i].error == nullptr) {
      view_->put(writes[i].first, outcomes[i].object);
    } else if (worst == nullptr || worst->status() == 409) {  // a stale object is mended by looking again, the others are not
      worst = outcomes[i].error;
    }
  }
  if (worst != nullptr) throw ApiError(*worst);
}

// In place, without a restart, where the server can; else the template changes and the pod is rolled.
void Compute::resize(const sdk::Call& call, const Spec& spec, const PodState& pod, const WorkloadState& workload) {
  {
    const std::lock_guard<std::mutex> lock(fence_mutex_);
    fences_[spec.id].resized = pod.uid;
  }
  const Json container = Json::object({{"name", kContainer}, {"resources", resources(settings_, spec.size)}});
  const Json patch = Json::object(
      {{"metadata", Json::object({{"uid", pod.uid}})}, {"spec", Json::object({{"containers", Json::array({container})}})}});
  const Outcome outcome =
      client_->send_all(call, {Request::strategic_patch(path(Kind::pod, pod.name) + "/resize", patch)}).front();
  if (outcome.error == nullptr) {
    view_->put(Kind::pod, outcome.object);
    return;
  }
  const bool gone =
      outcome.is(409) || (outcome.is(404) && std::string(outcome.error->what()).find(pod.name) != std::string::npos &&
                          outcome.error->reason() == "NotFound" &&
                          std::string(outcome.error->what()).find("could not find the requested resource") == std::string::npos);
  if (gone) throw ApiError(*outcome.error);
  if (!outcome.is(404) && !outcome.is(405) && !outcome.is(422)) throw ApiError(*outcome.error);
  log_.info("session " + spec.id + ": its pod cannot be resized in place and is rolled: " + outcome.error->what());
  write(call, {{Kind::workload, change(workload, spec, true)}});
}

}  // namespace roost::kubernetes
