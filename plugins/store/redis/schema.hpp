// The version of our keys' shape, in PREFIX:schema, and the steps that lead from one version to the next. Thread safety: pure
// functions.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "store/redis/connection.hpp"

namespace roost::store_redis {

// steps[n] leads from version n+1 to n+2. Several replicas may run one at once, and one may die in the middle: each can be
// repeated, and changes nothing that is of the later version already.
using Migration = std::function<void(Connection& connection, const std::string& key_prefix, const Until& until)>;
[[nodiscard]] const std::vector<Migration>& migrations();

// Brings the keys to the version of `steps`; a database without any begins with it. Throws INVALID: the prefix is somebody
// else's; UNSUPPORTED: made by a newer Roost; what Connection::ask throws.
void migrate(Connection& connection, const std::string& key_prefix, const std::vector<Migration>& steps, const Until& until);

}  // namespace roost::store_redis
