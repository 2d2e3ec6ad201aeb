// Audit: who did what, one JSON object a line, appended to a file that only the daemon's user reads (0600). A destructive action
// is recorded durably: record() returns after fsync. Rotated by size: audit.log.1 is the newest of the old ones.
// Thread safety: record() from any thread. Invariants: a line is written whole or not at all; a torn last line of a crash is
// ended before the next one; registered secrets are redacted.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::telemetry {

enum class Durability { buffered, durable };  // durable: for what destroys or releases something

struct AuditEntry {
  std::string actor;    // the API key's name, or "roostd"
  std::string action;   // "session.delete", "session.delete.skip_backup", ...
  std::string target;   // a session's or backup's id; may be empty
  std::string outcome;  // "accepted", "done", "refused"
  Json details;         // an object or null
};

class Audit {
 public:
  struct Options {
    std::string path;                    // data_dir/audit.log
    std::int64_t file_bytes = 64 << 20;  // then it is rotated
    int files = 8;                       // rotated files that are kept
  };
  [[nodiscard]] static Result<std::unique_ptr<Audit>> open(Options options, Clock& clock);
  ~Audit();
  Audit(const Audit&) = delete;
  Audit& operator=(const Audit&) = delete;

  // EXHAUSTED where the disk is full: then a destructive action must not be done.
  Status record(const AuditEntry& entry, Durability durability);

 private:
  class Impl;
  explicit Audit(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost::telemetry
