// Receipt: what proves a backup; and BackupRecord, its entry in the catalogue. A volume is released only against a receipt for
// which release_blocker() has nothing to say. Thread safety: plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost {

struct Skipped {
  std::string kind;    // "file", "directory", "symlink", "socket", "fifo", "device"
  std::string reason;  // "unreadable", "changed", "vanished", "unsupported", "excluded"; of a restore: "permissions"
  std::int64_t count = 0;
  std::string example;  // one path, escaped and cut
  bool operator==(const Skipped&) const = default;
};

struct Receipt {
  std::string backup_id;
  std::string archive;  // the object's name
  std::string session_id;
  std::string operation_id;
  std::string volume_uid;
  std::int64_t files = 0;  // entries of every kind that the archive holds
  std::int64_t bytes = 0;  // of regular files, uncompressed
  std::int64_t archive_bytes = 0;
  std::string archive_sha256;  // hex, of the stored object as re-read
  std::string tree_hash;       // hex, over the manifest
  std::int64_t made_at_us = 0;
  std::int64_t verified_at_us = 0;  // 0: its verification did not re-read the archive
  bool live = false;                // taken while a workload could write: never release-grade
  bool exclusions = false;          // something was left out on request: never release-grade
  bool empty_volume = false;        // there was nothing to save
  std::vector<Skipped> skipped;
  std::vector<Skipped> not_restored;  // of a restore: what came back otherwise than it was saved
  bool operator==(const Receipt&) const = default;
};

// Nobody and nothing removes a backup that is held.
struct BackupHold {
  std::int64_t until_us = 0;  // 0: until it is lifted
  std::string reason;
  std::string by;  // the API key's name
  std::int64_t placed_at_us = 0;
  bool operator==(const BackupHold&) const = default;
};

// What became of a backup, where it is not as it was made: why, who decided or found it, and when.
struct BackupNote {
  std::string reason;
  std::string by;
  std::int64_t at_us = 0;
  bool operator==(const BackupNote&) const = default;
};

struct BackupRecord {
  std::string id;  // "{session}-{time}"
  std::string session_id;
  std::string user_id;
  std::string archive;
  std::int64_t created_at_us = 0;
  std::string trigger = "delete";  // "delete", "request", "schedule", "restore"
  // "started", "verified", "damaged", "missing", "deleting"; "deleted": nothing is left but this record, for a while
  std::string state;
  Receipt receipt;                         // as far as known
  std::int64_t last_proven_us = 0;         // when it was last read back whole after it was made; 0: not since
  std::int64_t protected_until_us = 0;     // retention does not remove it before; 0: not worked out yet
  std::int64_t session_deleted_at_us = 0;  // 0: its session is there, as far as known
  std::int64_t verify_asked_at_us = 0;     // somebody wants it read again; 0: nobody, or it was
  std::string drill;                       // the operation that reads it again now; empty: none
  std::optional<BackupHold> hold;
  std::optional<BackupNote> note;
  bool operator==(const BackupRecord&) const = default;
};

// When the archive was last known to be whole: by the verification that made it a backup, or later. 0: never.
[[nodiscard]] std::int64_t last_proven_us(const BackupRecord&);
// "{session}-{digits, T and Z}", as backups are named; false for anything else.
[[nodiscard]] bool valid_backup_id(std::string_view id);

// Why this receipt does not permit the release of that volume by that operation; empty: it does.
// With `override_losses` skipped files do not block; everything else still does.
[[nodiscard]] std::string release_blocker(const Receipt&, const std::string& operation_id, const std::string& volume_uid,
                                          bool override_losses);

[[nodiscard]] Json to_json(const Receipt&);
[[nodiscard]] Result<Receipt> receipt_from_json(const Json&);
[[nodiscard]] Json to_json(const BackupRecord&);
[[nodiscard]] Result<BackupRecord> backup_record_from_json(const Json&);

}  // namespace roost
