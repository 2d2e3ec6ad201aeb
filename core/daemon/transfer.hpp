// Transfer: everything that a store holds, out of one and into another: a file of lines of JSON with its counts and its SHA-256
// at the end. What a store's contract knows travels: documents, the last numbers of queues, what is left of lives. Revisions do
// not: an ETag of before means nothing after. Thread safety: one thread at a time; blocks. Invariants: nothing is written into a
// store before the whole file was found sound; an import that was interrupted goes on where it was; it has succeeded only when
// everything was read back and is equal.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "engine/ports.hpp"

namespace roost::daemon {

struct TransferOptions {
  std::string holder;                                                 // takes the leader's lease under this name
  std::int64_t tombstone_ms = 0, history_ms = 0, idempotency_ms = 0;  // whole lives, as the engine gives them
  std::function<void(const std::string& line)> say;                   // progress, for people
};

struct TransferReport {
  std::int64_t documents = 0, sequences = 0, sessions = 0;
  std::string sha256;
};

// CONFLICT where a leader lives or the store changes meanwhile, but for documents whose life ends; EXISTS where the file is
// there; DATA_LOSS where an import into the store was not finished.
[[nodiscard]] Result<TransferReport> export_store(Store& store, Clock& clock, const std::string& file,
                                                  const TransferOptions& options);
// DATA_LOSS where the file is not as it was written; EXISTS where the store holds something else than the begun import of this
// file.
[[nodiscard]] Result<TransferReport> import_store(Store& store, Clock& clock, const std::string& file,
                                                  const TransferOptions& options);
// Only reads the file.
[[nodiscard]] Result<TransferReport> check_export(const std::string& file);

}  // namespace roost::daemon
