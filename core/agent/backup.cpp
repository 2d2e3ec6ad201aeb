#include "agent/backup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <optional>
#include <vector>

#include "agent/archive_reader.hpp"
#include "agent/archive_writer.hpp"
#include "agent/verify.hpp"
#include "agent/walk.hpp"
#include "agent/walk_beneath.hpp"
#include "base/clock.hpp"

namespace roost::agent {

namespace {

constexpr std::size_t kPart = 2u << 20;
constexpr int kReads = 3;  // of a file that changes while it is read
// Two writes within one tick of the kernel's clock leave the same times behind. A file younger than this is given time to show.
constexpr std::int64_t kSettleNs = 20'000'000;

// Gathers the archive into parts.
class PartSink final : public ByteSink {
 public:
  explicit PartSink(TaskStorage& storage) : storage_(storage) { part_.reserve(kPart); }
  Status write(std::string_view data) override {
    while (!data.empty()) {
      const std::size_t count = std::min(data.size(), kPart - part_.size());
      part_ += data.substr(0, count);
      data.remove_prefix(count);
      if (part_.size() == kPart) ROOST_CHECK(flush());
    }
    return {};
  }
  Status flush() {
    if (part_.empty()) return {};
    ROOST_CHECK(storage_.put_part(part_));
    part_.clear();
    return {};
  }

 private:
  TaskStorage& storage_;
  std::string part_;
};

// What one reading of a file came to.
enum class Reading { whole, changed, unreadable };

class Saver final : public TreeVisitor {
 public:
  Saver(ArchiveWriter& writer, TaskMonitor& monitor, bool live)
      : writer_(writer), monitor_(monitor), live_(live), buffer_(ArchiveWriter::kSmallFile + 1) {}

  Status directory(const std::string& path, const struct stat& status) override {
    ROOST_CHECK(monitor_.advance(0, 1));
    return writer_.add_directory(attributes(path, status));
  }

  Status symlink(const std::string& path, const std::string& target, const struct stat& status) override {
    ROOST_CHECK(monitor_.advance(0, 1));
    return writer_.add_symlink(attributes(path, status), target);
  }

  Status skipped(const char* kind, const char* reason, const std::string& path) override {
    ROOST_CHECK(monitor_.advance(0, 0));
    return writer_.add_skip(ManifestSkip{path, kind, reason});
  }

  Status file(const std::string& path, int parent, const char* name) override {
    ROOST_CHECK(monitor_.advance(0, 1));
    for (int attempt = 1;; ++attempt) {
      const FdOwner file(open_beneath(parent, name, O_RDONLY | O_NONBLOCK));
      struct stat before {};
      if (!file || ::fstat(file.get(), &before) != 0)
        return skipped("file", errno == ENOENT ? "vanished" : errno == ELOOP ? "changed" : "unreadable", path);
      if (!S_ISREG(before.st_mode)) return skipped("file", "changed", path);
      if (!live_) ROOST_CHECK(settle(file.get(), before));
      const bool last = attempt == kReads;
      const bool small = before.st_size <= static_cast<off_t>(ArchiveWriter::kSmallFile);
      ROOST_TRY(const Reading reading,
                small ? save_small(path, file.get(), before, last) : save_large(path, file.get(), before, last));
      if (reading == Reading::whole) return {};
      if (reading == Reading::unreadable) return skipped("file", "unreadable", path);
      if (last) return skipped("file", "changed", path);
    }
  }

 private:
  static EntryAttributes attributes(const std::string& path, const struct stat& status) {
    return EntryAttributes{path, status.st_mode & 07777u, mtime_ns_of(status)};
  }

  Status settle(int file, struct stat& before) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      timespec now{};
      ::clock_gettime(CLOCK_REALTIME, &now);
      const std::int64_t age =
          (now.tv_sec - before.st_ctim.tv_sec) * std::int64_t{1'000'000'000} + now.tv_nsec - before.st_ctim.tv_nsec;
      if (age >= kSettleNs || age < 0) return {};
      const timespec pause{0, static_cast<long>(kSettleNs - age)};
      ::nanosleep(&pause, nullptr);
      if (::fstat(file, &before) != 0) return errno_error(errno, "cannot stat a file of the tree");
    }
    return {};
  }

  // Reads up to `count` bytes; fewer at the file's end. -1 where it cannot be read.
  ssize_t read_piece(int file, std::int64_t offset, std::size_t count) {
    std::size_t got = 0;
    while (got < count) {
      const ssize_t now = ::pread(file, buffer_.data() + got, count - got, offset + static_cast<off_t>(got));
      if (now < 0 && errno == EINTR) continue;
      if (now < 0) return -1;
      if (now == 0) break;
      got += static_cast<std::size_t>(now);
    }
    return static_cast<ssize_t>(got);
  }

  static bool same(int file, const struct stat& before) {
    struct stat after {};
    return ::fstat(file, &after) == 0 && unchanged(before, after);
  }

  // A live backup takes what it read last, and says so.
  Result<Reading> save_small(const std::string& path, int file, const struct stat& before, bool last) {
    const std::size_t size = static_cast<std::size_t>(before.st_size);
    const ssize_t got = read_piece(file, 0, size + 1);
    if (got < 0) return Reading::unreadable;
    const bool whole = static_cast<std::size_t>(got) == size && same(file, before);
    if (!whole && !(live_ && last)) return Reading::changed;
    const std::size_t count = std::min(static_cast<std::size_t>(got), size);
    ROOST_CHECK(writer_.add_file(attributes(path, before), std::string_view(buffer_.data(), count), !whole));
    ROOST_CHECK(monitor_.advance(static_cast<std::int64_t>(count), 0));
    return Reading::whole;
  }

  // It is in the stream before it is known to be good: a bad reading is abandoned there, and no directory names it.
  Result<Reading> save_large(const std::string& path, int file, const struct stat& before, bool last) {
    ::posix_fadvise(file, 0, 0, POSIX_FADV_SEQUENTIAL);
    ROOST_CHECK(writer_.begin_file(attributes(path, before), static_cast<std::uint64_t>(before.st_size)));
    std::int64_t offset = 0;
    bool readable = true;
    while (offset < before.st_size) {
      const std::size_t wanted =
          static_cast<std::size_t>(std::min<std::int64_t>(ArchiveWriter::kSmallFile, before.st_size - offset));
      const ssize_t got = read_piece(file, offset, wanted);
      readable = got >= 0;
      if (got <= 0) break;
      ROOST_CHECK(writer_.write_file(std::string_view(buffer_.data(), static_cast<std::size_t>(got))));
      ROOST_CHECK(monitor_.advance(got, 0));
      offset += got;
    }
    const bool whole = readable && offset == before.st_size && same(file, before);
    const bool torn = !whole && readable && live_ && last;
    ROOST_CHECK(writer_.end_file(whole  ? ArchiveWriter::Keep::entry
                                 : torn ? ArchiveWriter::Keep::torn_entry
                                        : ArchiveWriter::Keep::abandon));
    return whole || torn ? Reading::whole : readable ? Reading::changed : Reading::unreadable;
  }

  ArchiveWriter& writer_;
  TaskMonitor& monitor_;
  const bool live_;
  std::vector<char> buffer_;
};

// The receipt of the archive of that name, where this operation made it and it is worth keeping; none where the way is free.
Result<std::optional<Receipt>> find_own(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor) {
  const auto source = storage.source(spec.archive);
  if (!source.ok() && source.error().code == Code::not_found) return std::optional<Receipt>();
  if (!source.ok()) return source.error();
  const auto reader = ArchiveReader::open(**source);
  const bool own = reader.ok() && (*reader)->header().operation_id == spec.operation &&
                   (*reader)->header().session_id == spec.id && (*reader)->header().volume_uid == spec.volume_uid &&
                   (*reader)->header().archive == spec.archive;
  if (!own && !reader.ok() && reader.error().code != Code::data_loss) return reader.error();
  if (!own) return Error{Code::exists, "there is an archive " + spec.archive + " already, and this operation did not make it", 0};
  auto receipt = read_archive(**source, monitor);
  if (receipt.ok() && !lost_something(receipt->skipped)) return std::optional<Receipt>(*std::move(receipt));
  if (!receipt.ok() && receipt.error().code != Code::data_loss) return receipt.error();
  // The volume is here, so a better archive can be made of it.
  ROOST_CHECK(storage.remove(spec.archive));
  return std::optional<Receipt>();
}

ManifestHeader header_of(const TaskSpec& spec) {
  ManifestHeader header;
  header.session_id = spec.id;
  header.user_id = spec.user_id;
  header.operation_id = spec.operation;
  header.attempt = spec.attempt;
  header.backup_id = spec.backup_id;
  header.archive = spec.archive;
  header.volume_uid = spec.volume_uid;
  header.live = spec.live;
  header.made_at_us = system_clock().wall_us();
  return header;
}

Result<Receipt> write_archive(const TaskSpec& spec, int root, TaskStorage& storage, TaskMonitor& monitor,
                              const std::string& spool_directory) {
  PartSink sink(storage);
  ROOST_TRY(const auto writer, ArchiveWriter::create(spool_directory, header_of(spec), sink));
  Saver saver(*writer, monitor, spec.live);
  WalkOptions options;
  options.live = spec.live;
  ROOST_CHECK(walk(root, options, saver));
  ROOST_TRY(Receipt receipt, writer->finish());
  ROOST_CHECK(sink.flush());
  ROOST_CHECK(monitor.advance(0, 0));
  return receipt;
}

}  // namespace

Result<Receipt> backup_volume(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor,
                              const std::string& spool_directory) {
  const FdOwner root(::open(spec.volume_path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return Error{Code::denied, errno_error(errno, "cannot open the volume " + spec.volume_path).message, 0};
  ROOST_TRY(const auto before, find_own(spec, storage, monitor));
  if (before) return *before;
  ROOST_CHECK(storage.put_begin(spec.archive));
  auto receipt = write_archive(spec, root.get(), storage, monitor, spool_directory);
  if (!receipt.ok()) {
    storage.put_abort();
    return receipt;
  }
  const Status committed = storage.put_commit();
  if (committed.ok()) return receipt;
  // Not known whether it is there, or something is there: what is stored decides.
  const Code code = committed.error().code;
  if (code != Code::outcome_unknown && code != Code::exists && code != Code::deadline && code != Code::unavailable) {
    return committed.error();
  }
  const auto source = storage.source(spec.archive);
  if (!source.ok()) return committed.error();
  const auto stored = read_archive(**source, monitor);
  if (stored.ok() && stored->archive_sha256 == receipt->archive_sha256) return receipt;
  return committed.error();
}

}  // namespace roost::agent
