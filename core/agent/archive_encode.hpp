// EntryEncoder: makes of a file that is in memory what an archive holds of it: header, contents, line of the manifest. Everything
// but its place, so that several threads encode at once and one writer puts their entries in order. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/archive_deflate.hpp"
#include "archive/format.hpp"
#include "archive/manifest.hpp"

namespace roost::agent {

// What is told of an entry beside its contents.
struct EntryAttributes {
  std::string path;
  std::uint32_t mode = 0;  // 07777
  std::int64_t mtime_ns = 0;
};

struct EncodedEntry {
  ManifestEntry line;
  std::string text;  // of that line
  ZipEntry zip;      // its offset is the writer's to fill in
};

class EntryEncoder {
 public:
  // Appends header and contents to `bytes`. A directory has no contents; a link's are its target.
  EncodedEntry encode(const EntryAttributes& attributes, EntryType type, std::string_view contents, bool torn,
                      std::string& bytes);
  [[nodiscard]] Deflater& deflater() { return deflater_; }

 private:
  Deflater deflater_{Deflater::kUsual};
  std::string deflated_;
};

}  // namespace roost::agent
