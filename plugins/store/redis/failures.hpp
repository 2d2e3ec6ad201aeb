// What a server's error means to the caller of a store: each kind of Redis error as the code of plugin.h whose remedy fits, with
// a message that says what to do. Thread safety: pure functions.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "roost/plugin.hpp"

namespace roost::store_redis {

// The server answered with an error; it did nothing.
struct ServerError : std::runtime_error {
  using std::runtime_error::runtime_error;
  // Its first word, or, where a script's error is wrapped, the known word within: "OOM", "READONLY", "WRONGTYPE".
  [[nodiscard]] std::string word() const;
};

// The connection is of no use any more; a request that had left may or may not have been done.
struct ConnectionLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// `where`: the server's address.
[[nodiscard]] sdk::Failure failure(const ServerError& error, const std::string& where);

// Whether another server (the new master) may answer better: drop the connections and look again.
[[nodiscard]] bool look_elsewhere(const ServerError& error);

}  // namespace roost::store_redis
