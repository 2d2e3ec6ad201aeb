// Spool: bytes that must wait, in a file that has no name, so that what an archive needs at its end costs no memory however
// many entries it has. Thread safety: one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost::agent {

class Spool {
 public:
  // The file lies in `directory`, or in /tmp or /var/tmp where that cannot be written; its room is free when the Spool ends.
  static Result<Spool> create(const std::string& directory);
  ~Spool();
  Spool(Spool&&) noexcept;
  Spool& operator=(Spool&&) = delete;

  Status append(std::string_view data);  // EXHAUSTED where the disk is full
  [[nodiscard]] std::uint64_t size() const { return flushed_ + pending_.size(); }
  // Up to `count` bytes from `offset` on; empty at the end.
  Result<std::string> read(std::uint64_t offset, std::size_t count);

 private:
  explicit Spool(int fd) : fd_(fd) {}
  Status flush();

  int fd_;
  std::uint64_t flushed_ = 0;
  std::string pending_;
};

}  // namespace roost::agent
