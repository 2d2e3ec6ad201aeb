// Chat: each session's durable queue. A message is in the store before its sender hears of it; it is offered in strict order, at
// least once, and leaves the queue by an ack (into the history) or after message_tries claims (dead, into the history).
// Everything is in the store: a claim made before a restart is honoured after it. Thread safety: the engine's thread only.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/documents.hpp"
#include "engine/relay.hpp"
#include "engine/writer.hpp"

namespace roost {

class Chat {
 public:
  Chat(Context& context, Writer& writer, Relay& relay) : context_(context), writer_(writer), relay_(relay) {}

  void send(const std::string& id, std::string text, const CommandOptions& options, Done<Engine::Queued> done);
  void claim(const std::string& id, int max, std::int64_t wait_ms, std::int64_t visibility_ms, Done<std::vector<Message>> done,
             std::function<bool()> wanted);
  void ack(const std::string& id, const std::string& message_id, std::string claim, Json reply, Done<Message> done);
  void history(const std::string& id, const std::string& after, int limit, Done<Engine::History> done);

  void notice(const std::string& id);  // messages may have come: those who wait look again
  void gone(const std::string& id);    // the session is deleted: nothing will come
  void stop();                         // answers everyone who waits with nothing

 private:
  struct Claim {
    Done<std::vector<Message>> done;
    std::function<bool()> wanted;  // empty: yes
    int max = 1;
    std::int64_t visibility_ms = 0;
    std::int64_t until_ms = 0;  // monotonic
    std::string token;
    int tries = 0;
  };
  struct Waiting {  // who waits at one session, in turn
    std::list<std::shared_ptr<Claim>> claims;
    bool busy = false;  // a claim is being served
    bool again = false;
    Scheduler::TimerId timer = 0;
  };
  struct Sending;

  void sent(const std::shared_ptr<Sending>& sending, Result<Written> written);
  void find_sent(const std::shared_ptr<Sending>& sending, const std::string& prefix, const std::string& after,
                 Done<Message> done);

  void serve(const std::string& id);
  void scanned(const std::string& id, Result<std::vector<Document>> page);
  void take(const std::string& id, std::vector<documents::StoredMessage> messages);
  void taken(const std::string& id, std::vector<documents::StoredMessage> messages, Result<CommitResult> result);
  void check_taken(const std::string& id, std::vector<documents::StoredMessage> messages);
  void bury_dead(const std::string& id, documents::StoredMessage head);
  void answer(const std::string& id, Result<std::vector<Message>> result);  // the first who waits; then the next is served
  void rest(const std::string& id, std::int64_t ms);                        // nothing to offer for that long

  // Moves a message into the history within one commit with the session's queue length.
  using Ending = std::function<Result<documents::StoredMessage>(documents::StoredMessage)>;
  void end_message(const std::string& id, const std::string& message_id, Ending ending, Done<Message> done);

  struct Reading;  // a page of the history, on its way
  void read_on(const std::shared_ptr<Reading>& reading, const std::string& prefix, const std::string& after);
  static void finish(Reading& reading);

  Context& context_;
  Writer& writer_;
  Relay& relay_;
  std::map<std::string, Waiting> waiting_;
};

}  // namespace roost
