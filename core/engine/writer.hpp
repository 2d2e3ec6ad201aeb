// Writer: commits sessions by compare-and-swap, one commit at a time for a session. A conflict reads the document again and asks
// `prepare` again; a commit whose answer was lost is looked for by its mark before anything else, and repeated unchanged where
// the document still stands as it expected, so that it is done once or not at all.
// Thread safety: the engine's thread only.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/context.hpp"

namespace roost {

// What `prepare` decided.
struct Edit {
  enum class Kind { commit, nothing, refuse } kind = Kind::nothing;
  Session next;
  bool erase = false;                      // remove the session's document instead of writing `next`
  std::vector<Condition> conditions;       // beside the session's revision
  std::vector<StoreOperation> operations;  // beside the session's
  Error error;                             // of a refusal

  [[nodiscard]] static Edit write(Session next) { return {Kind::commit, std::move(next), false, {}, {}, {}}; }
  [[nodiscard]] static Edit none() { return {}; }
  [[nodiscard]] static Edit refuse(Error error) { return {Kind::refuse, {}, false, {}, {}, std::move(error)}; }
};

struct Written {
  SessionView view;  // null after an erase
  bool committed = false;
  std::vector<Document> documents;  // of Edit::operations, in order; empty where the commit's answer was lost but it has landed
};

class Writer {
 public:
  using Decide = std::function<void(Edit)>;
  using Prepare = std::function<void(const SessionView&, Decide)>;  // called again after a conflict; must call Decide once

  explicit Writer(Context& context) : context_(context) {}

  // NOT_FOUND where there is no such session. The session is the latest that is known here.
  void mutate(const std::string& id, Prepare prepare, Done<Written> done);
  // The session as the store has it, in turn with the commits; null: none.
  void refresh(const std::string& id, Done<SessionView> done);
  // Something else that writes the session, in turn with its commits; the next waits until `work` calls what it is given.
  void in_turn(const std::string& id, std::function<void(std::function<void()> over)> work);

 private:
  struct Job {
    std::string id;
    Prepare prepare;                                       // empty: a refresh
    std::function<void(std::function<void()> over)> work;  // instead of either
    Done<Written> done;
    Edit edit;
    Commit commit;
    std::string encoded;
    std::string mark;
    std::string commits;
    std::uint64_t expected = 0;
    bool uncertain = false;  // a commit of this edit may have landed
    bool cached = false;     // decided on the read model's view
    int tries = 0;
  };
  using JobPtr = std::shared_ptr<Job>;
  struct Queue {
    std::deque<JobPtr> jobs;
    bool running = false;
  };

  void add(JobPtr job);
  void begin(const JobPtr& job);
  void reload(const JobPtr& job, std::function<void(SessionView)> then);
  void prepare(const JobPtr& job, SessionView view);
  void decided(const JobPtr& job, const SessionView& view, Edit edit);
  void submit(const JobPtr& job);
  void answered(const JobPtr& job, Result<CommitResult> result);
  void resolve(const JobPtr& job);
  void resolved(const JobPtr& job, const SessionView& view);
  void landed(const JobPtr& job, SessionView view, std::vector<Document> documents);
  void finish(const JobPtr& job, Result<Written> result);

  Context& context_;
  std::unordered_map<std::string, Queue> queues_;
};

}  // namespace roost
