// walk: goes through a hostile tree, each directory before its contents, and tells a visitor what is there. Memory and open
// descriptors grow with the depth only. Nothing outside the tree is ever opened (walk_beneath.hpp), whatever is renamed, swapped
// or removed meanwhile; what cannot be saved is told as skipped, never passed over in silence.
// Thread safety: one thread.
#pragma once

#include <sys/stat.h>

#include <functional>
#include <string>

#include "agent/walk_beneath.hpp"
#include "base/result.hpp"

namespace roost::agent {

class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;
  // Paths are relative to the root, without '/' at the end. An error ends the walk.
  virtual Status directory(const std::string& path, const struct stat& status) = 0;
  // A regular file, not opened yet: base_name(path) in the open directory `parent`, which may be kept. `looked`: as it was when
  // it was looked at, a moment ago.
  virtual Status file(const std::string& path, const DirectoryRef& parent, const struct stat& looked) = 0;
  virtual Status symlink(const std::string& path, const std::string& target, const struct stat& status) = 0;
  // kind and reason: as in receipt.json.
  virtual Status skipped(const char* kind, const char* reason, const std::string& path) = 0;
};

struct WalkOptions {
  bool live = false;             // the tree may change: a directory that changed while it was listed is no loss
  std::size_t path_max = 65000;  // longer paths do not fit into a ZIP file
  std::size_t depth_max = 6000;  // also bounded by the descriptors that the process may open
  // What is left out on request, with everything in it: told as skipped, "excluded". Empty: nothing.
  std::function<bool(const std::string& path, bool directory)> excluded;
};

[[nodiscard]] Status walk(int root, const WalkOptions& options, TreeVisitor& visitor);

}  // namespace roost::agent
