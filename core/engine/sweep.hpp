// Sweep: loads every session at the start, looks at all of them again now and then, follows the watches of compute (and of the
// store, with several replicas), and reports what the platform holds of no session. It removes nothing.
// Thread safety: the engine's thread only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "engine/chat.hpp"
#include "engine/reconciler.hpp"

namespace roost {

class Sweep {
 public:
  Sweep(Context& context, Writer& writer, Reconciler& reconciler, Chat& chat, Leader& leader)
      : context_(context), writer_(writer), reconciler_(reconciler), chat_(chat), leader_(leader) {}

  void load(std::function<void()> loaded);  // retries until the store answers
  void reload(std::function<void()> done);  // what other replicas may have written unseen
  void watch();
  void resync();  // once more now; and then every resync_ms

 private:
  struct Loading;
  void load_partition(const std::shared_ptr<Loading>& loading, int partition, const std::string& after);
  void load_next(const std::shared_ptr<Loading>& loading);

  void watch_compute(const std::string& resume);
  void watch_store(const std::string& resume);
  void take(const std::shared_ptr<Loading>& loading, const std::string& partition, const std::vector<Document>& page);
  void refresh_missing(const std::string& partition, const std::unordered_set<std::string>& seen);
  struct Pass;
  void list(const std::shared_ptr<Pass>& pass);
  void listed(const std::shared_ptr<Pass>& pass, std::vector<Workspace> page);
  void compare(const std::shared_ptr<Pass>& pass);
  void check_orphan(const std::string& id);
  void finish(const std::shared_ptr<Pass>& pass);

  Context& context_;
  Writer& writer_;
  Reconciler& reconciler_;
  Chat& chat_;
  Leader& leader_;
  bool sweeping_ = false;
  bool again_ = false;
  Scheduler::TimerId timer_ = 0;
  std::int64_t list_failures_ = 0, compute_failures_ = 0, store_failures_ = 0;
  std::unordered_set<std::string> orphans_, seen_orphans_;
};

}  // namespace roost
