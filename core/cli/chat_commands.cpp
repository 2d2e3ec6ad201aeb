#include <charconv>
#include <cstdio>
#include <set>

#include "cli/commands.hpp"
#include "cli/parts.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

constexpr std::size_t kLongestMessage = 64 << 10;
constexpr Paging kMessages{"messages", "after", "next_after"};

std::string reply_text(const Json& reply) {
  if (reply.is_null()) return "";
  if (reply.is_string()) return reply.as_string();
  if (reply["text"].is_string() && reply.members().size() == 1) return reply["text"].as_string();
  return reply.dump();
}

// The id before this one: `after` it, the message itself is the first. "" where it is none, or the first of all.
std::string id_before(const std::string& id) {
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(id.data(), id.data() + id.size(), value, 16);
  if (id.size() != 16 || error != std::errc{} || stop != id.data() + id.size() || value == 0) return "";
  char before[17];
  std::snprintf(before, sizeof before, "%016llx", static_cast<unsigned long long>(value - 1));
  return before;
}

Result<Document> message_page(Run& run, const std::string& after, std::int64_t limit) {
  std::string target = session_path(run.options().id, "/messages");
  add_query(target, "after", after);
  add_query(target, "limit", std::to_string(limit));
  return run.get(target);
}

// The message of that id as it is now; null where it is not there any more.
Result<Json> message_of(Run& run, const std::string& id) {
  ROOST_TRY(const Document page, message_page(run, id_before(id), 1));
  const Json::Array& items = page.json["messages"].items();
  return !items.empty() && items.front()["id"].as_string() == id ? items.front() : Json();
}

void show_message(Run& run, const Json& message) {
  if (run.json()) return run.show_json(message.dump());
  Terminal& terminal = run.terminal();
  const std::string& state = message["status"].as_string();
  if (state == "answered" || state == "dead") {
    const std::string reply = state == "dead" ? "(given up)" : reply_text(message["reply"]);
    terminal.out(human_time(message["answered_at"].as_string()) + "  " + printable(message["id"].as_string()) + "  <  " +
                 printable(reply) + "\n");
  } else {
    terminal.out(human_time(message["created_at"].as_string()) + "  " + printable(message["id"].as_string()) + "  >  " +
                 printable(message["message"].as_string()) + "\n");
  }
}

Status wait_reply(Run& run, const std::string& id) {
  while (true) {
    ROOST_TRY(const Json message, message_of(run, id));
    const std::string& state = message["status"].as_string();
    if (message.is_null() || state == "dead")
      return Error{Code::internal, "nobody answered message " + id + ": it was given up", 0};
    if (state == "answered") {
      if (run.json())
        run.show_json(message.dump());
      else
        run.terminal().out(printable(reply_text(message["reply"])) + "\n");
      return {};
    }
    ROOST_CHECK(run.pause(300));
  }
}

}  // namespace

Status chat_send(Run& run) {
  std::string text = run.options().text;
  if (text == "-") {
    ROOST_TRY(text, run.terminal().read_all(kLongestMessage));
  }
  ROOST_TRY(const Document queued, run.act("POST", session_path(run.options().id, "/chat"), Json::object({{"message", text}})));
  const std::string id = queued.json["message_id"].as_string();
  if (run.options().wait.value_or(false)) return wait_reply(run, id);
  run.show(
      queued, [&] { return printable(id) + "\n"; },
      [&](const Style&) {
        return "message " + printable(id) + " queued; " + std::to_string(queued.json["queue_length"].as_int()) + " waiting\n";
      });
  return {};
}

Status chat_history(Run& run) {
  std::string target = session_path(run.options().id, "/messages");
  return run.watch([&]() -> Status {
    std::string from = target;
    add_query(from, "after", run.options().after);
    ROOST_TRY(const Document history, all_pages(run, from, kMessages, run.options().limit));
    const auto names = [&] {
      std::string text;
      for (const Json& message : history.json["messages"].items()) text += printable(message["id"].as_string()) + "\n";
      return text;
    };
    run.show(history, names, [&](const Style& style) {
      Table table({{"ID"}, {"STATUS"}, {"CREATED"}, {"MESSAGE", Table::Fit::cut}, {"REPLY", Table::Fit::cut}});
      table.tone_column(1);
      for (const Json& message : history.json["messages"].items()) {
        table.add({message["id"].as_string(), message["status"].as_string(), human_time(message["created_at"].as_string()),
                   message["message"].as_string(), reply_text(message["reply"])});
      }
      return table.text(style);
    });
    return {};
  });
}

namespace {

// What `follow` has shown: each message once as it is queued, and once as it is answered.
class Conversation {
 public:
  explicit Conversation(Run& run) : run_(run), last_(run.options().after) {}

  // Everything new, and the answers to what was shown without one.
  Status catch_up() {
    const std::set<std::string> waiting = waiting_;
    for (const std::string& id : waiting) ROOST_CHECK(answered(id));
    while (true) {
      ROOST_TRY(const Document page, message_page(run_, last_, 1000));
      for (const Json& message : page.json["messages"].items()) {
        show_message(run_, message);
        last_ = message["id"].as_string();
        if (message["answered_at"].is_null() && waiting_.size() < 1000) waiting_.insert(last_);
      }
      ROOST_CHECK(run_.terminal().written());
      if (!page.json["next_after"].is_string()) return {};
    }
  }

  Status answered(const std::string& id) {
    if (!waiting_.contains(id)) return {};
    ROOST_TRY(const Json message, message_of(run_, id));
    if (!message.is_null() && message["answered_at"].is_null()) return {};
    waiting_.erase(id);
    if (!message.is_null()) show_message(run_, message);
    return run_.terminal().written();
  }

 private:
  Run& run_;
  std::string last_;
  std::set<std::string> waiting_;
};

}  // namespace

Status chat_follow(Run& run) {
  Conversation conversation(run);
  ROOST_CHECK(conversation.catch_up());
  const auto opened = [&] { return conversation.catch_up(); };  // what came before the stream was open
  return follow_events(run, session_path(run.options().id, "/events"), opened, [&](const SseEvent& event) -> Result<Go> {
    if (event.type == "session.deleted") return Go::stop;
    if (event.type == "message.queued" || event.type == "reset") ROOST_CHECK(conversation.catch_up());
    if (event.type == "message.answered") {
      const auto data = Json::parse(event.data);
      if (data.ok()) ROOST_CHECK(conversation.answered((*data)["message_id"].as_string()));
    }
    return Go::on;
  });
}

}  // namespace roost::cli
