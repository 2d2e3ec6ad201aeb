// The addresses of a host, by the system's resolver, which takes as long as it likes: nobody waits for it longer than Until says,
// and however many ask for one name, one lookup of it is under way. Thread safety: any thread.
#pragma once

#include <Poco/Net/IPAddress.h>

#include <string>
#include <vector>

#include "store/redis/until.hpp"

namespace roost::store_redis {

// At least one, of a name or of an address in digits. Throws ConnectionLost: there is none, or the time is over.
[[nodiscard]] std::vector<Poco::Net::IPAddress> resolve(const std::string& host, const Until& until);

}  // namespace roost::store_redis
