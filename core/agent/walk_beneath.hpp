// What the tasks do with a hostile tree: every step takes one name relative to an open directory and never follows a link, so
// that whatever is swapped underneath meanwhile, nothing outside the tree is opened, made or removed.
// Thread safety: pure functions; FdOwner is owned by one thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

namespace roost::agent {

class FdOwner {
 public:
  explicit FdOwner(int fd = -1) : fd_(fd) {}
  ~FdOwner() { reset(); }
  FdOwner(FdOwner&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FdOwner& operator=(FdOwner&& other) noexcept;
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// An open directory that several hold; the last one closes it.
using DirectoryRef = std::shared_ptr<const FdOwner>;

// The name at a path's end, which ends where the path does.
[[nodiscard]] inline const char* base_name(const std::string& path) { return path.c_str() + (path.rfind('/') + 1); }

// The Error that an errno means for a task: EXHAUSTED for a full disk, DENIED, NOT_FOUND, else UNAVAILABLE.
[[nodiscard]] Error errno_error(int error, const std::string& what);

// openat2(2) of one name: beneath the directory, no link of any kind, no other mount. -1 and errno; ELOOP for a link, EXDEV
// for a mount. A kernel or sandbox without openat2 gets openat(2) with O_NOFOLLOW, which is as tight for a single name.
[[nodiscard]] int open_beneath(int directory, const char* name, int flags, mode_t mode = 0);

// Raises the limit of open descriptors as far as it goes towards `wanted` directories beside everything else, and answers how
// many directories may be open at once.
[[nodiscard]] std::size_t raise_descriptor_limit(std::size_t wanted);

[[nodiscard]] inline std::int64_t mtime_ns_of(const struct stat& status) {
  return static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

// Whether nothing was written between the two looks at one file or directory.
[[nodiscard]] bool unchanged(const struct stat& before, const struct stat& after);

}  // namespace roost::agent
