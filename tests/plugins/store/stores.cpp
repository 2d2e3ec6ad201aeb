// The store plugins that the suite is run against.
#include "plugins/store/driver.hpp"
#include "plugins/store/redis/redis_server.hpp"

namespace roost::store_suite {

const std::vector<Quirks>& all_stores() {
  static const std::vector<Quirks> stores{
      {"store-sqlite",
       [](const std::filesystem::path& directory) {
         return Json::object({{"path", (directory / "store.db").string()}});  // purges late: what expired is hidden, not gone
       }},
      {"store-redis",
       [](const std::filesystem::path& directory) {  // one server for all tests, a prefix for each
         return Json::object({{"address", shared_redis_socket()}, {"key_prefix", directory.filename().string()}});
       }},
  };
  return stores;
}

const Quirks* find_store(std::string_view plugin) {
  for (const Quirks& quirks : all_stores()) {
    if (quirks.plugin == plugin) return &quirks;
  }
  return nullptr;
}

}  // namespace roost::store_suite
