// ArchiveSource: a stored archive that can be read anywhere; ByteWindow: a cursor that reads one in order, in larger pieces.
// Thread safety: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost {

class ArchiveSource {
 public:
  virtual ~ArchiveSource() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  // Exactly the bytes [offset, offset + length). REQUIRES: within size(), length <= 8 MiB. DATA_LOSS where they are gone or
  // damaged.
  virtual Result<std::string> read(std::uint64_t offset, std::size_t length) = 0;
};

class ByteWindow {
 public:
  ByteWindow(ArchiveSource& source, std::uint64_t begin, std::uint64_t end)
      : source_(source), at_(begin), end_(end), next_(begin) {}
  [[nodiscard]] std::uint64_t left() const { return end_ - at_; }
  // The next `count` bytes, valid until the next call; DATA_LOSS where there are fewer.
  Result<std::string_view> take(std::size_t count);

 private:
  ArchiveSource& source_;
  std::uint64_t at_;
  std::uint64_t end_;
  std::uint64_t next_;  // what of the source comes after buffer_
  std::string buffer_;
  std::size_t used_ = 0;
};

}  // namespace roost
