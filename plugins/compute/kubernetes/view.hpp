// View: everything of ours in the cluster, as lists, watches and our own writes have shown it; and hints of what changed.
// Thread safety: may be used from any thread.
// Invariants: an object is never replaced by an older version of itself, and one that was deleted does not come back.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "compute/kubernetes/state.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {

class View {
 public:
  explicit View(const Settings& settings);

  // ---- what was read or written ----
  void put(Kind kind, const Json& object);
  void remove(Kind kind, const Json& object);
  // A read of the server that began when the view had that object did not find it.
  void absent(Kind kind, const std::string& id, const std::string& uid);
  // The end of a list: what it did not show is gone, unless we wrote it after the list's version.
  void listed(Kind kind, const std::unordered_set<std::string>& uids, const std::string& version);
  void failed(Kind kind, const std::string& why);  // a list or watch did, after it was up to date or before

  // ---- what is known ----
  // Waits until every kind was listed once. Throws UNAVAILABLE, saying what is missing, where the call ends before.
  void wait_until_listed(const sdk::Call& call) const;
  [[nodiscard]] SessionState session(const std::string& id) const;
  // Of sessions that something exists of, but for the record of a backup that was verified.
  [[nodiscard]] std::vector<std::string> ids(std::string_view after, std::uint32_t limit) const;
  // Waits until `holds` of the session, at most for the limit; whether it does. False also where the call ends before.
  bool wait_for(const sdk::Call& call, const std::string& id, std::chrono::milliseconds limit,
                const std::function<bool(const SessionState&)>& holds);
  // Whether a volume of that class ("": the default one) can be made. True while it is not known.
  [[nodiscard]] bool has_storage_class(const std::string& name) const;

  // ---- hints ----
  // Emits the ids that changed since the token and answers the next one; waits for one until the call ends. EXPIRED.
  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink);

 private:
  struct Known {
    bool listed = false;
    std::string error;
  };
  struct Waiter;
  struct StorageClass {
    bool is_default = false;
    std::string uid;
  };
  void note(const std::string& id);  // REQUIRES: mutex_
  // What is read of it from before that version is not shown again; version empty: nor is anything else. REQUIRES: mutex_
  void bury(const std::string& uid, const std::string& version);
  [[nodiscard]] bool is_buried(const Object& object) const;  // REQUIRES: mutex_
  void tidy(const std::string& id);                          // REQUIRES: mutex_
  void put_storage_class(const Json& object);                // REQUIRES: mutex_
  [[nodiscard]] std::vector<std::string> changed_since(std::uint64_t position, std::uint64_t* next) const;

  const Settings& settings_;
  const std::string nonce_;  // tells this view's tokens from those of another
  mutable std::mutex mutex_;
  // all of this: guarded by mutex_
  std::map<std::string, SessionState> sessions_;
  std::array<Known, kKinds> known_;
  std::map<std::string, StorageClass> storage_classes_;
  std::unordered_map<std::string, std::string> buried_;  // UIDs that were deleted lately, and the version of that
  std::deque<std::string> burials_;
  std::deque<std::string> changes_;
  std::uint64_t first_change_ = 1;      // the number of changes_.front()
  std::map<int, std::string> waiters_;  // eventfds, and the id whose changes each waits for; "": anybody's
};

}  // namespace roost::kubernetes
