// The fixture of store-redis's own tests: a Redis of the test's own, and stores on it. Thread safety: the test's thread.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "plugins/store/driver.hpp"
#include "plugins/store/redis/redis_server.hpp"

namespace roost::store_suite {

class RedisTest : public testing::Test {
 protected:
  void serve(std::vector<std::string> lines = {}, int port = 0) {
    redis_ = std::make_unique<RedisServer>(directory_.path() / "r", RedisServer::Options{std::move(lines), port, false});
  }
  [[nodiscard]] Json config(const std::string& address = {}) const {
    return Json::object({{"address", address.empty() ? redis_->socket() : address}, {"check_interval_ms", 100}});
  }
  static std::unique_ptr<StoreDriver> open(const Json& config, const Secrets& secrets = {}) {
    return std::make_unique<StoreDriver>("store-redis", config, secrets);
  }
  std::unique_ptr<StoreDriver> open_well() {
    auto store = open(config());
    EXPECT_TRUE(store->opened().ok()) << store->opened().error().message;
    return store;
  }

  template <class T>
  static Code code(const Result<T>& result) {
    return result.ok() ? Code{} : result.error().code;
  }
  static Code code(const Status& status) { return status.ok() ? Code{} : status.error().code; }
  template <class T>
  static std::string why(const Result<T>& result) {
    return result.ok() ? std::string("nothing failed") : result.error().message;
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  // Commits until one succeeds.
  static bool recovers(StoreDriver& store) {
    return eventually([&] { return store.commit("p", {}, {put("recovered", "x")}).ok(); });
  }

  TestDirectory directory_;
  std::unique_ptr<RedisServer> redis_;
};

}  // namespace roost::store_suite
