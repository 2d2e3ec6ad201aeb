// backup-directory: archives as files of one directory. See directory.hpp and put.hpp.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <Poco/JSON/Array.h>
#include <Poco/JSON/Object.h>
#include <Poco/JSON/Parser.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <queue>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "backup/directory/put.hpp"

namespace roost::backup_directory {

namespace {

constexpr std::uint64_t kReadMax = 8u << 20;
constexpr std::size_t kChunk = 1u << 20;
constexpr std::size_t kAlign = 4096;  // what O_DIRECT wants on every file system in use

struct Free {
  void operator()(void* memory) const { ::free(memory); }
};

std::string describe_file(const struct stat& status) {
  const std::int64_t modified_us = static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000 + status.st_mtim.tv_nsec / 1000;
  return "{\"size\":" + std::to_string(status.st_size) + ",\"modified\":" + std::to_string(modified_us) + "}";
}

// Whether another place of a file can be read, where `place` cannot: that one is damaged then, and it is not the disk, or a
// share, that is away for now.
bool reads_elsewhere(int file, char* buffer, std::uint64_t place, std::uint64_t size) {
  const std::uint64_t other = place > 0 ? 0 : (size - 1) / kAlign * kAlign;
  ::posix_fadvise(file, static_cast<off_t>(other), kAlign, POSIX_FADV_DONTNEED);
  return other != place && ::pread(file, buffer, kAlign, static_cast<off_t>(other)) > 0;
}

// Reads [offset, offset + length) past the page cache where the file system can. `emit` answers false to stop.
template <class Emit>
void read_range(const Directory& directory, const std::string& name, std::uint64_t offset, std::uint64_t length, Emit emit) {
  struct stat status {};
  Fd file = directory.open_archive(name, 0, &status);
  bool direct = ::fcntl(file.get(), F_SETFL, O_DIRECT) == 0;
  const std::uint64_t size = static_cast<std::uint64_t>(status.st_size);
  if (offset >= size) return;
  std::uint64_t left = std::min(length, size - offset);
  std::uint64_t unreadable = size;  // a place that could not be read once
  if (!direct) ::posix_fadvise(file.get(), static_cast<off_t>(offset), static_cast<off_t>(left), POSIX_FADV_DONTNEED);
  const std::unique_ptr<char, Free> buffer(static_cast<char*>(std::aligned_alloc(kAlign, kChunk)));
  if (buffer == nullptr) throw sdk::Failure(ROOST_INTERNAL, "out of memory");
  while (left > 0) {
    const std::uint64_t begin = offset / kAlign * kAlign;
    // No more than is asked for: one file of an archive is fetched in small pieces.
    const std::uint64_t wanted = std::min<std::uint64_t>(kChunk, (offset - begin + left + kAlign - 1) / kAlign * kAlign);
    const ssize_t got = ::pread(file.get(), buffer.get(), static_cast<std::size_t>(wanted), static_cast<off_t>(begin));
    const int error = got < 0 ? errno : 0;
    if (error == EINTR) continue;
    if (error == EINVAL && direct) {  // it took the flag, but does not do it
      direct = false;
      ::fcntl(file.get(), F_SETFL, 0);
      ::posix_fadvise(file.get(), static_cast<off_t>(offset), static_cast<off_t>(left), POSIX_FADV_DONTNEED);
      continue;
    }
    if (error == EIO && reads_elsewhere(file.get(), buffer.get(), begin, size)) {
      if (std::exchange(unreadable, begin) != begin) continue;  // it may have been away for a moment
      throw sdk::Failure(ROOST_DATA_LOSS,
                         "archive " + name + " cannot be read at " + std::to_string(begin) + ": the medium is damaged");
    }
    if (got < 0) throw failure(error, "cannot read archive " + name);
    const std::uint64_t skip = offset - begin;
    if (static_cast<std::uint64_t>(got) <= skip) {
      throw sdk::Failure(ROOST_DATA_LOSS, "archive " + name + " ends at " +
                                              std::to_string(begin + static_cast<std::uint64_t>(got)) + ", it had " +
                                              std::to_string(size) + " bytes");
    }
    const std::uint64_t count = std::min(left, static_cast<std::uint64_t>(got) - skip);
    if (!emit(std::string_view(buffer.get() + skip, count))) return;
    offset += count;
    left -= count;
  }
}

}  // namespace

class Plugin final : public sdk::BackupPlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 16;

  Plugin(const sdk::Call&, const sdk::OpenArgs& args) {
    const auto config = Poco::JSON::Parser().parse(std::string(args.config)).extract<Poco::JSON::Object::Ptr>();
    Settings settings;
    settings.path = config->getValue<std::string>("path");
    settings.claim = config->optValue<std::string>("claim", "");
    settings.stale_after_s = config->optValue<std::int64_t>("stale_after_s", settings.stale_after_s);
    settings.group_readable = config->optValue<bool>("group_readable", false);
    // A claim that is not mounted must be noticed, not hidden by a directory on some other disk.
    const bool create = config->optValue<bool>("create", settings.claim.empty());
    directory_ = std::make_shared<const Directory>(std::move(settings), create, args.log);
  }

  std::string describe(const sdk::Call&, std::string_view) override {
    const Settings& settings = directory_->settings();
    Poco::JSON::Object config;
    config.set("path", settings.path);
    config.set("create", false);
    config.set("stale_after_s", settings.stale_after_s);
    config.set("group_readable", settings.group_readable);
    Poco::JSON::Object mount;
    mount.set("path", settings.path);
    mount.set("writable", true);
    if (!settings.claim.empty()) {
      config.set("claim", settings.claim);
      mount.set("claim", settings.claim);
    }
    Poco::JSON::Array mounts;
    mounts.add(mount);
    Poco::JSON::Object answer;
    answer.set("config", config);
    answer.set("secrets", Poco::JSON::Array());
    answer.set("mounts", mounts);
    std::ostringstream text;
    answer.stringify(text);
    return text.str();
  }

  std::unique_ptr<sdk::Put> put_begin(const sdk::Call& call, std::string_view name) override {
    check_name(name);
    call.check();
    return std::make_unique<FilePut>(directory_, std::string(name));
  }

  // A page that is not full is the last one, so names that turn out to be no archives, or gone, are made up for.
  void list(const sdk::Call& call, std::string_view prefix, std::string_view after, std::uint32_t limit,
            sdk::Sink& sink) override {
    std::string last(after);
    for (std::uint32_t left = limit; left > 0;) {
      const std::vector<std::string> names = least_names(call, prefix, last, left);
      const bool all = names.size() < left;
      for (const std::string& name : names) {
        struct stat status {};
        const bool there = ::fstatat(directory_->fd(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0;
        if (!there && errno != ENOENT) throw failure(errno, "cannot stat archive " + name);
        if (!there || !S_ISREG(status.st_mode)) continue;
        if (!sink.emit(name, describe_file(status))) return;
        --left;
      }
      if (all) return;
      last = names.back();
    }
  }

  std::string stat(const sdk::Call&, std::string_view name) override {
    struct stat status {};
    directory_->open_archive(std::string(name), 0, &status);
    return describe_file(status);
  }

  void read(const sdk::Call& call, std::string_view name, std::uint64_t offset, std::uint64_t length, sdk::Sink& sink) override {
    if (length > kReadMax) throw sdk::Failure(ROOST_INVALID, "a read is at most 8 MiB");
    read_range(*directory_, std::string(name), offset, length, [&](std::string_view data) {
      call.check();
      return sink.emit({}, data);
    });
  }

  void remove(const sdk::Call& call, std::string_view name) override {
    check_name(name);
    call.check();
    if (::unlinkat(directory_->fd(), std::string(name).c_str(), 0) != 0 && errno != ENOENT) {
      throw failure(errno, "cannot remove archive " + std::string(name));
    }
    directory_->sync();
  }

 private:
  // The `limit` least names after `after`, in order: one pass, and no more than `limit` names in memory.
  std::vector<std::string> least_names(const sdk::Call& call, std::string_view prefix, std::string_view after,
                                       std::uint32_t limit) const {
    const int copy = ::openat(directory_->fd(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const std::unique_ptr<DIR, CloseDir> dir(copy < 0 ? nullptr : ::fdopendir(copy));
    if (dir == nullptr) throw failure(errno, "cannot list " + directory_->settings().path);
    std::priority_queue<std::string> least;
    errno = 0;
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string_view name = entry->d_name;
      if (name.front() == '.' || name <= after || name.substr(0, prefix.size()) != prefix) continue;
      if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) continue;
      least.emplace(name);
      if (least.size() > limit) least.pop();
      call.check();
      errno = 0;
    }
    if (errno != 0) throw failure(errno, "cannot list " + directory_->settings().path);
    std::vector<std::string> names(least.size());
    for (auto name = names.rbegin(); name != names.rend(); ++name, least.pop()) *name = least.top();
    return names;
  }

  std::shared_ptr<const Directory> directory_;
};

}  // namespace roost::backup_directory

ROOST_BACKUP_PLUGIN(roost::backup_directory::Plugin, "backup-directory", ROOST_PLUGIN_VERSION)
