#include "base/result.hpp"

namespace roost {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::invalid: return "invalid";
    case Code::not_found: return "not_found";
    case Code::exists: return "exists";
    case Code::conflict: return "conflict";
    case Code::denied: return "denied";
    case Code::exhausted: return "exhausted";
    case Code::unavailable: return "unavailable";
    case Code::deadline: return "deadline";
    case Code::cancelled: return "cancelled";
    case Code::expired: return "expired";
    case Code::outcome_unknown: return "outcome_unknown";
    case Code::unsupported: return "unsupported";
    case Code::data_loss: return "data_loss";
    case Code::internal: return "internal";
  }
  return "internal";
}

Error Error::context(std::string_view what) const {
  Error error = *this;
  error.message = std::string(what) + ": " + message;
  return error;
}

}  // namespace roost
