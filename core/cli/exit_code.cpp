#include "cli/exit_code.hpp"

namespace roost::cli {

Exit exit_of_status(int status) {
  switch (status) {
    case 401:
    case 403: return Exit::denied;
    case 404:
    case 410: return Exit::not_found;
    case 409:
    case 412: return Exit::conflict;
    case 429:
    case 502:
    case 503:
    case 504: return Exit::unavailable;
    default: return Exit::failed;
  }
}

Code code_of_status(int status) {
  switch (exit_of_status(status)) {
    case Exit::denied: return Code::denied;
    case Exit::not_found: return Code::not_found;
    case Exit::conflict: return Code::conflict;
    case Exit::unavailable: return status == 429 ? Code::exhausted : Code::unavailable;
    default: return status >= 500 ? Code::internal : Code::unsupported;
  }
}

Exit exit_of(Code code) {
  switch (code) {
    case Code::invalid: return Exit::usage;
    case Code::not_found: return Exit::not_found;
    case Code::exists:
    case Code::conflict: return Exit::conflict;
    case Code::denied: return Exit::denied;
    case Code::unavailable:
    case Code::deadline:
    case Code::outcome_unknown: return Exit::unavailable;
    case Code::cancelled: return Exit::interrupted;
    default: return Exit::failed;
  }
}

}  // namespace roost::cli
