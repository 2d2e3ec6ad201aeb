// What one asks of a stored archive: EntryLookup finds one entry, FileListing lists a page of entries, ManifestSummary reads the
// whole manifest for its sums. All fetch ranges only; see reading.hpp for how they are driven, and for thread safety.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "archive/reading.hpp"
#include "base/crypto.hpp"
#include "model/receipt.hpp"

namespace roost {

// Reads the end of an archive, then its manifest line by line.
class ManifestWalk : public RangeReading {
 public:
  explicit ManifestWalk(std::uint64_t archive_size) : size_(archive_size) {}
  [[nodiscard]] std::optional<ByteRange> wanted() const override;
  Status feed(std::string_view bytes) override;

 protected:
  // One line of the manifest; `text` as it is stored, with its '\n'. False: no more of them are needed.
  virtual Result<bool> take(const ManifestLine& line, const std::string& text) = 0;
  // After the last line, or the one that was enough.
  virtual Status finish() { return {}; }
  [[nodiscard]] const ArchiveLayout& layout() const { return *layout_; }

 private:
  Status advance();

  const std::uint64_t size_;
  std::optional<ArchiveLayout> layout_;
  std::unique_ptr<ManifestReading> manifest_;
  bool done_ = false;
};

class EntryLookup final : public ManifestWalk {
 public:
  EntryLookup(std::uint64_t archive_size, std::string path) : ManifestWalk(archive_size), path_(std::move(path)) {}
  [[nodiscard]] std::optional<ByteRange> wanted() const override;
  Status feed(std::string_view bytes) override;

  // Once nothing is wanted; none: the archive has no such entry.
  [[nodiscard]] const std::optional<ManifestEntry>& found() const { return line_; }
  // Its contents. REQUIRES: found().
  [[nodiscard]] std::unique_ptr<EntryReading> contents() const;

 private:
  Result<bool> take(const ManifestLine& line, const std::string& text) override;
  Status finish() override;
  Status search();

  const std::string path_;
  std::string name_;  // in the directory
  std::optional<ManifestEntry> line_;
  std::unique_ptr<DirectoryReading> directory_;
  std::optional<ZipEntry> zip_;
  std::uint64_t limit_ = 0;
};

class FileListing final : public ManifestWalk {
 public:
  struct Query {
    std::string prefix;      // of the path's bytes
    std::uint64_t skip = 0;  // entries of the archive that earlier pages have passed
    std::size_t limit = 1000;
    std::size_t path_bytes = 4u << 20;  // of all paths of a page; the one that reaches it is the last
  };
  FileListing(std::uint64_t archive_size, Query query) : ManifestWalk(archive_size), query_(std::move(query)) {}

  // Once nothing is wanted.
  [[nodiscard]] const std::vector<ManifestEntry>& files() const { return files_; }
  [[nodiscard]] std::optional<std::uint64_t> next_skip() const { return next_skip_; }  // none: that was all

 private:
  Result<bool> take(const ManifestLine& line, const std::string& text) override;

  const Query query_;
  std::uint64_t seen_ = 0;
  std::size_t path_bytes_ = 0;
  std::vector<ManifestEntry> files_;
  std::optional<std::uint64_t> next_skip_;
};

// The receipt that an archive's own manifest makes, without the hash of the stored object, which only a whole reading knows, and
// without verified_at_us.
class ManifestSummary final : public ManifestWalk {
 public:
  explicit ManifestSummary(std::uint64_t archive_size) : ManifestWalk(archive_size), size_(archive_size) {}
  [[nodiscard]] const Receipt& receipt() const { return receipt_; }
  [[nodiscard]] const std::string& user_id() const { return user_id_; }

 private:
  Result<bool> take(const ManifestLine& line, const std::string& text) override;
  Status finish() override;

  const std::uint64_t size_;
  Receipt receipt_;
  std::string user_id_;
  ManifestEnd counted_;
  std::optional<ManifestEnd> said_;
  Sha256Stream tree_;
};

}  // namespace roost
