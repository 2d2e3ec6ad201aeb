#include <algorithm>

#include "cli/commands.hpp"
#include "cli/parts.hpp"
#include "cli/text.hpp"
#include "cli/url.hpp"

namespace roost::cli {
namespace {

constexpr const char* kOneOf = "say where to: --into SESSION, or --as-new";

std::string count(const Json& value) { return value.is_int() ? std::to_string(value.as_int()) : ""; }
std::string size_of(const Json& value) { return value.is_int() ? human_bytes(value.as_int()) : ""; }
std::string time_of(const Json& value) { return value.is_string() ? human_time(value.as_string()) : ""; }
std::string id_line(const Json& document) { return printable(document["id"].as_string()) + "\n"; }

std::string backups_table(const Json& document, const Style& style) {
  using Fit = Table::Fit;
  using Side = Table::Side;
  Table table({{"ID", Fit::whole},
               {"USER", Fit::cut},
               {"CREATED"},
               {"TRIGGER"},
               {"STATE"},
               {"SIZE", Fit::whole, Side::right},
               {"FILES", Fit::whole, Side::right},
               {"VERIFIED", Fit::cut},
               {"HELD", Fit::cut}});
  table.tone_column(4);
  for (const Json& backup : document["backups"].items()) {
    const Json& hold = backup["hold"];
    table.add({backup["id"].as_string(), backup["user_id"].as_string(), time_of(backup["created_at"]),
               backup["trigger"].as_string(), backup["state"].as_string(), size_of(backup["archive_bytes"]),
               count(backup["files"]), time_of(backup["verified_at"]), hold.is_object() ? hold["reason"].as_string() : ""});
  }
  return table.text(style);
}

std::string files_table(const Json& document, const Style& style) {
  Table table({{"MODE"}, {"SIZE", Table::Fit::whole, Table::Side::right}, {"MODIFIED"}, {"TYPE"}, {"PATH", Table::Fit::cut}});
  for (const Json& file : document["files"].items()) {
    char mode[16] = "";
    if (file["mode"].is_int())
      std::snprintf(mode, sizeof mode, "%04llo", static_cast<unsigned long long>(file["mode"].as_int()) & 07777ULL);
    table.add({file["mode"].is_string() ? file["mode"].as_string() : mode, size_of(file["size"]), time_of(file["modified_at"]),
               file["type"].as_string(), file["path"].as_string()});
  }
  return table.text(style);
}

void show_backup(Run& run, const Document& backup) {
  run.show(
      backup, [&] { return id_line(backup.json); }, [&](const Style& style) { return describe_backup(backup.json, style); });
}

// A work that has been begun: its answer, or, with --wait, the operation's end and then what `after` shows.
Status begun(Run& run, const Document& answer, const std::string& line, const std::function<Status()>& after) {
  const std::string operation = answer.json["operation"].as_string();
  if (!run.options().wait.value_or(false) || operation.empty()) {
    const auto name = [&] {
      const Json& backup = answer.json["backup_id"];
      return printable(backup.is_string()                ? backup.as_string()
                       : answer.json["uuid"].is_string() ? answer.json["uuid"].as_string()
                                                         : operation) +
             "\n";
    };
    run.show(answer, name, [&](const Style&) { return printable(line + "; operation " + operation) + "\n"; });
    return {};
  }
  const auto ended = wait_operation(run, operation);
  if (!ended.ok()) return ended.error();
  return after();
}

Status show_session_after(Run& run, const std::string& uuid) {
  ROOST_TRY(const Document session, run.get(session_path(uuid)));
  run.show(
      session, [&] { return printable(uuid) + "\n"; },
      [&](const Style&) { return printable(uuid + " is restored; it is " + session.json["phase"].as_string()) + "\n"; });
  return {};
}

Status wait_verified(Run& run, const std::string& id, const Json& before) {
  Reporter reporter(run.terminal(), run.options().quiet);
  while (true) {
    ROOST_TRY(const Document now, run.get(backup_path(id)));
    const std::string& state = now.json["state"].as_string();
    if (state == "damaged" || state == "missing") {
      reporter.clear();
      return Error{Code::data_loss, "backup " + id + " is " + state, 0};
    }
    const bool read_again = now.json["last_proven_restorable_at"] != before["last_proven_restorable_at"] ||
                            now.json["verified_at"] != before["verified_at"];
    if (state == "verified" && read_again) {
      reporter.clear();
      show_backup(run, now);
      return {};
    }
    reporter.show({"reading backup " + id, 0, 0, 0, 0}, run.now_ns());
    ROOST_CHECK(run.pause(500));
  }
}

// A name for a local file out of what the server says: never a path.
Result<std::string> archive_name(const Document& backup) {
  const std::string& name = backup.json["archive"].as_string();
  const bool good =
      !name.empty() && name.size() <= 200 && name.front() != '.' &&
      std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) || c == '.' || c == '_' || c == '-'; });
  if (good) return name;
  return Error{Code::invalid, "the archive's name cannot be a file's name here: say with --to where it shall go", 0};
}

std::string file_target(const std::string& id, std::string path) {
  while (path.starts_with('/')) path.erase(0, 1);
  return backup_path(id, "/files/" + percent_encode_path(path));
}

}  // namespace

std::string describe_backup(const Json& backup, const Style& style) {
  Fields fields;
  fields.add("Backup", backup["id"].as_string());
  fields.add("Session", backup["session_id"].as_string());
  fields.add("User", backup["user_id"].as_string());
  fields.add_state("State", backup["state"].as_string());
  fields.add("Made",
             time_of(backup["created_at"]) + (backup["trigger"].is_string() ? ", trigger " + backup["trigger"].as_string() : ""));
  fields.add("Consistency", backup["consistency"].as_string());
  fields.add("Archive", backup["archive"].as_string());
  fields.add("Archive size", size_of(backup["archive_bytes"]));
  fields.add("Files", count(backup["files"]) + (backup["bytes"].is_int() ? ", " + size_of(backup["bytes"]) : ""));
  fields.add("Tree hash", backup["tree_hash"].as_string());
  fields.add("Verified", time_of(backup["verified_at"]));
  fields.add("Proven restorable", time_of(backup["last_proven_restorable_at"]));
  fields.add("Protected until", time_of(backup["protected_until"]));
  const Json& hold = backup["hold"];
  if (hold.is_object()) {
    fields.add("Held", (hold["until"].is_string() ? "until " + time_of(hold["until"]) : std::string("without end")) + " by " +
                           hold["by"].as_string() + ": " + hold["reason"].as_string());
  }
  if (!backup["skipped"].items().empty()) fields.add("Skipped", backup["skipped"].dump());
  fields.add("Place", backup["place"].as_string());
  return fields.text(style);
}

Status backup_list(Run& run) {
  std::string target = "/backups";
  add_query(target, "user_id", run.options().user);
  add_query(target, "session_id", run.options().session);
  return run.watch([&]() -> Status {
    ROOST_TRY(const Document list, all_pages(run, target, {"backups"}, run.options().limit));
    const auto names = [&] {
      std::string text;
      for (const Json& backup : list.json["backups"].items()) text += id_line(backup);
      return text;
    };
    run.show(list, names, [&](const Style& style) { return backups_table(list.json, style); });
    return {};
  });
}

Status backup_get(Run& run) {
  return run.watch([&]() -> Status {
    ROOST_TRY(const Document backup, run.get(backup_path(run.options().id)));
    show_backup(run, backup);
    return {};
  });
}

Status backup_create(Run& run) {
  ROOST_TRY(const Document answer, run.act("POST", session_path(run.options().id, "/backups"), Json::object()));
  const std::string id = answer.json["backup_id"].as_string();
  return begun(run, answer, "backup " + id + " started", [&]() -> Status {
    ROOST_TRY(const Document backup, run.get(backup_path(id)));
    show_backup(run, backup);
    return {};
  });
}

Status backup_files(Run& run) {
  std::string target = backup_path(run.options().id, "/files");
  add_query(target, "prefix", run.options().path);
  ROOST_TRY(const Document list, all_pages(run, target, {"files"}, run.options().limit));
  const auto names = [&] {
    std::string text;
    for (const Json& file : list.json["files"].items()) text += printable(file["path"].as_string()) + "\n";
    return text;
  };
  run.show(list, names, [&](const Style& style) { return files_table(list.json, style); });
  return {};
}

Status backup_download(Run& run) {
  const Options& options = run.options();
  std::string to = options.to;
  if (to == "-") return Error{Code::invalid, "for standard output there is `roostctl backup cat`", 0};
  if (options.path.empty()) {
    if (to.empty()) {
      ROOST_TRY(const Document backup, run.get(backup_path(options.id)));
      ROOST_TRY(to, archive_name(backup));
    }
    return download(run, backup_path(options.id, "/archive"), to, options.force ? Replace::yes : Replace::no);
  }
  if (to.empty()) to = options.path.substr(options.path.rfind('/') + 1);
  if (to.empty() || to == "." || to == "..")
    return Error{Code::invalid, "the path names no file: give one of `roostctl backup files`", 0};
  return download(run, file_target(options.id, options.path), to, options.force ? Replace::yes : Replace::no);
}

Status backup_cat(Run& run) { return copy_to_stdout(run, file_target(run.options().id, run.options().path)); }

Status backup_restore(Run& run) {
  const Options& options = run.options();
  if (options.session.empty() == !options.as_new) return Error{Code::invalid, kOneOf, 0};
  if (!options.session.empty()) {
    if (!options.user.empty()) return Error{Code::invalid, "--user goes with --as-new only", 0};
    ROOST_TRY(const Document answer,
              run.act("POST", session_path(options.session, "/restore"), Json::object({{"backup_id", options.id}})));
    return begun(run, answer, "session " + options.session + " is being restored",
                 [&] { return show_session_after(run, options.session); });
  }
  Json body = Json::object();
  if (!options.user.empty()) body.set("user_id", options.user);
  ROOST_TRY(const Document answer, run.act("POST", backup_path(options.id, "/restore"), body));
  const std::string uuid = answer.json["uuid"].as_string();
  return begun(run, answer, "session " + uuid + " is being filled", [&] { return show_session_after(run, uuid); });
}

Status backup_hold(Run& run) {
  const Options& options = run.options();
  Json body = Json::object({{"until", nullptr}, {"reason", options.reason}});
  if (!options.until.empty()) {
    ROOST_TRY(const std::string until, parse_until(options.until, system_clock().wall_us()));
    body.set("until", until);
  }
  ROOST_TRY(const Document backup, run.act("POST", backup_path(options.id, "/hold"), body));
  show_backup(run, backup);
  return {};
}

Status backup_unhold(Run& run) {
  ROOST_TRY(const Document backup, run.act("DELETE", backup_path(run.options().id, "/hold")));
  show_backup(run, backup);
  return {};
}

Status backup_verify(Run& run) {
  const std::string& id = run.options().id;
  ROOST_TRY(const Document before, run.get(backup_path(id)));
  ROOST_TRY(const Document answer, run.act("POST", backup_path(id, "/verify")));
  if (run.options().wait.value_or(false)) return wait_verified(run, id, before.json);
  run.show(
      answer, [&] { return printable(id) + "\n"; },
      [&](const Style&) { return printable("backup " + id + " is being read again") + "\n"; });
  return {};
}

Status backup_delete(Run& run) {
  const Options& options = run.options();
  ROOST_CHECK(run.confirm("Backup " + options.id + " will be gone."));
  std::string target = backup_path(options.id);
  if (options.override_hold) add_query(target, "override", "true");
  ROOST_TRY(const Document answer, run.act("DELETE", target));
  run.show(
      answer, [&] { return id_line(answer.json); },
      [&](const Style&) { return printable("backup " + options.id + " " + answer.json["state"].as_string()) + "\n"; });
  return {};
}

}  // namespace roost::cli
