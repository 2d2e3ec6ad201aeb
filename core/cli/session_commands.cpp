#include "cli/commands.hpp"
#include "cli/parts.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

std::string number(const Json& value) { return value.is_int() ? std::to_string(value.as_int()) : ""; }

std::string size_text(const Json& size) {
  if (!size.is_object()) return "";
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", static_cast<double>(size["cpu_millis"].as_int()) / 1000);
  return std::string(text) + " CPU, " + human_bytes(size["memory_bytes"].as_int());
}

std::string sessions_table(const Json& document, const Style& style) {
  using Fit = Table::Fit;
  Table table(
      {{"UUID"}, {"USER", Fit::cut}, {"PHASE"}, {"QUEUE", Fit::whole, Table::Side::right}, {"LAST ACTIVITY"}, {"URL", Fit::cut}});
  table.tone_column(2);
  for (const Json& session : document["sessions"].items()) {
    table.add({session["uuid"].as_string(), session["user_id"].as_string(), session["phase"].as_string(),
               number(session["queue_length"]), human_time(session["last_activity"].as_string()),
               session["workspace_url"].as_string()});
  }
  return table.text(style);
}

std::string describe_session(const Json& session, const Style& style) {
  Fields fields;
  fields.add("Session", session["uuid"].as_string());
  fields.add("User", session["user_id"].as_string());
  fields.add_state("Phase", session["phase"].as_string());
  fields.add("Reason", session["reason"].as_string());
  fields.add("Message", session["message"].as_string());
  fields.add("Address", session["workspace_url"].as_string());
  fields.add("Created", human_time(session["created_at"].as_string()));
  fields.add("Last activity", human_time(session["last_activity"].as_string()));
  fields.add("Messages waiting", number(session["queue_length"]));
  fields.add("Wanted", session["wanted"]["state"].as_string() + ", " + size_text(session["wanted"]["size"]));
  fields.add("In force", size_text(session["observed"]["size"]));
  const Json& volume = session["volume"];
  if (!volume["name"].as_string().empty())
    fields.add("Volume", volume["name"].as_string() + ", " + human_bytes(volume["size_bytes"].as_int()));
  for (const Json& kept : session["kept_volumes"].items()) {
    fields.add("Kept volume", kept["name"].as_string() + ", until " + human_time(kept["until"].as_string()) + ", backup " +
                                  kept["backup_id"].as_string());
  }
  fields.add("Last backup", session["last_backup_at"].is_string() ? human_time(session["last_backup_at"].as_string()) : "");
  fields.add("Release blocked by", session["protection"]["release_blocked_by"].as_string());
  fields.add("Next attempt", session["next_attempt_at"].is_string() ? human_time(session["next_attempt_at"].as_string()) : "");
  fields.add("Revision", session["revision"].as_string());
  std::string text = fields.text(style);
  Table conditions({{"CONDITION"}, {"STATUS"}, {"REASON"}, {"MESSAGE", Table::Fit::cut}});
  for (const Json& condition : session["conditions"].items()) {
    conditions.add({condition["type"].as_string(), condition["status"].as_bool() ? "true" : "false",
                    condition["reason"].as_string(), condition["message"].as_string()});
  }
  if (conditions.rows() > 0) text += "\n" + conditions.text(style);
  if (session["operation"].is_object()) text += "\n" + describe_operation(session["operation"], style);
  return text;
}

std::string session_line(const Json& document) { return printable(document["uuid"].as_string()) + "\n"; }

void show_session(Run& run, const Document& document) {
  run.show(
      document, [&] { return session_line(document.json); },
      [&](const Style& style) { return describe_session(document.json, style); });
}

// What sleep, wake and scale have in common: the call, then perhaps the wait.
Status change(Run& run, const char* action, const Json& body, const char* phase) {
  const std::string& id = run.options().id;
  ROOST_TRY(const Document done, run.act("POST", session_path(id, action), body));
  if (run.options().wait.value_or(false) && phase) {
    ROOST_TRY(const Document reached, wait_phase(run, id, phase));
    show_session(run, reached);
    return {};
  }
  run.show(
      done, [&] { return session_line(done.json); },
      [&](const Style&) { return printable(done.json["uuid"].as_string() + " " + done.json["status"].as_string()) + "\n"; });
  return {};
}

std::string describe_deleted(const Json& document) {
  std::string line = document["uuid"].as_string() + " " + document["status"].as_string();
  const Json& backup = document["backup"];
  if (backup.is_object()) {
    line += "; backup " + backup["id"].as_string() + " (" + backup["archive"].as_string() +
            "): " + std::to_string(backup["files"].as_int()) + " files, " + human_bytes(backup["archive_bytes"].as_int()) +
            ", verified " + human_time(backup["verified_at"].as_string());
  } else if (document["operation"].is_string()) {
    line += "; " + document["operation"].as_string();
  }
  if (document["reason"].is_string()) line += "; " + document["reason"].as_string() + ": " + document["detail"].as_string();
  return printable(line) + "\n";
}

}  // namespace

Status session_create(Run& run) {
  ROOST_TRY(const Document made, run.act("POST", "/session/create", Json::object({{"user_id", run.options().user}})));
  const std::string uuid = made.json["uuid"].as_string();
  if (run.options().wait.value_or(false)) {
    const auto running = wait_phase(run, uuid, "running");
    if (!running.ok()) return running.error().context("session " + uuid + " was made");
    show_session(run, *running);
    return {};
  }
  run.show(
      made, [&] { return session_line(made.json); },
      [&](const Style& style) {
        Fields fields;
        fields.add("Session", uuid);
        fields.add("User", made.json["user_id"].as_string());
        fields.add("Status", made.json["status"].as_string());
        fields.add("Address", made.json["workspace_url"].as_string());
        return fields.text(style);
      });
  return {};
}

Status session_list(Run& run) {
  std::string target = "/sessions";
  add_query(target, "user_id", run.options().user);
  return run.watch([&]() -> Status {
    ROOST_TRY(const Document list, all_pages(run, target, {"sessions"}, run.options().limit));
    const auto names = [&] {
      std::string text;
      for (const Json& session : list.json["sessions"].items()) text += session_line(session);
      return text;
    };
    run.show(list, names, [&](const Style& style) { return sessions_table(list.json, style); });
    return {};
  });
}

Status session_get(Run& run) {
  return run.watch([&]() -> Status {
    ROOST_TRY(const Document session, run.get(session_path(run.options().id)));
    show_session(run, session);
    return {};
  });
}

Status session_status(Run& run) {
  return run.watch([&]() -> Status {
    ROOST_TRY(const Document status, run.get(session_path(run.options().id, "/status")));
    run.show(
        status, [&] { return session_line(status.json); },
        [&](const Style& style) {
          const Json& json = status.json;
          const std::string state = json["session"]["status"].as_string();
          return printable(json["uuid"].as_string()) + "  " + toned(printable(state), tone_of(state), style) + "  replicas " +
                 number(json["replicas"]) + "  queue " + number(json["queue_length"]) + "  " +
                 human_time(json["session"]["last_activity"].as_string()) + "\n";
        });
    return {};
  });
}

Status session_sleep(Run& run) { return change(run, "/sleep", Json(), "asleep"); }
Status session_wake(Run& run) { return change(run, "/wake", Json(), "running"); }
Status session_scale(Run& run) { return change(run, "/scale", Json::object({{"scale", run.options().text}}), nullptr); }

Status session_delete(Run& run) {
  const Options& options = run.options();
  if (options.skip_backup) ROOST_CHECK(run.confirm("The files of session " + options.id + " will be gone, without a backup."));
  if (options.accept_losses) ROOST_CHECK(run.confirm("What the backup of session " + options.id + " had to skip will be gone."));
  HttpRequest request;
  request.method = "DELETE";
  request.target = session_path(options.id);
  HttpRequest receipt = request;
  request.headers.push_back("Prefer: respond-async");
  receipt.headers.push_back("Prefer: wait=20");  // its operation is done a moment before the session is gone
  if (options.skip_backup) add_query(request.target, "backup", "skip");
  if (options.accept_losses) add_query(request.target, "accept_losses", "true");
  ROOST_TRY(Document answer, run.send(std::move(request), Repeat::safe));
  if (answer.status == 202 && options.wait.value_or(true)) {
    const auto ended = wait_operation(run, answer.json["operation"].as_string());
    if (!ended.ok()) return ended.error();
    ROOST_TRY(answer, run.send(std::move(receipt), Repeat::safe));
  }
  run.show(
      answer, [&] { return session_line(answer.json); }, [&](const Style&) { return describe_deleted(answer.json); });
  return {};
}

Status session_access(Run& run) {
  ROOST_TRY(const Document access, run.act("POST", session_path(run.options().id, "/access")));
  run.show(
      access, [&] { return session_line(access.json); },
      [&](const Style&) { return printable(access.json["url"].as_string()) + "\n"; });
  if (run.terminal().out_is_tty && !run.json())
    run.note("the link works once, within " + number(access.json["expires_in_s"]) + " s");
  return {};
}

}  // namespace roost::cli
