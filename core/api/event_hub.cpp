#include "api/event_hub.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/clock.hpp"

namespace roost::api {
namespace {

// "EPOCH-SEQUENCE" of this epoch; none for anything else.
std::optional<std::uint64_t> sequence_of(std::string_view id, std::string_view epoch) {
  if (id.size() <= epoch.size() + 1 || id.substr(0, epoch.size()) != epoch || id[epoch.size()] != '-') return std::nullopt;
  std::uint64_t sequence = 0;
  const char* end = id.data() + id.size();
  const auto [stop, error] = std::from_chars(id.data() + epoch.size() + 1, end, sequence);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return sequence;
}

std::string event_text(std::string_view epoch, std::uint64_t sequence, const Event& event) {
  std::string text = "id: ";
  text.append(epoch)
      .append("-")
      .append(std::to_string(sequence))
      .append("\nevent: ")
      .append(event.type)
      .append("\ndata: {\"uuid\":");
  append_json_string(text, event.session_id);
  text += ",\"user_id\":";
  append_json_string(text, event.user_id);
  text.append(",\"at\":\"").append(format_time(event.at_us)).append("\"");
  for (const auto& [name, value] : event.data.members()) {
    if (name == "uuid" || name == "user_id" || name == "at") continue;
    text += ',';
    append_json_string(text, name);
    text.append(":").append(value.dump());
  }
  return text += "}\n\n";
}

}  // namespace

bool EventHub::matches(const Filter& filter, const Entry& entry) {
  return (filter.session_id.empty() || filter.session_id == entry.session_id) &&
         (filter.user_id.empty() || filter.user_id == entry.user_id);
}

bool EventHub::deliver(const Subscriber& to, const Entry& entry) {
  if (!matches(to.filter, entry)) return true;
  if (!to.stream->write(entry.text)) return false;
  if (!ends(to.filter, entry)) return true;
  to.stream->end();
  return false;
}

void EventHub::publish(const Event& event) {
  const std::lock_guard lock(mutex_);
  Entry entry{next_, event.session_id, event.user_id, event_text(epoch_, next_, event), event.type == "session.deleted"};
  ++next_;
  prune();
  std::erase_if(subscribers_, [&](const Subscriber& to) { return !deliver(to, entry); });
  bytes_ += entry.text.size();
  ring_.push_back(std::move(entry));
  while (!ring_.empty() && (ring_.size() > limits_.events || bytes_ > limits_.bytes)) {
    bytes_ -= ring_.front().text.size();
    ring_.pop_front();
  }
}

Status EventHub::room() {
  const std::lock_guard lock(mutex_);
  prune();
  if (subscribers_.size() < limits_.streams) return {};
  return Error{Code::exhausted, "too many event streams are open; close some, or read the state by polling", 5'000};
}

bool EventHub::replay(const Filter& filter, std::string_view last_event_id, std::string& text) {
  // An id without data is no event (WHATWG HTML, 9.2.6), and what a client comes back with that was cut off before the first one.
  const std::string here = "id: " + epoch_ + "-" + std::to_string(next_ - 1) + "\n";
  if (last_event_id.empty()) {
    text += here + "\n";
    return true;
  }
  const auto sequence = sequence_of(last_event_id, epoch_);
  const std::uint64_t oldest = ring_.empty() ? next_ : ring_.front().sequence;
  if (!sequence || *sequence + 1 < oldest || *sequence >= next_) {
    // Its id lets the client go on from here: what it missed is gone, the state is to be read again.
    text += here + "event: reset\ndata: {\"detail\":\"events were missed; read the sessions again\"}\n\n";
    return true;
  }
  std::size_t sent = 0;
  for (const Entry& entry : ring_) {
    if (entry.sequence <= *sequence || !matches(filter, entry)) continue;
    if (sent + entry.text.size() > limits_.replay_bytes && sent > 0) return false;
    text += entry.text;
    sent += entry.text.size();
    if (ends(filter, entry)) return false;
  }
  return true;
}

// All that it begins with is one write: the server takes a first one of any size, and cuts off whoever is behind with a later one
// that its buffer does not hold. A client would come back for an event as large as the buffer for ever.
void EventHub::subscribe(Filter filter, std::string_view last_event_id, std::shared_ptr<http::Stream> stream) {
  auto closed = std::make_shared<std::atomic<bool>>(false);
  stream->on_close([closed] { *closed = true; });  // only a flag: a write under the mutex may call it
  const std::lock_guard lock(mutex_);
  Subscriber subscriber{std::move(filter), std::move(stream), std::move(closed)};
  std::string text = "retry: 1000\n\n";
  const bool goes_on = replay(subscriber.filter, last_event_id, text);
  if (!subscriber.stream->write(std::move(text))) return;
  if (!goes_on) return subscriber.stream->end();
  subscribers_.push_back(std::move(subscriber));
}

void EventHub::heartbeat() {
  const std::lock_guard lock(mutex_);
  prune();
  std::erase_if(subscribers_, [](const Subscriber& to) { return !to.stream->write(": heartbeat\n\n"); });
}

void EventHub::end_all() {
  const std::lock_guard lock(mutex_);
  for (const Subscriber& to : subscribers_) to.stream->end();
  subscribers_.clear();
}

std::size_t EventHub::streams() {
  const std::lock_guard lock(mutex_);
  prune();
  return subscribers_.size();
}

void EventHub::prune() {
  std::erase_if(subscribers_, [](const Subscriber& to) { return to.closed->load(); });
}

}  // namespace roost::api
