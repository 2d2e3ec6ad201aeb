// VirtualArchive: a well-formed archive of any size that takes no room: only its records are kept, the contents of its files are
// made when they are read. Thread safety: one thread.
#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>

#include "archive/format.hpp"
#include "archive/manifest.hpp"
#include "base/crypto.hpp"

namespace roost {

class VirtualArchive {
 public:
  // `count` files "files/N" of `size` bytes each, stored. Only the sums of those that file_bytes() makes for `real` are right.
  VirtualArchive(std::string session_id, int count, std::uint64_t size, int real) : size_(size) {
    ManifestHeader header;
    header.session_id = std::move(session_id);
    header.operation_id = "0badcafe";
    header.attempt = 1;
    std::string manifest = to_line(header), directory;
    for (int i = 0; i < count; ++i) {
      ZipEntry entry;
      entry.name = "files/" + std::to_string(i);
      entry.mode = S_IFREG | 0644;
      entry.size = entry.stored_size = size;
      entry.offset = end_;
      add(local_header(entry));
      contents_[end_] = i;
      end_ += size;
      directory += central_record(entry);
      ManifestEntry line;
      line.path = entry.name;
      line.mode = 0644;
      line.size = static_cast<std::int64_t>(size);
      line.sha256 = i == real ? to_hex(sha256(file_bytes(i, 0, size))) : to_hex(sha256(entry.name));
      manifest += to_line(line);
    }
    manifest += to_line(ManifestEnd{count, static_cast<std::int64_t>(size) * count, 0});
    ZipEntry last;
    last.name = manifest_name(0);
    last.mode = S_IFREG | 0600;
    last.size = last.stored_size = manifest.size();
    last.offset = end_;
    add(local_header(last));
    add(manifest);
    directory += central_record(last);
    ZipEnd end;
    end.entries = static_cast<std::uint64_t>(count) + 1;
    end.directory_offset = end_;
    end.directory_size = directory.size();
    end.comment = to_text({header.session_id, header.operation_id, 1, last.offset, std::string(64, '0')});
    add(directory);
    add(wide_end(end));
    add(end_record(end));
  }

  [[nodiscard]] std::uint64_t size() const { return end_; }
  [[nodiscard]] std::string read(std::uint64_t offset, std::uint64_t length) const {
    std::string out;
    const std::uint64_t stop = std::min(end_, offset + length);
    while (offset < stop) {
      const auto record = std::prev(records_.upper_bound(offset));
      const auto content = contents_.upper_bound(offset);
      std::uint64_t take = 0;
      if (offset < record->first + record->second.size()) {
        take = std::min(stop, record->first + record->second.size()) - offset;
        out += record->second.substr(offset - record->first, take);
      } else {
        const auto& [begin, number] = *std::prev(content);
        take = std::min(stop, begin + size_) - offset;
        out += file_bytes(number, offset - begin, take);
      }
      offset += take;
    }
    return out;
  }
  [[nodiscard]] std::string file_bytes(int number, std::uint64_t from, std::uint64_t count) const {
    std::string out(count, '\0');
    for (std::uint64_t i = 0; i < count; ++i)
      out[i] = static_cast<char>((from + i) * 2654435761u >> 7 ^ static_cast<std::uint64_t>(number));
    return out;
  }

 private:
  void add(const std::string& bytes) {
    if (!bytes.empty()) records_[end_] = bytes;
    end_ += bytes.size();
  }
  const std::uint64_t size_;
  std::uint64_t end_ = 0;
  std::map<std::uint64_t, std::string> records_;  // by offset
  std::map<std::uint64_t, int> contents_;         // a file's number, by the offset of its contents
};

}  // namespace roost
