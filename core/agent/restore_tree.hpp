// RestoreTree: makes files, links and directories beneath one directory, in an archive's order: each directory before its
// contents. A directory gets its permissions and times when the next entry is outside it. Every step is one name relative to an
// open directory, without following links. Thread safety: one thread.
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>
#include <vector>

#include "agent/walk_beneath.hpp"
#include "archive/manifest.hpp"
#include "base/result.hpp"

namespace roost::agent {

class RestoreTree {
 public:
  // `root` stays open while this lives.
  explicit RestoreTree(int root);

  Status make_directory(const ManifestEntry& entry);
  Status make_symlink(const ManifestEntry& entry, const std::string& target);
  // A file, in pieces; runs of zeros become holes.
  Status begin_file(const ManifestEntry& entry);
  Status write_file(std::string_view data);
  Status end_file(const ManifestEntry& entry);
  // Finishes the directories that are still open.
  Status finish();
  // What did not get all of its permissions: the file system or the kernel left some out, or they were withheld (a program's
  // setuid where the tree is root's).
  [[nodiscard]] const std::vector<Skipped>& not_restored() const { return not_restored_; }

 private:
  struct Level {
    FdOwner fd;
    std::size_t path_size = 0;
    std::uint32_t mode = 0;
    std::int64_t mtime_ns = 0;
  };
  // Leaves what the path is not beneath; answers its parent's descriptor and its last name.
  Status enter_parent(const std::string& path, int& parent, std::string& name);
  Status leave();
  // Owner, permissions and time; `wanted`: the permissions that were saved, of which `mode` are to be given.
  Status give(int fd, const ManifestSkip& who, std::uint32_t wanted, std::uint32_t mode, std::int64_t mtime_ns);

  int root_;
  bool may_give_ = false;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  std::size_t depth_max_;
  std::string path_;  // of the innermost open directory
  std::vector<Level> levels_;
  FdOwner file_;
  std::int64_t offset_ = 0;
  std::vector<Skipped> not_restored_;
};

// Removes everything beneath the directory but `keep` at its top.
Status clear_directory(int directory, const std::string& keep);

// Whether nothing is in the directory but `but` and an empty "lost+found".
Result<bool> is_empty_directory(int directory, const std::string& but);

}  // namespace roost::agent
