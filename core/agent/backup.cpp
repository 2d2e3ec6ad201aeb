#include "agent/backup.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>

#include "agent/archive_reader.hpp"
#include "agent/archive_writer.hpp"
#include "agent/backup_ignore.hpp"
#include "agent/backup_save.hpp"
#include "agent/backup_sink.hpp"
#include "agent/verify.hpp"
#include "agent/walk.hpp"
#include "agent/walk_beneath.hpp"
#include "base/clock.hpp"

namespace roost::agent {

namespace {

// The receipt of the archive of that name, where this operation made it and it is worth keeping; none where the way is free.
Result<std::optional<Receipt>> find_own(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor) {
  const auto source = storage.source(spec.archive);
  // Keys that may not list a bucket are answered 403 for what is absent. Whatever is there, a commit leaves it as it was.
  const bool unseen = !source.ok() && (source.error().code == Code::not_found || source.error().code == Code::denied);
  if (unseen) return std::optional<Receipt>();
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

ManifestHeader header_of(const TaskSpec& spec, const WalkOptions& options) {
  ManifestHeader header;
  header.session_id = spec.id;
  header.user_id = spec.user_id;
  header.operation_id = spec.operation;
  header.attempt = spec.attempt;
  header.backup_id = spec.backup_id;
  header.archive = spec.archive;
  header.volume_uid = spec.volume_uid;
  header.live = spec.live;
  header.exclusions = static_cast<bool>(options.excluded);  // a backup without a .roostignore is a whole one
  header.made_at_us = system_clock().wall_us();
  return header;
}

// What the user's .roostignore names, where the task is to honour it. One that cannot be understood leaves nothing out.
WalkOptions options_of(const TaskSpec& spec, const FdOwner& root) {
  WalkOptions options;
  options.live = spec.live;
  if (!spec.exclusions) return options;
  auto rules = IgnoreRules::load(root);
  if (!rules.ok()) std::fprintf(stderr, "roost-agent: %s; nothing is left out\n", rules.error().message.c_str());
  if (rules.ok() && !rules->empty()) {
    options.excluded = [shared = std::make_shared<const IgnoreRules>(*std::move(rules))](
                           const std::string& path, bool directory) { return shared->excludes(path, directory); };
  }
  return options;
}

Result<Receipt> write_archive(const TaskSpec& spec, const FdOwner& root, TaskStorage& storage, TaskMonitor& monitor,
                              const std::string& spool_directory) {
  const WalkOptions options = options_of(spec, root);
  ROOST_TRY(const auto pool, WorkPool::start(task_threads()));
  ROOST_TRY(const auto sink, PartSink::start([&storage](std::string_view part) { return storage.put_part(part); }));
  ROOST_TRY(const auto writer, ArchiveWriter::create(spool_directory, header_of(spec, options), *sink));
  ROOST_CHECK(save_tree(root.get(), options, *pool, *writer, monitor));
  ROOST_TRY(Receipt receipt, writer->finish());
  ROOST_CHECK(sink->flush());
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
  auto receipt = write_archive(spec, root, storage, monitor, spool_directory);
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
