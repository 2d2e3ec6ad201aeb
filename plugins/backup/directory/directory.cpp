#include "backup/directory/directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <memory>
#include <vector>

namespace roost::backup_directory {

namespace {

constexpr std::string_view kTemporary = ".put-";

// mkdir -p with 0700. An archive holds everything of a user: nobody else reads it.
void make_directories(const std::string& path) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) throw failure(errno, "cannot make the directory " + part);
    if (end == std::string::npos) return;
  }
}

// Archives whose names are cut alike still get prefixes of their own.
std::string temporary_prefix(std::string_view archive) {
  std::uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const char c : archive) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  char text[24];
  std::snprintf(text, sizeof text, "-%016" PRIx64 "-", hash);
  return std::string(kTemporary) + std::string(archive.substr(0, 180)) + text;
}

// Whether it is of a process that lives: a killed one's lock is gone. The lock, where we got it, ends with `fd`.
bool in_use(int fd) { return ::flock(fd, LOCK_EX | LOCK_NB) != 0; }

}  // namespace

void Fd::reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

bool no_room(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

sdk::Failure failure(int error, const std::string& what, int directory_fd) {
  std::string message = what + ": " + std::generic_category().message(error);
  if (no_room(error)) {
    struct statvfs space {};
    if (directory_fd >= 0 && ::fstatvfs(directory_fd, &space) == 0) {
      message += "; " + std::to_string(space.f_bavail * space.f_frsize) + " of " +
                 std::to_string(space.f_blocks * space.f_frsize) + " bytes are free there. Make room, it is tried again";
    }
    return sdk::Failure(ROOST_EXHAUSTED, message, 60'000);
  }
  roost_code code = ROOST_UNAVAILABLE;
  switch (error) {
    case EACCES:
    case EPERM:
    case EROFS: code = ROOST_DENIED; break;
    case ENOENT: code = ROOST_NOT_FOUND; break;
    default: break;
  }
  return sdk::Failure(code, message);
}

void check_name(std::string_view name) {
  bool good = !name.empty() && name.size() <= 255 && name.front() != '.';
  for (const char c : name) {
    good =
        good && ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-');
  }
  if (!good) throw sdk::Failure(ROOST_INVALID, "an archive's name is 1 to 255 of [A-Za-z0-9._-] and does not begin with a dot");
}

Directory::Directory(Settings settings, bool create, sdk::Log log) : settings_(std::move(settings)), log_(log) {
  if (settings_.path.empty() || settings_.path.front() != '/') {
    char* here = ::getcwd(nullptr, 0);
    if (here == nullptr) throw failure(errno, "cannot tell the working directory");
    settings_.path = std::string(here) + "/" + settings_.path;
    ::free(here);
  }
  while (settings_.path.size() > 1 && settings_.path.back() == '/') settings_.path.pop_back();
  if (create) make_directories(settings_.path);
  fd_ = Fd(::open(settings_.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd_) {
    const int error = errno;
    if (error == ENOENT || error == ENOTDIR) {
      throw sdk::Failure(ROOST_UNAVAILABLE, "the backup directory " + settings_.path + " is not there: make or mount it");
    }
    throw failure(error, "cannot open the backup directory " + settings_.path);
  }
  // What a task is told (describe) must mean the same directory wherever it runs.
  char* resolved = ::realpath(settings_.path.c_str(), nullptr);
  if (resolved == nullptr) throw failure(errno, "cannot resolve the backup directory " + settings_.path);
  settings_.path = resolved;
  ::free(resolved);
}

Fd Directory::open_archive(const std::string& name, int more_flags, struct stat* status) const {
  check_name(name);
  Fd file(::openat(fd(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | more_flags));
  if (!file) {
    // ELOOP: a link, which is not an archive of ours.
    if (errno == ENOENT || errno == ELOOP)
      throw sdk::Failure(ROOST_NOT_FOUND, "there is no archive " + name + " in " + settings_.path);
    throw failure(errno, "cannot open the archive " + name);
  }
  if (::fstat(file.get(), status) != 0) throw failure(errno, "cannot stat the archive " + name);
  if (!S_ISREG(status->st_mode)) throw sdk::Failure(ROOST_NOT_FOUND, name + " in " + settings_.path + " is not a file");
  return file;
}

std::pair<std::string, Fd> Directory::create_temporary(std::string_view archive) const {
  const std::string prefix = temporary_prefix(archive);
  remove_leftovers(prefix);
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::uint32_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != static_cast<ssize_t>(sizeof number)) throw failure(errno, "no random numbers");
    char suffix[16];
    std::snprintf(suffix, sizeof suffix, "%08x", number);
    const std::string name = prefix + suffix;
    Fd file(::openat(fd(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!file) {
      if (errno == EEXIST) continue;
      throw failure(errno, "cannot begin an archive in " + settings_.path, fd());
    }
    // Past the umask, which would take it away.
    if (settings_.group_readable && ::fchmod(file.get(), 0640) != 0)
      throw failure(errno, "cannot make an archive readable to its group");
    // Between these two lines another writer may have taken it for a leftover and removed it: then it is made again.
    struct stat status {};
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) continue;
    if (::fstat(file.get(), &status) != 0 || status.st_nlink == 0) continue;
    return {name, std::move(file)};
  }
  throw sdk::Failure(ROOST_UNAVAILABLE, "cannot begin an archive in " + settings_.path + ": other writers remove it");
}

void Directory::remove_leftovers(std::string_view own_prefix) const {
  const int copy = ::openat(fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  std::unique_ptr<DIR, CloseDir> dir(copy < 0 ? nullptr : ::fdopendir(copy));
  if (dir == nullptr) throw failure(errno, "cannot list " + settings_.path);
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name.compare(0, kTemporary.size(), kTemporary) != 0) continue;
    Fd file(::openat(fd(), name.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    struct stat status {};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const bool own = std::string_view(name).substr(0, own_prefix.size()) == own_prefix;
    const bool old = status.st_mtime + settings_.stale_after_s < ::time(nullptr);
    if ((!own && !old) || in_use(file.get())) continue;
    if (::unlinkat(fd(), name.c_str(), 0) == 0) {
      log_.warn("removed " + name + ", " + std::to_string(status.st_size) + " bytes of an archive that was never finished");
    }
  }
}

void Directory::sync() const {
  if (::fsync(fd()) != 0) {
    throw sdk::Failure(ROOST_OUTCOME_UNKNOWN,
                       "cannot make the directory " + settings_.path + " durable: " + std::generic_category().message(errno));
  }
}

}  // namespace roost::backup_directory
