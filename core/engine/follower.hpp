// Follower: keeps the read model in step with the store. It loads every session at the start; where other replicas write to the
// store too it follows the store's watch: a hint means that the session is read again, and an expired watch that all are, after
// which those that are gone have gone from here too.
// Thread safety: the engine's thread only. Invariant: while Context::is_current() the read model shows every change that is older
// than kLateMs: it counts from the last watch that succeeded, and from the oldest hint whose session was not read yet.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/chat.hpp"
#include "engine/relay.hpp"
#include "engine/writer.hpp"

namespace roost {

class Follower {
 public:
  struct Hooks {
    std::function<void()> reloaded;     // everything was read again: what was missed is known now
    std::function<void()> expired;      // the store lost the thread: another master may serve it, and leases may be lost
    std::function<void()> handed_over;  // a leader says that it has let go of the lease
    std::function<void(const std::string& id)> backup_changed;
  };

  Follower(Context& context, Writer& writer, Chat& chat, Relay& relay)
      : context_(context), writer_(writer), chat_(chat), relay_(relay) {}

  void load(std::function<void()> loaded);  // retries until the store answers
  void reload(std::function<void()> done);  // what other replicas may have written unseen
  void follow(Hooks hooks);                 // with other replicas; after load
  // Whether the read model was in step with the store once since the start.
  [[nodiscard]] bool has_caught_up() const { return caught_up_; }

 private:
  struct Loading;
  struct Pending {                    // a session that is to be read again
    std::int64_t since_ms = 0;        // it did not change before
    std::int64_t again_since_ms = 0;  // another hint came while it was being read; 0: none
    std::int64_t failures = 0;
    std::vector<std::shared_ptr<Loading>> of;
  };
  void begin(const std::shared_ptr<Loading>& loading);
  void load_partition(const std::shared_ptr<Loading>& loading, int partition, const std::string& after);
  void load_next(const std::shared_ptr<Loading>& loading);
  void take(const std::shared_ptr<Loading>& loading, const std::string& partition, const std::vector<Document>& page);
  void reread_missing(const std::shared_ptr<Loading>& loading, const std::string& partition);
  static void part_done(const std::shared_ptr<Loading>& loading);

  void watch(const std::string& resume);
  void watched(const std::string& resume, std::int64_t began_ms, const Watched& watched);
  void take_hints(const std::vector<Change>& changes, std::int64_t since_ms);
  void watch_failed(const std::string& resume, const Error& error);
  void read_again(const std::string& id, std::int64_t since_ms, const std::shared_ptr<Loading>& loading);
  void read(const std::string& id);
  void was_read(const std::string& id, const Result<SessionView>& view);
  void tell();  // until when the read model counts as current

  Context& context_;
  Writer& writer_;
  Chat& chat_;
  Relay& relay_;
  Hooks hooks_;
  std::map<std::string, Pending> pending_;
  std::set<std::pair<std::int64_t, std::string>> ages_;  // of pending_, the oldest first
  std::int64_t heard_ms_ = 0;                            // when the last watch that succeeded began: what was before is known
  std::uint64_t synced_ = 0;                             // the reload that began last and has ended; 0: another one is needed
  std::uint64_t reloads_ = 0;
  bool failing_ = false;
  std::int64_t failures_ = 0;
  std::atomic<bool> caught_up_{false};
};

}  // namespace roost
