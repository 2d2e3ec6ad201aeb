#include "cli/parts.hpp"

#include <algorithm>

#include "cli/interrupt.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

constexpr std::size_t kMostItems = 1'000'000;
constexpr std::int64_t kFirstPollMs = 100, kLongestPollMs = 1'000;
constexpr int kMostBrokenStreams = 8;
constexpr std::int64_t kFirstReconnectMs = 500, kLongestReconnectMs = 10'000;

std::string page_target(const std::string& target, const Paging& paging, std::int64_t limit, const std::string& cursor) {
  std::string page = target;
  add_query(page, "limit", std::to_string(limit));
  add_query(page, paging.parameter, cursor);
  return page;
}

// A delete that cannot go on by itself says so in its session's phase.
Status check_blocked(Run& run, const Json& operation) {
  if (operation["reason"].as_string().empty()) return {};
  const auto session = run.get(session_path(operation["uuid"].as_string()));
  if (!session.ok() && session.error().code == Code::not_found) return {};  // it ended in this moment
  if (!session.ok()) return session.error();
  if (session->json["phase"].as_string() != "delete_blocked") return {};
  return Error{
      Code::conflict,
      "the delete is blocked, the data stays: " + operation["reason"].as_string() + ": " + operation["message"].as_string(), 0};
}

bool has_ended(const Json& operation) { return operation["done"].as_bool() || operation["step"].as_string() == "done"; }

Status outcome_of(const Json& operation) {
  const std::string& outcome = operation["outcome"].as_string();
  if (outcome.empty() || outcome == "succeeded") return {};
  const std::string& reason = operation["reason"].as_string();
  const std::string& message = operation["message"].as_string();
  return Error{outcome == "cancelled" ? Code::conflict : Code::internal,
               "the " + operation["kind"].as_string() + " " + (outcome == "cancelled" ? "was cancelled" : "failed") +
                   (reason.empty() ? "" : ": " + reason) + (message.empty() ? "" : ": " + message),
               0};
}

}  // namespace

Result<Document> all_pages(Run& run, const std::string& target, const Paging& paging, std::int64_t limit) {
  Document all;
  Json items = Json::array();
  std::string cursor;
  int pages = 0;
  while (true) {
    const auto have = static_cast<std::int64_t>(items.items().size());
    const std::int64_t wanted = limit > 0 ? std::min(paging.size, limit - have) : paging.size;
    ROOST_TRY(Document page, run.get(page_target(target, paging, wanted, cursor)));
    const Json* list = page.json.find(paging.list);
    if (!list || !list->is_array())
      return Error{Code::data_loss, std::string("the answer has no \"") + paging.list + "\": is this server Roost?", 0};
    for (const Json& item : list->items()) items.push(item);
    const std::string next = page.json[paging.next].as_string();
    const auto count = static_cast<std::int64_t>(items.items().size());
    const bool enough = next.empty() || (limit > 0 && count >= limit);
    if (enough && ++pages == 1) return page;
    all.json = std::move(page.json);
    if (enough) break;
    if (next == cursor || items.items().size() > kMostItems) return Error{Code::data_loss, "the server's list does not end", 0};
    cursor = next;
    ++pages;
  }
  if (all.json.find("count")) all.json.set("count", items.items().size());
  all.json.set(paging.list, std::move(items));
  all.text = all.json.dump() + "\n";
  return all;
}

std::string session_path(const std::string& id, std::string_view rest) {
  return "/session/" + percent_encode(id) + std::string(rest);
}
std::string backup_path(const std::string& id, std::string_view rest) {
  return "/backups/" + percent_encode(id) + std::string(rest);
}

std::string describe_operation(const Json& operation, const Style& style) {
  Fields fields;
  fields.add("Operation", operation["id"].as_string());
  fields.add("Session", operation["uuid"].as_string());
  fields.add("Kind", operation["kind"].as_string());
  fields.add_state("Step", operation["step"].as_string());
  fields.add_state("Outcome", operation["outcome"].as_string());
  fields.add("Attempt", operation["attempt"].is_int() ? std::to_string(operation["attempt"].as_int()) : "");
  fields.add("Started", human_time(operation["started_at"].as_string()));
  if (operation["progress"].is_object()) {
    Progress progress = progress_of(operation);
    progress.what.clear();
    const std::string line = progress_line(progress, 0, 0);
    fields.add("Progress", line.substr(std::min(line.size(), line.find_first_not_of(' '))));
  }
  fields.add("Reason", operation["reason"].as_string());
  fields.add("Message", operation["message"].as_string());
  const Json& receipt = operation["backup"];
  fields.add("Backup", operation["backup_id"].is_string() ? operation["backup_id"].as_string() : receipt["id"].as_string());
  fields.add("Restores", operation["restores"].as_string());
  if (!operation["not_restored"].items().empty()) fields.add("Not restored", operation["not_restored"].dump());
  return fields.text(style);
}

Result<Document> wait_operation(Run& run, const std::string& operation) {
  constexpr std::string_view kPrefix = "/operations/";
  const std::string id = operation.starts_with(kPrefix) ? operation.substr(kPrefix.size()) : operation;
  const std::string target = std::string(kPrefix) + percent_encode(id);
  Reporter reporter(run.terminal(), run.options().quiet);
  for (std::int64_t poll_ms = kFirstPollMs;; poll_ms = std::min(poll_ms * 2, kLongestPollMs)) {
    ROOST_TRY(Document document, run.get(target));
    reporter.show(progress_of(document.json), run.now_ns());
    if (has_ended(document.json)) {
      reporter.clear();
      ROOST_CHECK(outcome_of(document.json));
      return document;
    }
    ROOST_CHECK(check_blocked(run, document.json));
    ROOST_CHECK(run.pause(poll_ms));
  }
}

Result<Document> wait_phase(Run& run, const std::string& id, std::string_view phase) {
  Reporter reporter(run.terminal(), run.options().quiet);
  for (std::int64_t poll_ms = kFirstPollMs;; poll_ms = std::min(poll_ms * 2, kLongestPollMs)) {
    ROOST_TRY(Document document, run.get(session_path(id)));
    const std::string& now = document.json["phase"].as_string();
    reporter.show({"session " + id + ": " + now, 0, 0, 0, 0}, run.now_ns());
    if (now == phase) return document;
    if (now == "volume_lost" || now == "failed" || now == "deleting" || now == "delete_blocked") {
      const std::string& message = document.json["message"].as_string();
      return Error{now.starts_with("delet") ? Code::conflict : Code::internal,
                   "session " + id + " is " + now + (message.empty() ? "" : ": " + message), 0};
    }
    ROOST_CHECK(run.pause(poll_ms));
  }
}

namespace {

// One connection of a stream: how it ended, and what it gave.
struct Stream {
  std::string last_id;
  std::int64_t reconnect_ms = kFirstReconnectMs;
  int broken = 0;  // in a row, without a byte
};

Result<Go> follow_once(Run& run, Http& http, HttpRequest request, Stream& stream, const EachEvent& each) {
  SseParser parser;
  request.headers.push_back("Accept: text/event-stream");
  if (!stream.last_id.empty()) request.headers.push_back("Last-Event-ID: " + stream.last_id);
  Go go = Go::on;
  request.sink = [&](const HttpResponse& head, std::string_view piece) -> Status {
    if (!head.header("content-type").starts_with("text/event-stream")) {
      return Error{Code::data_loss, "the server answered something else than a stream of events: is the address right?", 0};
    }
    stream.broken = 0;
    return parser.feed(piece, [&](const SseEvent& event) -> Status {
      ROOST_TRY(go, each(event));
      return go == Go::on ? Status{} : Status{Code::cancelled, "seen enough"};
    });
  };
  const auto ended = http.send(request);
  if (!parser.last_id().empty()) stream.last_id = parser.last_id();
  if (go == Go::stop) return go;
  if (parser.retry_ms() > 0) stream.reconnect_ms = parser.retry_ms();
  if (!ended.ok()) return ended.error();
  if (ended->status < 200 || ended->status > 299) return run.refusal(*ended);
  return go;  // a clean end: a restart or a reload of the server
}

}  // namespace

Status follow_events(Run& run, const std::string& target, const std::function<Status()>& opened, const EachEvent& each) {
  ROOST_TRY(Client* const client, run.client());
  Http http(client->http().settings());  // its own: `each` may ask the server something meanwhile
  Stream stream;
  while (true) {
    constexpr std::int64_t kForever = 365LL * 86'400'000;
    const std::int64_t left_ms = client->left_ms(kForever);
    if (left_ms == 0) return Error{Code::deadline, "the time is over (--timeout)", 0};
    HttpRequest request;
    request.target = target;
    request.timeout_ms = left_ms == kForever ? 0 : left_ms;
    request.opened = [&](const HttpResponse&) { return opened ? opened() : Status{}; };
    const auto ended = follow_once(run, http, std::move(request), stream, each);
    if (ended.ok() && *ended == Go::stop) return {};
    std::int64_t wait_ms = stream.reconnect_ms;
    ++stream.broken;
    if (!ended.ok()) {
      const Code code = ended.error().code;
      const bool passing =
          code == Code::unavailable || code == Code::outcome_unknown || code == Code::deadline || code == Code::exhausted;
      if (!passing || stream.broken > kMostBrokenStreams) return ended.error();
      wait_ms = std::max(wait_ms, ended.error().retry_after_ms);
      if (stream.broken == 3) run.note(ended.error().message + "; trying again");
    } else if (stream.broken > kMostBrokenStreams) {
      return Error{Code::unavailable, "the server ends the stream of events again and again", 0};
    }
    ROOST_CHECK(run.pause(std::min(wait_ms << std::min(stream.broken - 1, 5), std::max(wait_ms, kLongestReconnectMs))));
  }
}

}  // namespace roost::cli
