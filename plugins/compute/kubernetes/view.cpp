#include "compute/kubernetes/view.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <random>

namespace roost::kubernetes {
namespace {

constexpr std::size_t kChangesMax = 1 << 17;
constexpr std::size_t kBurialsMax = 1 << 16;
constexpr std::chrono::milliseconds kListPoll{20};

// Puts an object into its list unless a newer version is there; whether that changed anything.
template <class T>
bool upsert(std::vector<T>& list, T object) {
  for (T& present : list) {
    if (present.name != object.name) continue;
    if (present.uid == object.uid && (present.version == object.version || older(object.version, present.version))) return false;
    present = std::move(object);
    return true;
  }
  list.push_back(std::move(object));
  return true;
}

template <class T, class Predicate>
bool erase(std::vector<T>& list, Predicate gone) {
  const auto end = std::remove_if(list.begin(), list.end(), gone);
  const bool any = end != list.end();
  list.erase(end, list.end());
  return any;
}

// Removes the objects of a kind for which `gone` holds; whether there were any.
template <class Predicate>
bool erase_kind(SessionState& session, Kind kind, Predicate gone) {
  switch (kind) {
    case Kind::volume: return erase(session.volumes, gone);
    case Kind::workload: return erase(session.workloads, gone);
    case Kind::pod: return erase(session.pods, gone);
    case Kind::service: return erase(session.services, gone);
    case Kind::route: return erase(session.routes, gone);
    case Kind::secret: return erase(session.secrets, gone);
    case Kind::job: return erase(session.jobs, gone);
    case Kind::storage_class: break;
  }
  return false;
}

std::string make_nonce() {
  std::random_device random;
  return std::to_string(random()) + std::to_string(random());
}

}  // namespace

// Its descriptor turns readable when something of `id` (empty: of anybody) changed.
struct View::Waiter {
  Waiter(View& the_view, const std::string& id) : view(the_view), fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd < 0) throw sdk::Failure(ROOST_UNAVAILABLE, "no descriptor is left for a watch");
    const std::lock_guard<std::mutex> lock(view.mutex_);
    view.waiters_.emplace(fd, id);
  }
  ~Waiter() {
    {
      const std::lock_guard<std::mutex> lock(view.mutex_);
      view.waiters_.erase(fd);
    }
    ::close(fd);
  }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  View& view;
  const int fd;
};

View::View(const Settings& settings) : settings_(settings), nonce_(make_nonce()) {}

void View::put(Kind kind, const Json& object) {
  if (kind == Kind::storage_class) {
    const std::lock_guard<std::mutex> lock(mutex_);
    put_storage_class(object);
    return;
  }
  const std::string id = session_of(kind, object);
  if (id.empty()) return;
  const Object meta = read_object(object);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (is_buried(meta)) return;
  SessionState& session = sessions_[id];
  bool changed = false;
  switch (kind) {
    case Kind::volume: changed = upsert(session.volumes, read_volume(object)); break;
    case Kind::workload: changed = upsert(session.workloads, read_workload(object)); break;
    case Kind::pod: changed = upsert(session.pods, read_pod(object)); break;
    case Kind::service: changed = upsert(session.services, read_service(settings_, id, object)); break;
    case Kind::route: changed = upsert(session.routes, read_route(settings_, id, object)); break;
    case Kind::secret: changed = upsert(session.secrets, read_secret(object)); break;
    case Kind::job: changed = upsert(session.jobs, read_job(object)); break;
    case Kind::storage_class: break;
  }
  if (changed) note(id);
}

void View::put_storage_class(const Json& object) {
  const Json& annotations = object["metadata"]["annotations"];
  StorageClass& entry = storage_classes_[object["metadata"]["name"].str()];
  entry.uid = object["metadata"]["uid"].str();
  entry.is_default = annotations["storageclass.kubernetes.io/is-default-class"].str() == "true";
}

void View::remove(Kind kind, const Json& object) {
  const Object meta = read_object(object);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (kind == Kind::storage_class) {
    storage_classes_.erase(meta.name);
    return;
  }
  const std::string id = session_of(kind, object);
  if (id.empty()) return;
  bury(meta.uid, meta.version);
  const auto session = sessions_.find(id);
  if (session == sessions_.end()) return;
  if (erase_kind(session->second, kind, [&](const Object& present) { return present.uid == meta.uid; })) note(id);
  tidy(id);
}

void View::absent(Kind kind, const std::string& id, const std::string& uid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  bury(uid, {});
  const auto session = sessions_.find(id);
  if (session == sessions_.end()) return;
  if (erase_kind(session->second, kind, [&](const Object& present) { return present.uid == uid; })) note(id);
  tidy(id);
}

void View::listed(Kind kind, const std::unordered_set<std::string>& uids, const std::string& version) {
  const std::lock_guard<std::mutex> lock(mutex_);
  known_[static_cast<std::size_t>(kind)] = {true, {}};
  if (kind == Kind::storage_class) {
    for (auto entry = storage_classes_.begin(); entry != storage_classes_.end();) {
      entry = uids.count(entry->second.uid) == 0 ? storage_classes_.erase(entry) : std::next(entry);
    }
    return;
  }
  const auto gone = [&](const Object& present) { return uids.count(present.uid) == 0 && !older(version, present.version); };
  for (auto session = sessions_.begin(); session != sessions_.end();) {
    if (erase_kind(session->second, kind, gone)) note(session->first);
    session = session->second.empty() ? sessions_.erase(session) : std::next(session);
  }
}

void View::failed(Kind kind, const std::string& why) {
  const std::lock_guard<std::mutex> lock(mutex_);
  known_[static_cast<std::size_t>(kind)].error = why;
}

void View::wait_until_listed(const sdk::Call& call) const {
  while (true) {
    std::string missing;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (int kind = 0; kind < kKinds; ++kind) {
        const Known& known = known_[static_cast<std::size_t>(kind)];
        if (!known.listed && static_cast<Kind>(kind) != Kind::storage_class) {
          missing = std::string(name_of(static_cast<Kind>(kind))) + (known.error.empty() ? "" : " (" + known.error + ")");
        }
      }
    }
    if (missing.empty()) return;
    if (!call.sleep_for(kListPoll))
      throw sdk::Failure(ROOST_UNAVAILABLE, "the cluster's state is not known yet: no list of " + missing);
  }
}

SessionState View::session(const std::string& id) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? SessionState() : found->second;
}

std::vector<std::string> View::ids(std::string_view after, std::uint32_t limit) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::string> found;
  for (auto session = sessions_.upper_bound(std::string(after)); session != sessions_.end() && found.size() < limit; ++session) {
    if (!session->second.is_record()) found.push_back(session->first);
  }
  return found;
}

bool View::wait_for(const sdk::Call& call, const std::string& id, std::chrono::milliseconds limit,
                    const std::function<bool(const SessionState&)>& holds) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::min<std::chrono::nanoseconds>(limit, call.remaining());
  const Waiter waiter(*this, id);
  while (!holds(session(id))) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0 || call.cancelled()) return false;
    pollfd fds[2] = {{waiter.fd, POLLIN, 0}, {call.cancel_fd(), POLLIN, 0}};
    ::poll(fds, 2, static_cast<int>(left.count()));
    std::uint64_t changes = 0;
    [[maybe_unused]] const auto cleared = ::read(waiter.fd, &changes, sizeof changes);
  }
  return true;
}

bool View::has_storage_class(const std::string& name) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!known_[static_cast<std::size_t>(Kind::storage_class)].listed) return true;
  if (!name.empty()) return storage_classes_.count(name) != 0;
  return std::any_of(storage_classes_.begin(), storage_classes_.end(), [](const auto& entry) { return entry.second.is_default; });
}

void View::note(const std::string& id) {
  changes_.push_back(id);
  if (changes_.size() > kChangesMax) {
    changes_.pop_front();
    ++first_change_;
  }
  for (const auto& [fd, wanted] : waiters_) {
    if (!wanted.empty() && wanted != id) continue;
    const std::uint64_t one = 1;
    if (::write(fd, &one, sizeof one) < 0) continue;  // full: it is readable already
  }
}

// A watch also says DELETED of what is there but no longer bears the label that it selects by, at the version that a live read
// then shows.
bool View::is_buried(const Object& object) const {
  const auto found = buried_.find(object.uid);
  return found != buried_.end() && found->second != object.version && !older(found->second, object.version);
}

void View::bury(const std::string& uid, const std::string& version) {
  if (!buried_.insert_or_assign(uid, version).second) return;
  burials_.push_back(uid);
  if (burials_.size() <= kBurialsMax) return;
  buried_.erase(burials_.front());
  burials_.pop_front();
}

void View::tidy(const std::string& id) {
  const auto session = sessions_.find(id);
  if (session != sessions_.end() && session->second.empty()) sessions_.erase(session);
}

std::vector<std::string> View::changed_since(std::uint64_t position, std::uint64_t* next) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  *next = first_change_ + changes_.size();
  if (position == 0) return {};
  if (position < first_change_ || position > *next) throw sdk::Failure(ROOST_EXPIRED, "the token is too old: list again");
  std::unordered_set<std::string> ids(changes_.begin() + static_cast<std::ptrdiff_t>(position - first_change_), changes_.end());
  return {ids.begin(), ids.end()};
}

void View::watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) {
  std::uint64_t position = 0;
  if (!resume.empty()) {
    const std::string prefix = nonce_ + ":";
    if (resume.substr(0, prefix.size()) != prefix)
      throw sdk::Failure(ROOST_EXPIRED, "the token is of another instance: list again");
    std::from_chars(resume.data() + prefix.size(), resume.data() + resume.size(), position);
    if (position == 0) throw sdk::Failure(ROOST_EXPIRED, "no such token: list again");
  }
  const Waiter waiter(*this, "");
  std::uint64_t next = 0;
  std::vector<std::string> ids = changed_since(position, &next);
  if (ids.empty()) {
    const std::uint64_t from = next;
    if (call.wait(waiter.fd, POLLIN) != 0) ids = changed_since(from, &next);
  }
  for (const std::string& id : ids) {
    if (!sink.emit(id, {})) return;
  }
  sink.resume(nonce_ + ":" + std::to_string(next));
}

}  // namespace roost::kubernetes
