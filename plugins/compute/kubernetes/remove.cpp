// remove: a workload with all that leads to it, or a volume. Each deletion names the UID that a live read has just shown, and
// only a live read says that it is gone.
#include "compute/kubernetes/compute.hpp"
#include "compute/kubernetes/objects.hpp"

namespace roost::kubernetes {
namespace {

Json delete_options(const std::string& uid) {
  return Json::object({{"apiVersion", "v1"},
                       {"kind", "DeleteOptions"},
                       {"propagationPolicy", "Background"},
                       {"preconditions", Json::object({{"uid", uid}})}});
}

}  // namespace

void still_going(const std::string& message) {
  constexpr std::uint64_t kAskAgainMs = 1000;
  throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, message, kAskAgainMs);
}

void Compute::remove(const sdk::Call& call, std::string_view text) {
  const Json request = Json::parse(text, "remove request");
  const std::string& id = request["id"].str();
  check_id(id);
  view_->wait_until_listed(call);
  if (request["part"].str() == "workload") return remove_workload(call, id, request["incarnation"].str());
  if (request["part"].str() == "volume") return remove_volume(call, id, request["uid"].str(), request["name"].str());
  throw sdk::Failure(ROOST_INVALID, "remove: part must be workload or volume");
}

void Compute::remove_workload(const sdk::Call& call, const std::string& id, const std::string& incarnation) {
  refresh(call, id);
  const SessionState session = view_->session(id);
  const PodState* pod = workspace_pod(session);
  if (pod != nullptr && !pod->deleting && !pod->over && !incarnation.empty() && pod->uid != incarnation) {
    throw sdk::Failure(ROOST_CONFLICT, "session " + id + ": another pod runs than the one to be removed: " + pod->uid);
  }
  std::vector<std::pair<Kind, const Object*>> parts;
  for (const WorkloadState& part : session.workloads) parts.emplace_back(Kind::workload, &part);
  for (const PlainState& part : session.services) parts.emplace_back(Kind::service, &part);
  for (const PlainState& part : session.routes) parts.emplace_back(Kind::route, &part);
  for (const PlainState& part : session.secrets) parts.emplace_back(Kind::secret, &part);
  std::vector<Request> requests;
  requests.reserve(parts.size());
  for (const auto& [kind, part] : parts) requests.push_back(Request::remove(path(kind, part->name), delete_options(part->uid)));
  call.check();
  const std::vector<Outcome> outcomes = client_->send_all(call, requests);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (outcomes[i].error != nullptr && !outcomes[i].is(404)) throw ApiError(*outcomes[i].error);
    view_->absent(parts[i].first, id, parts[i].second->uid);
  }
  Patience patience;
  for (refresh_pods(call, id); workspace_pod(view_->session(id)) != nullptr; refresh_pods(call, id)) {
    if (!patience.wait(call)) still_going("session " + id + ": its Deployment is removed, its pod has not ended yet");
  }
  if (view_->session(id).volumes.empty()) forget(id);
}

void Compute::remove_volume(const sdk::Call& call, const std::string& id, const std::string& uid, const std::string& name) {
  if (uid.empty()) throw sdk::Failure(ROOST_INVALID, "remove: a volume is removed by its uid only");
  refresh(call, id);
  const SessionState session = view_->session(id);
  const VolumeState* volume = nullptr;
  for (const VolumeState& present : session.volumes) {
    if (present.uid == uid) volume = &present;
  }
  if (volume == nullptr) {
    if (session.volumes.empty()) return forget(id);
    const VolumeState* other = session.volume(name.empty() ? "pvc-" + id : name);
    if (other == nullptr) return;
    throw sdk::Failure(ROOST_CONFLICT, "session " + id + ": volume " + other->name + " is another one: " + other->uid);
  }
  for (const PodState& pod : session.pods) {  // a finished one counts as well: it would keep the claim Terminating
    if (pod.claim == volume->name)
      throw sdk::Failure(ROOST_CONFLICT, "volume " + volume->name + ": pod " + pod.name + " may still use it");
  }
  const WorkloadState* workload = session.workload();
  if (workload != nullptr && workload->replicas > 0 && workload->claim == volume->name) {
    throw sdk::Failure(ROOST_CONFLICT, "volume " + volume->name + " is still asked for by Deployment " + workload->name);
  }
  call.check();
  if (!volume->deleting) {
    const Request removal = Request::remove(path(Kind::volume, volume->name), delete_options(uid));
    const Outcome outcome = client_->send_all(call, {removal}).front();
    if (outcome.error != nullptr && !outcome.is(404)) throw ApiError(*outcome.error);
  }
  Patience patience;
  while (true) {
    const Outcome present = client_->send_all(call, {Request::get(path(Kind::volume, volume->name))}).front();
    if (present.is(404)) break;
    if (present.error != nullptr) throw ApiError(*present.error);
    view_->put(Kind::volume, present.object);
    if (read_object(present.object).uid != uid) return;
    if (!patience.wait(call)) still_going("volume " + volume->name + " is being deleted, and is not gone yet");
  }
  view_->absent(Kind::volume, id, uid);
  if (view_->session(id).volumes.empty()) forget(id);
}

}  // namespace roost::kubernetes
