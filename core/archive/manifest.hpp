// The manifest inside an archive: one JSON object a line. The first says whose archive it is, then one for each entry in the
// archive's order and one for each thing that had to be left out, and the last sums up. tree_hash is the SHA-256 of all of it.
// Thread safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"

namespace roost {

inline constexpr std::size_t kManifestLineMax = 512u << 10;

struct ManifestHeader {
  std::string session_id;
  std::string user_id;
  std::string operation_id;
  std::int64_t attempt = 0;
  std::string backup_id;
  std::string archive;
  std::string volume_uid;
  bool live = false;
  bool exclusions = false;  // something may have been left out on request
  std::int64_t made_at_us = 0;
  bool operator==(const ManifestHeader&) const = default;
};

enum class EntryType { file, directory, symlink };

struct ManifestEntry {
  std::string path;  // relative, any bytes but NUL, without '/' at its end
  EntryType type = EntryType::file;
  std::uint32_t mode = 0;  // 07777
  std::int64_t mtime_ns = 0;
  std::int64_t size = 0;        // of a file, or of a link's target
  std::string sha256;           // likewise; empty for a directory
  bool torn = false;            // it was written to while it was read; in live backups only
  std::uint64_t abandoned = 0;  // > 0: the bytes of an attempt that was thrown away; not in the central directory
  bool operator==(const ManifestEntry&) const = default;
};

struct ManifestSkip {
  std::string path;
  std::string kind;
  std::string reason;
  bool operator==(const ManifestSkip&) const = default;
};

struct ManifestEnd {
  std::int64_t files = 0;  // entries, without abandoned ones
  std::int64_t bytes = 0;
  std::int64_t skipped = 0;
  bool operator==(const ManifestEnd&) const = default;
};

using ManifestLine = std::variant<ManifestHeader, ManifestEntry, ManifestSkip, ManifestEnd>;

[[nodiscard]] std::string to_line(const ManifestLine&);                // with its '\n'
[[nodiscard]] Result<ManifestLine> parse_line(std::string_view line);  // without it; DATA_LOSS

// Whether a path may be made beneath a directory: not empty, no empty, "." or ".." part, no NUL, not absolute.
[[nodiscard]] bool safe_path(std::string_view path);

// A path as it may appear in a receipt or a log: printable ASCII, everything else as \xNN, at most `most` characters.
[[nodiscard]] std::string escape_path(std::string_view path, std::size_t most = 80);

// Adds one to the sum by kind and reason; the first path of each becomes its example.
void count_skip(std::vector<Skipped>& sums, const ManifestSkip& skip);

// Whether something was skipped that belongs to the user's work. Sockets, fifos and devices do not: they are made anew; and what
// was left out on request was not lost (the header says that there was such a request).
[[nodiscard]] bool lost_something(const std::vector<Skipped>& sums);
// Whether the tree held nothing: no entries, and nothing that was skipped or left out but what has no data.
[[nodiscard]] bool nothing_to_save(std::int64_t files, const std::vector<Skipped>& sums);

}  // namespace roost
