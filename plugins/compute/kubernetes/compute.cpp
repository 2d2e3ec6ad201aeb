#include "compute/kubernetes/compute.hpp"

#include <algorithm>

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
      around.wrong_size = pod != nullptr && !pod->over && fence->second.applied > 0 && pod->asked != fence->second.size &&
                          pod->uid != fence->second.resized;
    }
    const auto foreign = foreign_.find(id);
    around.volume_foreign = volume != nullptr && foreign != foreign_.end() && foreign->second == volume->uid;
  }
  return workspace_document(id, session, around).dump();
}

// Lists of one session are short, and read whole: what was known before and they do not show is gone. What a watch shows while
// they are read may be newer than they are. (The server goes through all pods for each.)
template <class T>
void Compute::refresh_list(const sdk::Call& call, Kind kind, const std::string& id, const std::vector<T>& before) {
  std::unordered_set<std::string> seen;
  client_->list(call, path(kind) + "?labelSelector=roost.dev%2Fsession%3D" + id, [&](Json object) {
    seen.insert(object["metadata"]["uid"].str());
    view_->put(kind, object);
  });
  for (const T& known : before) {
    if (seen.count(known.uid) == 0) view_->absent(kind, id, known.uid);
  }
}

void Compute::refresh_pods(const sdk::Call& call, const std::string& id) {
  refresh_list(call, Kind::pod, id, view_->session(id).pods);
}

void Compute::refresh_jobs(const sdk::Call& call, const std::string& id) {
  refresh_list(call, Kind::job, id, view_->session(id).jobs);
}

void Compute::refresh(const sdk::Call& call, const std::string& id) {
  struct Wanted {
    Kind kind;
    std::string uid;  // of what was known before under that name; empty: nothing
  };
  const SessionState before = view_->session(id);
  std::vector<Wanted> wanted;
  std::vector<Request> requests;
  const auto want = [&](Kind kind, const std::string& name, const auto& known) {
    const auto found = std::find_if(known.begin(), known.end(), [&](const Object& object) { return object.name == name; });
    wanted.push_back({kind, found == known.end() ? std::string() : found->uid});
    requests.push_back(Request::get(path(kind, name)));
  };
  want(Kind::workload, workload_name(id), before.workloads);
  want(Kind::service, workload_name(id), before.services);
  want(Kind::secret, workload_name(id), before.secrets);
  want(Kind::volume, "pvc-" + id, before.volumes);
  if (exposed()) want(Kind::route, workload_name(id), before.routes);
  for (const VolumeState& volume : before.volumes) {
    if (volume.name != "pvc-" + id) want(Kind::volume, volume.name, before.volumes);
  }
  call.check();
  const std::vector<Outcome> outcomes = client_->send_all(call, requests);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    if (outcomes[i].error == nullptr) {
      view_->put(wanted[i].kind, outcomes[i].object);
    } else if (outcomes[i].is(404)) {
      if (!wanted[i].uid.empty()) view_->absent(wanted[i].kind, id, wanted[i].uid);
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
