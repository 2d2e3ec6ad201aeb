#include "engine/catalogue.hpp"

#include <algorithm>

#include "engine/documents.hpp"

namespace roost {

namespace {

constexpr std::size_t kExaminedMax = 5'000;  // records that one page may look at
constexpr std::int64_t kOfSessionMax = 4'000;
constexpr std::size_t kStrangersMax = 1'000;
constexpr int kUpdateTries = 8;

Error no_backup(const std::string& id) { return {Code::not_found, "there is no backup " + id, 0}; }
Error being_removed(const BackupRecord& record) {
  return {Code::conflict, "the backup " + record.id + " is being removed, or was", 0};
}

}  // namespace

Catalogue::Catalogue(Context& context) : context_(context) {
  context_.observers.push_back([this](const SessionView& before, const SessionView& after) { note_use(before, after); });
}

void Catalogue::note_use(const SessionView& before, const SessionView& after) {
  if (before) {
    for (const std::string& id : used_backups(before->session)) {
      const auto found = used_.find(id);
      if (found != used_.end() && --found->second == 0) used_.erase(found);
    }
  }
  if (after) {
    for (const std::string& id : used_backups(after->session)) ++used_[id];
  }
}

RetentionPolicy Catalogue::policy() const {
  RetentionPolicy policy;
  policy.kept_us = context_.options.backup_retention_ms * 1000;
  policy.scheduled_us = std::min(context_.options.backup_retention_scheduled_ms * 1000, policy.kept_us);
  policy.leftover_us = std::min(policy.leftover_us, policy.kept_us);
  return policy;
}

void Catalogue::find(const std::string& id, Done<BackupRecord> done) {
  if (!valid_backup_id(id)) return done(no_backup(id));
  context_.get(documents::backup_partition(id), documents::backup_key(id), [id, done = std::move(done)](Result<Document> found) {
    if (!found) return done(found.error().code == Code::not_found ? no_backup(id) : found.error());
    done(documents::decode_backup(*found));
  });
}

struct Catalogue::Listing {
  BackupQuery query;
  Done<BackupPage> done;
  int partition = 0;  // the one that is being walked
  int last = documents::kPartitions - 1;
  std::string prefix = "backup/";
  std::string after;  // key
  std::size_t examined = 0;
  BackupPage page;
};

void Catalogue::list(BackupQuery query, Done<BackupPage> done) {
  auto listing = std::make_shared<Listing>();
  listing->done = std::move(done);
  if (!query.session_id.empty()) {
    listing->partition = listing->last = std::stoi(query.session_id.substr(0, 2), nullptr, 16);
    listing->prefix = documents::backup_key(query.session_id) + "-";
  }
  if (!query.after.empty()) {
    listing->partition = std::max(listing->partition, std::stoi(query.after.substr(0, 2), nullptr, 16));
    listing->after = documents::backup_key(query.after);
  }
  listing->query = std::move(query);
  list_on(listing);
}

// True where the page is full, or enough was looked at.
bool Catalogue::take(Listing& listing, const std::vector<Document>& page) {
  for (const Document& document : page) {
    listing.after = document.key;
    ++listing.examined;
    auto record = documents::decode_backup(document);
    const bool wanted =
        record && record->state != "deleted" && (listing.query.user_id.empty() || record->user_id == listing.query.user_id);
    if (wanted) listing.page.backups.push_back(*std::move(record));
    const bool full = listing.page.backups.size() >= static_cast<std::size_t>(listing.query.limit);
    if (full || listing.examined >= kExaminedMax) {
      listing.page.next = document.key.substr(std::string_view("backup/").size());
      return true;
    }
  }
  return false;
}

void Catalogue::list_on(const std::shared_ptr<Listing>& listing) {
  const std::string partition = documents::backup_partition(documents::digits(listing->partition));
  context_.scan(partition, listing->prefix, listing->after, documents::kPage,
                [this, listing](Result<std::vector<Document>> page) {
                  if (!page) return listing->done(page.error());
                  if (take(*listing, *page)) return listing->done(std::move(listing->page));
                  if (page->size() < documents::kPage) {
                    if (listing->partition >= listing->last) return listing->done(std::move(listing->page));
                    ++listing->partition;
                    listing->after.clear();
                  }
                  list_on(listing);
                });
}

// ---- changes ------------------------------------------------------------------------------------------------------------

struct Catalogue::Update {
  std::string id;
  Change change;
  Done<BackupRecord> done;
  std::int64_t ttl_ms = 0;
  std::string rests_on;  // the id of what stands in for it
  int tries = 0;
};

void Catalogue::update(const std::string& id, Change change, Done<BackupRecord> done, std::int64_t ttl_ms) {
  if (!valid_backup_id(id)) return done(no_backup(id));
  update_on(std::make_shared<Update>(Update{id, std::move(change), std::move(done), ttl_ms, "", 0}));
}

void Catalogue::update_resting(const std::string& id, const std::string& rests_on, Change change, Done<BackupRecord> done) {
  if (!valid_backup_id(id)) return done(no_backup(id));
  update_on(std::make_shared<Update>(Update{id, std::move(change), std::move(done), 0, rests_on, 0}));
}

void Catalogue::update_on(const std::shared_ptr<Update>& update) {
  if (update->rests_on.empty()) return update_beside(update, {});
  context_.get(documents::backup_partition(update->rests_on), documents::backup_key(update->rests_on),
               [this, update](const Result<Document>& found) {
                 if (!found && found.error().code != Code::not_found) return update->done(found.error());
                 update_beside(update, found ? *found : Document{});
               });
}

void Catalogue::update_beside(const std::shared_ptr<Update>& update, const Document& other) {
  const std::string partition = documents::backup_partition(update->id), key = documents::backup_key(update->id);
  context_.get(partition, key, [this, update, other, partition, key](const Result<Document>& found) {
    if (!found) return update->done(found.error().code == Code::not_found ? no_backup(update->id) : found.error());
    auto record = documents::decode_backup(*found);
    if (!record) return update->done(record.error());
    const BackupRecord before = *record;
    if (auto refused = update->change(*record)) return update->done(*std::move(refused));
    if (*record == before) return update->done(*std::move(record));
    Commit put;
    put.partition = partition;
    put.conditions.push_back({Condition::Kind::revision, key, found->revision});
    if (!update->rests_on.empty()) {
      const auto standing = documents::decode_backup(other);
      if (!standing || !is_superseded(before, {&*standing, 1}))
        return update->done(Error{Code::conflict,
                                  "the backup " + update->rests_on + ", which stood in for " + update->id +
                                      ", was just found bad or removed; look at what is left",
                                  0});
      put.conditions.push_back({Condition::Kind::revision, other.key, other.revision});
    }
    put.operations.push_back({StoreOperation::Kind::put, key, to_json(*record).dump(), update->ttl_ms});
    context_.commit(std::move(put), [this, update, record = *std::move(record)](const Result<CommitResult>& result) {
      if (result) return update->done(record);
      if (result.error().code == Code::conflict && ++update->tries < kUpdateTries) return update_on(update);
      update->done(result.error());
    });
  });
}

void Catalogue::hold(const std::string& id, std::optional<BackupHold> hold, Done<BackupRecord> done) {
  const auto change = [hold = std::move(hold)](BackupRecord& record) -> std::optional<Error> {
    if (record.state == "deleting" || record.state == "deleted") return being_removed(record);
    record.hold = hold;
    return std::nullopt;
  };
  update(id, change, std::move(done));
}

void Catalogue::ask_verify(const std::string& id, Done<BackupRecord> done) {
  const auto change = [this, now_us = context_.wall_us()](BackupRecord& record) -> std::optional<Error> {
    if (record.state == "deleting" || record.state == "deleted") return being_removed(record);
    if (record.state == "started" && in_use(record.id))
      return Error{Code::conflict, "the backup " + record.id + " is being made, and is read back then anyway", 0};
    record.verify_asked_at_us = now_us;
    return std::nullopt;
  };
  update(id, change, [this, done = std::move(done)](Result<BackupRecord> asked) {
    if (asked && changed) changed(asked->id);
    done(std::move(asked));
  });
}

void Catalogue::of_session(const std::string& session_id, Done<std::vector<BackupRecord>> done) {
  BackupQuery query;
  query.session_id = session_id;
  query.limit = kOfSessionMax;
  list(std::move(query), [done = std::move(done)](Result<BackupPage> page) {
    if (!page) return done(page.error());
    done(std::move(page->backups));
  });
}

void Catalogue::deletion_of(const std::string& session_id, Done<std::int64_t> done) {
  context_.get(documents::partition(session_id), documents::tombstone_key(session_id),
               [done = std::move(done)](const Result<Document>& found) {
                 if (!found && found.error().code == Code::not_found) return done(std::int64_t{0});
                 if (!found) return done(found.error());
                 auto tombstone = documents::decode_tombstone(*found);
                 done(tombstone ? Result<std::int64_t>(tombstone->deleted_at_us) : Result<std::int64_t>(tombstone.error()));
               });
}

// The session's records first, for what stands in for it; then its deletion; then the record itself, by compare-and-swap of both.
void Catalogue::remove(const std::string& id, BackupRemoval removal, Done<BackupRecord> done) {
  if (!valid_backup_id(id)) return done(no_backup(id));
  const std::string session_id = id.substr(0, 8);
  of_session(session_id, [this, id, session_id, removal, done = std::move(done)](Result<std::vector<BackupRecord>> all) {
    if (!all) return done(all.error());
    deletion_of(session_id, [this, id, session_id, removal, all = *std::move(all), done](const Result<std::int64_t>& deleted) {
      if (!deleted) return done(deleted.error());
      const std::int64_t now_us = context_.wall_us();
      const bool exists = context_.reads.find(session_id) != nullptr;
      const auto change = [this, removal, all, exists, now_us,
                           deleted_us = *deleted](BackupRecord& record) -> std::optional<Error> {
        if (record.state == "deleting") return std::nullopt;
        if (record.state == "deleted") return being_removed(record);
        if (is_held(record, now_us))
          return Error{
              Code::conflict,
              "the backup " + record.id + " is held by " + record.hold->by + ": " + record.hold->reason + "; lift the hold first",
              0};
        if (in_use(record.id))
          return Error{Code::conflict, "an operation of a session uses the backup " + record.id + " now", 5'000};
        const std::int64_t until_us =
            std::max({record.session_deleted_at_us, deleted_us, record.created_at_us}) + policy().kept_us;
        const bool last = !exists && is_good(record) && !is_superseded(record, all) && now_us < until_us;
        if (last && !removal.override_retention)
          return Error{Code::conflict,
                       "the backup " + record.id + " is the newest good one of a deleted session and is kept until " +
                           format_time(until_us) + "; ?override=true with the scope admin removes it all the same",
                       0};
        record.state = "deleting";
        record.note = BackupNote{removal.reason, removal.actor, now_us};
        return std::nullopt;
      };
      const auto own = std::find_if(all.begin(), all.end(), [&](const BackupRecord& record) { return record.id == id; });
      const bool rests = own != all.end() && !exists && !removal.override_retention;
      const BackupRecord* other = rests ? stand_in(*own, all) : nullptr;
      update_resting(id, other ? other->id : "", change, [this, done](Result<BackupRecord> removed) {
        if (removed && changed) changed(removed->id);
        done(std::move(removed));
      });
    });
  });
}

// ---- strangers ----------------------------------------------------------------------------------------------------------

struct Catalogue::Strangers {
  int partition = 0;
  std::vector<BackupStorage::Object> found;
  Done<std::vector<BackupStorage::Object>> done;
};

void Catalogue::strangers(Done<std::vector<BackupStorage::Object>> done) {
  auto all = std::make_shared<Strangers>();
  all->done = std::move(done);
  strangers_on(all);
}

void Catalogue::strangers_on(const std::shared_ptr<Strangers>& all) {
  if (all->partition == documents::kPartitions || all->found.size() >= kStrangersMax) return all->done(std::move(all->found));
  const std::string partition = documents::backup_partition(documents::digits(all->partition++));
  context_.get(partition, std::string(documents::kStrangersKey), [this, all](const Result<Document>& document) {
    if (!document && document.error().code != Code::not_found) return all->done(document.error());
    if (document) {
      for (auto& object : documents::decode_strangers(*document)) all->found.push_back(std::move(object));
    }
    strangers_on(all);
  });
}

}  // namespace roost
