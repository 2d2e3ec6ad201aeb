#include "model/receipt.hpp"

#include <algorithm>

#include "model/fields.hpp"

namespace roost {
namespace {

// Everything but what holds no data of its own; a kind that is not known here might.
bool blocks_release(const Skipped& skipped) {
  return skipped.kind != "socket" && skipped.kind != "fifo" && skipped.kind != "device";
}

Json skips_json(const std::vector<Skipped>& skips) {
  Json list = Json::array();
  for (const Skipped& s : skips) {
    list.push(Json::object({{"kind", s.kind}, {"reason", s.reason}, {"count", s.count}, {"example", s.example}}));
  }
  return list;
}

Status read_skips(const Json& list, std::vector<Skipped>& to) {
  for (const Json& item : list.items()) {
    Fields entry(item, "receipt.skipped");
    to.push_back({entry.text("kind"), entry.text("reason"), entry.number("count"), entry.text("example")});
    ROOST_CHECK(entry.status());
  }
  return {};
}

}  // namespace

std::string release_blocker(const Receipt& receipt, const std::string& operation_id, const std::string& volume_uid,
                            bool override_losses) {
  if (receipt.operation_id.empty() || receipt.operation_id != operation_id) return "the receipt is of another operation";
  if (receipt.volume_uid.empty() || receipt.volume_uid != volume_uid) return "the receipt is of another volume";
  if (receipt.archive.empty()) return "the receipt names no archive";
  if (receipt.archive_sha256.size() != 64 || receipt.tree_hash.size() != 64) return "the receipt carries no hashes";
  if (receipt.verified_at_us <= 0) return "the archive was not read back";
  if (receipt.live) return "the backup was taken while the workspace could write";
  if (receipt.exclusions) return "the backup left files out on request";
  if (receipt.files == 0 && !receipt.empty_volume)
    return "the receipt counts no files, and does not say that the volume was empty";
  if (!override_losses) {
    for (const Skipped& skipped : receipt.skipped) {
      if (blocks_release(skipped)) {
        return "the backup had to skip " + std::to_string(skipped.count) + " " + skipped.kind + "(s), " + skipped.reason +
               ", e.g. " + skipped.example;
      }
    }
  }
  return {};
}

Json to_json(const Receipt& receipt) {
  Json json = Json::object({{"backup_id", receipt.backup_id},
                            {"archive", receipt.archive},
                            {"session_id", receipt.session_id},
                            {"operation_id", receipt.operation_id},
                            {"volume_uid", receipt.volume_uid},
                            {"files", receipt.files},
                            {"bytes", receipt.bytes},
                            {"archive_bytes", receipt.archive_bytes},
                            {"archive_sha256", receipt.archive_sha256},
                            {"tree_hash", receipt.tree_hash},
                            {"made_at_us", receipt.made_at_us},
                            {"verified_at_us", receipt.verified_at_us},
                            {"live", receipt.live},
                            {"exclusions", receipt.exclusions},
                            {"empty_volume", receipt.empty_volume},
                            {"skipped", skips_json(receipt.skipped)}});
  if (!receipt.not_restored.empty()) json.set("not_restored", skips_json(receipt.not_restored));
  return json;
}

Result<Receipt> receipt_from_json(const Json& document) {
  Fields fields(document, "receipt");
  Receipt receipt;
  receipt.backup_id = fields.text("backup_id");
  receipt.archive = fields.required("archive");
  receipt.session_id = fields.required("session_id");
  receipt.operation_id = fields.required("operation_id");
  receipt.volume_uid = fields.text("volume_uid");
  receipt.files = fields.number("files");
  receipt.bytes = fields.number("bytes");
  receipt.archive_bytes = fields.number("archive_bytes");
  receipt.archive_sha256 = fields.text("archive_sha256");
  receipt.tree_hash = fields.text("tree_hash");
  receipt.made_at_us = fields.number("made_at_us");
  receipt.verified_at_us = fields.number("verified_at_us");
  receipt.live = fields.flag("live");
  receipt.exclusions = fields.flag("exclusions");
  receipt.empty_volume = fields.flag("empty_volume");
  ROOST_CHECK(read_skips(document["skipped"], receipt.skipped));
  ROOST_CHECK(read_skips(document["not_restored"], receipt.not_restored));
  ROOST_CHECK(fields.status());
  return receipt;
}

std::int64_t last_proven_us(const BackupRecord& record) { return std::max(record.last_proven_us, record.receipt.verified_at_us); }

bool valid_backup_id(std::string_view id) {
  constexpr std::size_t kSession = 8, kMost = 64;
  const auto allowed = [](std::string_view text, std::string_view characters) {
    return text.find_first_not_of(characters) == std::string_view::npos;
  };
  return id.size() > kSession + 1 && id.size() <= kMost && id[kSession] == '-' &&
         allowed(id.substr(0, kSession), "0123456789abcdef") && allowed(id.substr(kSession + 1), "0123456789TZ");
}

// What is not known or does not apply is left out, so that a record of an earlier version reads and compares as it did.
Json to_json(const BackupRecord& record) {
  Json json = Json::object({{"id", record.id},
                            {"session_id", record.session_id},
                            {"user_id", record.user_id},
                            {"archive", record.archive},
                            {"created_at_us", record.created_at_us},
                            {"trigger", record.trigger},
                            {"state", record.state},
                            {"receipt", to_json(record.receipt)}});
  const auto set_time = [&json](const char* name, std::int64_t at_us) {
    if (at_us != 0) json.set(name, at_us);
  };
  set_time("last_proven_us", record.last_proven_us);
  set_time("protected_until_us", record.protected_until_us);
  set_time("session_deleted_at_us", record.session_deleted_at_us);
  set_time("verify_asked_at_us", record.verify_asked_at_us);
  if (!record.drill.empty()) json.set("drill", record.drill);
  if (record.hold) {
    json.set("hold", Json::object({{"until_us", record.hold->until_us},
                                   {"reason", record.hold->reason},
                                   {"by", record.hold->by},
                                   {"placed_at_us", record.hold->placed_at_us}}));
  }
  if (record.note)
    json.set("note", Json::object({{"reason", record.note->reason}, {"by", record.note->by}, {"at_us", record.note->at_us}}));
  return json;
}

Result<BackupRecord> backup_record_from_json(const Json& document) {
  Fields fields(document, "backup");
  BackupRecord record;
  record.id = fields.required("id");
  record.session_id = fields.required("session_id");
  record.user_id = fields.text("user_id");
  record.archive = fields.required("archive");
  record.created_at_us = fields.number("created_at_us");
  if (document.find("trigger") != nullptr) record.trigger = fields.text("trigger");
  record.state = fields.text("state");
  record.last_proven_us = fields.number("last_proven_us");
  record.protected_until_us = fields.number("protected_until_us");
  record.session_deleted_at_us = fields.number("session_deleted_at_us");
  record.verify_asked_at_us = fields.number("verify_asked_at_us");
  record.drill = fields.text("drill");
  ROOST_CHECK(fields.status());
  if (const Json* hold = document.find("hold")) {
    Fields of(*hold, "backup.hold");
    record.hold = BackupHold{of.number("until_us"), of.text("reason"), of.text("by"), of.number("placed_at_us")};
    ROOST_CHECK(of.status());
  }
  if (const Json* note = document.find("note")) {
    Fields of(*note, "backup.note");
    record.note = BackupNote{of.text("reason"), of.text("by"), of.number("at_us")};
    ROOST_CHECK(of.status());
  }
  ROOST_TRY(record.receipt, receipt_from_json(document["receipt"]));
  return record;
}

}  // namespace roost
