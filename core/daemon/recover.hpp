// Recovery: the catalogue of backups made anew out of the archives themselves, where the store was lost. Each archive says whose
// it is; only its end and its manifest are read. What is there already stays as it is, so a run that was interrupted is run
// again. Thread safety: one thread, and not the scheduler's, for it blocks. Invariants: no archive is written or removed; no
// record is replaced.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "engine/ports.hpp"

namespace roost::daemon {

struct RecoverOptions {
  std::string holder;  // takes the leader's lease under this name
  std::function<Result<std::string>(const std::string& archive, std::int64_t offset, std::int64_t length)> read;
  std::function<void(const std::string& line)> say;  // progress and findings, for people
};

struct RecoverReport {
  std::int64_t made = 0;       // records
  std::int64_t known = 0;      // archives that had a record
  std::int64_t damaged = 0;    // archives of Roost, by their name, that do not read
  std::int64_t strangers = 0;  // anything else
};

// CONFLICT where a leader lives; DATA_LOSS where an import into the store was not finished; the storage's or the store's error
// where one of them fails.
[[nodiscard]] Result<RecoverReport> recover_catalogue(Store& store, BackupStorage& storage, Clock& clock,
                                                      const RecoverOptions& options);

}  // namespace roost::daemon
