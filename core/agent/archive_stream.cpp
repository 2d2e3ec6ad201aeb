#include "agent/archive_stream.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>

namespace roost::agent {

namespace {
constexpr std::size_t kFeedPiece = 1u << 20;
}

ArchiveStream::ArchiveStream(ArchiveSource& source, std::uint64_t begin, std::uint64_t end, Observer observer)
    : source_(source), begin_(begin), end_(end), observer_(std::move(observer)), fed_(begin) {
  archive_ = ::archive_read_new();
  ::archive_read_support_format_zip_streamable(archive_);
  if (::archive_read_open(archive_, this, nullptr, &ArchiveStream::feed, nullptr) != ARCHIVE_OK && source_error_.ok()) {
    source_error_ = Status(Code::data_loss, "the archive does not begin as a ZIP file");
  }
}

ArchiveStream::~ArchiveStream() { ::archive_read_free(archive_); }

long ArchiveStream::feed(struct archive*, void* context, const void** data) {
  auto* self = static_cast<ArchiveStream*>(context);
  const std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(kFeedPiece, self->end_ - self->fed_));
  if (length == 0) return 0;
  auto piece = self->source_.read(self->fed_, length);
  if (!piece.ok()) {
    self->source_error_ = piece.error();
    return -1;
  }
  self->fed_ += piece->size();
  if (self->observer_) self->observer_(*piece);
  self->previous_ = std::move(self->present_);
  self->present_ = *std::move(piece);
  *data = self->present_.data();
  return static_cast<long>(self->present_.size());
}

Status ArchiveStream::failure(const char* what) const {
  if (!source_error_.ok()) return source_error_;
  // libarchive's text may quote a name: it is told by its kind only.
  return {Code::data_loss, std::string("the archive is damaged: ") + what};
}

Status ArchiveStream::next(std::uint64_t offset) {
  if (!source_error_.ok()) return source_error_;
  struct archive_entry* entry = nullptr;
  const int answer = ::archive_read_next_header(archive_, &entry);
  // A warning is about a name that this locale cannot spell; names are compared as bytes by our caller.
  if (answer != ARCHIVE_OK && answer != ARCHIVE_WARN) return failure("an entry is missing");
  if (static_cast<std::uint64_t>(::archive_read_header_position(archive_)) + begin_ != offset) {
    return failure("there is something between two entries");
  }
  return {};
}

Result<std::size_t> ArchiveStream::read(char* out, std::size_t count) {
  const la_ssize_t got = ::archive_read_data(archive_, out, count);
  if (got < 0) return failure("the contents of an entry cannot be decoded or their checksum is wrong").error();
  return static_cast<std::size_t>(got);
}

std::string ArchiveStream::raw(std::uint64_t offset, std::size_t count) const {
  const std::uint64_t present_at = fed_ - present_.size();
  const std::uint64_t previous_at = present_at - previous_.size();
  std::string out;
  if (offset < previous_at || offset >= fed_) return out;
  if (offset < present_at) out = previous_.substr(static_cast<std::size_t>(offset - previous_at), count);
  const std::uint64_t at = offset + out.size();
  if (out.size() < count) out += present_.substr(static_cast<std::size_t>(at - present_at), count - out.size());
  return out;
}

}  // namespace roost::agent
