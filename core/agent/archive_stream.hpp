// ArchiveStream: libarchive's streaming ZIP reader over a range of a stored archive. It is another hand than the one that wrote
// the archive: a defect of the writer does not verify itself. It sees local headers and data only, in constant memory.
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "archive/source.hpp"
#include "base/result.hpp"

struct archive;

namespace roost::agent {

class ArchiveStream {
 public:
  using Observer = std::function<void(std::string_view)>;  // is shown every byte that is read, once, in order
  ArchiveStream(ArchiveSource& source, std::uint64_t begin, std::uint64_t end, Observer observer);
  ~ArchiveStream();
  ArchiveStream(const ArchiveStream&) = delete;
  ArchiveStream& operator=(const ArchiveStream&) = delete;

  // To the next entry, whose local header must begin at `offset`, counted from the beginning of the archive.
  Status next(std::uint64_t offset);
  // Up to `count` bytes of the present entry's contents; 0 at its end.
  Result<std::size_t> read(char* out, std::size_t count);
  // The archive's own bytes from `offset` on, of the header just read; fewer where they have not been read yet.
  [[nodiscard]] std::string raw(std::uint64_t offset, std::size_t count) const;

 private:
  static long feed(struct archive*, void* self, const void** data);
  Status failure(const char* what) const;

  ArchiveSource& source_;
  const std::uint64_t begin_;
  const std::uint64_t end_;
  Observer observer_;
  struct archive* archive_ = nullptr;
  std::string present_;   // what libarchive reads from
  std::string previous_;  // the piece before
  std::uint64_t fed_;     // how far it has been fed
  Status source_error_;
};

}  // namespace roost::agent
