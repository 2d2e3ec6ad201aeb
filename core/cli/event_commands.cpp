#include "cli/commands.hpp"
#include "cli/parts.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

// "at  uuid  type  what is particular to it".
std::string event_line(const SseEvent& event, const Style& style) {
  const auto data = Json::parse(event.data);
  if (!data.ok()) return printable(event.type + "  " + event.data) + "\n";
  std::string rest;
  for (const auto& [name, value] : data->members()) {
    if (name == "uuid" || name == "at" || name == "user_id" || (value.is_string() && value.as_string().empty())) continue;
    rest += (rest.empty() ? "" : "  ") + name + "=" + (value.is_string() ? value.as_string() : value.dump());
  }
  const std::string line = human_time((*data)["at"].as_string()) + "  " + printable((*data)["uuid"].as_string()) + "  " +
                           printable(event.type) + (rest.empty() ? "" : "  " + printable(rest));
  return (style.width > 0 ? cut(line, style.width) : line) + "\n";
}

std::string event_json(const SseEvent& event) {
  Json json = Json::object({{"event", event.type}, {"id", event.id}});
  auto data = Json::parse(event.data);
  json.set("data", data.ok() ? *std::move(data) : Json(event.data));
  return json.dump();
}

Status print_events(Run& run, const std::string& target) {
  return follow_events(run, target, nullptr, [&run](const SseEvent& event) -> Result<Go> {
    if (run.json())
      run.show_json(event_json(event));
    else
      run.terminal().out(event_line(event, run.terminal().style()));
    if (event.type == "reset") run.note("events were missed: read the sessions again");
    ROOST_CHECK(run.terminal().written());
    const bool last = event.type == "session.deleted" && !run.options().id.empty();
    return last ? Go::stop : Go::on;
  });
}

void show_operation(Run& run, const Document& document) {
  run.show(
      document, [&] { return printable(document.json["id"].as_string()) + "\n"; },
      [&](const Style& style) { return describe_operation(document.json, style); });
}

}  // namespace

Status events(Run& run) {
  std::string target = "/events";
  add_query(target, "user_id", run.options().user);
  return print_events(run, target);
}

Status session_events(Run& run) { return print_events(run, session_path(run.options().id, "/events")); }

Status operation_get(Run& run) {
  const std::string& id = run.options().id;
  const std::string target = "/operations/" + percent_encode(id.starts_with("/operations/") ? id.substr(12) : id);
  return run.watch([&]() -> Status {
    ROOST_TRY(const Document operation, run.get(target));
    show_operation(run, operation);
    return {};
  });
}

Status operation_wait(Run& run) {
  ROOST_TRY(const Document operation, wait_operation(run, run.options().id));
  show_operation(run, operation);
  return {};
}

}  // namespace roost::cli
