// Commands: sleep, wake, scale, backup, remove, touch: each writes what is wanted and nothing else. Also the questions about what
// was deleted. An idempotency key is remembered in the same commit as the wish it came with. Thread safety: the engine's thread
// only.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <string>
#include <unordered_set>

#include "engine/writer.hpp"

namespace roost {

class Commands {
 public:
  Commands(Context& context, Writer& writer) : context_(context), writer_(writer) {}

  // Changes what is wanted; the error refuses it.
  using Change = std::function<Status(Session&)>;
  // `name` and its arguments tell a repeated key from a misused one.
  void run(const std::string& id, const std::string& name, const CommandOptions& options, Change change, Done<SessionView> done);

  void sleep(const std::string& id, const CommandOptions& options, Done<SessionView> done);
  void wake(const std::string& id, const CommandOptions& options, Done<SessionView> done);
  void scale(const std::string& id, bool up, const CommandOptions& options, Done<SessionView> done);
  void remove(const std::string& id, const DeleteOptions& wishes, const CommandOptions& options, Done<Engine::DeleteAnswer> done);
  void backup(const std::string& id, const std::string& trigger, const CommandOptions& options, Done<SessionView> done);
  void restore(const std::string& id, const BackupRecord& backup, const CommandOptions& options, Done<SessionView> done);
  void touch(const std::string& id);

  void find_tombstone(const std::string& id, Done<Tombstone> done);
  void wait_deleted(const std::string& id, std::int64_t timeout_ms, Done<Tombstone> done);
  [[nodiscard]] bool is_waited_for(const std::string& id) const { return waiters_.count(id) != 0; }
  void buried(const std::string& id, const Result<Tombstone>& tombstone);  // answers those who wait
  void find_operation(const std::string& operation_id, Done<Json> done);
  void stop();  // answers everyone who waits

 private:
  struct Waiter {
    Done<Tombstone> done;
    Scheduler::TimerId timer = 0;
  };
  // In the session's partition, so that an operation is found by its id alone.
  [[nodiscard]] std::string operation_id(const std::string& session) {
    return session.substr(0, 2) + context_.ports.random->hex(3);
  }
  void scan_sessions(const std::string& operation_id, const std::string& after, Done<Json> done);
  void scan_tombstones(const std::string& operation_id, const std::string& after, Done<Json> done);

  Context& context_;
  Writer& writer_;
  std::map<std::string, std::list<Waiter>> waiters_;
  std::unordered_set<std::string> touching_;
};

// Wishes for `running`; shared with chat, which wakes. `now_us`: the activity that it is.
void want_running(Session& session, std::int64_t now_us);
[[nodiscard]] Status refuse_deleted(const Session& session);

}  // namespace roost
