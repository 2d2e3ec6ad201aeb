#include "agent/restore.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "agent/archive_reader.hpp"
#include "agent/restore_tree.hpp"
#include "agent/task_read_ahead.hpp"
#include "agent/walk_beneath.hpp"
#include "base/clock.hpp"

namespace roost::agent {

namespace {

constexpr std::size_t kCopyPiece = 256u << 10;

std::string marker_of(const std::string& operation) { return ".roost-restore-" + operation + ".incomplete"; }

Status extract_link(ArchiveReader& reader, const ManifestEntry& entry, RestoreTree& tree) {
  if (entry.size > PATH_MAX) return {Code::data_loss, "the archive is damaged: a link's target is too long"};
  std::string target;
  char piece[1024];
  for (;;) {
    ROOST_TRY(const std::size_t got, reader.read(piece, sizeof piece));
    if (got == 0) return tree.make_symlink(entry, target);
    target.append(piece, got);
  }
}

Status extract_file(ArchiveReader& reader, const ManifestEntry& entry, RestoreTree& tree, TaskMonitor& monitor,
                    std::vector<char>& buffer) {
  ROOST_CHECK(tree.begin_file(entry));
  for (;;) {
    ROOST_TRY(const std::size_t got, reader.read(buffer.data(), buffer.size()));
    if (got == 0) return tree.end_file(entry);
    ROOST_CHECK(tree.write_file(std::string_view(buffer.data(), got)));
    ROOST_CHECK(monitor.advance(static_cast<std::int64_t>(got), 0));
  }
}

// Leaves the directory empty but for the marker, which says since when it is not what it should be.
Status begin(int root, const std::string& marker) {
  const FdOwner left(open_beneath(root, marker.c_str(), O_RDONLY));
  ROOST_TRY(const bool empty, is_empty_directory(root, marker));
  if (!empty && !left) return {Code::exists, "the directory to restore into is not empty"};
  if (!empty) ROOST_CHECK(clear_directory(root, marker));
  if (left) return {};
  const FdOwner made(open_beneath(root, marker.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600));
  if (!made || ::fsync(made.get()) != 0 || ::fsync(root) != 0)
    return errno_error(errno, "cannot write into the directory to restore into");
  return {};
}

}  // namespace

Result<Receipt> extract_archive(ArchiveSource& source, int root, const std::string& operation, TaskMonitor& monitor) {
  ROOST_TRY(const auto reader, ArchiveReader::open(source));
  monitor.expect(-1, static_cast<std::int64_t>(reader->entries()));
  const std::string marker = marker_of(operation);
  RestoreTree tree(root);  // first: it raises the limit of descriptors, which what clears a deep tree needs as well
  ROOST_CHECK(begin(root, marker));
  std::vector<char> buffer(kCopyPiece);
  for (;;) {
    ROOST_TRY(const auto entry, reader->next());
    if (!entry) break;
    ROOST_CHECK(monitor.advance(0, 1));
    switch (entry->type) {
      case EntryType::directory: ROOST_CHECK(tree.make_directory(*entry)); break;
      case EntryType::symlink: ROOST_CHECK(extract_link(*reader, *entry, tree)); break;
      case EntryType::file: ROOST_CHECK(extract_file(*reader, *entry, tree, monitor, buffer)); break;
    }
  }
  ROOST_CHECK(tree.finish());
  ROOST_TRY(Receipt receipt, reader->finish());
  receipt.not_restored = tree.not_restored();
  // Durable first, then the marker goes.
  if (::syncfs(root) != 0) return errno_error(errno, "cannot make what was restored durable");
  if (::unlinkat(root, marker.c_str(), 0) != 0 || ::fsync(root) != 0)
    return errno_error(errno, "cannot remove the marker " + marker);
  return receipt;
}

Result<Receipt> restore_archive(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor) {
  const FdOwner root(::open(spec.volume_path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root) return Error{Code::denied, errno_error(errno, "cannot open the volume " + spec.volume_path).message, 0};
  // What is restored gets the directory's owner, and a new volume may be root's.
  if (spec.owner >= 0 && ::fchown(root.get(), static_cast<uid_t>(spec.owner), static_cast<gid_t>(spec.owner)) != 0)
    return errno_error(errno, "cannot give the volume to its user");
  // As the kubelet leaves a volume for an fsGroup. Where it finds another mode it adds its own to every file at the first mount:
  // a private key of mode 0600 would come back as 0660, which ssh refuses.
  struct stat status {};
  if (spec.owner >= 0 && (::fstat(root.get(), &status) != 0 || ::fchmod(root.get(), (status.st_mode & 07777u) | 02770u) != 0))
    return errno_error(errno, "cannot give the volume to its user's group");
  ROOST_TRY(const auto source, storage.source(spec.archive));
  ROOST_TRY(const auto ahead, ReadAheadSource::start(*source));
  ROOST_TRY(Receipt receipt, extract_archive(*ahead, root.get(), spec.operation, monitor));
  receipt.verified_at_us = system_clock().wall_us();
  return receipt;
}

}  // namespace roost::agent
