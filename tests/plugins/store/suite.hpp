// The fixture of the store suite: an open store of the test's own, of the plugin that the parameter names.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "plugins/store/driver.hpp"

namespace roost::store_suite {

class StoreSuite : public testing::TestWithParam<Quirks> {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    store_.reset();
    store_ = std::make_unique<StoreDriver>(GetParam(), directory_.path());
    ASSERT_TRUE(store_->opened().ok()) << store_->opened().error().message;
  }

  // One operation that must succeed; its record.
  Document done(const std::string& partition, const Operation& operation) {
    auto result = store_->commit(partition, {}, {operation});
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() && result->size() == 1 ? result->front() : Document{};
  }
  std::string value(const std::string& partition, const std::string& key) {
    auto found = store_->get(partition, key);
    return found.ok() ? found->value : std::string(to_string(found.error().code));
  }
  static Code code(const Status& status) { return status.ok() ? Code{} : status.error().code; }
  template <class T>
  static Code code(const Result<T>& result) {
    return result.ok() ? Code{} : result.error().code;
  }
  static std::vector<std::string> keys_of(const Documents& documents) {
    std::vector<std::string> keys;
    for (const Document& document : documents) keys.push_back(document.key);
    return keys;
  }

  TestDirectory directory_;
  std::unique_ptr<StoreDriver> store_;
};

}  // namespace roost::store_suite
