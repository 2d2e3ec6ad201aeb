#include "archive/reading.hpp"

#include <zlib.h>

#include <algorithm>
#include <utility>

namespace roost {
namespace {

constexpr std::size_t kCommentMax = 1024;
constexpr std::size_t kWideSize = 56 + 20;
constexpr std::size_t kFirstPiece = 64u << 10;  // a small file, or a small archive's manifest, costs no more
constexpr std::size_t kInflateStep = 64u << 10;
constexpr std::uint32_t kLocalHeader = 0x04034b50;
constexpr std::uint32_t kCentralHeader = 0x02014b50;
constexpr std::uint16_t kHasDescriptor = 1u << 3;

Error broken(const std::string& what) { return Error{Code::data_loss, "the archive is damaged: " + what, 0}; }

std::optional<ByteRange> piece_of(std::uint64_t next, std::uint64_t end, std::size_t most) {
  if (next >= end) return std::nullopt;
  return ByteRange{next, static_cast<std::size_t>(std::min<std::uint64_t>(most, end - next))};
}

Status check_fed(const std::optional<ByteRange>& wanted, std::string_view bytes) {
  if (!wanted) return Error{Code::internal, "bytes of an archive came that nobody asked for", 0};
  if (bytes.size() != wanted->length) return broken("it is shorter than it was");
  return {};
}

// Numbers of 32 bits that stand in the 64-bit field instead, in its order.
Status widen(std::string_view extra, ZipEntry& entry) {
  while (extra.size() >= 4) {
    const std::size_t length = get_u16(extra, 2);
    if (length > extra.size() - 4) return broken("a record of its central directory has too long a field");
    std::string_view field = extra.substr(4, length);
    if (get_u16(extra, 0) == 0x0001) {
      for (std::uint64_t* number : {&entry.size, &entry.stored_size, &entry.offset}) {
        if (*number != UINT32_MAX || field.size() < 8) continue;
        *number = get_u64(field, 0);
        field.remove_prefix(8);
      }
    }
    extra.remove_prefix(4 + length);
  }
  return {};
}

}  // namespace

ByteRange layout_range(std::uint64_t size) {
  const std::uint64_t length = std::min<std::uint64_t>(size, kWideSize + kEndSize + kCommentMax);
  return {size - length, static_cast<std::size_t>(length)};
}

Result<ArchiveLayout> read_layout(std::uint64_t size, std::string_view tail) {
  if (tail.size() != layout_range(size).length || tail.size() < kEndSize) return broken("it is too short");
  std::size_t at = tail.size() - kEndSize;
  while (get_u32(tail, at) != kEndSignature || get_u16(tail, at + 20) != tail.size() - at - kEndSize) {
    if (at-- == 0) return broken("it is cut off, or something was appended, or it is not an archive of Roost");
  }
  ArchiveLayout layout;
  layout.size = size;
  layout.end_offset = size - tail.size() + at;
  ZipEnd& end = layout.end;
  end.comment = tail.substr(at + kEndSize);
  ROOST_TRY(layout.comment, parse_comment(end.comment));
  end.entries = get_u16(tail, at + 10);
  end.directory_size = get_u32(tail, at + 12);
  end.directory_offset = get_u32(tail, at + 16);
  if (end.entries == UINT16_MAX || end.directory_size == UINT32_MAX || end.directory_offset == UINT32_MAX) {
    if (at < kWideSize) return broken("its 64-bit end record is missing");
    end.entries = get_u64(tail, at - kWideSize + 32);
    end.directory_size = get_u64(tail, at - kWideSize + 40);
    end.directory_offset = get_u64(tail, at - kWideSize + 48);
  }
  const std::string again = wide_end(end);
  if (end_record(end) != tail.substr(at) || at < again.size() || tail.compare(at - again.size(), again.size(), again) != 0)
    return broken("its end record says what it cannot say");
  const std::uint64_t directory_end = layout.end_offset - again.size();
  if (end.directory_offset > directory_end || directory_end - end.directory_offset != end.directory_size ||
      layout.comment.manifest_offset >= end.directory_offset || end.entries == 0) {
    return broken("its parts do not lie where its end record says");
  }
  return layout;
}

// ---- raw bytes ----------------------------------------------------------------------------------------------------------

std::optional<ByteRange> RawReading::wanted() const {
  return buffer_.empty() ? piece_of(next_, end_, kReadingPiece) : std::nullopt;
}

Status RawReading::feed(std::string_view bytes) {
  ROOST_CHECK(check_fed(wanted(), bytes));
  buffer_ = bytes;
  next_ += bytes.size();
  return {};
}

Result<std::string> RawReading::take(std::size_t most) {
  std::string out = buffer_.substr(0, most);
  buffer_.erase(0, out.size());
  return out;
}

// ---- one entry ----------------------------------------------------------------------------------------------------------

EntryReading::EntryReading(std::uint64_t offset, std::uint64_t limit, std::string name, std::optional<std::uint64_t> stored_size)
    : next_(offset), limit_(limit), name_(std::move(name)), stored_left_(stored_size), piece_(kFirstPiece) {}

EntryReading::~EntryReading() {
  if (stream_) ::inflateEnd(stream_.get());
}

std::optional<ByteRange> EntryReading::wanted() const {
  if (ended() || (state_ != State::header && used_ < input_.size())) return std::nullopt;
  return piece_of(next_, limit_, piece_);
}

Status EntryReading::feed(std::string_view bytes) {
  ROOST_CHECK(check_fed(wanted(), bytes));
  input_.erase(0, used_);
  used_ = 0;
  input_ += bytes;
  next_ += bytes.size();
  piece_ = kReadingPiece;
  return state_ == State::header ? begin() : Status();
}

Status EntryReading::begin() {
  if (input_.size() < kLocalHeaderSize) return {};
  const std::size_t name_size = get_u16(input_, 26);
  const std::size_t header_size = kLocalHeaderSize + name_size + get_u16(input_, 28);
  if (get_u32(input_, 0) != kLocalHeader) return broken("an entry does not begin where it should");
  if (input_.size() < header_size) return {};
  if (!name_.empty() && input_.compare(kLocalHeaderSize, name_size, name_) != 0)
    return broken("an entry has another name in its header");
  const std::uint16_t method = get_u16(input_, 8);
  if (method == kStored) {
    if (!stored_left_ && (get_u16(input_, 6) & kHasDescriptor) != 0) return broken("a stored entry does not say its size");
    if (!stored_left_) stored_left_ = get_u32(input_, 18);
    state_ = *stored_left_ == 0 ? State::ended : State::stored;
  } else if (method == kDeflated) {
    stream_ = std::make_unique<z_stream>();
    if (::inflateInit2(stream_.get(), -MAX_WBITS) != Z_OK) {
      stream_.reset();
      return Error{Code::exhausted, "no memory to unpack an entry", 1000};
    }
    state_ = State::deflated;
  } else {
    return broken("an entry has a method that Roost does not write");
  }
  used_ = header_size;
  return {};
}

Result<std::string> EntryReading::take(std::size_t most) {
  if (ended()) return std::string();
  if (state_ == State::header || (used_ == input_.size() && !filled_)) {
    if (!wanted()) return broken("an entry is cut off");
    return std::string();
  }
  return state_ == State::stored ? take_stored(most) : inflate(most);
}

Result<std::string> EntryReading::take_stored(std::size_t most) {
  const std::size_t count =
      static_cast<std::size_t>(std::min<std::uint64_t>({most, *stored_left_, std::uint64_t{input_.size() - used_}}));
  std::string out = input_.substr(used_, count);
  used_ += count;
  *stored_left_ -= count;
  if (*stored_left_ == 0) state_ = State::ended;
  return out;
}

Result<std::string> EntryReading::inflate(std::size_t most) {
  std::string out(most, '\0');
  stream_->next_in = reinterpret_cast<unsigned char*>(input_.data() + used_);
  stream_->avail_in = static_cast<unsigned>(input_.size() - used_);
  stream_->next_out = reinterpret_cast<unsigned char*>(out.data());
  stream_->avail_out = static_cast<unsigned>(out.size());
  const int answer = ::inflate(stream_.get(), Z_NO_FLUSH);
  used_ = input_.size() - stream_->avail_in;
  filled_ = stream_->avail_out == 0;
  out.resize(out.size() - stream_->avail_out);
  if (answer == Z_STREAM_END) {
    state_ = State::ended;
  } else if (answer != Z_OK && answer != Z_BUF_ERROR) {
    return broken("the contents of an entry cannot be decoded");
  }
  return out;
}

// ---- the manifest -------------------------------------------------------------------------------------------------------

ManifestReading::ManifestReading(const ArchiveLayout& layout)
    : comment_(layout.comment), entry_(layout.comment.manifest_offset, layout.end.directory_offset, "", std::nullopt) {}

std::optional<ByteRange> ManifestReading::wanted() const { return ended_ || !dry_ ? std::nullopt : entry_.wanted(); }

Status ManifestReading::feed(std::string_view bytes) {
  dry_ = false;
  return entry_.feed(bytes);
}

Result<std::optional<ManifestLine>> ManifestReading::next() {
  if (ended_) return std::optional<ManifestLine>();
  for (;;) {
    const std::size_t end = buffer_.find('\n', searched_);
    if (end != std::string::npos) {
      line_ = buffer_.substr(used_, end + 1 - used_);
      used_ = searched_ = end + 1;
      ROOST_TRY(ManifestLine line, parse_line(std::string_view(line_).substr(0, line_.size() - 1)));
      const auto* header = std::get_if<ManifestHeader>(&line);
      if ((header != nullptr) == begun_) return broken("its manifest has no first line, or two");
      if (header != nullptr) ROOST_CHECK(check_header(*header));
      begun_ = true;
      ended_ = std::holds_alternative<ManifestEnd>(line);
      return std::optional<ManifestLine>(std::move(line));
    }
    buffer_.erase(0, std::exchange(used_, 0));
    if (entry_.ended() || buffer_.size() > kManifestLineMax)
      return broken("its manifest ends in the middle or has too long a line");
    searched_ = buffer_.size();
    ROOST_TRY(const std::string more, entry_.take(kInflateStep));
    buffer_ += more;
    if (more.empty() && !entry_.ended() && entry_.wanted()) {
      dry_ = true;
      return std::optional<ManifestLine>();
    }
  }
}

Status ManifestReading::check_header(const ManifestHeader& header) const {
  if (header.session_id == comment_.session_id && header.operation_id == comment_.operation_id &&
      header.attempt == comment_.attempt)
    return {};
  return broken("its manifest and its end record name different operations");
}

// ---- the central directory ----------------------------------------------------------------------------------------------

DirectoryReading::DirectoryReading(const ArchiveLayout& layout)
    : next_(layout.end.directory_offset),
      end_(layout.end.directory_offset + layout.end.directory_size),
      manifest_offset_(layout.comment.manifest_offset),
      piece_(kFirstPiece) {}

std::optional<ByteRange> DirectoryReading::wanted() const { return dry_ ? piece_of(next_, end_, piece_) : std::nullopt; }

Status DirectoryReading::feed(std::string_view bytes) {
  ROOST_CHECK(check_fed(wanted(), bytes));
  buffer_.erase(0, used_);
  used_ = 0;
  buffer_ += bytes;
  next_ += bytes.size();
  piece_ = kReadingPiece;
  dry_ = false;
  return {};
}

Result<std::optional<ZipEntry>> DirectoryReading::next() {
  const std::string_view left = std::string_view(buffer_).substr(used_);
  const std::size_t name_size = left.size() < kCentralHeaderSize ? 0 : get_u16(left, 28);
  const std::size_t extra_size = left.size() < kCentralHeaderSize ? 0 : get_u16(left, 30);
  const std::size_t comment_size = left.size() < kCentralHeaderSize ? 0 : get_u16(left, 32);
  const std::size_t whole = kCentralHeaderSize + name_size + extra_size + comment_size;
  if (left.size() < whole) {
    if (next_ == end_ && !left.empty()) return broken("its central directory is cut off");
    dry_ = true;
    return std::optional<ZipEntry>();
  }
  if (get_u32(left, 0) != kCentralHeader) return broken("its central directory is not one");
  ZipEntry entry;
  entry.descriptor = (get_u16(left, 8) & kHasDescriptor) != 0;
  entry.method = get_u16(left, 10);
  entry.crc = get_u32(left, 16);
  entry.stored_size = get_u32(left, 20);
  entry.size = get_u32(left, 24);
  entry.offset = get_u32(left, 42);
  entry.name = left.substr(kCentralHeaderSize, name_size);
  ROOST_CHECK(widen(left.substr(kCentralHeaderSize + name_size, extra_size), entry));
  if (entry.offset > manifest_offset_ || entry.stored_size > end_) return broken("an entry lies where none can be");
  used_ += whole;
  return std::optional<ZipEntry>(std::move(entry));
}

}  // namespace roost
