// The catalogue of backups: lists, one record, holds, removal, reading again.
#include "api/bodies.hpp"
#include "api/impl.hpp"
#include "base/clock.hpp"

namespace roost::api {
namespace {

constexpr std::int64_t kBackupsPage = 100, kBackupsMost = 1000;
constexpr std::size_t kReasonMax = 500;  // bytes

http::Response no_backup(std::string_view id) { return http::problem(404, "there is no backup " + std::string(id)); }

http::Response gone(const BackupRecord& record) {
  std::string detail = "the backup " + record.id + " was removed";
  if (record.note) detail += " at " + format_time(record.note->at_us) + " by " + record.note->by + ": " + record.note->reason;
  return http::problem(404, detail);
}

}  // namespace

void Api::Impl::add_backups(http::Router& router) {
  using http::Run;
  add(router, "GET", "/backups", Run::inline_, Access::read, &Impl::list_backups);
  add(router, "GET", "/session/{}/backups", Run::inline_, Access::read, &Impl::list_session_backups);
  add(router, "GET", "/backups/{}", Run::inline_, Access::read, &Impl::get_backup);
  add(router, "DELETE", "/backups/{}", Run::pooled, Access::sessions, &Impl::remove_backup);
  add(router, "GET", "/backups/strangers", Run::inline_, Access::read, &Impl::list_strangers);
  add(router, "POST", "/backups/{}/hold", Run::pooled, Access::sessions, &Impl::hold_backup);
  add(router, "DELETE", "/backups/{}/hold", Run::pooled, Access::sessions, &Impl::lift_hold);
  add(router, "POST", "/backups/{}/verify", Run::inline_, Access::sessions, &Impl::verify_backup);
  add(router, "GET", "/backups/{}/files", Run::inline_, Access::read, &Impl::list_files);
  add(router, "GET", "/backups/{}/files/{*}", Run::inline_, Access::read, &Impl::get_file);
  add(router, "GET", "/backups/{}/archive", Run::inline_, Access::read, &Impl::get_archive);
}

std::optional<BackupQuery> Api::Impl::backup_query(const Request& request, const Responder& respond, const PrincipalView& who) {
  BackupQuery query;
  const auto limit = query_number(request, "limit", kBackupsPage, 1, kBackupsMost);
  query.after = request.query_parameter("cursor");
  query.user_id = who->user;
  if (!limit.ok())
    respond(http::problem(limit.error()));
  else if (!query.after.empty() && !valid_backup_id(query.after))
    respond(http::problem(400, "the query parameter cursor must be the next_cursor of an earlier answer"));
  else {
    query.limit = *limit;
    return query;
  }
  return std::nullopt;
}

http::Response Api::Impl::backups_page(const BackupPage& page) const {
  Json backups = Json::array();
  for (const BackupRecord& record : page.backups) backups.push(backup_json(record, hooks_.backup_place()));
  return http::Response::json(200, Json::object({{"backups", std::move(backups)},
                                                 {"count", page.backups.size()},
                                                 {"next_cursor", page.next.empty() ? Json() : Json(page.next)}}));
}

void Api::Impl::list_backups(const Request& request, const Responder& respond, const PrincipalView& who) {
  auto query = backup_query(request, respond, who);
  if (!query) return;
  query->session_id = request.query_parameter("session_id");
  if (!query->session_id.empty() && !valid_session_id(query->session_id))
    return respond(http::problem(400, "the query parameter session_id must be a session's uuid: 8 digits, 0-9 and a-f"));
  const std::string user = request.query_parameter("user_id");
  if (!user.empty() && !who->sees(user)) return respond(backups_page({}));  // another's backups do not exist for this key
  if (!user.empty()) query->user_id = user;
  engine_.list_backups(*std::move(query), [this, respond](Result<BackupPage> page) {
    respond(page.ok() ? backups_page(*page) : failure(page.error()));
  });
}

// A session that is gone still has its backups; one that never was, or is another's, is told by what `visible` answers.
void Api::Impl::list_session_backups(const Request& request, const Responder& respond, const PrincipalView& who) {
  auto query = backup_query(request, respond, who);
  if (!query) return;
  query->session_id = request.parameters[0];
  const bool first = query->after.empty();
  if (!valid_session_id(query->session_id)) {
    (void)visible(request, respond, who);
    return;
  }
  auto kept = std::make_shared<const Request>(request);
  engine_.list_backups(*std::move(query), [this, respond, who, kept, first](Result<BackupPage> page) {
    if (!page.ok()) return respond(failure(page.error()));
    if (first && page->backups.empty() && page->next.empty() && !visible(*kept, respond, who)) return;
    respond(backups_page(*page));
  });
}

void Api::Impl::with_backup(const std::string& id, const Responder& respond, const PrincipalView& who,
                            std::function<void(BackupRecord)> then) {
  engine_.find_backup(id, [id, respond, who, then = std::move(then)](Result<BackupRecord> found) {
    if (!found.ok()) return respond(found.error().code == Code::not_found ? no_backup(id) : failure(found.error()));
    if (!who->sees(found->user_id)) return respond(no_backup(id));
    if (found->state == "deleted") return respond(gone(*found));
    then(*std::move(found));
  });
}

void Api::Impl::get_backup(const Request& request, const Responder& respond, const PrincipalView& who) {
  with_backup(request.parameters[0], respond, who, [this, respond](const BackupRecord& record) {
    respond(http::Response::json(200, backup_json(record, hooks_.backup_place())));
  });
}

// ---- changes ------------------------------------------------------------------------------------------------------------

void Api::Impl::hold_backup(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  BackupHold hold;
  const Json& until = body.json["until"];
  hold.until_us = until.is_null() ? 0 : parse_time(until.as_string());
  hold.reason = body.json["reason"].as_string();
  hold.by = who->name;
  hold.placed_at_us = clock_.wall_us();
  if (hold.until_us < 0 || (hold.until_us > 0 && hold.until_us <= hold.placed_at_us))
    return respond(
        unprocessable("\"until\" must be a time to come, like 2026-11-15T03:51:36.653291, or null for a hold without an end"));
  if (hold.reason.empty() || hold.reason.size() > kReasonMax)
    return respond(unprocessable("the body needs \"reason\", 1 to 500 bytes that say why the backup is held"));
  change_backup(request, respond, who, "backup.hold", Json::object({{"until", until}, {"reason", hold.reason}}),
                [this, hold](const std::string& id, Done<BackupRecord> done) { engine_.hold_backup(id, hold, std::move(done)); });
}

void Api::Impl::lift_hold(const Request& request, const Responder& respond, const PrincipalView& who) {
  change_backup(
      request, respond, who, "backup.lift_hold", Json::object(),
      [this](const std::string& id, Done<BackupRecord> done) { engine_.hold_backup(id, std::nullopt, std::move(done)); });
}

// Answers the record as it is then.
void Api::Impl::change_backup(const Request& request, const Responder& respond, const PrincipalView& who, const char* action,
                              Json details, std::function<void(const std::string& id, Done<BackupRecord>)> change) {
  with_backup(request.parameters[0], respond, who,
              [this, respond, who, action, details, change = std::move(change)](const BackupRecord& record) {
                (void)audit({who->name, action, record.id, "accepted", details});
                change(record.id, [this, respond](Result<BackupRecord> changed) {
                  respond(changed.ok() ? http::Response::json(200, backup_json(*changed, hooks_.backup_place()))
                                       : failure(changed.error()));
                });
              });
}

void Api::Impl::verify_backup(const Request& request, const Responder& respond, const PrincipalView& who) {
  with_backup(request.parameters[0], respond, who, [this, respond](const BackupRecord& record) {
    engine_.verify_backup(record.id, [this, respond](Result<BackupRecord> asked) {
      respond(asked.ok() ? http::Response::json(202, backup_json(*asked, hooks_.backup_place())) : failure(asked.error()));
    });
  });
}

void Api::Impl::remove_backup(const Request& request, const Responder& respond, const PrincipalView& who) {
  const auto overrides = query_flag(request, "override");
  if (!overrides.ok()) return respond(http::problem(overrides.error()));
  BackupRemoval removal{who->name, request.query_parameter("reason"), *overrides};
  if (removal.reason.empty()) removal.reason = "asked for";
  if (removal.reason.size() > kReasonMax) return respond(unprocessable("the query parameter reason must be at most 500 bytes"));
  with_backup(request.parameters[0], respond, who, [this, respond, who, removal](const BackupRecord& record) {
    AuditNote note{
        who->name,
        "backup.delete",
        record.id,
        "accepted",
        Json::object({{"override", removal.override_retention}, {"archive", record.archive}, {"reason", removal.reason}}),
        true};
    if (removal.override_retention && !who->may(Scope::admin)) {
      note.outcome = "refused";
      (void)audit(note);
      return respond(
          http::problem(403, "override=true gives up the last backup of a session: it needs a key with the scope admin"));
    }
    if (const Status recorded = audit(note); !recorded.ok())
      return respond(http::problem(503, "the audit trail cannot be written, so nothing is removed: " + recorded.error().message));
    engine_.remove_backup(record.id, removal, [respond](Result<BackupRecord> removed) {
      if (!removed.ok()) return respond(failure(removed.error()));
      respond(http::Response::json(202, Json::object({{"id", removed->id}, {"state", removed->state}})));
    });
  });
}

void Api::Impl::list_strangers(const Request&, const Responder& respond, const PrincipalView& who) {
  if (!who->user.empty())
    return respond(http::problem(403, "the key \"" + who->name + "\" is bound to a user; archives of no backup are nobody's"));
  engine_.list_strangers([respond](const Result<std::vector<BackupStorage::Object>>& found) {
    if (!found.ok()) return respond(failure(found.error()));
    Json strangers = Json::array();
    for (const BackupStorage::Object& object : *found) {
      strangers.push(Json::object({{"archive", object.name},
                                   {"archive_bytes", object.size},
                                   {"modified_at", object.modified_us > 0 ? Json(format_time(object.modified_us)) : Json()}}));
    }
    respond(http::Response::json(200, Json::object({{"strangers", std::move(strangers)}, {"count", found->size()}})));
  });
}

}  // namespace roost::api
