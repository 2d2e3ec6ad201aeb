#include "store/sqlite/parts.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "store/shared/limits.hpp"
#include "store/sqlite/statements.hpp"

namespace roost::store_sqlite {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();

struct OwnedCondition {
  std::int32_t kind;
  std::string key;
  std::uint64_t revision;
};

struct OwnedOperation {
  std::int32_t kind;
  std::string key;
  std::string value;
  std::uint64_t ttl_ms;
};

std::int64_t expiry(std::int64_t now_ms, std::uint64_t ttl_ms) {
  const auto most = static_cast<std::uint64_t>(kForever - now_ms);
  return ttl_ms >= most ? kForever : now_ms + static_cast<std::int64_t>(ttl_ms);
}

class CommitPart {
 public:
  CommitPart(const StoreClock& clock, std::string_view partition, std::vector<OwnedCondition> conditions,
             std::vector<OwnedOperation> operations)
      : clock_(clock), partition_(partition), conditions_(std::move(conditions)), operations_(std::move(operations)) {}

  Outcome operator()(WriterStatements& w) const {
    Outcome outcome;
    const std::int64_t now_ms = clock_.now_ms();
    for (const OwnedCondition& condition : conditions_) {
      if (const char* why = broken(w, condition, now_ms)) {
        outcome.failure = sdk::Failure(ROOST_CONFLICT, "store-sqlite: " + condition.key + why);
        return outcome;
      }
    }
    for (const OwnedOperation& operation : operations_) {
      Outcome::Record record = apply(w, operation, now_ms);
      outcome.changes.push_back({partition_ + "\n" + record.key, record.revision});
      outcome.records.push_back(std::move(record));
    }
    return outcome;
  }

 private:
  std::optional<std::uint64_t> revision(WriterStatements& w, const std::string& key, std::int64_t now_ms) const {
    Use find(w.revision);
    find->blob(1, partition_);
    find->text(2, key);
    find->integer(3, now_ms);
    if (!find->step()) return std::nullopt;
    return static_cast<std::uint64_t>(find->integer(0));
  }

  // Why the condition does not hold; null: it does.
  const char* broken(WriterStatements& w, const OwnedCondition& condition, std::int64_t now_ms) const {
    const auto found = revision(w, condition.key, now_ms);
    if (condition.kind == ROOST_IF_ABSENT) return found ? " exists already" : nullptr;
    if (!found) return " does not exist";
    if (condition.kind == ROOST_IF_REVISION && *found != condition.revision) return " has another revision";
    return nullptr;
  }

  Outcome::Record apply(WriterStatements& w, const OwnedOperation& operation, std::int64_t now_ms) const {
    if (operation.kind == ROOST_DELETE) {
      Use remove(w.remove);
      remove->blob(1, partition_);
      remove->text(2, operation.key);
      remove->run();
      return {operation.key, "", 0};
    }
    const std::string key = operation.kind == ROOST_APPEND ? next_key(w, operation.key, now_ms) : operation.key;
    const std::uint64_t made = ++w.last_revision;
    Use put(w.put);
    put->blob(1, partition_);
    put->text(2, key);
    put->integer(3, static_cast<std::int64_t>(made));
    if (operation.ttl_ms == 0)
      put->null(4);
    else
      put->integer(4, expiry(now_ms, operation.ttl_ms));
    put->blob(5, operation.value);
    put->run();
    return {key, "", made};
  }

  // A number that somebody's plain put has taken is passed over: an append never replaces.
  std::string next_key(WriterStatements& w, const std::string& prefix, std::int64_t now_ms) const {
    for (;;) {
      std::uint64_t number = 0;
      {
        Use next(w.next_sequence);
        next->blob(1, partition_);
        next->text(2, prefix);
        if (!next->step()) throw sdk::Failure(ROOST_INTERNAL, "store-sqlite: no sequence number");
        number = static_cast<std::uint64_t>(next->integer(0));
      }
      char digits[store::kSequenceDigits + 1];
      std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(number));
      std::string key = prefix + digits;
      if (!revision(w, key, now_ms)) return key;
    }
  }

  const StoreClock& clock_;
  const std::string partition_;
  const std::vector<OwnedCondition> conditions_;
  const std::vector<OwnedOperation> operations_;
};

class LeasePart {
 public:
  LeasePart(const StoreClock& clock, std::string_view name, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms)
      : clock_(clock), name_(name), holder_(holder), action_(action), ttl_ms_(ttl_ms) {}

  Outcome operator()(WriterStatements& w) const {
    const std::int64_t now_ms = clock_.now_ms();
    Row row = read(w);
    const bool held = !row.holder.empty() && row.expires_ms > now_ms;
    const bool own = held && row.holder == holder_;
    Outcome outcome;
    if (action_ == ROOST_LEASE_ACQUIRE ? held && !own : !own) {
      if (!held) row = {"", row.epoch, now_ms};
      outcome.failure = sdk::Failure(
          ROOST_CONFLICT, "store-sqlite: the lease " + (held ? "belongs to " + row.holder : std::string("is nobody's")));
    } else {
      if (action_ == ROOST_LEASE_RELEASE)
        row = {"", row.epoch, now_ms};
      else
        row = {holder_, own ? row.epoch : row.epoch + 1, expiry(now_ms, ttl_ms_)};
      write(w, row);
    }
    outcome.records.push_back(
        {row.holder,
         "{\"epoch\":" + std::to_string(row.epoch) + ",\"remaining_ms\":" + std::to_string(row.expires_ms - now_ms) + "}", 0});
    return outcome;
  }

 private:
  struct Row {
    std::string holder;
    std::int64_t epoch = 0;
    std::int64_t expires_ms = 0;
  };

  Row read(WriterStatements& w) const {
    Use find(w.get_lease);
    find->blob(1, name_);
    if (!find->step()) return {};
    return {std::string(find->bytes(0)), find->integer(1), find->integer(2)};
  }

  void write(WriterStatements& w, const Row& row) const {
    Use put(w.put_lease);
    put->blob(1, name_);
    put->blob(2, row.holder);
    put->integer(3, row.epoch);
    put->integer(4, row.expires_ms);
    put->run();
  }

  const StoreClock& clock_;
  const std::string name_;
  const std::string holder_;
  const std::int32_t action_;
  const std::uint64_t ttl_ms_;
};

}  // namespace

Part make_commit(const StoreClock& clock, std::string_view partition, const std::vector<sdk::Condition>& conditions,
                 const std::vector<sdk::Operation>& operations) {
  store::check_commit(partition, conditions, operations);
  std::vector<OwnedCondition> owned_conditions;
  for (const sdk::Condition& condition : conditions)
    owned_conditions.push_back({condition.kind, std::string(condition.key), condition.revision});
  std::vector<OwnedOperation> owned_operations;
  for (const sdk::Operation& operation : operations)
    owned_operations.push_back({operation.kind, std::string(operation.key), std::string(operation.value), operation.ttl_ms});
  return CommitPart(clock, partition, std::move(owned_conditions), std::move(owned_operations));
}

Part make_lease(const StoreClock& clock, std::string_view name, std::string_view holder, std::int32_t action,
                std::uint64_t ttl_ms) {
  store::check_lease(name, holder, action, ttl_ms);
  return LeasePart(clock, name, holder, action, ttl_ms);
}

}  // namespace roost::store_sqlite
