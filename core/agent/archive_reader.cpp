#include "agent/archive_reader.hpp"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <array>

#include "archive/reading.hpp"

namespace roost::agent {

namespace {

constexpr std::size_t kReadPiece = 64u << 10;
// libarchive wants to see more bytes than a data descriptor has. A central record is longer than this, so the bytes are there.
constexpr std::uint64_t kLookahead = 24;
constexpr std::size_t kHeaderFixed = 64;  // a local header without its name is shorter

Error damaged(const std::string& what) { return Error{Code::data_loss, "the archive is damaged: " + what, 0}; }

std::string quoted(const ManifestEntry& entry) { return "\"" + escape_path(entry.path) + "\""; }

// The numbers of a central record that the manifest does not know; they may stand in the 64-bit field.
struct CentralNumbers {
  std::uint16_t flags = 0;
  std::uint16_t method = 0;
  std::uint32_t crc = 0;
  std::uint64_t stored_size = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};

// Reads the 64-bit field as far as it replaces a number. Its form is checked by writing the record again.
void widen(std::string_view extra, CentralNumbers& numbers) {
  while (extra.size() >= 4) {
    const std::size_t length = std::min<std::size_t>(get_u16(extra, 2), extra.size() - 4);
    std::string_view field = extra.substr(4, length);
    if (get_u16(extra, 0) == 0x0001) {
      for (std::uint64_t* number : {&numbers.size, &numbers.stored_size, &numbers.offset}) {
        if (*number != UINT32_MAX || field.size() < 8) continue;
        *number = get_u64(field, 0);
        field.remove_prefix(8);
      }
      return;
    }
    extra.remove_prefix(4 + length);
  }
}

}  // namespace

ArchiveReader::ArchiveReader(ArchiveSource& source) : source_(source) {}

Result<std::unique_ptr<ArchiveReader>> ArchiveReader::open(ArchiveSource& source) {
  std::unique_ptr<ArchiveReader> reader(new ArchiveReader(source));
  ROOST_CHECK(reader->read_end());
  ROOST_CHECK(reader->begin_manifest());
  return reader;
}

Status ArchiveReader::read_end() {
  const ByteRange tail = layout_range(source_.size());
  ROOST_TRY(const std::string bytes, source_.read(tail.offset, tail.length));
  ROOST_TRY(const ArchiveLayout layout, read_layout(source_.size(), bytes));
  end_ = layout.end;
  end_offset_ = layout.end_offset;
  comment_ = layout.comment;
  central_ = std::make_unique<ByteWindow>(source_, end_.directory_offset, end_.directory_offset + end_.directory_size);
  return {};
}

Status ArchiveReader::begin_manifest() {
  const std::uint64_t from = comment_.manifest_offset;
  manifest_ = std::make_unique<ArchiveStream>(source_, from, end_.directory_offset + kLookahead, nullptr);
  ROOST_CHECK(manifest_->next(from));
  manifest_raw_ = manifest_->raw(from, kHeaderFixed + 64);
  entries_ = std::make_unique<ArchiveStream>(source_, 0, from + kLookahead, [this](std::string_view bytes) { observe(bytes); });
  ROOST_TRY(ManifestLine line, parse_next());
  if (!std::holds_alternative<ManifestHeader>(line)) return damaged("its manifest has no first line");
  header_ = std::get<ManifestHeader>(std::move(line));
  if (header_.session_id != comment_.session_id || header_.operation_id != comment_.operation_id ||
      header_.attempt != comment_.attempt) {
    return damaged("its manifest and its end record name different operations");
  }
  return {};
}

void ArchiveReader::observe(std::string_view bytes) {
  const std::string_view body = bytes.substr(0, static_cast<std::size_t>(end_offset_ - std::min(hashed_, end_offset_)));
  sha256_.update(body);
  if (hashed_ < end_offset_ && hashed_ + body.size() == end_offset_) body_sha256_ = sha256_.so_far();
  sha256_.update(bytes.substr(body.size()));
  hashed_ += bytes.size();
}

Result<std::string> ArchiveReader::manifest_line() {
  std::size_t searched = 0;
  for (;;) {
    const std::size_t end = text_.find('\n', searched);
    if (end != std::string::npos) {
      std::string line = text_.substr(0, end);
      text_.erase(0, end + 1);
      tree_sha256_.update(line);
      tree_sha256_.update("\n");
      return line;
    }
    if (manifest_ended_ || text_.size() > kManifestLineMax)
      return damaged("its manifest ends in the middle or has too long a line");
    searched = text_.size();
    std::array<char, kReadPiece> piece;
    ROOST_TRY(const std::size_t got, manifest_->read(piece.data(), piece.size()));
    const std::string_view bytes(piece.data(), got);
    manifest_ended_ = got == 0;
    manifest_size_ += got;
    manifest_crc_ = crc_of(manifest_crc_, bytes);
    text_ += bytes;
  }
}

Result<ManifestLine> ArchiveReader::parse_next() {
  ROOST_TRY(const std::string line, manifest_line());
  return parse_line(line);
}

Result<std::optional<ManifestEntry>> ArchiveReader::next() {
  ROOST_CHECK(drain());
  for (;;) {
    if (sums_) return std::optional<ManifestEntry>();
    ROOST_TRY(ManifestLine line, parse_next());
    if (const auto* skip = std::get_if<ManifestSkip>(&line)) {
      ++counted_.skipped;
      count_skip(skipped_, *skip);
    } else if (const auto* end = std::get_if<ManifestEnd>(&line)) {
      sums_ = *end;
    } else if (auto* entry = std::get_if<ManifestEntry>(&line)) {
      if (entry->abandoned > 0) {
        ROOST_CHECK(skip_abandoned(*entry));
        continue;
      }
      ROOST_CHECK(begin_entry(*entry));
      return std::optional<ManifestEntry>(*entry);
    } else {
      return damaged("its manifest has two first lines");
    }
  }
}

// The next central record, which must be the one that this entry's manifest line makes.
Result<ZipEntry> ArchiveReader::take_central(const ManifestEntry& entry, const std::string& name, std::uint32_t type) {
  if (central_->left() < kCentralHeaderSize) return damaged("its central directory lacks " + quoted(entry));
  ROOST_TRY(const std::string_view head, central_->take(kCentralHeaderSize));
  std::string record(head);
  CentralNumbers numbers{get_u16(head, 8),  get_u16(head, 10), get_u32(head, 16),
                         get_u32(head, 20), get_u32(head, 24), get_u32(head, 42)};
  const std::size_t name_size = get_u16(head, 28);
  const std::size_t extra_size = get_u16(head, 30);
  ROOST_TRY(const std::string_view rest, central_->take(name_size + extra_size));
  record += rest;
  widen(std::string_view(rest).substr(name_size), numbers);
  ++central_read_;

  ZipEntry zip;
  zip.name = name;
  zip.mode = type | entry.mode;
  zip.mtime_ns = entry.mtime_ns;
  zip.method = numbers.method;
  zip.descriptor = (numbers.flags & (1u << 3)) != 0;
  zip.crc = numbers.crc;
  zip.stored_size = numbers.stored_size;
  zip.size = numbers.size;
  zip.offset = numbers.offset;
  // Whether the sizes after the data have 64 bits shows in the version; where something else needs that too, the local header
  // tells.
  zip.wide_descriptor = zip.descriptor && get_u16(head, 6) == 45;
  if (zip.offset != offset_ || central_record(zip) != record) {
    return damaged("its central directory says something else about " + quoted(entry) + " than its manifest");
  }
  return zip;
}

// `raw`: the archive's bytes from the entry's offset on, at least as many as a header has.
Status ArchiveReader::check_local(std::string_view raw, ZipEntry& entry) {
  std::string wanted = local_header(entry);
  if (entry.wide_descriptor && raw.substr(0, wanted.size()) != wanted) {
    entry.wide_descriptor = false;
    wanted = local_header(entry);
  }
  if (raw.substr(0, wanted.size()) != wanted) return damaged("a header is not as it was written");
  offset_ = entry.offset + wanted.size() + entry.stored_size + data_descriptor(entry).size();
  return {};
}

Status ArchiveReader::begin_entry(const ManifestEntry& entry) {
  const bool directory = entry.type == EntryType::directory;
  const std::uint32_t type = directory ? S_IFDIR : entry.type == EntryType::symlink ? S_IFLNK : S_IFREG;
  ROOST_TRY(present_zip_, take_central(entry, directory ? entry.path + "/" : entry.path, type));
  if (present_zip_.size != static_cast<std::uint64_t>(entry.size))
    return damaged(quoted(entry) + " has another size in its manifest");
  ROOST_CHECK(entries_->next(present_zip_.offset));
  ROOST_CHECK(check_local(entries_->raw(present_zip_.offset, kHeaderFixed + present_zip_.name.size()), present_zip_));
  manifest_number_ = std::max(manifest_number_, manifest_number(entry.path) + 1);
  present_ = entry;
  present_sha256_ = std::make_unique<Sha256Stream>();
  present_crc_ = 0;
  present_read_ = 0;
  return {};
}

// Bytes that no directory names. They are covered by the archive's SHA-256 only.
Status ArchiveReader::skip_abandoned(const ManifestEntry& entry) {
  ROOST_CHECK(entries_->next(offset_));
  std::array<char, kReadPiece> piece;
  std::int64_t left = entry.size;
  for (;;) {
    ROOST_TRY(const std::size_t got, entries_->read(piece.data(), piece.size()));
    left -= static_cast<std::int64_t>(got);
    if (got == 0 || left < 0) break;
  }
  if (left != 0 || entry.abandoned > comment_.manifest_offset - offset_) return damaged("an abandoned entry has another size");
  offset_ += entry.abandoned;
  return {};
}

Result<std::size_t> ArchiveReader::read(char* out, std::size_t count) {
  if (!present_ || present_->type == EntryType::directory) return std::size_t{0};
  ROOST_TRY(const std::size_t got, entries_->read(out, count));
  if (got == 0) {
    ROOST_CHECK(end_entry());
    return got;
  }
  const std::string_view bytes(out, got);
  present_read_ += static_cast<std::int64_t>(got);
  if (present_read_ > present_->size) return damaged(quoted(*present_) + " is longer than its manifest says");
  present_sha256_->update(bytes);
  present_crc_ = crc_of(present_crc_, bytes);
  return got;
}

Status ArchiveReader::end_entry() {
  const ManifestEntry entry = *std::move(present_);
  present_.reset();
  ++counted_.files;
  if (entry.type == EntryType::directory) return {};
  if (entry.type == EntryType::file) counted_.bytes += entry.size;
  if (present_read_ != entry.size) return damaged(quoted(entry) + " is shorter than its manifest says");
  if (to_hex(present_sha256_->finish()) != entry.sha256 || present_crc_ != present_zip_.crc) {
    return damaged("the contents of " + quoted(entry) + " are not those of its manifest");
  }
  return {};
}

Status ArchiveReader::drain() {
  if (present_ && present_->type == EntryType::directory) {
    char none = 0;
    ROOST_TRY(const std::size_t got, entries_->read(&none, 1));
    return got == 0 ? end_entry() : damaged(quoted(*present_) + " is a directory with contents");
  }
  std::array<char, kReadPiece> piece;
  while (present_) ROOST_CHECK(read(piece.data(), piece.size()));
  return {};
}

// The manifest's own entry is the last one and stands in no manifest.
Status ArchiveReader::check_manifest_entry() {
  std::array<char, kReadPiece> piece;
  if (!manifest_ended_ && text_.empty()) {
    ROOST_TRY(const std::size_t more, manifest_->read(piece.data(), piece.size()));
    manifest_ended_ = more == 0;
  }
  if (!manifest_ended_ || !text_.empty()) return damaged("its manifest goes on after its last line");
  if (offset_ != comment_.manifest_offset) return damaged("there is something before its manifest");
  ManifestEntry line;
  line.path = manifest_name(manifest_number_);
  line.mode = 0600;
  line.mtime_ns = header_.made_at_us * 1000;
  ROOST_TRY(ZipEntry zip, take_central(line, line.path, S_IFREG));
  ROOST_CHECK(check_local(manifest_raw_, zip));
  if (zip.size != manifest_size_ || zip.crc != manifest_crc_) return damaged("its manifest has another size or checksum");
  if (offset_ != end_.directory_offset) return damaged("there is something behind its manifest");
  if (central_->left() != 0 || central_read_ != end_.entries)
    return damaged("its central directory has more entries than its manifest");
  return {};
}

Status ArchiveReader::check_sums() const {
  if (*sums_ != counted_) return damaged("its manifest counts other numbers than it lists");
  return {};
}

Result<Receipt> ArchiveReader::finish() {
  ROOST_CHECK(drain());
  if (!sums_) return Error{Code::internal, "finish before the last entry", 0};
  ROOST_CHECK(check_sums());
  ROOST_CHECK(check_manifest_entry());
  while (hashed_ < source_.size()) {
    const std::uint64_t count = std::min<std::uint64_t>(1u << 20, source_.size() - hashed_);
    ROOST_TRY(const std::string bytes, source_.read(hashed_, static_cast<std::size_t>(count)));
    observe(bytes);
  }
  if (to_hex(body_sha256_) != comment_.sha256) return damaged("its bytes do not have the SHA-256 of its end record");

  Receipt receipt;
  receipt.backup_id = header_.backup_id;
  receipt.archive = header_.archive;
  receipt.session_id = header_.session_id;
  receipt.operation_id = header_.operation_id;
  receipt.volume_uid = header_.volume_uid;
  receipt.files = sums_->files;
  receipt.bytes = sums_->bytes;
  receipt.archive_bytes = static_cast<std::int64_t>(source_.size());
  receipt.archive_sha256 = to_hex(sha256_.finish());
  receipt.tree_hash = to_hex(tree_sha256_.finish());
  receipt.made_at_us = header_.made_at_us;
  receipt.live = header_.live;
  receipt.exclusions = header_.exclusions;
  receipt.empty_volume = nothing_to_save(sums_->files, skipped_);
  receipt.skipped = skipped_;
  return receipt;
}

}  // namespace roost::agent
