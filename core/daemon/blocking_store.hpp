// BlockingStore: a store, one call at a time, for programs that work on documents while no daemon runs. It holds the leader's
// lease, so that no leader acts meanwhile, and renews it on the way. Thread safety: one thread, and not the scheduler's, for it
// blocks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "engine/documents.hpp"
#include "engine/ports.hpp"

namespace roost::daemon {

template <class T>
Result<T> ask(const std::function<void(Done<T>)>& call) {
  auto answer = std::make_shared<std::promise<Result<T>>>();
  auto waited = answer->get_future();
  call([answer](Result<T> result) { answer->set_value(std::move(result)); });
  return waited.get();
}

class BlockingStore {
 public:
  static constexpr std::uint32_t kScanPage = 200;

  BlockingStore(Store& store, Clock& clock, std::string holder) : store_(store), clock_(clock), holder_(std::move(holder)) {}
  ~BlockingStore() {
    if (asked_ms_ != 0) (void)lease(3);
  }
  BlockingStore(const BlockingStore&) = delete;
  BlockingStore& operator=(const BlockingStore&) = delete;

  Status begin() { return renew(true); }
  // After begin(): DATA_LOSS where an import into it was not finished.
  Status check_whole() {
    const auto marker = get(documents::kTransferPartition, documents::kImportKey);
    if (marker) return documents::half_imported();
    return marker.error().code == Code::not_found ? Status{} : Status(marker.error());
  }
  Result<Document> get(const std::string& partition, const std::string& key) {
    ROOST_CHECK(renew(false));
    return ask<Document>([&](Done<Document> done) { store_.get(partition, key, std::move(done)); });
  }
  Result<std::vector<Document>> scan(const std::string& partition, const std::string& after, std::uint32_t limit = kScanPage) {
    ROOST_CHECK(renew(false));
    return ask<std::vector<Document>>(
        [&](Done<std::vector<Document>> done) { store_.scan(partition, "", after, limit, std::move(done)); });
  }
  Result<CommitResult> commit(const Commit& commit) {
    ROOST_CHECK(renew(false));
    return ask<CommitResult>([&](Done<CommitResult> done) { store_.commit(commit, std::move(done)); });
  }
  Result<Watched> watch(const std::string& resume) {
    return ask<Watched>([&](Done<Watched> done) { store_.watch(resume, std::move(done)); });
  }

 private:
  Result<Lease> lease(int action) {
    return ask<Lease>([&](Done<Lease> done) { store_.lease("leader", holder_, action, kLeaseMs, std::move(done)); });
  }
  Status renew(bool first) {
    const std::int64_t now = clock_.monotonic_ns() / 1'000'000;
    if (!first && now - asked_ms_ < kLeaseMs / 3) return {};
    auto held = lease(1);
    if (held) {
      asked_ms_ = std::max<std::int64_t>(1, now);
      return {};
    }
    if (held.error().code == Code::conflict)
      return Error{Code::conflict,
                   "a roostd uses this store and leads: stop every one of them first (" + held.error().message + ")", 0};
    if (!first && now - asked_ms_ < kLeaseMs) return {};
    return held.error().context("the leader's lease");
  }

  static constexpr std::int64_t kLeaseMs = 30'000;

  Store& store_;
  Clock& clock_;
  const std::string holder_;
  std::int64_t asked_ms_ = 0;
};

}  // namespace roost::daemon
