#include "agent/archive_writer.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace roost::agent {

namespace {

constexpr std::size_t kSpoolPiece = 256u << 10;
// A file that could reach 4 GiB, also after compression made it larger, gets 64-bit sizes from the start.
constexpr std::uint64_t kWideFrom = 0xF0000000;

}  // namespace

struct ArchiveWriter::OpenFile {
  ZipEntry entry;
  ManifestEntry line;
  std::unique_ptr<Sha256Stream> sha256;
};

Result<std::unique_ptr<ArchiveWriter>> ArchiveWriter::create(const std::string& spool_directory, const ManifestHeader& header,
                                                             ByteSink& sink) {
  ROOST_TRY(Spool directory, Spool::create(spool_directory));
  ROOST_TRY(Spool manifest, Spool::create(spool_directory));
  std::unique_ptr<ArchiveWriter> writer(new ArchiveWriter(header, sink, std::move(directory), std::move(manifest)));
  const std::string line = to_line(header);
  writer->tree_sha256_.update(line);
  ROOST_CHECK(writer->manifest_.append(line));
  return writer;
}

ArchiveWriter::ArchiveWriter(ManifestHeader header, ByteSink& sink, Spool directory, Spool manifest)
    : header_(std::move(header)),
      sink_(sink),
      directory_(std::move(directory)),
      manifest_(std::move(manifest)),
      open_(std::make_unique<OpenFile>()) {}

ArchiveWriter::~ArchiveWriter() = default;

Status ArchiveWriter::emit(std::string_view data) {
  sha256_.update(data);
  offset_ += data.size();
  return sink_.write(data);
}

// Notes an entry that is in the stream: in the manifest, and in the central directory unless it was abandoned.
Status ArchiveWriter::record(const ManifestEntry& line, std::string_view text, const ZipEntry& entry) {
  if (line.abandoned == 0) {
    ++entries_;
    ++sums_.files;
    if (line.type == EntryType::file) sums_.bytes += line.size;
    // The manifest's own name must be none of the tree's.
    manifest_number_ = std::max(manifest_number_, manifest_number(line.path) + 1);
    ROOST_CHECK(directory_.append(central_record(entry)));
  }
  tree_sha256_.update(text);
  return manifest_.append(text);
}

Status ArchiveWriter::add_encoded(EncodedEntry& entry, std::string_view bytes) {
  entry.zip.offset = offset_;
  ROOST_CHECK(emit(bytes));
  return record(entry.line, entry.text, entry.zip);
}

Status ArchiveWriter::add_contents(const EntryAttributes& attributes, EntryType type, std::string_view contents, bool torn) {
  buffer_.clear();
  EncodedEntry entry = encoder_.encode(attributes, type, contents, torn, buffer_);
  return add_encoded(entry, buffer_);
}

Status ArchiveWriter::add_directory(const EntryAttributes& attributes) {
  return add_contents(attributes, EntryType::directory, {}, false);
}

Status ArchiveWriter::add_symlink(const EntryAttributes& attributes, const std::string& target) {
  return add_contents(attributes, EntryType::symlink, target, false);
}

Status ArchiveWriter::add_file(const EntryAttributes& attributes, std::string_view contents, bool torn) {
  return add_contents(attributes, EntryType::file, contents, torn);
}

Status ArchiveWriter::add_skip(const ManifestSkip& skip) {
  ++sums_.skipped;
  count_skip(skipped_, skip);
  const std::string text = to_line(skip);
  tree_sha256_.update(text);
  return manifest_.append(text);
}

Status ArchiveWriter::begin_file(const EntryAttributes& attributes, std::uint64_t expected_size) {
  ZipEntry entry;
  entry.name = attributes.path;
  entry.mode = S_IFREG | attributes.mode;
  entry.mtime_ns = attributes.mtime_ns;
  open_->line = ManifestEntry();
  open_->line.path = attributes.path;
  open_->line.mode = attributes.mode;
  open_->line.mtime_ns = attributes.mtime_ns;
  open_->sha256 = std::make_unique<Sha256Stream>();
  return begin_stream(std::move(entry), expected_size);
}

Status ArchiveWriter::begin_stream(ZipEntry entry, std::uint64_t expected_size) {
  entry.method = kDeflated;
  entry.descriptor = true;
  entry.wide_descriptor = expected_size >= kWideFrom;
  entry.offset = offset_;
  open_->entry = std::move(entry);
  return emit(local_header(open_->entry));
}

Status ArchiveWriter::write_part(std::string_view data, std::string_view part) {
  open_->entry.crc = crc_of(open_->entry.crc, data);
  open_->entry.size += data.size();
  open_->entry.stored_size += part.size();
  return emit(part);
}

Status ArchiveWriter::write_deflated(std::string_view data, std::string_view part) {
  open_->sha256->update(data);
  return write_part(data, part);
}

Status ArchiveWriter::write_file(std::string_view data) {
  while (!data.empty()) {
    const std::string_view piece = data.substr(0, Deflater::kPartMax);
    data.remove_prefix(piece.size());
    buffer_.clear();
    encoder_.deflater().deflate_part(piece, buffer_);
    ROOST_CHECK(write_deflated(piece, buffer_));
  }
  return {};
}

Status ArchiveWriter::finish_stream() {
  ROOST_CHECK(write_part({}, Deflater::kStreamEnd));
  const ZipEntry& entry = open_->entry;
  if (!entry.wide_descriptor && (entry.size > UINT32_MAX || entry.stored_size > UINT32_MAX)) {
    return {Code::internal, "more than 4 GiB came of a file that was to have less"};
  }
  return emit(data_descriptor(entry));
}

Status ArchiveWriter::end_file(Keep keep) {
  ROOST_CHECK(finish_stream());
  open_->line.size = static_cast<std::int64_t>(open_->entry.size);
  open_->line.sha256 = to_hex(open_->sha256->finish());
  open_->line.torn = keep == Keep::torn_entry;
  open_->line.abandoned = keep == Keep::abandon ? offset_ - open_->entry.offset : 0;
  return record(open_->line, to_line(open_->line), open_->entry);
}

Result<Receipt> ArchiveWriter::finish() {
  const std::string last = to_line(sums_);
  tree_sha256_.update(last);
  ROOST_CHECK(manifest_.append(last));
  ROOST_CHECK(write_manifest());
  return write_end();
}

Status ArchiveWriter::write_manifest() {
  ZipEntry entry;
  entry.name = manifest_name(manifest_number_);
  entry.mode = S_IFREG | 0600;
  entry.mtime_ns = header_.made_at_us * 1000;
  manifest_offset_ = offset_;
  ROOST_CHECK(begin_stream(std::move(entry), manifest_.size()));
  Deflater deflater(Deflater::kFast);  // nobody else works meanwhile
  for (std::uint64_t at = 0; at < manifest_.size();) {
    ROOST_TRY(const std::string piece, manifest_.read(at, kSpoolPiece));
    buffer_.clear();
    deflater.deflate_part(piece, buffer_);
    ROOST_CHECK(write_part(piece, buffer_));
    at += piece.size();
  }
  ROOST_CHECK(finish_stream());
  ++entries_;
  return directory_.append(central_record(open_->entry));
}

Result<Receipt> ArchiveWriter::write_end() {
  ZipEnd end;
  end.entries = entries_;
  end.directory_offset = offset_;
  end.directory_size = directory_.size();
  for (std::uint64_t at = 0; at < directory_.size();) {
    ROOST_TRY(const std::string piece, directory_.read(at, kSpoolPiece));
    ROOST_CHECK(emit(piece));
    at += piece.size();
  }
  ROOST_CHECK(emit(wide_end(end)));
  end.comment = to_text(
      ArchiveComment{header_.session_id, header_.operation_id, header_.attempt, manifest_offset_, to_hex(sha256_.so_far())});
  ROOST_CHECK(emit(end_record(end)));

  Receipt receipt;
  receipt.backup_id = header_.backup_id;
  receipt.archive = header_.archive;
  receipt.session_id = header_.session_id;
  receipt.operation_id = header_.operation_id;
  receipt.volume_uid = header_.volume_uid;
  receipt.files = sums_.files;
  receipt.bytes = sums_.bytes;
  receipt.archive_bytes = static_cast<std::int64_t>(offset_);
  receipt.archive_sha256 = to_hex(sha256_.finish());
  receipt.tree_hash = to_hex(tree_sha256_.finish());
  receipt.made_at_us = header_.made_at_us;
  receipt.live = header_.live;
  receipt.exclusions = header_.exclusions;
  receipt.empty_volume = nothing_to_save(sums_.files, skipped_);
  receipt.skipped = skipped_;
  return receipt;
}

}  // namespace roost::agent
