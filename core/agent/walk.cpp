#include "agent/walk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "agent/walk_beneath.hpp"

namespace roost::agent {

namespace {

constexpr std::size_t kBatch = 4096;  // of names a level; a level costs a little more than this

// struct linux_dirent64, as getdents64(2) writes it.
constexpr std::size_t kRecordLengthAt = 16;
constexpr std::size_t kNameAt = 19;

const char* kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "file";
  if (S_ISDIR(mode)) return "directory";
  if (S_ISLNK(mode)) return "symlink";
  if (S_ISSOCK(mode)) return "socket";
  if (S_ISFIFO(mode)) return "fifo";
  return "device";
}

// One open directory: the names that were read of it and not looked at yet.
struct Level {
  DirectoryRef fd;
  struct stat opened {};
  std::size_t path_size = 0;  // of the directory's own path
  std::vector<char> batch;
  std::size_t at = 0;
  bool ended = false;

  // The next name that is not "." or ".."; null at the end. An error is the errno, in `error`.
  const char* next(int& error) {
    for (;;) {
      if (at >= batch.size()) {
        if (ended) return nullptr;
        batch.resize(kBatch);
        const long got = ::syscall(SYS_getdents64, fd->get(), batch.data(), batch.size());
        error = got < 0 ? errno : 0;
        ended = got <= 0;
        batch.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        at = 0;
        continue;
      }
      std::uint16_t length = 0;
      std::memcpy(&length, batch.data() + at + kRecordLengthAt, sizeof length);
      const char* name = batch.data() + at + kNameAt;
      at += length;
      if (std::strcmp(name, ".") != 0 && std::strcmp(name, "..") != 0) return name;
    }
  }
};

class Walker {
 public:
  Walker(const WalkOptions& options, TreeVisitor& visitor)
      : options_(options), visitor_(visitor), depth_max_(raise_descriptor_limit(options.depth_max)) {}

  Status run(int root) {
    ROOST_CHECK(enter(FdOwner(::openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), 0));
    while (!levels_.empty()) {
      int error = 0;
      const char* name = levels_.back().next(error);
      if (error != 0) ROOST_CHECK(visitor_.skipped("directory", "unreadable", path_));
      ROOST_CHECK(name == nullptr ? leave() : entry(name));
    }
    return {};
  }

 private:
  Status enter(FdOwner fd, std::size_t path_size) {
    Level level;
    if (!fd || ::fstat(fd.get(), &level.opened) != 0) return errno_error(errno, "cannot open the tree");
    level.fd = std::make_shared<const FdOwner>(std::move(fd));
    level.path_size = path_size;
    levels_.push_back(std::move(level));
    return {};
  }

  // A directory into which something was put, or out of which something was taken, while it was listed may have hidden a name.
  Status leave() {
    struct stat now {};
    const Level& level = levels_.back();
    const bool changed = ::fstat(level.fd->get(), &now) != 0 || !unchanged(level.opened, now);
    if (changed && !options_.live) ROOST_CHECK(visitor_.skipped("directory", "changed", path_));
    levels_.pop_back();
    if (!levels_.empty()) path_.resize(levels_.back().path_size);
    return {};
  }

  Status entry(const char* name) {
    const std::size_t parent_size = levels_.back().path_size;
    path_.resize(parent_size);
    if (parent_size > 0) path_ += '/';
    path_ += name;
    // What was one thing when it was looked at and another when it was opened is looked at again, but not forever.
    for (int attempt = 0; attempt < 3; ++attempt) {
      bool again = false;
      ROOST_CHECK(look(name, again));
      if (!again) return {};
    }
    ROOST_CHECK(visitor_.skipped("file", "changed", path_));
    path_.resize(parent_size);
    return {};
  }

  Status look(const char* name, bool& again) {
    struct stat status {};
    const int parent = levels_.back().fd->get();
    const std::size_t parent_size = levels_.back().path_size;
    Status done;
    if (::fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
      done = visitor_.skipped("file", errno == ENOENT ? "vanished" : "unreadable", path_);
    } else if (path_.size() > options_.path_max) {
      done = visitor_.skipped(kind_of(status.st_mode), "unsupported", path_);
    } else if (options_.excluded && options_.excluded(path_, S_ISDIR(status.st_mode))) {
      done = visitor_.skipped(kind_of(status.st_mode), "excluded", path_);
    } else if (S_ISDIR(status.st_mode)) {
      return open_directory(name, again);
    } else if (S_ISREG(status.st_mode)) {
      done = visitor_.file(path_, levels_.back().fd, status);
    } else if (S_ISLNK(status.st_mode)) {
      done = link(name, status, again);
    } else {
      done = visitor_.skipped(kind_of(status.st_mode), "unsupported", path_);
    }
    if (!again) path_.resize(parent_size);
    return done;
  }

  Status open_directory(const char* name, bool& again) {
    const std::size_t parent_size = levels_.back().path_size;
    int error = EMFILE;
    FdOwner fd;
    if (levels_.size() <= depth_max_) {
      fd = FdOwner(open_beneath(levels_.back().fd->get(), name, O_RDONLY | O_DIRECTORY));
      error = errno;
    }
    if (fd) {
      struct stat status {};
      if (::fstat(fd.get(), &status) != 0) return errno_error(errno, "cannot stat a directory of the tree");
      ROOST_CHECK(visitor_.directory(path_, status));
      return enter(std::move(fd), path_.size());
    }
    again = error == ELOOP || error == ENOTDIR;
    if (again) return {};
    // EXDEV: another file system is mounted there. It is not part of the volume, but a human must know that it was left out.
    const bool unsupported = error == EXDEV || error == EMFILE || error == ENFILE;
    const Status done = visitor_.skipped("directory",
                                         error == ENOENT ? "vanished"
                                         : unsupported   ? "unsupported"
                                                         : "unreadable",
                                         path_);
    path_.resize(parent_size);
    return done;
  }

  Status link(const char* name, const struct stat& status, bool& again) {
    std::string target(PATH_MAX, '\0');
    const ssize_t length = ::readlinkat(levels_.back().fd->get(), name, target.data(), target.size());
    again = length < 0 && errno == EINVAL;  // not a link any more
    if (again) return {};
    if (length < 0) return visitor_.skipped("symlink", errno == ENOENT ? "vanished" : "unreadable", path_);
    target.resize(static_cast<std::size_t>(length));
    return visitor_.symlink(path_, target, status);
  }

  const WalkOptions& options_;
  TreeVisitor& visitor_;
  const std::size_t depth_max_;
  std::vector<Level> levels_;
  std::string path_;
};

}  // namespace

Status walk(int root, const WalkOptions& options, TreeVisitor& visitor) { return Walker(options, visitor).run(root); }

}  // namespace roost::agent
