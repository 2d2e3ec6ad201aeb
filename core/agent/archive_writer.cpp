#include "agent/archive_writer.hpp"

#include <sys/stat.h>
#include <zlib.h>

#include <algorithm>
#include <cassert>
#include <utility>

namespace roost::agent {

namespace {

constexpr int kFast = 1;
constexpr std::size_t kProbe = 64u << 10;
// A file that could reach 4 GiB, also after compression made it larger, gets 64-bit sizes from the start.
constexpr std::uint64_t kWideFrom = 0xF0000000;

mode_t type_bits(EntryType type) {
  switch (type) {
    case EntryType::directory: return S_IFDIR;
    case EntryType::symlink: return S_IFLNK;
    case EntryType::file: break;
  }
  return S_IFREG;
}

// A raw deflate stream; its state is a quarter of a megabyte and is used again for every file.
class Deflater {
 public:
  Deflater() { ready_ = ::deflateInit2(&stream_, kFast, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK; }
  ~Deflater() {
    if (ready_) ::deflateEnd(&stream_);
  }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  bool ready() const { return ready_; }
  // Level 0 passes data through in deflate's stored blocks. At the beginning of a stream only.
  void begin(int level) {
    ::deflateReset(&stream_);
    ::deflateParams(&stream_, level, Z_DEFAULT_STRATEGY);
  }
  // Appends to `out` what comes of the data.
  void run(std::string_view data, int flush, std::string& out) {
    stream_.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(data.data()));
    stream_.avail_in = static_cast<unsigned>(data.size());
    do {
      const std::size_t before = out.size();
      out.resize(before + std::max<std::size_t>(data.size() / 2, kProbe));
      stream_.next_out = reinterpret_cast<unsigned char*>(out.data() + before);
      stream_.avail_out = static_cast<unsigned>(out.size() - before);
      ::deflate(&stream_, flush);
      out.resize(out.size() - stream_.avail_out);
    } while (stream_.avail_in > 0 || stream_.avail_out == 0);
  }

 private:
  z_stream stream_{};
  bool ready_ = false;
};

// Whether a piece shrinks enough to be worth the time; most of what does not (images, packs, archives) shows it at once.
bool shrinks(Deflater& deflater, std::string_view data) {
  std::string out;
  const std::string_view probe = data.substr(0, kProbe);
  deflater.begin(kFast);
  deflater.run(probe, Z_FINISH, out);
  return out.size() < probe.size() - probe.size() / 32;
}

}  // namespace

struct ArchiveWriter::OpenFile {
  ZipEntry entry;
  ManifestEntry line;
  std::unique_ptr<Sha256Stream> sha256;
  Deflater deflater;
  bool begun = false;  // the first piece decides the level
};

Result<std::unique_ptr<ArchiveWriter>> ArchiveWriter::create(const std::string& spool_directory, const ManifestHeader& header,
                                                             ByteSink& sink) {
  ROOST_TRY(Spool directory, Spool::create(spool_directory));
  ROOST_TRY(Spool manifest, Spool::create(spool_directory));
  std::unique_ptr<ArchiveWriter> writer(new ArchiveWriter(header, sink, std::move(directory), std::move(manifest)));
  if (!writer->open_->deflater.ready()) return {Code::internal, "cannot start zlib"};
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
  whole_sha256_.update(data);
  offset_ += data.size();
  return sink_.write(data);
}

// Notes an entry that is in the stream: in the manifest, and in the central directory unless it was abandoned.
Status ArchiveWriter::record(ManifestEntry line, ZipEntry entry) {
  if (line.abandoned == 0) {
    ++entries_;
    ++sums_.files;
    if (line.type == EntryType::file) sums_.bytes += line.size;
    // The manifest's own name must be none of the tree's.
    manifest_number_ = std::max(manifest_number_, manifest_number(line.path) + 1);
    ROOST_CHECK(directory_.append(central_record(entry)));
  }
  const std::string text = to_line(line);
  tree_sha256_.update(text);
  return manifest_.append(text);
}

Status ArchiveWriter::add_directory(const EntryAttributes& attributes) {
  ZipEntry entry;
  entry.name = attributes.path + "/";
  entry.mode = S_IFDIR | attributes.mode;
  entry.mtime_ns = attributes.mtime_ns;
  entry.offset = offset_;
  const std::string header = local_header(entry);
  body_sha256_.update(header);
  ROOST_CHECK(emit(header));
  ManifestEntry line;
  line.path = attributes.path;
  line.type = EntryType::directory;
  line.mode = attributes.mode;
  line.mtime_ns = attributes.mtime_ns;
  return record(std::move(line), std::move(entry));
}

Status ArchiveWriter::add_symlink(const EntryAttributes& attributes, const std::string& target) {
  return add_contents(attributes, EntryType::symlink, target, false);
}

Status ArchiveWriter::add_file(const EntryAttributes& attributes, std::string_view contents, bool torn) {
  return add_contents(attributes, EntryType::file, contents, torn);
}

Status ArchiveWriter::add_contents(const EntryAttributes& attributes, EntryType type, std::string_view contents, bool torn) {
  ZipEntry entry;
  entry.name = attributes.path;
  entry.mode = type_bits(type) | attributes.mode;
  entry.mtime_ns = attributes.mtime_ns;
  entry.crc = crc_of(0, contents);
  entry.size = contents.size();
  entry.stored_size = contents.size();
  entry.offset = offset_;
  std::string_view stored = contents;
  // A link's target stays as it is: tools expect it so.
  Deflater& deflater = open_->deflater;
  if (type == EntryType::file && contents.size() > 16 && (contents.size() <= kProbe || shrinks(deflater, contents))) {
    buffer_.clear();
    deflater.begin(kFast);
    deflater.run(contents, Z_FINISH, buffer_);
    if (buffer_.size() < contents.size()) {
      stored = buffer_;
      entry.method = kDeflated;
      entry.stored_size = buffer_.size();
    }
  }
  const std::string header = local_header(entry);
  body_sha256_.update(header);
  body_sha256_.update(stored);
  ROOST_CHECK(emit(header));
  ROOST_CHECK(emit(stored));
  ManifestEntry line;
  line.path = attributes.path;
  line.type = type;
  line.mode = attributes.mode;
  line.mtime_ns = attributes.mtime_ns;
  line.size = static_cast<std::int64_t>(contents.size());
  line.sha256 = to_hex(sha256(contents));
  line.torn = torn;
  return record(std::move(line), std::move(entry));
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
  open_->begun = false;
  const std::string header = local_header(open_->entry);
  body_sha256_.update(header);
  return emit(header);
}

Status ArchiveWriter::deflate_piece(std::string_view data, int flush) {
  if (!open_->begun) {
    const bool worth_it = shrinks(open_->deflater, data);
    open_->deflater.begin(worth_it ? kFast : 0);
    open_->begun = true;
  }
  buffer_.clear();
  open_->deflater.run(data, flush, buffer_);
  open_->entry.stored_size += buffer_.size();
  body_sha256_.update(buffer_);
  return emit(buffer_);
}

Status ArchiveWriter::write_file(std::string_view data) {
  open_->sha256->update(data);
  open_->entry.crc = crc_of(open_->entry.crc, data);
  open_->entry.size += data.size();
  return deflate_piece(data, Z_NO_FLUSH);
}

Status ArchiveWriter::finish_stream() {
  ROOST_CHECK(deflate_piece({}, Z_FINISH));
  const ZipEntry& entry = open_->entry;
  if (!entry.wide_descriptor && (entry.size > UINT32_MAX || entry.stored_size > UINT32_MAX)) {
    return {Code::internal, "more than 4 GiB came of a file that was to have less"};
  }
  const std::string descriptor = data_descriptor(entry);
  body_sha256_.update(descriptor);
  return emit(descriptor);
}

Status ArchiveWriter::end_file(Keep keep) {
  ROOST_CHECK(finish_stream());
  open_->line.size = static_cast<std::int64_t>(open_->entry.size);
  open_->line.sha256 = to_hex(open_->sha256->finish());
  open_->line.torn = keep == Keep::torn_entry;
  open_->line.abandoned = keep == Keep::abandon ? offset_ - open_->entry.offset : 0;
  return record(open_->line, open_->entry);
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
  for (std::uint64_t at = 0; at < manifest_.size();) {
    ROOST_TRY(const std::string piece, manifest_.read(at, kProbe * 4));
    open_->entry.crc = crc_of(open_->entry.crc, piece);
    open_->entry.size += piece.size();
    ROOST_CHECK(deflate_piece(piece, Z_NO_FLUSH));
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
    ROOST_TRY(const std::string piece, directory_.read(at, kProbe * 4));
    body_sha256_.update(piece);
    ROOST_CHECK(emit(piece));
    at += piece.size();
  }
  const std::string wide = wide_end(end);
  body_sha256_.update(wide);
  ROOST_CHECK(emit(wide));
  end.comment = to_text(
      ArchiveComment{header_.session_id, header_.operation_id, header_.attempt, manifest_offset_, to_hex(body_sha256_.finish())});
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
  receipt.archive_sha256 = to_hex(whole_sha256_.finish());
  receipt.tree_hash = to_hex(tree_sha256_.finish());
  receipt.made_at_us = header_.made_at_us;
  receipt.live = header_.live;
  receipt.empty_volume = sums_.files == 0 && !lost_something(skipped_);
  receipt.skipped = skipped_;
  return receipt;
}

}  // namespace roost::agent
