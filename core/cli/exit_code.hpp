// The exit codes of roostctl: part of its contract with scripts (docs/roostctl.md). Thread safety: pure functions.
#pragma once

#include "base/result.hpp"

namespace roost::cli {

enum class Exit : int {
  ok = 0,
  failed = 1,       // the request was refused or failed
  usage = 2,        // the command line or the configuration is wrong; nothing was asked
  not_found = 3,    // HTTP 404, 410
  conflict = 4,     // HTTP 409, 412; a delete or a restore that is blocked
  denied = 5,       // HTTP 401, 403
  unavailable = 6,  // no connection, HTTP 429, 502, 503, 504, or the time is over
  interrupted = 130,
};

// Of an HTTP status that is not 2xx.
[[nodiscard]] Exit exit_of_status(int status);
[[nodiscard]] Code code_of_status(int status);
// Of an error that no server answered.
[[nodiscard]] Exit exit_of(Code code);

}  // namespace roost::cli
