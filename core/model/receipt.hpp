// Receipt: what proves a backup; and BackupRecord, its entry in the catalogue. A volume is released only against a receipt for
// which release_blocker() has nothing to say. Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost {

struct Skipped {
  std::string kind;    // "file", "directory", "symlink", "socket", "fifo", "device"
  std::string reason;  // "unreadable", "changed", "vanished", "unsupported", "excluded"
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
  bool operator==(const Receipt&) const = default;
};

struct BackupRecord {
  std::string id;  // "{session}-{time}"
  std::string session_id;
  std::string user_id;
  std::string archive;
  std::int64_t created_at_us = 0;
  std::string state;  // "started", "verified"
  Receipt receipt;    // as far as known
  bool operator==(const BackupRecord&) const = default;
};

// Why this receipt does not permit the release of that volume by that operation; empty: it does.
// With `override_losses` skipped files do not block; everything else still does.
[[nodiscard]] std::string release_blocker(const Receipt&, const std::string& operation_id, const std::string& volume_uid,
                                          bool override_losses);

[[nodiscard]] Json to_json(const Receipt&);
[[nodiscard]] Result<Receipt> receipt_from_json(const Json&);
[[nodiscard]] Json to_json(const BackupRecord&);
[[nodiscard]] Result<BackupRecord> backup_record_from_json(const Json&);

}  // namespace roost
