#include "store/redis/schema.hpp"

#include <charconv>

#include "store/redis/layout.hpp"

namespace roost::store_redis {

const std::vector<Migration>& migrations() {
  static const std::vector<Migration> none;  // version 1 is the first
  return none;
}

void migrate(Connection& connection, const std::string& key_prefix, const std::vector<Migration>& steps, const Until& until) {
  const std::string key = schema_key(key_prefix);
  const std::size_t newest = steps.size() + 1;
  Reply reply = connection.ask(command({"GET", key}), until);
  if (is_null(reply)) {
    (void)connection.ask(command({"SET", key, std::to_string(newest), "NX"}), until);
    reply = connection.ask(command({"GET", key}), until);
  }
  const std::string stored = is_null(reply) ? std::string() : text(reply);
  const char* last = stored.data() + stored.size();
  std::size_t version = 0;
  const auto parsed = std::from_chars(stored.data(), last, version);
  if (parsed.ec != std::errc() || parsed.ptr != last || version < 1)
    throw sdk::Failure(ROOST_INVALID, "store-redis: " + key + " holds \"" + stored.substr(0, 40) +
                                          "\" instead of a version: is key_prefix somebody else's?");
  if (version > newest)
    throw sdk::Failure(ROOST_UNSUPPORTED, "store-redis: the data is of version " + stored +
                                              ", made by a newer Roost; this one knows " + std::to_string(newest));
  for (; version < newest; ++version) {
    steps[version - 1](connection, key_prefix, until);
    (void)connection.ask(command({"SET", key, std::to_string(version + 1)}), until);
  }
}

}  // namespace roost::store_redis
