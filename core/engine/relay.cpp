#include "engine/relay.hpp"

#include <algorithm>
#include <utility>

#include "engine/documents.hpp"

namespace roost {

namespace {
constexpr std::int64_t kFreshUs = 60LL * 1'000'000;  // a hint of an older message is of a claim, not of its sending

bool is_message(const std::string& key) { return key.rfind("message/", 0) == 0; }
bool is_ended(const std::string& key) { return key.rfind("history/", 0) == 0; }
std::string session_of(const std::string& key) { return key.substr(8, 8); }
}  // namespace

bool Relay::first(const std::string& key) {
  if (!told_.insert(key).second) return false;
  order_.push_back(key);
  if (order_.size() <= kRemembered) return true;
  told_.erase(order_.front());
  order_.pop_front();
  return true;
}

void Relay::take(const std::vector<Change>& changes) {
  std::vector<Change> news;
  for (const Change& change : changes) {
    if ((is_message(change.key) || is_ended(change.key)) && !told_.count(change.key)) news.push_back(change);
  }
  std::sort(news.begin(), news.end(), [](const Change& a, const Change& b) { return a.key < b.key; });
  news.erase(std::unique(news.begin(), news.end(), [](const Change& a, const Change& b) { return a.key == b.key; }), news.end());
  // Those of each session one after the other, so that they are told in the order of the queue.
  for (auto it = news.begin(); it != news.end();) {
    const std::string id = session_of(it->key);
    const auto end = std::find_if(it, news.end(), [&](const Change& c) { return session_of(c.key) != id; });
    read({it, end}, 0);
    it = end;
  }
}

void Relay::read(std::vector<Change> changes, std::size_t at) {
  if (at >= changes.size() || context_.stopping) return;
  Change change = changes[at];
  context_.get(change.partition, change.key, [this, changes = std::move(changes), at](Result<Document> found) mutable {
    if (found) tell(*found);  // else it has ended, of which another hint tells; or the store is away, and an event is not kept
    read(std::move(changes), at + 1);
  });
}

void Relay::tell(const Document& document) {
  auto stored = documents::decode_message(document);
  const std::string id = session_of(document.key);
  const SessionView view = context_.reads.find(id);
  if (!stored || !view) return;
  const Message& message = stored->message;
  Json data = Json::object({{"uuid", id}, {"message_id", message.id}});
  const bool ended = is_ended(document.key);
  if (ended && message.state != MessageState::answered) return;
  if (!ended && context_.wall_us() - message.created_at_us > kFreshUs) return;
  if (!first(document.key)) return;
  if (ended) data.set("reply", message.reply);
  data.set("queue_length", view->session.queue_length);
  context_.emit({id, view->session.user_id, ended ? "message.answered" : "message.queued", context_.wall_us(), std::move(data)});
}

}  // namespace roost
