// Directory: the one directory that holds the archives, by descriptor, and what the plugin does with names in it.
// Unfinished archives are hidden files ".put-…", locked (flock) by the process that writes them, so that what a killed writer
// left is told from what a living one still needs. Thread safety: any thread.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "roost/plugin.hpp"

namespace roost::backup_directory {

// A file descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { reset(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_;
};

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

struct Settings {
  std::string path;   // absolute, resolved
  std::string claim;  // empty: none
  std::int64_t stale_after_s = 86400;
  bool group_readable = false;  // archives are 0640, not 0600
};

// Whether that errno means a full disk, quota or limit.
bool no_room(int error);
// The failure that errno means here: a full disk is EXHAUSTED with the numbers, a wrong permission DENIED, and so on.
sdk::Failure failure(int error, const std::string& what, int directory_fd = -1);

// Throws INVALID for a name that is not 1 to 255 bytes of [A-Za-z0-9._-] or that begins with a dot.
void check_name(std::string_view name);

class Directory {
 public:
  // Opens the directory, and makes it first where `create` says so. Throws.
  Directory(Settings settings, bool create, sdk::Log log);

  int fd() const { return fd_.get(); }
  const Settings& settings() const { return settings_; }
  const sdk::Log& log() const { return log_; }

  // Opens an archive for reading; throws NOT_FOUND.
  Fd open_archive(const std::string& name, int more_flags, struct stat* status) const;

  // A new locked hidden file for this archive's bytes: its name and descriptor. Leftovers of killed writers of the same archive
  // are removed first, and everybody's that are older than stale_after_s.
  std::pair<std::string, Fd> create_temporary(std::string_view archive) const;

  void sync() const;  // makes names durable; throws OUTCOME_UNKNOWN

 private:
  void remove_leftovers(std::string_view own_prefix) const;

  Settings settings_;
  sdk::Log log_;
  Fd fd_;
};

}  // namespace roost::backup_directory
