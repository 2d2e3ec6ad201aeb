// store-redis: the store of many replicas in one Redis. See plugin.h for the contract and docs/redis.md for its keys.
#include <sys/random.h>

#include <charconv>
#include <cstdio>

#include "roost/plugin.hpp"
#include "store/redis/feed.hpp"
#include "store/redis/layout.hpp"
#include "store/redis/server.hpp"
#include "store/shared/limits.hpp"

namespace roost::store_redis {
namespace {

constexpr std::uint32_t kScannedAtOnce = 500;
constexpr const char* kScannedBytes = "4194304";
constexpr std::uint64_t kForeverMs = std::uint64_t{1} << 50;
constexpr std::int64_t kRememberedBeyondMs = 10'000;  // a commit, after the deadline of its call

std::string random_id() {
  std::uint64_t words[2] = {};
  if (::getrandom(words, sizeof words, 0) != sizeof words) throw sdk::Failure(ROOST_INTERNAL, "store-redis: getrandom failed");
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(words[0]),
                static_cast<unsigned long long>(words[1]));
  return text;
}

std::uint64_t number(const std::string& text) {
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    throw sdk::Failure(ROOST_DATA_LOSS, "store-redis: a revision that is no number: keys of ours were changed by hand");
  return value;
}

// From when on a change is not made any more, by the server's clock: a little before its caller's time is over.
std::string not_after(const Connection& connection, const Until& until) {
  return std::to_string(connection.server_ms(until.deadline()) - 2);
}

class RedisStore : public sdk::StorePlugin {
 public:
  // Each holds a connection while it waits for the server, which takes what comes together to the disk together.
  static constexpr std::uint32_t max_concurrency = 16;

  RedisStore(const sdk::Call& call, const sdk::OpenArgs& args) : server_(parse_settings(args), args.log) {
    for (int i = 0; i < kBuckets; ++i) buckets_.emplace_back(server_.settings().key_prefix, i);
    call.check();
    try {
      (void)server_.connect(Until(call));
    } catch (const sdk::Failure& e) {
      // A server that is away for now will be back; what is wrong with it for good is said at once.
      if (e.code() != ROOST_UNAVAILABLE) throw;
      server_.note(e.what());
    }
    feed_ = std::make_unique<Feed>(server_, changes_, buckets_);
    feed_->await_begin(Until(call));
  }

  void get(const sdk::Call& call, std::string_view partition, std::string_view key, sdk::Sink& sink) override {
    store::check_partition(partition);
    store::check_key(key, "a key", false);
    const Bucket& bucket = bucket_for(partition);
    const Reply reply = server_.read(
        get_script(),
        [&](const Connection&) {
          return on(bucket, {bucket.documents, member_prefix(partition) + std::string(key)});
        },
        Until(call));
    if (is_null(reply)) throw sdk::Failure(ROOST_NOT_FOUND, "store-redis: no document " + std::string(key));
    const std::vector<std::string> found = answer(reply, 2);
    sink.emit(key, found[0], number(found[1]));
  }

  void scan(const sdk::Call& call, std::string_view partition, std::string_view prefix, std::string_view after,
            std::uint32_t limit, sdk::Sink& sink) override {
    store::check_partition(partition);
    store::check_key(prefix, "a prefix", true);
    store::check_key(after, "a cursor", true);
    const Bucket& bucket = bucket_for(partition);
    const std::string begin = member_prefix(partition);
    const std::string to = "(" + begin + std::string(prefix) + "\x7F";  // keys are at most 0x7E
    std::string from = after > prefix ? "(" + begin + std::string(after) : "[" + begin + std::string(prefix);
    if (!after.empty() && after == prefix) from[0] = '(';
    for (std::uint32_t left = limit; left > 0;) {
      const std::string at_once = std::to_string(std::min(left, kScannedAtOnce));
      const Reply reply = server_.read(
          scan_script(),
          [&](const Connection&) {
            return on(bucket, {bucket.documents, from, to, at_once, kScannedBytes});
          },
          Until(call));
      const std::vector<std::string> found = answer(reply, 1);
      for (std::size_t i = 1; i + 2 < found.size(); i += 3, --left) {
        if (!sink.emit(std::string_view(found[i]).substr(begin.size()), found[i + 1], number(found[i + 2]))) return;
      }
      if (found[0].empty()) return;
      from = found[0];
    }
  }

  void commit(const sdk::Call& call, std::string_view partition, const std::vector<sdk::Condition>& conditions,
              const std::vector<sdk::Operation>& operations, sdk::Sink& sink) override {
    store::check_commit(partition, conditions, operations);
    const Bucket& bucket = bucket_for(partition);
    const std::string marker = bucket.commit(random_id());
    const Until until(call);
    const std::string life = std::to_string(until.remaining().count() + kRememberedBeyondMs);
    const Reply reply = server_.write(
        commit_script(),
        [&](const Connection& connection) {
          Invocation made = on(bucket, {bucket.documents, member_prefix(partition), not_after(connection, until), life});
          made.keys.push_back(marker);
          add(made.arguments, conditions, operations);
          return made;
        },
        until);
    const std::vector<std::string> told = answer(reply, 1);
    if (told[0] == "CONFLICT" && told.size() == 3) throw sdk::Failure(ROOST_CONFLICT, "store-redis: " + told[1] + " " + told[2]);
    if (told[0] != "OK" || told.size() != 1 + 2 * operations.size())
      throw sdk::Failure(ROOST_INTERNAL, "store-redis: a commit answered something else");
    for (std::size_t i = 1; i < told.size(); i += 2) {
      if (!sink.emit(told[i], {}, number(told[i + 1]))) return;
    }
  }

  std::uint64_t count(const sdk::Call& call, std::string_view partition, std::string_view prefix) override {
    store::check_partition(partition);
    store::check_key(prefix, "a prefix", true);
    const Bucket& bucket = bucket_for(partition);
    const std::string begin = member_prefix(partition) + std::string(prefix);
    const Reply reply = server_.read(
        count_script(),
        [&](const Connection&) {
          return on(bucket, {"[" + begin, "(" + begin + "\x7F", begin});
        },
        Until(call));
    return static_cast<std::uint64_t>(integer(reply));
  }

  void lease(const sdk::Call& call, std::string_view name, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms,
             sdk::Sink& sink) override {
    store::check_lease(name, holder, action, ttl_ms);
    const Until until(call);
    const Reply reply = server_.write(
        lease_script(),
        [&](const Connection& connection) {
          return Invocation{{lease_key(server_.settings().key_prefix, name)},
                            {std::string(holder), std::to_string(action), std::to_string(ttl_ms), connection.facts().run_id,
                             not_after(connection, until)}};
        },
        until);
    const std::vector<std::string> told = answer(reply, 4);
    sink.emit(told[1], "{\"epoch\":" + told[2] + ",\"remaining_ms\":" + told[3] + "}");
    if (told[0] != "OK")
      throw sdk::Failure(ROOST_CONFLICT,
                         "store-redis: the lease " + (told[1].empty() ? std::string("is nobody's") : "belongs to " + told[1]));
  }

  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) override { changes_.watch(call, resume, sink); }

 private:
  [[nodiscard]] const Bucket& bucket_for(std::string_view partition) const {
    return buckets_[static_cast<std::size_t>(bucket_of(partition))];
  }

  static Invocation on(const Bucket& bucket, std::vector<std::string> arguments) {
    const auto keys = bucket.keys();
    return {{keys.begin(), keys.end()}, std::move(arguments)};
  }

  static void add(std::vector<std::string>& arguments, const std::vector<sdk::Condition>& conditions,
                  const std::vector<sdk::Operation>& operations) {
    arguments.push_back(std::to_string(conditions.size()));
    for (const sdk::Condition& condition : conditions) {
      arguments.push_back(std::to_string(condition.kind));
      arguments.emplace_back(condition.key);
      arguments.push_back(std::to_string(condition.revision));
    }
    arguments.push_back(std::to_string(operations.size()));
    for (const sdk::Operation& operation : operations) {
      arguments.push_back(std::to_string(operation.kind));
      arguments.emplace_back(operation.key);
      arguments.emplace_back(operation.value);
      arguments.push_back(std::to_string(operation.ttl_ms >= kForeverMs ? 0 : operation.ttl_ms));
    }
  }

  // A script's answer, of at least so many texts.
  static std::vector<std::string> answer(const Reply& reply, std::size_t least) {
    std::vector<std::string> found = texts(reply);
    if (found.size() < least) throw sdk::Failure(ROOST_INTERNAL, "store-redis: a script answered something else");
    return found;
  }

  Server server_;
  std::vector<Bucket> buckets_;
  store::ChangeLog changes_;
  std::unique_ptr<Feed> feed_;  // last, so that it ends first
};

}  // namespace
}  // namespace roost::store_redis

ROOST_STORE_PLUGIN(roost::store_redis::RedisStore, "store-redis", ROOST_PLUGIN_VERSION)
