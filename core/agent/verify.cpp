#include "agent/verify.hpp"

#include <memory>
#include <vector>

#include "agent/archive_reader.hpp"
#include "agent/task_read_ahead.hpp"
#include "base/clock.hpp"

namespace roost::agent {

Result<Receipt> read_archive(ArchiveSource& source, TaskMonitor& monitor) {
  ROOST_TRY(const auto reader, ArchiveReader::open(source));
  monitor.expect(-1, static_cast<std::int64_t>(reader->entries()));
  std::vector<char> buffer(256u << 10);
  for (;;) {
    ROOST_TRY(const auto entry, reader->next());
    if (!entry) return reader->finish();
    ROOST_CHECK(monitor.advance(0, 1));
    for (;;) {
      ROOST_TRY(const std::size_t got, reader->read(buffer.data(), buffer.size()));
      if (got == 0) break;
      ROOST_CHECK(monitor.advance(static_cast<std::int64_t>(got), 0));
    }
  }
}

Result<Receipt> verify_archive(const TaskSpec& spec, TaskStorage& storage, TaskMonitor& monitor) {
  ROOST_TRY(const auto source, storage.source(spec.archive));
  ROOST_TRY(const auto ahead, ReadAheadSource::start(*source));
  ROOST_TRY(Receipt receipt, read_archive(*ahead, monitor));
  if (receipt.session_id != spec.id || receipt.archive != spec.archive) {
    return Error{Code::invalid, "the archive is sound, but it is session " + receipt.session_id + "'s " + receipt.archive, 0};
  }
  receipt.verified_at_us = system_clock().wall_us();
  return receipt;
}

}  // namespace roost::agent
