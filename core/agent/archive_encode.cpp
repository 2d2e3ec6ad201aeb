#include "agent/archive_encode.hpp"

#include <sys/stat.h>

#include "base/crypto.hpp"

namespace roost::agent {

namespace {

mode_t type_bits(EntryType type) {
  switch (type) {
    case EntryType::directory: return S_IFDIR;
    case EntryType::symlink: return S_IFLNK;
    case EntryType::file: break;
  }
  return S_IFREG;
}

}  // namespace

EncodedEntry EntryEncoder::encode(const EntryAttributes& attributes, EntryType type, std::string_view contents, bool torn,
                                  std::string& bytes) {
  EncodedEntry entry;
  entry.line.path = attributes.path;
  entry.line.type = type;
  entry.line.mode = attributes.mode;
  entry.line.mtime_ns = attributes.mtime_ns;
  entry.line.torn = torn;
  entry.zip.name = type == EntryType::directory ? attributes.path + "/" : attributes.path;
  entry.zip.mode = type_bits(type) | attributes.mode;
  entry.zip.mtime_ns = attributes.mtime_ns;
  std::string_view stored;
  if (type != EntryType::directory) {
    entry.line.size = static_cast<std::int64_t>(contents.size());
    entry.line.sha256 = to_hex(sha256(contents));
    entry.zip.crc = crc_of(0, contents);
    entry.zip.size = contents.size();
    stored = contents;
    deflated_.clear();
    // A link's target stays as it is: tools expect it so.
    if (type == EntryType::file && deflater_.deflate(contents, deflated_)) {
      stored = deflated_;
      entry.zip.method = kDeflated;
    }
    entry.zip.stored_size = stored.size();
  }
  entry.text = to_line(entry.line);
  bytes += local_header(entry.zip);
  bytes += stored;
  return entry;
}

}  // namespace roost::agent
