#include <algorithm>

#include "base/crypto.hpp"
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
std::string backup_line(const Json& document) { return printable(document["id"].as_string()) + "\n"; }

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

// The name as it is, also where it is not UTF-8.
std::string path_of(const Json& file) {
  const auto bytes = from_base64url(file["path_base64url"].as_string());
  return file["path"].is_string() || !bytes ? file["path"].as_string() : *bytes;
}

std::string files_table(const Json& document, const Style& style) {
  Table table({{"MODE"}, {"SIZE", Table::Fit::whole, Table::Side::right}, {"MODIFIED"}, {"TYPE"}, {"PATH", Table::Fit::cut}});
  for (const Json& file : document["files"].items()) {
    char mode[16] = "";
    if (file["mode"].is_int())
      std::snprintf(mode, sizeof mode, "%04llo", static_cast<unsigned long long>(file["mode"].as_int()) & 07777ULL);
    table.add({file["mode"].is_string() ? file["mode"].as_string() : mode, size_of(file["size"]), time_of(file["modified_at"]),
               file["type"].as_string(), path_of(file)});
  }
  return table.text(style);
}

void show_backup(Run& run, const Document& backup) {
  run.show(
      backup, [&] { return backup_line(backup.json); }, [&](const Style& style) { return describe_backup(backup.json, style); });
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

Status wait_verified(Run& run, const std::string& id) {
  Reporter reporter(run.terminal(), run.options().quiet);
  while (true) {
    ROOST_TRY(const Document now, run.get(backup_path(id)));
    const std::string& state = now.json["state"].as_string();
    if (now.json["verify_asked_at"].is_null()) {
      reporter.clear();
      if (state != "verified")
        return Error{Code::data_loss, "backup " + id + " is " + state + ": " + now.json["note"]["reason"].as_string(), 0};
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

// What cannot stand in a URL's path is asked for in base64url: bytes that are not UTF-8, control characters, a backslash, "." and
// "..".
bool needs_encoding(const std::string& path) {
  const auto bad = [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '\\'; };
  if (!valid_utf8(path) || std::any_of(path.begin(), path.end(), bad)) return true;
  const std::string within = "/" + path + "/";
  return within.find("/./") != std::string::npos || within.find("/../") != std::string::npos ||
         within.find("//") != std::string::npos;
}

std::string file_target(const std::string& id, std::string path) {
  while (path.starts_with('/')) path.erase(0, 1);
  if (!needs_encoding(path)) return backup_path(id, "/files/" + percent_encode_path(path));
  return backup_path(id, "/files/?path_base64url=" + base64url(path));
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
  const Json& note = backup["note"];
  if (note.is_object())
    fields.add("Note", note["reason"].as_string() + ", by " + note["by"].as_string() + ", " + time_of(note["at"]));
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
      for (const Json& backup : list.json["backups"].items()) text += backup_line(backup);
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
  ROOST_TRY(const Document list, all_pages(run, target, {"files", "cursor", "next_cursor", 10'000}, run.options().limit));
  const auto names = [&] {
    std::string text;
    for (const Json& file : list.json["files"].items()) text += printable(path_of(file)) + "\n";
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
  ROOST_TRY(const Document answer, run.act("POST", backup_path(id, "/verify")));
  if (run.options().wait.value_or(false)) return wait_verified(run, id);
  run.show(
      answer, [&] { return printable(id) + "\n"; },
      [&](const Style&) { return printable("backup " + id + " is being read again") + "\n"; });
  return {};
}

Status backup_strangers(Run& run) {
  ROOST_TRY(const Document list, run.get("/backups/strangers"));
  const Json::Array& strangers = list.json["strangers"].items();
  const auto names = [&] {
    std::string text;
    for (const Json& stranger : strangers) text += printable(stranger["archive"].as_string()) + "\n";
    return text;
  };
  run.show(list, names, [&](const Style& style) {
    Table table({{"ARCHIVE", Table::Fit::cut}, {"SIZE", Table::Fit::whole, Table::Side::right}, {"MODIFIED"}});
    for (const Json& stranger : strangers) {
      table.add({stranger["archive"].as_string(), size_of(stranger["archive_bytes"]), time_of(stranger["modified_at"])});
    }
    return table.text(style);
  });
  return {};
}

Status backup_delete(Run& run) {
  const Options& options = run.options();
  ROOST_CHECK(run.confirm("Backup " + options.id + " will be gone."));
  std::string target = backup_path(options.id);
  add_query(target, "reason", options.reason);
  if (options.override_retention) add_query(target, "override", "true");
  ROOST_TRY(const Document answer, run.act("DELETE", target));
  run.show(
      answer, [&] { return backup_line(answer.json); },
      [&](const Style&) { return printable("backup " + options.id + " " + answer.json["state"].as_string()) + "\n"; });
  return {};
}

}  // namespace roost::cli
