#include "daemon/recover.hpp"

#include "archive/lookup.hpp"
#include "daemon/blocking_store.hpp"
#include "engine/documents.hpp"

namespace roost::daemon {
namespace {

constexpr std::uint32_t kListed = 1'000;

// What its own manifest says of an archive; DATA_LOSS where it does not read.
Result<BackupRecord> record_of(const BackupStorage::Object& object, const RecoverOptions& options, std::int64_t now_us) {
  ManifestSummary summary(static_cast<std::uint64_t>(std::max<std::int64_t>(0, object.size)));
  while (const auto range = summary.wanted()) {
    if (range->length == 0) return Error{Code::data_loss, "it is empty", 0};
    ROOST_TRY(const std::string bytes,
              options.read(object.name, static_cast<std::int64_t>(range->offset), static_cast<std::int64_t>(range->length)));
    ROOST_CHECK(summary.feed(bytes));
  }
  BackupRecord record;
  record.receipt = summary.receipt();
  record.id = record.receipt.backup_id;
  record.session_id = record.receipt.session_id;
  record.user_id = summary.user_id();
  record.archive = object.name;
  record.created_at_us = record.receipt.made_at_us;
  record.trigger = record.receipt.exclusions ? "schedule"
                   : record.receipt.live     ? "request"
                                             : "delete";  // an archive does not say
  record.state = "verified";
  record.note = BackupNote{"found in the storage, and not read back whole since", "recover", now_us};
  const bool named_so = record.receipt.archive == object.name && valid_backup_id(record.id) &&
                        valid_session_id(record.session_id) && record.id.rfind(record.session_id + "-", 0) == 0;
  if (!named_so)
    return Error{Code::invalid, "it is an archive of Roost that was stored under another name, " + record.receipt.archive, 0};
  return record;
}

bool has_our_name(const std::string& name) { return name.rfind("workspace-", 0) == 0 && name.ends_with(".zip"); }

class Recovery {
 public:
  Recovery(BlockingStore& store, Clock& clock, const RecoverOptions& options) : store_(store), clock_(clock), options_(options) {}

  Status take(const BackupStorage::Object& object) {
    const auto record = record_of(object, options_, clock_.wall_us());
    if (record) return put(*record);
    const Error& error = record.error();
    if (error.code == Code::not_found) return {};  // removed since it was listed
    if (error.code != Code::data_loss && error.code != Code::invalid && error.code != Code::unsupported) return error;
    const bool damaged = error.code == Code::data_loss && has_our_name(object.name);
    ++(damaged ? report.damaged : report.strangers);
    options_.say((damaged ? "damaged: " : "stranger: ") + object.name + ": " + error.message);
    return {};
  }
  RecoverReport report;

 private:
  Status put(const BackupRecord& record) {
    const std::string partition = documents::backup_partition(record.id), key = documents::backup_key(record.id);
    Commit commit;
    commit.partition = partition;
    commit.conditions.push_back({Condition::Kind::absent, key, 0});
    commit.operations.push_back({StoreOperation::Kind::put, key, to_json(record).dump(), 0});
    const auto made = store_.commit(commit);
    if (made) {
      ++report.made;
      options_.say("recovered: " + record.id);
      return {};
    }
    if (made.error().code != Code::conflict) return made.error();
    ++report.known;
    return {};
  }

  BlockingStore& store_;
  Clock& clock_;
  const RecoverOptions& options_;
};

}  // namespace

Result<RecoverReport> recover_catalogue(Store& store, BackupStorage& storage, Clock& clock, const RecoverOptions& options) {
  BlockingStore blocking(store, clock, options.holder);
  ROOST_CHECK(blocking.begin());
  ROOST_CHECK(blocking.check_whole());
  Recovery recovery(blocking, clock, options);
  std::string after;
  for (;;) {
    using Objects = std::vector<BackupStorage::Object>;
    ROOST_TRY(const Objects page, ask<Objects>([&](Done<Objects> done) { storage.list(after, kListed, std::move(done)); }));
    for (const BackupStorage::Object& object : page) ROOST_CHECK(recovery.take(object));
    if (page.size() < kListed) return recovery.report;
    after = page.back().name;
  }
}

}  // namespace roost::daemon
