#include "compute/kubernetes/compute.hpp"

#include "compute/kubernetes/objects.hpp"

namespace roost::kubernetes {
namespace {

struct Collection {
  Kind kind;
  const char* base;
  const char* name;
};

constexpr Collection kCollections[] = {
    {Kind::volume, "/api/v1", "persistentvolumeclaims"},
    {Kind::workload, "/apis/apps/v1", "deployments"},
    {Kind::pod, "/api/v1", "pods"},
    {Kind::service, "/api/v1", "services"},
    {Kind::secret, "/api/v1", "secrets"},
    {Kind::job, "/apis/batch/v1", "jobs"},
};

}  // namespace

Compute::Compute(const sdk::Call&, const sdk::OpenArgs& args) : settings_(Settings::parse(args.config)), log_(args.log) {
  auto credentials = Credentials::load(settings_);
  name_space_ = credentials->cluster().name_space;
  client_ = std::make_unique<Client>(std::move(credentials), args.log);
  view_ = std::make_unique<View>(settings_);
  const auto follow = [&](Kind kind, const std::string& selector, bool optional) {
    reflectors_.push_back(std::make_unique<Reflector>(kind, path(kind), selector, optional, *client_, *view_, args.log));
  };
  for (const Kind kind : {Kind::workload, Kind::pod, Kind::service, Kind::secret, Kind::job}) follow(kind, kSelector, false);
  follow(Kind::volume, "", false);  // all of them: one of a session's name that is not ours matters too
  follow(Kind::storage_class, "", true);
  if (exposed()) {
    follow(Kind::route, kSelector, false);
  } else {
    view_->listed(Kind::route, {}, {});
  }
}

Compute::~Compute() = default;

std::string Compute::path(Kind kind, const std::string& name) const {
  const std::string rest = name.empty() ? "" : "/" + name;
  if (kind == Kind::storage_class) return "/apis/storage.k8s.io/v1/storageclasses" + rest;
  if (kind == Kind::route) {
    const bool gateway = settings_.exposure == "gateway";
    return std::string(gateway ? "/apis/gateway.networking.k8s.io/v1" : "/apis/networking.k8s.io/v1") + "/namespaces/" +
           name_space_ + (gateway ? "/httproutes" : "/ingresses") + rest;
  }
  for (const Collection& collection : kCollections) {
    if (collection.kind == kind)
      return std::string(collection.base) + "/namespaces/" + name_space_ + "/" + collection.name + rest;
  }
  throw sdk::Failure(ROOST_INTERNAL, "a kind without a path");
}

std::string Compute::document(const std::string& id) const {
  const SessionState session = view_->session(id);
  Surroundings around;
  around.exposed = exposed();
  const VolumeState* volume = session.volume(volume_name(id, session));
  around.storage_class_missing = volume != nullptr && !volume->bound && !view_->has_storage_class(volume->storage_class);
  {
    const std::lock_guard<std::mutex> lock(fence_mutex_);
    if (const auto fence = fences_.find(id); fence != fences_.end()) {
      around.applied_generation = fence->second.applied;
      const PodState* pod = workspace_pod(session);
      // Made from a template that is of another size (a drain, say), and not asked to change yet: once for each pod, as its
      // size may be somebody else's to decide.
      around.wrong_size =
          pod != nullptr && fence->second.applied > 0 && pod->asked != fence->second.size && pod->uid != fence->second.resized;
    }
    const auto foreign = foreign_.find(id);
    around.volume_foreign = volume != nullptr && foreign != foreign_.end() && foreign->second == volume->uid;
  }
  return workspace_document(id, session, around).dump();
}

// Lists of one session are short, and read whole: what they do not show is gone. (The server goes through all pods for each.)
void Compute::refresh_pods(const sdk::Call& call, const std::string& id) {
  std::unordered_set<std::string> seen;
  client_->list(call, path(Kind::pod) + "?labelSelector=roost.dev%2Fsession%3D" + id, [&](Json object) {
    seen.insert(object["metadata"]["uid"].str());
    view_->put(Kind::pod, object);
  });
  for (const PodState& pod : view_->session(id).pods) {
    if (seen.count(pod.uid) == 0) view_->absent(Kind::pod, id, pod.name);
  }
}

void Compute::refresh_jobs(const sdk::Call& call, const std::string& id) {
  std::unordered_set<std::string> seen;
  client_->list(call, path(Kind::job) + "?labelSelector=roost.dev%2Fsession%3D" + id, [&](Json object) {
    seen.insert(object["metadata"]["uid"].str());
    view_->put(Kind::job, object);
  });
  for (const JobState& job : view_->session(id).jobs) {
    if (seen.count(job.uid) == 0) view_->absent(Kind::job, id, job.name);
  }
}

void Compute::refresh(const sdk::Call& call, const std::string& id) {
  const SessionState before = view_->session(id);
  std::vector<std::pair<Kind, std::string>> wanted = {{Kind::workload, workload_name(id)},
                                                      {Kind::service, workload_name(id)},
                                                      {Kind::secret, workload_name(id)},
                                                      {Kind::volume, "pvc-" + id}};
  if (exposed()) wanted.emplace_back(Kind::route, workload_name(id));
  for (const VolumeState& volume : before.volumes) {
    if (volume.name != "pvc-" + id) wanted.emplace_back(Kind::volume, volume.name);
  }
  std::vector<Request> requests;
  requests.reserve(wanted.size());
  for (const auto& [kind, name] : wanted) requests.push_back(Request::get(path(kind, name)));
  call.check();
  const std::vector<Outcome> outcomes = client_->send_all(call, requests);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (outcomes[i].error == nullptr) {
      view_->put(wanted[i].first, outcomes[i].object);
    } else if (outcomes[i].is(404)) {
      view_->absent(wanted[i].first, id, wanted[i].second);
    } else {
      throw ApiError(*outcomes[i].error);
    }
  }
  refresh_pods(call, id);
}

std::string Compute::observe(const sdk::Call& call, std::string_view raw_id, std::uint32_t flags) {
  check_id(raw_id);
  const std::string id(raw_id);
  if ((flags & ROOST_OBSERVE_LIVE) != 0) {
    refresh(call, id);
  } else {
    view_->wait_until_listed(call);
  }
  return document(id);
}

void Compute::list(const sdk::Call& call, std::string_view after, std::uint32_t limit, sdk::Sink& sink) {
  view_->wait_until_listed(call);
  for (const std::string& id : view_->ids(after, limit)) {
    if (!sink.emit(id, document(id))) return;
  }
}

void Compute::watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) { view_->watch(call, resume, sink); }

}  // namespace roost::kubernetes
