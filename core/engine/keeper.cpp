#include "engine/keeper.hpp"

#include <algorithm>
#include <span>
#include <unordered_set>
#include <utility>

#include "engine/documents.hpp"

namespace roost {

namespace {

constexpr std::uint32_t kScanPage = 500, kListPage = 1'000;
constexpr std::size_t kObjectsMax = 200'000;       // archives of one partition; as many of what others put beside them
constexpr std::size_t kStrangersShown = 100;       // of one partition
constexpr std::int64_t kSettleUs = 3'600'000'000;  // an archive without a record is news only when it is this old, or seen twice
constexpr std::int64_t kReplicasSeeMs = 3'000;     // by when every replica's intents are known to this one
constexpr std::int64_t kFirstWalkStepMs = 200;     // so that the numbers are there soon after a start

// Archives are named after their session, so each partition has a stretch of the names for itself. The first and the last
// stretch take in everything that is named in another way.
std::string own_prefix(int partition) { return "workspace-" + documents::digits(partition); }
std::string stretch_begin(int partition) { return partition == 0 ? "" : own_prefix(partition); }
bool beyond(const std::string& name, int partition) {
  return partition + 1 < documents::kPartitions && name >= stretch_begin(partition + 1);
}

Json about(const BackupRecord& record) {
  Json data = Json::object({{"uuid", record.session_id}, {"backup_id", record.id}, {"archive", record.archive}});
  if (record.note) data.set("reason", record.note->reason).set("by", record.note->by);
  return data;
}

}  // namespace

struct Keeper::Visit {
  int partition = 0;
  std::function<void()> done;
  std::vector<BackupStorage::Object> objects;  // that bear the partition's prefix
  bool listed = false;                         // all of them
  std::size_t others = 0;                      // what bears another name: nobody's archive, whatever the records say
  std::vector<BackupStorage::Object> shown;    // the first of those
  bool counts = false;                         // it is one of a walk
  std::vector<BackupRecord> records;           // in order of the id, so that those of a session lie together
  std::string strangers_before;                // the document's value
  std::size_t next = 0;
  std::unordered_set<std::string> there;  // names in the storage

  [[nodiscard]] std::span<const BackupRecord> of_session(const std::string& session_id) const {
    const auto [begin, end] = std::equal_range(records.begin(), records.end(), session_id, BySession{});
    return {begin, end};
  }
  // A record that needs nothing leads to the next one within the same call: now and then the stack begins anew.
  [[nodiscard]] bool is_deep() { return ++steps % 32 == 0; }
  int steps = 0;
  struct BySession {
    bool operator()(const BackupRecord& a, const std::string& b) const { return a.session_id < b; }
    bool operator()(const std::string& a, const BackupRecord& b) const { return a < b.session_id; }
  };
};

Keeper::Keeper(Context& context, Catalogue& catalogue, Drill& drill, Leader& leader)
    : context_(context), catalogue_(catalogue), drill_(drill), leader_(leader) {
  catalogue_.changed = [this](const std::string& id) { hint(id); };
}

void Keeper::start() {
  if (context_.options.backup_walk_ms <= 0) return;
  partition_ = static_cast<int>(context_.ports.random->uniform() * documents::kPartitions) %
               documents::kPartitions;  // a restart begins elsewhere
  context_.after_ms(step_ms(), [this] { next_partition(); });
}

std::int64_t Keeper::step_ms() {
  const std::int64_t step = std::max<std::int64_t>(1, context_.options.backup_walk_ms / documents::kPartitions);
  return std::max<std::int64_t>(1, context_.jitter(first_walk_ ? std::min(step, kFirstWalkStepMs) : step));
}

void Keeper::hint(const std::string& backup_id) {
  if (!valid_backup_id(backup_id) || context_.options.backup_walk_ms <= 0) return;
  hints_.insert(std::stoi(backup_id.substr(0, 2), nullptr, 16));
  context_.post([this] { look_at_hints(); });
}

void Keeper::look_at_hints() {
  if (visiting_ || hints_.empty() || context_.stopping || !leader_.valid()) return;
  const int partition = *hints_.begin();
  hints_.erase(hints_.begin());
  visit(partition, false, [this] { look_at_hints(); });
}

void Keeper::next_partition() {
  if (context_.stopping) return;
  const auto again = [this] {
    look_at_hints();
    context_.after_ms(step_ms(), [this] { next_partition(); });
  };
  if (visiting_) return again();
  if (!leader_.valid() || !context_.is_current()) {
    visited_ = 0;
    counting_ = {};
    removals_.clear();
    const std::scoped_lock lock(mutex_);
    if (!leader_.valid()) counted_ = {};  // whoever leads counts them
    return again();
  }
  const int partition = partition_;
  partition_ = (partition_ + 1) % documents::kPartitions;
  visit(partition, true, [this, again] {
    if (++visited_ >= documents::kPartitions) walked();
    again();
  });
}

void Keeper::walked() {
  visited_ = 0;
  first_walk_ = false;
  counting_.known = true;
  for (const std::int64_t count : strangers_) counting_.strangers += count;
  counting_.unlisted = std::count(unlisted_.begin(), unlisted_.end(), true);
  verified_ = counting_.states["verified"];
  const std::scoped_lock lock(mutex_);
  counted_ = std::exchange(counting_, {});
}

Engine::BackupStatistics Keeper::statistics() const {
  const std::unique_lock lock(mutex_);
  Engine::BackupStatistics now = counted_;
  now.removed = removed_;
  now.proven = drill_.counters.proven;
  now.damaged = drill_.counters.damaged;
  now.missing = drill_.counters.missing;
  now.drills_failed = drill_.counters.failed;
  return now;
}

// ---- one partition ------------------------------------------------------------------------------------------------------

// The storage first: an archive that comes after this is not compared with records from before it.
void Keeper::visit(int partition, bool counts, std::function<void()> done) {
  visiting_ = true;
  auto visit = std::make_shared<Visit>();
  visit->counts = counts;
  visit->partition = partition;
  visit->done = [this, done = std::move(done)] {
    visiting_ = false;
    done();
  };
  list_storage(visit, stretch_begin(partition));
}

void Keeper::list_storage(const VisitPointer& visit, const std::string& after) {
  context_.ports.backup->list(
      after, kListPage,
      context_.counted<std::vector<BackupStorage::Object>>(
          context_.backup_ok, [this, visit](Result<std::vector<BackupStorage::Object>> page) {
            if (page) return take_page(visit, *std::move(page));
            context_.log(2, "the backup storage cannot be listed now", Json::object({{"detail", page.error().message}}));
            listed(visit, false);
          }));
}

// The partition's archives are seen all, or it is not judged; of what others put before or behind them a part is enough.
void Keeper::take_page(const VisitPointer& visit, std::vector<BackupStorage::Object> page) {
  const std::string prefix = own_prefix(visit->partition);
  const std::string last = page.empty() ? "" : page.back().name;
  bool more = page.size() >= kListPage;
  for (BackupStorage::Object& object : page) {
    if (beyond(object.name, visit->partition))
      more = false;
    else if (object.name.starts_with(prefix))
      visit->objects.push_back(std::move(object));
    else if (++visit->others <= kStrangersShown)
      visit->shown.push_back(std::move(object));
  }
  if (more && visit->others >= kObjectsMax) {
    if (last < prefix) return list_storage(visit, prefix);
    more = last.starts_with(prefix);
  }
  if (more && visit->objects.size() < kObjectsMax) return list_storage(visit, last);
  if (more && visit->counts)
    context_.log(3,
                 "the backup storage holds too many archives of a 256th of the sessions: none of their backups is judged, or "
                 "removed by retention; move archives that no backup names elsewhere",
                 Json::object({{"prefix", prefix}, {"limit", static_cast<std::int64_t>(kObjectsMax)}}));
  listed(visit, !more);
}

void Keeper::listed(const VisitPointer& visit, bool whole) {
  visit->listed = whole;
  unlisted_[static_cast<std::size_t>(visit->partition)] = !whole;
  scan_records(visit, "");
}

void Keeper::scan_records(const VisitPointer& visit, const std::string& after) {
  const std::string partition = documents::backup_partition(documents::digits(visit->partition));
  context_.scan(partition, "", after, kScanPage, [this, visit](const Result<std::vector<Document>>& page) {
    if (!page) return visit->done();
    for (const Document& document : *page) {
      if (document.key == documents::kStrangersKey) visit->strangers_before = document.value;
      if (document.key.rfind("backup/", 0) != 0) continue;
      auto record = documents::decode_backup(document);
      if (record)
        visit->records.push_back(*std::move(record));
      else
        context_.log(3, "a backup's record cannot be read and is left alone", Json::object({{"detail", record.error().message}}));
    }
    if (page->size() >= kScanPage) return scan_records(visit, page->back().key);
    compare(visit);
  });
}

void Keeper::compare(const VisitPointer& visit) {
  if (!visit->listed) return check_next(visit);
  std::unordered_set<std::string> named;
  for (const BackupRecord& record : visit->records) {
    if (record.state != "deleted") named.insert(record.archive);
  }
  std::vector<BackupStorage::Object> strangers;
  std::set<std::string> candidates;
  for (const BackupStorage::Object& object : visit->objects) {
    visit->there.insert(object.name);
    if (named.count(object.name)) continue;
    const SessionView view = object.name.size() > 18 ? context_.reads.find(object.name.substr(10, 8)) : nullptr;
    const bool being_made = view && is_operating(view->session) && view->session.operation->archive == object.name;
    if (being_made) continue;
    const bool old = object.modified_us > 0 && context_.wall_us() - object.modified_us > kSettleUs;
    if (old || candidates_.count(object.name)) strangers.push_back(object);
    candidates.insert(object.name);
  }
  std::erase_if(candidates_, [&](const std::string& name) {
    return name >= stretch_begin(visit->partition) && !beyond(name, visit->partition);
  });
  for (const std::string& name : candidates) {
    if (candidates_.size() < kObjectsMax) candidates_.insert(name);
  }
  report_strangers(visit, strangers);
}

void Keeper::report_strangers(const VisitPointer& visit, const std::vector<BackupStorage::Object>& strangers) {
  const auto index = static_cast<std::size_t>(visit->partition);
  const auto count = static_cast<std::int64_t>(strangers.size() + visit->others);
  std::vector<BackupStorage::Object> shown(
      strangers.begin(), strangers.begin() + static_cast<std::ptrdiff_t>(std::min(strangers.size(), kStrangersShown)));
  const auto room = static_cast<std::ptrdiff_t>(std::min(visit->shown.size(), kStrangersShown - shown.size()));
  shown.insert(shown.end(), visit->shown.begin(), visit->shown.begin() + room);
  if (count > strangers_[index]) {
    context_.log(2, "the backup storage holds archives of no backup; they are left alone",
                 Json::object({{"count", count}, {"example", shown.front().name}}));
  }
  strangers_[index] = count;
  const std::string value = shown.empty() ? "" : documents::encode_strangers(shown);
  if (value == visit->strangers_before) return check_next(visit);
  Commit commit;
  commit.partition = documents::backup_partition(documents::digits(visit->partition));
  const auto kind = value.empty() ? StoreOperation::Kind::remove : StoreOperation::Kind::put;
  commit.operations.push_back({kind, std::string(documents::kStrangersKey), value, 0});
  context_.commit(std::move(commit), [this, visit](const Result<CommitResult>&) { check_next(visit); });
}

// ---- one record ---------------------------------------------------------------------------------------------------------

// First what the storage shows of every record, then retention: a backup whose archive is missing stands in for no other.
void Keeper::check_next(const VisitPointer& visit) {
  if (context_.stopping || !leader_.valid()) return visit->done();
  if (visit->next >= visit->records.size()) {
    visit->next = 0;
    return judge_next(visit);
  }
  if (visit->is_deep()) return context_.post([this, visit] { check_next(visit); });
  BackupRecord& record = visit->records[visit->next++];
  if (visit->counts) count(record);
  if (record.drill.empty() || drill_.is_running(record.id)) return check(visit, record);
  if (!leader_.is_settled()) {  // whoever led before may have just asked for that task
    look_later(record.id);
    return check(visit, record);
  }
  drill_.clear_left(record, [this, visit, &record] { check(visit, record); });
}

void Keeper::check(const VisitPointer& visit, BackupRecord& record) {
  if (!visit->listed) return check_next(visit);
  const bool there = visit->there.count(record.archive) != 0;
  if (!there && (record.state == "verified" || record.state == "damaged")) return confirm_missing(visit, record);
  if (there && record.state == "missing" && record.verify_asked_at_us == 0) {  // it is back: a drill says whether it is good
    return catalogue_.ask_verify(record.id, [this, visit](const Result<BackupRecord>&) { check_next(visit); });
  }
  check_next(visit);
}

// A list may be late, cut short or of the wrong directory: only asking for this very archive tells.
void Keeper::confirm_missing(const VisitPointer& visit, BackupRecord& record) {
  auto asked = [this, visit, &record](const Result<BackupStorage::Object>& object) {
    if (object || object.error().code != Code::not_found) return check_next(visit);
    const BackupNote note{"the archive is not in the storage", "keeper", context_.wall_us()};
    record.state = "missing";  // in this visit, whatever becomes of the record in the store
    record.note = note;
    const auto change = [note](BackupRecord& now) -> std::optional<Error> {
      if (now.state != "verified" && now.state != "damaged") return Error{Code::conflict, "it changed", 0};
      now.state = "missing";
      now.note = note;
      return std::nullopt;
    };
    catalogue_.update(record.id, change, [this, visit](const Result<BackupRecord>& noted) {
      if (noted) {
        context_.log(3, "the archive of a backup is missing", about(*noted));
        emit(*noted, "backup.missing");
        ++drill_.counters.missing;
      }
      check_next(visit);
    });
  };
  context_.ports.backup->stat(record.archive, context_.counted<BackupStorage::Object>(context_.backup_ok, std::move(asked)));
}

void Keeper::judge_next(const VisitPointer& visit) {
  if (context_.stopping || !leader_.valid() || visit->next >= visit->records.size()) return visit->done();
  if (visit->is_deep()) return context_.post([this, visit] { judge_next(visit); });
  const BackupRecord& record = visit->records[visit->next++];
  if (!is_good(record) && not_good) not_good(record);
  if (record.state == "deleted") return judge_next(visit);
  if (record.state == "deleting") return erase(visit, record);
  if (!visit->listed) return judge_next(visit);  // what is there is not known: nothing is decided
  drill_.offer(record, verified_);
  if (context_.reads.find(record.session_id) != nullptr) return judge(visit, record, 0);
  if (record.session_deleted_at_us != 0) return judge(visit, record, record.session_deleted_at_us);
  // Where nothing says when it was deleted, it counts from now on.
  catalogue_.deletion_of(record.session_id, [this, visit, record](const Result<std::int64_t>& deleted) {
    if (!deleted) return judge_next(visit);
    judge(visit, record, *deleted != 0 ? *deleted : context_.wall_us());
  });
}

void Keeper::judge(const VisitPointer& visit, const BackupRecord& found, std::int64_t deleted_at_us) {
  BackupRecord record = found;
  record.session_deleted_at_us = deleted_at_us;
  BackupFacts facts;
  facts.session_exists = deleted_at_us == 0;
  facts.superseded = is_superseded(record, visit->of_session(record.session_id));
  const BackupJudgement judged = judge_backup(record, facts, context_.wall_us(), catalogue_.policy());
  if (judged.remove) return judge_again(visit, found, record);
  if (deleted_at_us == found.session_deleted_at_us && judged.protected_until_us == found.protected_until_us)
    return judge_next(visit);
  const auto change = [deleted_at_us, until_us = judged.protected_until_us](BackupRecord& now) -> std::optional<Error> {
    now.session_deleted_at_us = deleted_at_us;
    now.protected_until_us = until_us;
    return std::nullopt;
  };
  catalogue_.update(record.id, change, [this, visit](const Result<BackupRecord>&) { judge_next(visit); });
}

// ---- removal ------------------------------------------------------------------------------------------------------------

// What stood in for it when the visit read the records may be found damaged, or be removed, by now: the store has to say so too.
void Keeper::judge_again(const VisitPointer& visit, const BackupRecord& found, const BackupRecord& record) {
  catalogue_.of_session(record.session_id, [this, visit, found, record](const Result<std::vector<BackupRecord>>& now) {
    if (!now) return judge_next(visit);
    const BackupRecord* other = stand_in(record, *now);
    const BackupFacts facts{record.session_deleted_at_us == 0, other != nullptr};
    const BackupJudgement judged = judge_backup(record, facts, context_.wall_us(), catalogue_.policy());
    if (!judged.remove) return judge_next(visit);
    begin_removal(visit, found, judged.reason, other ? other->id : "");
  });
}

// Decided on what was judged: where that changed, or what stands in for it, or somebody holds it or begins to rest on it, the
// next visit judges anew.
void Keeper::begin_removal(const VisitPointer& visit, const BackupRecord& record, const std::string& reason,
                           const std::string& rests_on) {
  const auto change = [this, record, reason](BackupRecord& now) -> std::optional<Error> {
    const std::int64_t now_us = context_.wall_us();
    const bool same = now.state == record.state && now.receipt == record.receipt;
    if (!same || is_held(now, now_us) || catalogue_.in_use(now.id)) return Error{Code::conflict, "it changed", 0};
    now.state = "deleting";
    now.note = BackupNote{reason, "retention", now_us};
    return std::nullopt;
  };
  catalogue_.update_resting(record.id, rests_on, change, [this, visit](const Result<BackupRecord>& marked) {
    if (!marked) return judge_next(visit);
    context_.log(1, "a backup is removed", about(*marked));
    emit(*marked, "backup.deleting");
    erase(visit, *marked);
  });
}

void Keeper::erase(const VisitPointer& visit, const BackupRecord& record) {
  // Since this replica saw it: the clock of whoever wrote that down may be another one.
  const std::int64_t seen_ms = removals_.try_emplace(record.id, context_.mono_ms()).first->second;
  const bool fresh = context_.replicated && context_.mono_ms() - seen_ms < kReplicasSeeMs;
  if (fresh || !context_.is_current()) {
    context_.after_ms(kReplicasSeeMs + 500, [this, id = record.id] { hint(id); });
    return judge_next(visit);
  }
  if (!leader_.is_settled()) {  // a session's wish for it may be on its way
    look_later(record.id);
    return judge_next(visit);
  }
  if (catalogue_.in_use(record.id) || drill_.is_running(record.id)) return judge_next(visit);  // later
  context_.ports.backup->remove(
      record.archive, context_.counted<void>(context_.backup_ok, [this, visit, record](const Status& removed) {
        if (removed.ok()) return erased(visit, record.id);
        context_.log(2, "an archive cannot be removed now", about(record).set("detail", removed.error().message));
        judge_next(visit);
      }));
}

void Keeper::erased(const VisitPointer& visit, const std::string& id) {
  const auto change = [](BackupRecord& now) -> std::optional<Error> {
    if (now.state != "deleting") return Error{Code::conflict, "it changed", 0};
    now.state = "deleted";
    now.hold.reset();
    return std::nullopt;
  };
  catalogue_.update(
      id, change,
      [this, visit, id](const Result<BackupRecord>& gone) {
        removals_.erase(id);
        if (gone) {
          ++removed_;
          emit(*gone, "backup.deleted");
        }
        judge_next(visit);
      },
      context_.options.tombstone_ms);
}

void Keeper::look_later(const std::string& id) {
  context_.after_ms(Leader::kStragglersMs, [this, id] { hint(id); });
}

void Keeper::count(const BackupRecord& record) {
  ++counting_.states[record.state];
  if (!is_good(record)) return;
  const std::int64_t proven_us = last_proven_us(record);
  if (counting_.oldest_proof_us == 0 || proven_us < counting_.oldest_proof_us) counting_.oldest_proof_us = proven_us;
}

void Keeper::emit(const BackupRecord& record, const char* type) {
  context_.emit({record.session_id, record.user_id, type, context_.wall_us(), about(record)});
}

}  // namespace roost
