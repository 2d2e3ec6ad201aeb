#include "agent/restore_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace roost::agent {

namespace {

constexpr std::size_t kDepthMax = 6000;
constexpr std::size_t kHole = 4096;

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

Dir open_dir(int directory, const char* name) {
  const int fd = open_beneath(directory, name, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return nullptr;
  DIR* const dir = ::fdopendir(fd);
  if (dir == nullptr) ::close(fd);
  return Dir(dir);
}

bool is_dot(std::string_view name) { return name == "." || name == ".."; }

void times_of(std::int64_t mtime_ns, timespec (&times)[2]) {
  const std::int64_t nanoseconds = (mtime_ns % 1'000'000'000 + 1'000'000'000) % 1'000'000'000;
  times[0] = timespec{0, UTIME_OMIT};
  times[1] = timespec{(mtime_ns - nanoseconds) / 1'000'000'000, nanoseconds};
}

Error cannot(const char* what, const ManifestEntry& entry) {
  // Into an empty directory: only an archive that names something twice finds it there.
  if (errno == EEXIST)
    return Error{Code::data_loss, "the archive is damaged: it has \"" + escape_path(entry.path) + "\" twice", 0};
  return errno_error(errno, std::string("cannot ") + what + " \"" + escape_path(entry.path) + "\"");
}

// A directory that was restored to its end has its own permissions, by which even its owner may not write there.
int unlink_in(int directory, const char* name) {
  if (::unlinkat(directory, name, 0) == 0) return 0;
  const int error = errno;
  if (error == EACCES && ::fchmod(directory, 0700) == 0) return ::unlinkat(directory, name, 0);
  errno = error;
  return -1;
}

bool all_zero(std::string_view data) {
  return std::all_of(data.begin(), data.end(), [](char c) { return c == 0; });
}

}  // namespace

RestoreTree::RestoreTree(int root) : root_(root), depth_max_(raise_descriptor_limit(kDepthMax)) {
  struct stat status {};
  may_give_ = ::geteuid() == 0 && ::fstat(root, &status) == 0;
  uid_ = may_give_ ? status.st_uid : ::geteuid();
  gid_ = may_give_ ? status.st_gid : ::getegid();
}

Status RestoreTree::enter_parent(const std::string& path, int& parent, std::string& name) {
  const std::size_t slash = path.rfind('/');
  const std::string_view above = slash == std::string::npos ? std::string_view() : std::string_view(path).substr(0, slash);
  while (!levels_.empty() && above != path_ &&
         !(above.size() > path_.size() && above.substr(0, path_.size()) == path_ && above[path_.size()] == '/')) {
    ROOST_CHECK(leave());
  }
  // Our archives have each directory before its contents.
  if (above != path_)
    return {Code::data_loss, "the archive is damaged: \"" + escape_path(path) + "\" comes without its directory"};
  parent = levels_.empty() ? root_ : levels_.back().fd.get();
  name = path.substr(slash == std::string::npos ? 0 : slash + 1);
  return {};
}

// Owner first: changing it takes setuid bits away. Permissions are looked at again: a setgid bit of a group that is not this
// process's is dropped by the kernel without an error where CAP_FSETID is missing, and some file systems keep no permissions.
Status RestoreTree::give(int fd, const ManifestSkip& who, std::uint32_t wanted, std::uint32_t mode, std::int64_t mtime_ns) {
  if (may_give_ && ::fchown(fd, uid_, gid_) != 0) return errno_error(errno, "cannot set the owner of what was restored");
  if (::fchmod(fd, mode) != 0) return errno_error(errno, "cannot set the permissions of what was restored");
  struct stat given {};
  if (::fstat(fd, &given) != 0) return errno_error(errno, "cannot look at what was restored");
  if ((given.st_mode & 07777u) != wanted) count_skip(not_restored_, who);
  timespec times[2];
  times_of(mtime_ns, times);
  if (::futimens(fd, times) != 0) return errno_error(errno, "cannot set the time of what was restored");
  return {};
}

Status RestoreTree::leave() {
  const Level level = std::move(levels_.back());
  levels_.pop_back();
  ROOST_CHECK(give(level.fd.get(), {path_, "directory", "permissions"}, level.mode, level.mode, level.mtime_ns));
  path_.resize(levels_.empty() ? 0 : levels_.back().path_size);
  return {};
}

Status RestoreTree::make_directory(const ManifestEntry& entry) {
  int parent = -1;
  std::string name;
  ROOST_CHECK(enter_parent(entry.path, parent, name));
  if (levels_.size() >= depth_max_) return {Code::exhausted, "the tree is deeper than this process may have directories open"};
  // It may be there: a fresh file system has a lost+found.
  if (::mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST) return cannot("make the directory", entry);
  FdOwner fd(open_beneath(parent, name.c_str(), O_RDONLY | O_DIRECTORY));
  if (!fd) return cannot("open the directory", entry);
  path_ = entry.path;
  levels_.push_back(Level{std::move(fd), path_.size(), entry.mode, entry.mtime_ns});
  return {};
}

Status RestoreTree::make_symlink(const ManifestEntry& entry, const std::string& target) {
  int parent = -1;
  std::string name;
  ROOST_CHECK(enter_parent(entry.path, parent, name));
  if (target.empty() || target.find('\0') != std::string::npos) {
    return {Code::data_loss, "the archive is damaged: the link \"" + escape_path(entry.path) + "\" has no target"};
  }
  if (::symlinkat(target.c_str(), parent, name.c_str()) != 0) return cannot("make the link", entry);
  if (may_give_ && ::fchownat(parent, name.c_str(), uid_, gid_, AT_SYMLINK_NOFOLLOW) != 0)
    return cannot("set the owner of", entry);
  timespec times[2];
  times_of(entry.mtime_ns, times);
  if (::utimensat(parent, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return cannot("set the time of", entry);
  return {};
}

Status RestoreTree::begin_file(const ManifestEntry& entry) {
  int parent = -1;
  std::string name;
  ROOST_CHECK(enter_parent(entry.path, parent, name));
  file_ = FdOwner(open_beneath(parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600));
  offset_ = 0;
  if (!file_) return cannot("make the file", entry);
  return {};
}

Status RestoreTree::write_file(std::string_view data) {
  while (!data.empty()) {
    // Pieces end at multiples of a page, so that holes do.
    const std::size_t to_page = kHole - static_cast<std::size_t>(offset_) % kHole;
    std::string_view piece = data.substr(0, std::min(to_page, data.size()));
    const bool hole = piece.size() == kHole && all_zero(piece);
    while (!hole && piece.size() < data.size()) {
      const std::string_view next = data.substr(piece.size(), kHole);
      if (next.size() == kHole && all_zero(next)) break;
      piece = data.substr(0, piece.size() + next.size());
    }
    data.remove_prefix(piece.size());
    while (!hole && !piece.empty()) {
      const ssize_t written = ::pwrite(file_.get(), piece.data(), piece.size(), offset_);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return errno_error(errno, "cannot write a restored file");
      offset_ += written;
      piece.remove_prefix(static_cast<std::size_t>(written));
    }
    if (hole) offset_ += static_cast<std::int64_t>(kHole);
  }
  return {};
}

Status RestoreTree::end_file(const ManifestEntry& entry) {
  if (::ftruncate(file_.get(), offset_) != 0) return cannot("set the size of", entry);
  // A stranger's program must not become root's.
  const std::uint32_t mode = uid_ == 0 ? entry.mode & 01777u : entry.mode;
  ROOST_CHECK(give(file_.get(), {entry.path, "file", "permissions"}, entry.mode, mode, entry.mtime_ns));
  file_.reset();
  return {};
}

Status RestoreTree::finish() {
  while (!levels_.empty()) ROOST_CHECK(leave());
  return {};
}

Status clear_directory(int directory, const std::string& keep) {
  struct Open {
    Dir dir;
    std::string name;
  };
  std::vector<Open> open;
  open.push_back(Open{open_dir(directory, "."), ""});
  while (!open.empty()) {
    if (open.back().dir == nullptr) return errno_error(errno, "cannot clear the directory of a failed attempt");
    const int fd = ::dirfd(open.back().dir.get());
    const dirent* const entry = ::readdir(open.back().dir.get());
    if (entry == nullptr) {
      const std::string name = open.back().name;
      open.pop_back();
      const int parent = open.empty() ? -1 : ::dirfd(open.back().dir.get());
      if (parent >= 0 && ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != EBUSY) {
        return errno_error(errno, "cannot clear the directory of a failed attempt");
      }
      continue;
    }
    const std::string name = entry->d_name;
    if (is_dot(name) || (open.size() == 1 && name == keep)) continue;
    if (unlink_in(fd, name.c_str()) == 0) continue;
    if (errno != EISDIR && errno != EPERM) return errno_error(errno, "cannot clear the directory of a failed attempt");
    Dir inner = open_dir(fd, name.c_str());
    if (inner == nullptr && errno == EACCES && ::fchmodat(fd, name.c_str(), 0700, 0) == 0) inner = open_dir(fd, name.c_str());
    open.push_back(Open{std::move(inner), name});
  }
  return {};
}

Result<bool> is_empty_directory(int directory, const std::string& but) {
  const Dir dir = open_dir(directory, ".");
  if (dir == nullptr) return errno_error(errno, "cannot list the directory to restore into");
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (is_dot(name) || name == but) continue;
    if (name != "lost+found") return false;
    const Dir inner = open_dir(directory, "lost+found");
    while (const dirent* found = inner == nullptr ? nullptr : ::readdir(inner.get())) {
      if (!is_dot(found->d_name)) return false;
    }
  }
  return true;
}

}  // namespace roost::agent
