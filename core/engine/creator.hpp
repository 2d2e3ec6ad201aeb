// Creator: makes sessions in two commits: a reservation in the user's partition, which checks the cap and remembers the
// idempotency key, then the session itself, if its id is free. A create that stopped half-way is finished by the retry that
// carries its key, and freed by the user's next create once it is old. Also frees the reservation of a deleted session. Thread
// safety: the engine's thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/writer.hpp"

namespace roost {

class Creator {
 public:
  Creator(Context& context, Writer& writer) : context_(context), writer_(writer) {}
  // `source`: its first volume is filled from that backup instead of made empty.
  void create(const std::string& user_id, const CommandOptions& options, Done<SessionView> done,
              std::optional<Receipt> source = std::nullopt);
  // Gives the place of a session in the user's cap back; a place that was given back already is success.
  void release(const std::string& user_id, const std::string& id, Done<void> done);

 private:
  struct Job {
    std::string user_id;
    CommandOptions options;
    Done<SessionView> done;
    std::optional<Receipt> source;
    std::string partition;
    Session session;
    std::optional<std::uint64_t> user_revision;
    std::vector<std::string> drop;      // reservations that lead to no session
    std::vector<std::string> doubtful;  // old ones of which no session is known here
    std::int64_t reserved = 0;
    int tries = 0;
    int waits = 0;
    std::function<void()> over;  // ends its turn with the session
  };
  using JobPtr = std::shared_ptr<Job>;

  void begin(const JobPtr& job);
  void replay(const JobPtr& job, const std::string& id);
  void replay_missing(const JobPtr& job, const std::string& id);
  void read_user(const JobPtr& job);
  void read_reservations(const JobPtr& job);
  void check_doubtful(const JobPtr& job);
  void choose(const JobPtr& job);
  void reserve(const JobPtr& job);
  void take_turn(const JobPtr& job);
  void insert(const JobPtr& job);
  void inserted(const JobPtr& job, const Error& error);
  void another_id(const JobPtr& job, const std::string& taken);
  void finish(const JobPtr& job, const Document& document);
  void end(const JobPtr& job, Result<SessionView> result);
  void fill(const JobPtr& job, const std::string& id);

  Context& context_;
  Writer& writer_;
};

}  // namespace roost
