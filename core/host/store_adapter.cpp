#include "host/store_adapter.hpp"

#include <algorithm>
#include <memory>

#include "base/json.hpp"

namespace roost {
namespace {

constexpr std::size_t kPartitionMax = 64;
constexpr std::size_t kKeyMax = 512;
constexpr std::size_t kValueMax = 1 << 20;
constexpr std::size_t kSequenceDigits = 16;

Status check_key(std::string_view what, std::string_view key, std::size_t most) {
  const bool printable = std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (printable && key.size() <= most) return {};
  return Error{Code::invalid,
               std::string(what) + ": a store takes at most " + std::to_string(most) + " printable ASCII characters", 0};
}

Status check_commit(const Commit& commit) {
  ROOST_CHECK(check_key("partition", commit.partition, kPartitionMax));
  for (const Condition& condition : commit.conditions) ROOST_CHECK(check_key("condition", condition.key, kKeyMax));
  for (const StoreOperation& operation : commit.operations) {
    ROOST_CHECK(check_key("operation", operation.key, kKeyMax - kSequenceDigits));
    if (operation.value.size() > kValueMax) return Error{Code::invalid, operation.key + ": a document has at most 1 MiB", 0};
    if (operation.ttl_ms < 0) return Error{Code::invalid, operation.key + ": a negative ttl", 0};
  }
  return {};
}

// A commit in the ABI's structures; they borrow from it.
struct RawCommit {
  explicit RawCommit(const Commit& commit) {
    for (const Condition& condition : commit.conditions) {
      const std::int32_t kind = condition.kind == Condition::Kind::absent   ? ROOST_IF_ABSENT
                                : condition.kind == Condition::Kind::exists ? ROOST_IF_EXISTS
                                                                            : ROOST_IF_REVISION;
      conditions.push_back({sizeof(roost_condition), kind, to_bytes(condition.key), condition.revision});
    }
    for (const StoreOperation& operation : commit.operations) {
      const std::int32_t kind = operation.kind == StoreOperation::Kind::put      ? ROOST_PUT
                                : operation.kind == StoreOperation::Kind::remove ? ROOST_DELETE
                                                                                 : ROOST_APPEND;
      operations.push_back({sizeof(roost_operation), kind, to_bytes(operation.key), to_bytes(operation.value),
                            static_cast<std::uint64_t>(operation.ttl_ms)});
    }
  }
  template <class Item>
  static roost_array array(const std::vector<Item>& items) {
    return {items.data(), static_cast<std::uint32_t>(items.size()), sizeof(Item)};
  }
  std::vector<roost_condition> conditions;
  std::vector<roost_operation> operations;
};

bool answers_operation(const StoreOperation& operation, const std::string& key) {
  if (operation.kind != StoreOperation::Kind::append) return key == operation.key;
  return key.size() == operation.key.size() + kSequenceDigits && key.compare(0, operation.key.size(), operation.key) == 0 &&
         key.find_first_not_of("0123456789abcdef", operation.key.size()) == std::string::npos;
}

Result<CommitResult> commit_result(WorkerCall& call, const Commit& commit) {
  std::vector<Record>& records = call.records();
  if (records.size() != commit.operations.size())
    return call.misbehaved("answered a commit with another number of records than operations");
  CommitResult result;
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (!answers_operation(commit.operations[i], records[i].key))
      return call.misbehaved("answered a commit with a key that is not its operation's");
    result.documents.push_back({std::move(records[i].key), {}, records[i].revision});
  }
  return result;
}

Result<std::vector<Document>> scan_result(WorkerCall& call, const std::string& prefix, const std::string& after) {
  std::vector<Document> documents;
  const std::string* last = &after;
  for (Record& record : call.records()) {
    if (record.key.compare(0, prefix.size(), prefix) != 0 || record.key <= *last) {
      return call.misbehaved("answered a scan out of order, twice, or with a key outside its prefix");
    }
    documents.push_back({std::move(record.key), std::move(record.value), record.revision});
    last = &documents.back().key;
  }
  return documents;
}

Result<Lease> lease_result(WorkerCall& call) {
  if (call.records().size() != 1) return call.misbehaved("answered a lease without its record");
  const Record& record = call.records().front();
  const auto state = Json::parse(record.value);
  if (!state.ok() || !(*state)["epoch"].is_int() || !(*state)["remaining_ms"].is_int()) {
    return call.misbehaved("answered a lease that is not {\"epoch\",\"remaining_ms\"}");
  }
  return Lease{record.key, static_cast<std::uint64_t>((*state)["epoch"].as_int()), (*state)["remaining_ms"].as_int()};
}

// What is wrong with the store itself is no fault of whoever asked, and may be mended meanwhile: it is out of reach for now, for
// the reason that it gave.
Error of_store(Error error) {
  switch (error.code) {
    case Code::denied:
    case Code::exhausted:
    case Code::unsupported:
    case Code::data_loss:
      error.code = Code::unavailable;
      error.retry_after_ms = std::max<std::uint64_t>(error.retry_after_ms, 1'000);
      return error;
    default: return error;
  }
}

template <class T>
std::function<Result<T>(WorkerCall&)> asking(std::function<Result<T>(WorkerCall&)> work) {
  return [work = std::move(work)](WorkerCall& call) -> Result<T> {
    Result<T> result = work(call);
    if (!result.ok()) return of_store(result.error());
    return result;
  };
}

}  // namespace

Result<Watched> watched_from_records(WorkerCall& call, const std::string& resume, bool partitioned) {
  Watched watched;
  watched.resume = resume;
  for (Record& record : call.records()) {
    if ((record.flags & ROOST_RECORD_RESUME) != 0) {
      watched.resume = std::move(record.value);
      continue;
    }
    const std::size_t line = partitioned ? record.key.find('\n') : std::string::npos;
    if (partitioned && line == std::string::npos) return call.misbehaved("answered a watch with a key that names no partition");
    if (line == std::string::npos) {
      watched.changes.push_back({{}, std::move(record.key)});
    } else {
      watched.changes.push_back({record.key.substr(0, line), record.key.substr(line + 1)});
    }
  }
  return watched;
}

void StoreAdapter::get(std::string partition, std::string key, Done<Document> done) {
  auto answer = posted(scheduler_, std::move(done));
  if (const Status checked = check_key("key", key, kKeyMax); !checked.ok()) return answer(checked.error());
  submit_call<Document>(
      slot_, LaneKind::brief, timeouts_.brief_ms, "get",
      asking<Document>([partition = std::move(partition), key = std::move(key)](WorkerCall& call) -> Result<Document> {
        ROOST_CHECK(
            call.invoke({1, kKeyMax, kValueMax, kKeyMax + kValueMax}, [&](auto* instance, auto* raw, auto* sink, auto* error) {
              return call.plugin().store.get(instance, raw, to_bytes(partition), to_bytes(key), sink, error);
            }));
        if (call.records().size() != 1 || call.records().front().key != key)
          return call.misbehaved("answered a get without its record");
        Record& record = call.records().front();
        return Document{std::move(record.key), std::move(record.value), record.revision};
      }),
      std::move(answer));
}

void StoreAdapter::scan(std::string partition, std::string prefix, std::string after, std::uint32_t limit,
                        Done<std::vector<Document>> done) {
  submit_call<std::vector<Document>>(
      slot_, LaneKind::brief, timeouts_.brief_ms, "scan",
      asking<std::vector<Document>>([partition = std::move(partition), prefix = std::move(prefix), after = std::move(after),
                                     limit](WorkerCall& call) -> Result<std::vector<Document>> {
        ROOST_CHECK(call.invoke({limit, kKeyMax, kValueMax, std::size_t{256} << 20},
                                [&](auto* instance, auto* raw, auto* sink, auto* error) {
                                  return call.plugin().store.scan(instance, raw, to_bytes(partition), to_bytes(prefix),
                                                                  to_bytes(after), limit, sink, error);
                                }));
        return scan_result(call, prefix, after);
      }),
      posted(scheduler_, std::move(done)));
}

void StoreAdapter::commit(Commit commit, Done<CommitResult> done) {
  auto answer = posted(scheduler_, std::move(done));
  if (const Status checked = check_commit(commit); !checked.ok()) return answer(checked.error());
  auto shared = std::make_shared<const Commit>(std::move(commit));
  submit_call<CommitResult>(
      slot_, LaneKind::brief, timeouts_.brief_ms, "commit",
      asking<CommitResult>([shared](WorkerCall& call) -> Result<CommitResult> {
        const RawCommit raw_commit(*shared);
        const std::size_t count = raw_commit.operations.size();
        ROOST_CHECK(call.invoke({count, kKeyMax, kValueMax, count * (kKeyMax + kValueMax)}, [&](auto* instance, auto* raw,
                                                                                                auto* sink, auto* error) {
          return call.plugin().store.commit(instance, raw, to_bytes(shared->partition), RawCommit::array(raw_commit.conditions),
                                            RawCommit::array(raw_commit.operations), sink, error);
        }));
        return commit_result(call, *shared);
      }),
      std::move(answer));
}

void StoreAdapter::lease(std::string name, std::string holder, int action, std::int64_t ttl_ms, Done<Lease> done) {
  submit_call<Lease>(
      slot_, LaneKind::brief, timeouts_.brief_ms, "lease",
      asking<Lease>([name = std::move(name), holder = std::move(holder), action, ttl_ms](WorkerCall& call) -> Result<Lease> {
        ROOST_CHECK(call.invoke({1, kKeyMax, 4096, 8192}, [&](auto* instance, auto* raw, auto* sink, auto* error) {
          return call.plugin().store.lease(instance, raw, to_bytes(name), to_bytes(holder), action,
                                           static_cast<std::uint64_t>(ttl_ms), sink, error);
        }));
        return lease_result(call);
      }),
      posted(scheduler_, std::move(done)));
}

void StoreAdapter::watch(std::string resume, Done<Watched> done) {
  submit_call<Watched>(slot_, LaneKind::watch, timeouts_.store_watch_ms, "watch",
                       asking<Watched>([resume = std::move(resume)](WorkerCall& call) -> Result<Watched> {
                         ROOST_CHECK(call.invoke({kHintsMax, kKeyMax + kPartitionMax + 1, 4096, 64 << 20},
                                                 [&](auto* instance, auto* raw, auto* sink, auto* error) {
                                                   return call.plugin().store.watch(instance, raw, to_bytes(resume), sink, error);
                                                 }));
                         return watched_from_records(call, resume, true);
                       }),
                       posted(scheduler_, std::move(done)));
}

}  // namespace roost
