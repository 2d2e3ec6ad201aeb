// ArchiveWriter: makes an archive (docs/backup-format.md) out of entries, as one stream that is never gone back in. Its memory
// does not depend on the tree: what a ZIP file needs at its end waits in spools. Where libarchive's writer would do, it is not
// used because it keeps the central directory in memory (144 bytes an entry) and marks names as UTF-8 for all or for none.
// Thread safety: one thread. After an error the archive is worthless.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/archive_encode.hpp"
#include "agent/archive_spool.hpp"
#include "archive/format.hpp"
#include "archive/manifest.hpp"
#include "base/crypto.hpp"
#include "base/result.hpp"

namespace roost::agent {

// Where the archive goes.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Status write(std::string_view data) = 0;
};

class ArchiveWriter {
 public:
  // Files up to this size are held in memory and written with one header that says everything.
  static constexpr std::size_t kSmallFile = 1u << 20;

  static Result<std::unique_ptr<ArchiveWriter>> create(const std::string& spool_directory, const ManifestHeader& header,
                                                       ByteSink& sink);
  ~ArchiveWriter();
  ArchiveWriter(const ArchiveWriter&) = delete;
  ArchiveWriter& operator=(const ArchiveWriter&) = delete;

  Status add_directory(const EntryAttributes& attributes);
  Status add_symlink(const EntryAttributes& attributes, const std::string& target);
  Status add_file(const EntryAttributes& attributes, std::string_view contents, bool torn);
  Status add_skip(const ManifestSkip& skip);
  // The same for an entry that another thread has encoded to these bytes; fills in its offset.
  Status add_encoded(EncodedEntry& entry, std::string_view bytes);

  // A larger file, in pieces. Kept: an entry. Abandoned: its bytes stay in the stream, but no directory names them.
  enum class Keep { entry, torn_entry, abandon };
  Status begin_file(const EntryAttributes& attributes, std::uint64_t expected_size);
  Status write_file(std::string_view data);
  Status write_deflated(std::string_view data, std::string_view part);  // what Deflater::deflate_part made of the data
  Status end_file(Keep keep);

  // Writes manifest, central directory and end, and answers the receipt: everything but verified_at_us.
  Result<Receipt> finish();

 private:
  struct OpenFile;
  ArchiveWriter(ManifestHeader header, ByteSink& sink, Spool directory, Spool manifest);

  Status emit(std::string_view data);
  Status record(const ManifestEntry& line, std::string_view text, const ZipEntry& entry);
  Status add_contents(const EntryAttributes& attributes, EntryType type, std::string_view contents, bool torn);
  Status begin_stream(ZipEntry entry, std::uint64_t expected_size);
  Status write_part(std::string_view data, std::string_view part);
  Status finish_stream();
  Status write_manifest();
  Result<Receipt> write_end();

  ManifestHeader header_;
  ByteSink& sink_;
  Spool directory_;
  Spool manifest_;
  Sha256Stream sha256_;  // of all that was written
  Sha256Stream tree_sha256_;
  std::uint64_t offset_ = 0;
  std::uint64_t entries_ = 0;  // in the central directory
  ManifestEnd sums_;
  std::vector<Skipped> skipped_;
  std::int64_t manifest_number_ = 0;
  std::uint64_t manifest_offset_ = 0;
  std::unique_ptr<OpenFile> open_;
  EntryEncoder encoder_;
  std::string buffer_;
};

}  // namespace roost::agent
