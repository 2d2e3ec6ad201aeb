#include "agent/walk_beneath.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <system_error>

namespace roost::agent {

FdOwner& FdOwner::operator=(FdOwner&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FdOwner::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Error errno_error(int error, const std::string& what) {
  Code code = Code::unavailable;
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: code = Code::exhausted; break;
    case EACCES:
    case EPERM:
    case EROFS: code = Code::denied; break;
    case ENOENT: code = Code::not_found; break;
    default: break;
  }
  return Error{code, what + ": " + std::generic_category().message(error), 0};
}

int open_beneath(int directory, const char* name, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
  how.mode = (flags & O_CREAT) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (int attempt = 0;; ++attempt) {
    const long fd = ::syscall(SYS_openat2, directory, name, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno == ENOSYS) break;
    // EAGAIN: something was renamed meanwhile and the kernel could not be sure; ask again, but not forever.
    if ((errno != EAGAIN && errno != EINTR) || attempt == 100) return -1;
  }
  FdOwner fd(::openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode));
  struct stat above {};
  struct stat below {};
  if (!fd || ::fstat(directory, &above) != 0 || ::fstat(fd.get(), &below) != 0) return -1;
  if (above.st_dev != below.st_dev) {
    errno = EXDEV;
    return -1;
  }
  return fd.release();
}

std::size_t raise_descriptor_limit(std::size_t wanted) {
  constexpr rlim_t kOthers = 512;  // what the rest of the process may need: files and directories that others have open
  static std::mutex mutex;         // several walks at once: none takes back what another has raised
  const std::lock_guard lock(mutex);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kOthers;
  limit.rlim_cur = std::max(limit.rlim_cur, std::min<rlim_t>(limit.rlim_max, wanted + kOthers));
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0 || ::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kOthers;
  return std::min<std::size_t>(wanted, limit.rlim_cur > 2 * kOthers ? limit.rlim_cur - kOthers : limit.rlim_cur / 2);
}

bool unchanged(const struct stat& before, const struct stat& after) {
  return before.st_dev == after.st_dev && before.st_ino == after.st_ino && before.st_size == after.st_size &&
         before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec &&
         before.st_ctim.tv_sec == after.st_ctim.tv_sec && before.st_ctim.tv_nsec == after.st_ctim.tv_nsec;
}

}  // namespace roost::agent
