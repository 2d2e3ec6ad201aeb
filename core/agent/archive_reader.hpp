// ArchiveReader: reads a stored archive from its first byte to its last and believes nothing: every entry is held against the
// manifest (size, SHA-256), every header and record against what the writer must have written for it, byte for byte, and every
// byte before the last record against the SHA-256 in that record. Constant memory. DATA_LOSS for whatever does not agree. Thread
// safety: one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/archive_stream.hpp"
#include "archive/format.hpp"
#include "archive/manifest.hpp"
#include "archive/source.hpp"
#include "base/crypto.hpp"
#include "base/result.hpp"

namespace roost::agent {

class ArchiveReader {
 public:
  // Reads the end and the manifest's first line. DATA_LOSS where it is no archive of Roost.
  static Result<std::unique_ptr<ArchiveReader>> open(ArchiveSource& source);

  [[nodiscard]] const ManifestHeader& header() const { return header_; }
  [[nodiscard]] std::uint64_t entries() const { return end_.entries - 1; }  // by its end record, without the manifest

  // To the next entry; none after the last. What is left of the one before is read and checked first.
  Result<std::optional<ManifestEntry>> next();
  // Up to `count` bytes of the entry's contents; 0 at its end, by when they have been proven.
  Result<std::size_t> read(char* out, std::size_t count);
  // After the last entry: checks the rest and answers the receipt, without verified_at_us.
  Result<Receipt> finish();

 private:
  explicit ArchiveReader(ArchiveSource& source);
  Status read_end();
  Status begin_manifest();
  Result<std::string> manifest_line();
  Result<ManifestLine> parse_next();
  Status begin_entry(const ManifestEntry& entry);
  Status skip_abandoned(const ManifestEntry& entry);
  Status drain();
  Status end_entry();
  Result<ZipEntry> take_central(const ManifestEntry& entry, const std::string& name, std::uint32_t type);
  Status check_local(std::string_view raw, ZipEntry& entry);
  Status check_manifest_entry();
  Status check_sums() const;
  void observe(std::string_view bytes);

  ArchiveSource& source_;
  ZipEnd end_;
  std::uint64_t end_offset_ = 0;  // of the last record
  ArchiveComment comment_;
  std::unique_ptr<ByteWindow> central_;
  std::unique_ptr<ArchiveStream> entries_;
  std::unique_ptr<ArchiveStream> manifest_;

  std::string text_;          // of the manifest, not parsed yet
  std::string manifest_raw_;  // the beginning of its local header
  bool manifest_ended_ = false;
  std::uint64_t manifest_size_ = 0;
  std::uint32_t manifest_crc_ = 0;
  std::int64_t manifest_number_ = 0;
  ManifestHeader header_;
  std::optional<ManifestEnd> sums_;
  ManifestEnd counted_;
  std::vector<Skipped> skipped_;

  std::optional<ManifestEntry> present_;
  ZipEntry present_zip_;
  std::unique_ptr<Sha256Stream> present_sha256_;
  std::uint32_t present_crc_ = 0;
  std::int64_t present_read_ = 0;

  std::uint64_t offset_ = 0;  // where the next local header must be
  std::uint64_t central_read_ = 0;
  std::uint64_t hashed_ = 0;
  Sha256Stream sha256_;   // of everything up to hashed_
  Sha256 body_sha256_{};  // of what is before the last record
  Sha256Stream tree_sha256_;
};

}  // namespace roost::agent
