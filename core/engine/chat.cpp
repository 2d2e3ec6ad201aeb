#include "engine/chat.hpp"

#include <algorithm>

#include "engine/commands.hpp"

namespace roost {

using documents::StoredMessage;

namespace {
constexpr std::uint32_t kMessagesPage = 256;
constexpr int kHistoryMost = 1000;  // the largest page of the API
constexpr std::size_t kHistoryBytes =
    16 << 20;                                 // as stored; one message of control characters alone, with its reply, has 448 KiB
constexpr std::size_t kClaimBytes = 8 << 20;  // the same of one claim, which writes them all: a commit has at most twice as much

Error no_message(const std::string& id, const std::string& message_id) {
  return {Code::not_found, "session " + id + " has no message " + message_id, 0};
}
Error no_session(const std::string& id) { return {Code::not_found, "there is no session " + id, 0}; }
}  // namespace

// ---- sending ----------------------------------------------------------------------------------------------------------

struct Chat::Sending {
  std::string id;
  std::string text;
  std::string nonce;
  std::string key;        // of idempotency; empty: none
  bool replayed = false;  // the key was used before: `nonce` is the earlier message's
  std::int64_t created_at_us = 0;
  Done<Engine::Queued> done;
};

void Chat::send(const std::string& id, std::string text, const CommandOptions& options, Done<Engine::Queued> done) {
  if (Status valid = validate_message_text(text); !valid) return done(valid.error());
  auto sending = std::make_shared<Sending>();
  sending->id = id;
  sending->text = std::move(text);
  sending->nonce = context_.ports.random->hex(8);
  if (!options.idempotency_key.empty()) sending->key = documents::idempotency_key(id, options.idempotency_key);
  sending->done = std::move(done);
  auto judge = [this, sending, options](const SessionView& view, const Writer::Decide& decide) {
    if (Status status = refuse_deleted(view->session); !status) return decide(Edit::refuse(status.error()));
    if (options.if_match && *options.if_match != view->revision) {
      return decide(Edit::refuse({Code::conflict, "the session is at another revision", 0}));
    }
    if (view->session.queue_length >= context_.options.queue_max) {
      return decide(Edit::refuse(
          {Code::exhausted,
           "the queue holds " + std::to_string(view->session.queue_length) + " messages; wait until some are acknowledged",
           5000}));
    }
    if (options.dry_run) return decide(Edit::none());
    Edit edit = Edit::write(view->session);
    sending->created_at_us = context_.wall_us();
    edit.next.queue_length += 1;
    edit.next.last_activity_us = sending->created_at_us;
    if (context_.options.chat_wakes) want_running(edit.next, sending->created_at_us);
    StoredMessage stored{{}, sending->nonce, 0, 0};
    stored.message.text = sending->text;
    stored.message.created_at_us = sending->created_at_us;
    edit.operations.push_back(
        {StoreOperation::Kind::append, documents::message_prefix(sending->id), documents::encode(stored), 0});
    if (!sending->key.empty()) {
      const Json used = Json::object({{"command", "chat"}, {"nonce", sending->nonce}, {"text", sending->text}});
      edit.conditions.push_back({Condition::Kind::absent, sending->key, 0});
      edit.operations.push_back({StoreOperation::Kind::put, sending->key, used.dump(), context_.options.idempotency_ms});
    }
    decide(std::move(edit));
  };
  auto prepare = [this, sending, judge = std::move(judge)](const SessionView& view, Writer::Decide chosen) {
    if (sending->key.empty()) return judge(view, chosen);
    context_.get(documents::partition(sending->id), sending->key,
                 [sending, view, judge, chosen = std::move(chosen)](Result<Document> used) {
                   if (!used && used.error().code == Code::not_found) return judge(view, chosen);
                   if (!used) return chosen(Edit::refuse(used.error()));
                   auto json = Json::parse(used->value);
                   if (!json || (*json)["command"].as_string() != "chat" || (*json)["text"].as_string() != sending->text) {
                     return chosen(Edit::refuse({Code::invalid, "this idempotency key was used for another request", 0}));
                   }
                   sending->replayed = true;
                   sending->nonce = (*json)["nonce"].as_string();
                   chosen(Edit::none());
                 });
  };
  writer_.mutate(id, std::move(prepare), [this, sending](Result<Written> written) { sent(sending, std::move(written)); });
}

void Chat::sent(const std::shared_ptr<Sending>& sending, Result<Written> written) {
  if (!written) return sending->done(written.error());
  Engine::Queued queued;
  queued.queue_length = written->view->session.queue_length;
  queued.message.text = sending->text;
  queued.message.created_at_us = sending->created_at_us;
  if (!written->committed && !sending->replayed) return sending->done(std::move(queued));  // a dry run
  if (written->committed && !written->documents.empty()) {
    const std::string& key = written->documents.front().key;
    queued.message.id = key.substr(key.rfind('/') + 1);
    (void)relay_.first(key);
    context_.emit(
        {sending->id, written->view->session.user_id, "message.queued", context_.wall_us(),
         Json::object({{"uuid", sending->id}, {"message_id", queued.message.id}, {"queue_length", queued.queue_length}})});
    notice(sending->id);
    return sending->done(std::move(queued));
  }
  notice(sending->id);
  // It is in the queue, or was: its nonce finds it.
  find_sent(sending, documents::message_prefix(sending->id), "", [sending, queued](Result<Message> message) mutable {
    if (!message) return sending->done(message.error());
    queued.message = *std::move(message);
    sending->done(std::move(queued));
  });
}

void Chat::find_sent(const std::shared_ptr<Sending>& sending, const std::string& prefix, const std::string& after,
                     Done<Message> done) {
  context_.scan(documents::partition(sending->id), prefix, after, kMessagesPage, [=, this](Result<std::vector<Document>> page) {
    if (!page)
      return done(
          Error{Code::outcome_unknown, "the message was queued, but the store does not say where: " + page.error().message, 0});
    for (const Document& document : *page) {
      auto stored = documents::decode_message(document);
      if (stored && stored->nonce == sending->nonce) return done(stored->message);
    }
    if (page->size() >= kMessagesPage) return find_sent(sending, prefix, page->back().key, done);
    const std::string history = documents::history_prefix(sending->id);
    if (prefix != history) return find_sent(sending, history, "", done);
    done(Error{Code::not_found, "the message that this key queued is not kept any more", 0});
  });
}

// ---- claiming ---------------------------------------------------------------------------------------------------------

void Chat::claim(const std::string& id, int max, std::int64_t wait_ms, std::int64_t visibility_ms,
                 Done<std::vector<Message>> done) {
  auto claim = std::make_shared<Claim>();
  claim->done = std::move(done);
  claim->max = std::clamp(max, 1, 100);
  claim->visibility_ms = std::clamp<std::int64_t>(visibility_ms, 1'000, 12LL * 3600 * 1000);
  claim->until_ms = context_.mono_ms() + std::max<std::int64_t>(0, wait_ms);
  waiting_[id].claims.push_back(std::move(claim));
  notice(id);
}

void Chat::notice(const std::string& id) {
  auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  Waiting& waiting = it->second;
  if (waiting.busy) {
    waiting.again = true;
    return;
  }
  if (waiting.timer) context_.ports.scheduler->cancel(std::exchange(waiting.timer, 0));
  serve(id);
}

void Chat::serve(const std::string& id) {
  auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  Waiting& waiting = it->second;
  if (waiting.claims.empty()) {
    waiting_.erase(it);
    return;
  }
  waiting.busy = true;
  waiting.again = false;
  const auto limit = static_cast<std::uint32_t>(waiting.claims.front()->max);
  context_.scan(documents::partition(id), documents::message_prefix(id), "", limit,
                [this, id](Result<std::vector<Document>> page) { scanned(id, std::move(page)); });
}

void Chat::scanned(const std::string& id, Result<std::vector<Document>> page) {
  if (!page) return answer(id, page.error());
  auto it = waiting_.find(id);
  if (it == waiting_.end() || it->second.claims.empty()) return answer(id, std::vector<Message>{});
  if (page->empty() && !context_.reads.find(id)) {
    // Nothing here, and no such session here: the store knows best.
    context_.get(documents::partition(id), documents::session_key(id), [this, id](Result<Document> found) {
      if (found) return rest(id, 1000);
      answer(id, found.error().code == Code::not_found ? no_session(id) : found.error());
    });
    return;
  }
  const std::int64_t now = context_.wall_us();
  std::vector<StoredMessage> offered;
  std::size_t bytes = 0;
  for (const Document& document : *page) {
    bytes += document.value.size();
    if (bytes > kClaimBytes && !offered.empty()) break;
    auto stored = documents::decode_message(document);
    if (!stored) return answer(id, stored.error());
    const Message& message = stored->message;
    const bool jumped_back = now < stored->claimed_at_us - 60'000'000;  // the clock: the claim would not end in our lifetime
    const bool held = message.state == MessageState::claimed && message.visible_at_us > now && !jumped_back;
    if (held) {
      if (!offered.empty()) break;
      return rest(id, (message.visible_at_us - now) / 1000 + 1);  // strict order: nothing behind the head
    }
    if (message.attempt >= context_.options.message_tries) {
      if (!offered.empty()) break;
      return bury_dead(id, *std::move(stored));
    }
    offered.push_back(*std::move(stored));
  }
  if (offered.empty()) return rest(id, 60'000);
  take(id, std::move(offered));
}

void Chat::take(const std::string& id, std::vector<StoredMessage> messages) {
  Claim& claim = *waiting_[id].claims.front();
  claim.token = context_.ports.random->hex(16);
  Commit commit;
  commit.partition = documents::partition(id);
  const std::int64_t now = context_.wall_us();
  for (StoredMessage& stored : messages) {
    Message& message = stored.message;
    const std::string key = documents::message_prefix(id) + message.id;
    commit.conditions.push_back({Condition::Kind::revision, key, stored.revision});
    message.state = MessageState::claimed;
    message.attempt += 1;
    message.claim = claim.token;
    message.visible_at_us = now + claim.visibility_ms * 1000;
    stored.claimed_at_us = now;
    commit.operations.push_back({StoreOperation::Kind::put, key, documents::encode(stored), 0});
  }
  context_.commit(std::move(commit), [this, id, messages = std::move(messages)](Result<CommitResult> result) mutable {
    taken(id, std::move(messages), std::move(result));
  });
}

void Chat::taken(const std::string& id, std::vector<StoredMessage> messages, Result<CommitResult> result) {
  if (!result && result.error().code == Code::outcome_unknown) return check_taken(id, std::move(messages));
  if (!result && result.error().code == Code::conflict) {
    auto it = waiting_.find(id);
    if (it != waiting_.end() && !it->second.claims.empty() && ++it->second.claims.front()->tries < 16) return serve(id);
  }
  if (!result) return answer(id, result.error());
  std::vector<Message> claimed;
  for (StoredMessage& stored : messages) claimed.push_back(std::move(stored.message));
  answer(id, std::move(claimed));
}

// The commit is atomic: one message tells for all. Where it did not land and might yet, its messages only look claimed for a
// while.
void Chat::check_taken(const std::string& id, std::vector<StoredMessage> messages) {
  const std::string key = documents::message_prefix(id) + messages.front().message.id;
  context_.get(documents::partition(id), key, [this, id, messages = std::move(messages)](Result<Document> found) mutable {
    if (found) {
      auto stored = documents::decode_message(*found);
      if (stored && stored->message.claim == messages.front().message.claim)
        return taken(id, std::move(messages), CommitResult{});
      return taken(id, std::move(messages), Error{Code::conflict, "the messages were claimed by another", 0});
    }
    if (found.error().code == Code::not_found) return serve(id);
    answer(id, Error{Code::outcome_unknown, "the store does not say whether the messages were claimed; claim again", 0});
  });
}

void Chat::bury_dead(const std::string& id, StoredMessage head) {
  auto ending = [this](StoredMessage stored) -> Result<StoredMessage> {
    if (stored.message.attempt < context_.options.message_tries) return Error{Code::conflict, "the message is alive", 0};
    stored.message.state = MessageState::dead;
    stored.message.answered_at_us = context_.wall_us();
    stored.message.claim.clear();
    return stored;
  };
  const std::string message_id = head.message.id;
  end_message(id, message_id, std::move(ending), [this, id, message_id](Result<Message> ended) {
    if (!ended && ended.error().code != Code::conflict && ended.error().code != Code::not_found) return answer(id, ended.error());
    if (ended)
      context_.log(2, "a message was claimed too often and is dead", Json::object({{"id", id}, {"message_id", message_id}}));
    serve(id);
  });
}

void Chat::answer(const std::string& id, Result<std::vector<Message>> result) {
  auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  Waiting& waiting = it->second;
  waiting.busy = false;
  std::shared_ptr<Claim> claim;
  if (!waiting.claims.empty()) {
    claim = waiting.claims.front();
    waiting.claims.pop_front();
  }
  if (waiting.claims.empty()) waiting_.erase(it);
  if (claim) claim->done(std::move(result));
  notice(id);
}

void Chat::rest(const std::string& id, std::int64_t ms) {
  auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  Waiting& waiting = it->second;
  waiting.busy = false;
  const std::int64_t now = context_.mono_ms();
  std::vector<std::shared_ptr<Claim>> over;
  waiting.claims.remove_if([&](const std::shared_ptr<Claim>& claim) {
    const bool late = claim->until_ms <= now;
    if (late) over.push_back(claim);
    return late;
  });
  const bool again = std::exchange(waiting.again, false);
  // What another replica appends is told by the watch; where that is not to be relied on, look oneself.
  std::int64_t wait = context_.replicated ? std::min<std::int64_t>(ms, context_.is_current() ? 10'000 : 1'000) : ms;
  for (const auto& claim : waiting.claims) wait = std::min(wait, claim->until_ms - now);
  if (waiting.claims.empty()) {
    waiting_.erase(it);
  } else if (!again) {
    waiting.timer = context_.after_ms(std::max<std::int64_t>(1, wait), [this, id] {
      if (auto found = waiting_.find(id); found != waiting_.end()) found->second.timer = 0;
      notice(id);
    });
  }
  for (auto& claim : over) claim->done(std::vector<Message>{});
  if (again) notice(id);
}

void Chat::gone(const std::string& id) {
  auto it = waiting_.find(id);
  if (it == waiting_.end()) return;
  auto claims = std::move(it->second.claims);
  if (it->second.timer) context_.ports.scheduler->cancel(it->second.timer);
  waiting_.erase(it);
  for (auto& claim : claims) claim->done(no_session(id));
}

void Chat::stop() {
  auto all = std::move(waiting_);
  waiting_.clear();
  for (auto& [id, waiting] : all) {
    if (waiting.timer) context_.ports.scheduler->cancel(waiting.timer);
    for (auto& claim : waiting.claims) claim->done(std::vector<Message>{});
  }
}

// ---- acknowledging ----------------------------------------------------------------------------------------------------

void Chat::end_message(const std::string& id, const std::string& message_id, Ending ending, Done<Message> done) {
  auto ended = std::make_shared<Message>();
  auto prepare = [=, this](const SessionView& view, const Writer::Decide& decide) {
    const std::string key = documents::message_prefix(id) + message_id;
    context_.get(documents::partition(id), key, [=, this](Result<Document> found) {
      if (!found) return decide(Edit::refuse(found.error()));
      auto stored = documents::decode_message(*found);
      if (!stored) return decide(Edit::refuse(stored.error()));
      auto finished = ending(*std::move(stored));
      if (!finished) return decide(Edit::refuse(finished.error()));
      *ended = finished->message;
      Edit edit = Edit::write(view->session);
      edit.next.queue_length = std::max<std::int64_t>(0, edit.next.queue_length - 1);
      edit.conditions.push_back({Condition::Kind::revision, found->key, found->revision});
      edit.operations.push_back({StoreOperation::Kind::remove, found->key, "", 0});
      edit.operations.push_back({StoreOperation::Kind::put, documents::history_prefix(id) + message_id,
                                 documents::encode(*finished), context_.options.history_ms});
      decide(std::move(edit));
    });
  };
  writer_.mutate(id, std::move(prepare), [ended, done = std::move(done)](Result<Written> written) {
    if (!written) return done(written.error());
    done(*ended);
  });
}

void Chat::ack(const std::string& id, const std::string& message_id, std::string claim, Json reply, Done<Message> done) {
  const bool well_formed = message_id.size() == 16 && message_id.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!well_formed) return done(no_message(id, message_id));
  auto ending = [this, claim, reply = std::move(reply)](StoredMessage stored) -> Result<StoredMessage> {
    if (!claim.empty() && stored.message.claim != claim) {
      return Error{Code::conflict, "the claim has run out and the message was offered again; this reply is not taken", 0};
    }
    stored.message.state = MessageState::answered;
    stored.message.answered_at_us = context_.wall_us();
    stored.message.reply = reply;
    return stored;
  };
  end_message(id, message_id, std::move(ending), [this, id, message_id, claim, done = std::move(done)](Result<Message> ended) {
    if (ended) {
      (void)relay_.first(documents::history_prefix(id) + message_id);
      SessionView view = context_.reads.find(id);
      context_.emit({id, view ? view->session.user_id : "", "message.answered", context_.wall_us(),
                     Json::object({{"uuid", id},
                                   {"message_id", message_id},
                                   {"reply", ended->reply},
                                   {"queue_length", view ? view->session.queue_length : 0}})});
      notice(id);  // what was behind it may be offered now
      return done(std::move(ended));
    }
    if (ended.error().code != Code::not_found) return done(ended.error());
    context_.get(documents::partition(id), documents::history_prefix(id) + message_id,
                 [id, message_id, claim, done](Result<Document> found) {
                   if (!found && found.error().code == Code::not_found) return done(no_message(id, message_id));
                   if (!found) return done(found.error());
                   auto stored = documents::decode_message(*found);
                   if (!stored) return done(stored.error());
                   if (stored->message.state == MessageState::dead) {
                     return done(Error{Code::conflict, "message " + message_id + " was claimed too often and is dead", 0});
                   }
                   if (!claim.empty() && stored->message.claim != claim) {
                     return done(Error{Code::conflict, "another claim has answered message " + message_id, 0});
                   }
                   done(stored->message);
                 });
  });
}

// ---- history ----------------------------------------------------------------------------------------------------------

struct Chat::Reading {
  std::string id;
  std::string after;  // a message
  std::size_t limit = 0;
  Done<Engine::History> done;
  std::map<std::string, std::pair<Message, std::size_t>> found;  // by number, with its size in the store
  // Of the queue, or of the history, as far as it is read.
  std::size_t count = 0;
  std::size_t bytes = 0;
  std::string end;  // the last message up to which everything is known; empty: all of them
};

void Chat::history(const std::string& id, const std::string& after, int limit, Done<Engine::History> done) {
  auto reading = std::make_shared<Reading>();
  reading->id = id;
  reading->after = after;
  reading->limit = static_cast<std::size_t>(std::clamp(limit, 1, kHistoryMost));
  reading->done = std::move(done);
  // The queue first: a message on its way from there to the history is then seen at least once.
  read_on(reading, documents::message_prefix(id), after);
}

void Chat::read_on(const std::shared_ptr<Reading>& reading, const std::string& prefix, const std::string& after) {
  const auto size = static_cast<std::uint32_t>(std::min<std::size_t>(kMessagesPage, reading->limit + 1));
  context_.scan(documents::partition(reading->id), prefix, after.empty() ? after : prefix + after, size,
                [=, this](Result<std::vector<Document>> page) {
                  if (!page) return reading->done(page.error());
                  for (const Document& document : *page) {
                    auto stored = documents::decode_message(document);
                    if (!stored) return reading->done(stored.error());
                    stored->message.claim.clear();  // only the claimer may know it
                    const std::string number = stored->message.id;
                    reading->found[number] = {std::move(stored->message), document.value.size()};
                    reading->bytes += document.value.size();
                  }
                  reading->count += page->size();
                  const std::string last = page->empty() ? "" : page->back().key.substr(prefix.size());
                  const bool all = page->size() < size;
                  const bool enough = reading->count > reading->limit || reading->bytes >= kHistoryBytes;
                  if (!all && !enough) return read_on(reading, prefix, last);
                  if (!all && (reading->end.empty() || last < reading->end)) reading->end = last;
                  reading->count = reading->bytes = 0;
                  const std::string history = documents::history_prefix(reading->id);
                  if (prefix != history) return read_on(reading, history, reading->after);
                  finish(*reading);
                });
}

void Chat::finish(Reading& reading) {
  Engine::History page;
  std::size_t bytes = 0;
  for (auto& [number, message] : reading.found) {
    bytes += message.second;
    const bool known = reading.end.empty() || number <= reading.end;
    const bool room = page.messages.size() < reading.limit && (page.messages.empty() || bytes <= kHistoryBytes);
    if (!known || !room) {
      page.more = true;
      break;
    }
    page.messages.push_back(std::move(message.first));
  }
  page.more = page.more || !reading.end.empty();
  reading.done(std::move(page));
}

}  // namespace roost
