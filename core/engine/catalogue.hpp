// Catalogue: the records of all backups, in the store: found, listed, changed. A record survives its session, and for a while its
// archive. Nothing of it is kept in memory: a list walks the partitions in order of the id, and its cursor is the last id.
// Thread safety: the engine's thread only. Invariant: every change is a compare-and-swap of the record that it was decided on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/context.hpp"
#include "engine/retention.hpp"

namespace roost {

class Catalogue {
 public:
  explicit Catalogue(Context& context);

  // NOT_FOUND. A record whose backup was removed is found, with the state "deleted".
  void find(const std::string& id, Done<BackupRecord> done);
  // In order of the id, without those that were removed. A page may be short, or empty, though more follow.
  void list(BackupQuery query, Done<BackupPage> done);
  // What archives without a record were found when the keeper last looked.
  void strangers(Done<std::vector<BackupStorage::Object>> done);

  // Changes the record as it is in the store: `change` answers why it may not be (nothing is written then). Decided anew where
  // somebody else changed it meanwhile. Answers it as committed. `ttl_ms`: then the record goes; 0: never.
  using Change = std::function<std::optional<Error>(BackupRecord&)>;
  void update(const std::string& id, Change change, Done<BackupRecord> done, std::int64_t ttl_ms = 0);
  // As update(), but only where `rests_on`, the id of another backup of its session, stands in for it at the moment of the
  // change; else CONFLICT. Empty: none need.
  void update_resting(const std::string& id, const std::string& rests_on, Change change, Done<BackupRecord> done);

  // For people. CONFLICT where it is held, rests under a session's operation, or is the newest good one of a session that was
  // deleted less than its retention ago and `removal` does not override that.
  void hold(const std::string& id, std::optional<BackupHold> hold, Done<BackupRecord> done);
  void ask_verify(const std::string& id, Done<BackupRecord> done);
  void remove(const std::string& id, BackupRemoval removal, Done<BackupRecord> done);

  // Whether a session's operation makes it, reads it or rests on it, as far as this replica knows.
  [[nodiscard]] bool in_use(const std::string& id) const { return used_.count(id) != 0; }
  [[nodiscard]] RetentionPolicy policy() const;
  // All records of a session, in order.
  void of_session(const std::string& session_id, Done<std::vector<BackupRecord>> done);
  // When it was deleted, as its tombstone says; 0: it has none.
  void deletion_of(const std::string& session_id, Done<std::int64_t> done);
  // Told of each record that somebody changed here and that the keeper should look at.
  std::function<void(const std::string& id)> changed;

 private:
  struct Listing;
  void list_on(const std::shared_ptr<Listing>& listing);
  static bool take(Listing& listing, const std::vector<Document>& page);
  struct Update;
  void update_on(const std::shared_ptr<Update>& update);
  void update_beside(const std::shared_ptr<Update>& update, const Document& other);
  void note_use(const SessionView& before, const SessionView& after);
  struct Strangers;
  void strangers_on(const std::shared_ptr<Strangers>& strangers);

  Context& context_;
  std::unordered_map<std::string, int> used_;  // by how many sessions
};

}  // namespace roost
