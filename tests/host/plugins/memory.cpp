// A small store in memory, made with the SDK: the well-behaved plugin of the host's tests. Three keys of `get` test the host's
// patience.
#include <poll.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <string>

#include "roost/plugin.hpp"

namespace {

using namespace roost::sdk;

class MemoryStore : public StorePlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 4;

  MemoryStore(const Call& call, const OpenArgs& args) : log_(args.log) {
    call.check();
    if (args.config.find("\"fail\"") != std::string_view::npos) throw Failure(ROOST_UNAVAILABLE, "the server is away", 1500);
    // {"gate":FD}: get of "stuck" reads from it, so that a test decides when the call returns.
    if (const auto at = args.config.find("\"gate\":"); at != std::string_view::npos)
      gate_ = std::stoi(std::string(args.config.substr(at + 7)));
    log_.info("opened", args.secret("password").empty() ? "" : R"({"password":"given"})");
  }
  ~MemoryStore() override { log_.info("closed"); }

  void get(const Call& call, std::string_view partition, std::string_view key, Sink& sink) override {
    if (key == "patient") {
      while (call.sleep_for(std::chrono::hours(1))) {
      }
      call.check();
    }
    if (key == "poll") {  // knows of its deadline by the descriptor only
      pollfd cancel{call.cancel_fd(), POLLIN, 0};
      if (::poll(&cancel, 1, -1) == 1) throw Failure(ROOST_CANCELLED, "cancelled");
    }
    if (key == "stuck") {
      char byte = 0;
      if (::read(gate_, &byte, 1) != 1) throw Failure(ROOST_INTERNAL, "the gate is closed");
    }
    if (key == "trace") {
      call.check();
      sink.emit(key, call.trace_id(), 1);
      return;
    }
    const std::scoped_lock lock(mutex_);
    const auto found = documents_.find(name(partition, key));
    if (found == documents_.end()) throw Failure(ROOST_NOT_FOUND, "no document " + std::string(key));
    sink.emit(key, found->second.value, found->second.revision);
  }

  void scan(const Call&, std::string_view partition, std::string_view prefix, std::string_view after, std::uint32_t limit,
            Sink& sink) override {
    const std::scoped_lock lock(mutex_);
    std::uint32_t sent = 0;
    const std::string start = name(partition, prefix);
    for (auto at = documents_.lower_bound(start); at != documents_.end() && sent < limit; ++at) {
      if (at->first.compare(0, start.size(), start) != 0) break;
      const std::string key = at->first.substr(partition.size() + 1);
      if (key <= after) continue;
      if (!sink.emit(key, at->second.value, at->second.revision)) return;
      ++sent;
    }
  }

  void commit(const Call&, std::string_view partition, const std::vector<Condition>& conditions,
              const std::vector<Operation>& operations, Sink& sink) override {
    const std::scoped_lock lock(mutex_);
    for (const Condition& condition : conditions) check(partition, condition);
    for (const Operation& operation : operations) {
      std::string key(operation.key);
      if (operation.kind == ROOST_DELETE) {
        documents_.erase(name(partition, key));
        sink.emit(key, {}, 0);
        continue;
      }
      if (operation.kind == ROOST_APPEND) {
        char digits[17];
        std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(++sequences_[name(partition, key)]));
        key += digits;
      }
      documents_[name(partition, key)] = {std::string(operation.value), ++revision_};
      last_ = name(partition, key);
      sink.emit(key, {}, revision_);
    }
  }

  std::uint64_t count(const Call&, std::string_view, std::string_view) override { return documents_.size(); }

  void lease(const Call&, std::string_view, std::string_view holder, std::int32_t action, std::uint64_t ttl_ms,
             Sink& sink) override {
    const std::scoped_lock lock(mutex_);
    const bool own = holder_ == holder;
    if (action == ROOST_LEASE_ACQUIRE && holder_.empty()) {
      holder_ = holder;
      ++epoch_;
    }
    sink.emit(holder_, R"({"epoch":)" + std::to_string(epoch_) + R"(,"remaining_ms":)" + std::to_string(ttl_ms) + "}");
    if (holder_ != holder) throw Failure(ROOST_CONFLICT, "held by " + holder_);
    if (action == ROOST_LEASE_RELEASE && own) holder_.clear();
  }

  // Says at once what was committed last; waits otherwise.
  void watch(const Call& call, std::string_view resume, Sink& sink) override {
    std::string token(resume.empty() ? "0" : resume);
    if (token == "old") throw Failure(ROOST_EXPIRED, "the token is too old");
    while (call.sleep_for(std::chrono::milliseconds(1))) {
      const std::scoped_lock lock(mutex_);
      if (std::to_string(revision_) == token) continue;
      sink.emit(last_, {}, revision_);
      token = std::to_string(revision_);
      break;
    }
    sink.resume(token);
  }

 private:
  struct Document {
    std::string value;
    std::uint64_t revision;
  };
  static std::string name(std::string_view partition, std::string_view key) {
    return std::string(partition) + "\n" + std::string(key);
  }
  void check(std::string_view partition, const Condition& condition) {
    const auto found = documents_.find(name(partition, condition.key));
    const bool there = found != documents_.end();
    const bool holds = condition.kind == ROOST_IF_ABSENT   ? !there
                       : condition.kind == ROOST_IF_EXISTS ? there
                                                           : there && found->second.revision == condition.revision;
    if (!holds) throw Failure(ROOST_CONFLICT, "the condition on " + std::string(condition.key) + " does not hold");
  }

  Log log_;
  int gate_ = -1;
  std::mutex mutex_;
  std::map<std::string, Document> documents_;
  std::map<std::string, std::uint64_t> sequences_;
  std::uint64_t revision_ = 0;
  std::string last_;
  std::string holder_;
  std::uint64_t epoch_ = 0;
};

}  // namespace

ROOST_STORE_PLUGIN(MemoryStore, "store-memory", "1.0.0")
