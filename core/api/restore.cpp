#include "api/bodies.hpp"
#include "api/impl.hpp"

namespace roost::api {
namespace {

// What is not known is refused, so that a wish that means nothing is not passed over.
std::optional<http::Response> refuse_members(const Json& body, std::string_view known = {}) {
  for (const auto& [name, value] : body.members()) {
    if (name != known) return unprocessable("the body's member \"" + name + "\" is not known");
    if (!value.is_string()) return unprocessable("\"" + name + "\" must be a string");
  }
  return std::nullopt;
}

// 202, or with dry_run 200, for an operation that was begun on a session.
http::Response begun_response(Json answer, const Operation& operation, bool dry_run) {
  answer.set("operation", "/operations/" + operation.id);
  if (dry_run) return http::Response::json(200, answer.set("dry_run", true));
  http::Response response = http::Response::json(202, answer);
  response.headers.emplace_back("location", "/operations/" + operation.id);
  return response;
}

}  // namespace

void Api::Impl::add_restore(http::Router& router) {
  using http::Run;
  add(router, "POST", "/session/{}/backups", Run::inline_, Access::sessions, &Impl::begin_backup);
  add(router, "POST", "/session/{}/restore", Run::inline_, Access::sessions, &Impl::restore);
  add(router, "POST", "/backups/{}/restore", Run::inline_, Access::sessions, &Impl::restore_as_new);
}

void Api::Impl::begin_backup(const Request& request, const Responder& respond, const PrincipalView& who) {
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  if (auto refusal = refuse_members(body.json)) return respond(*std::move(refusal));
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  const bool dry_run = options->dry_run;
  engine_.backup(view->session.id, "request", *std::move(options), [respond, dry_run](Result<SessionView> begun) {
    if (!begun.ok()) return respond(failure(begun.error()));
    const Operation& operation = *(*begun)->session.operation;
    Json answer = Json::object(
        {{"uuid", (*begun)->session.id}, {"backup_id", operation.backup_id}, {"status", "started"}, {"live", operation.live}});
    respond(begun_response(std::move(answer), operation, dry_run));
  });
}

void Api::Impl::restore(const Request& request, const Responder& respond, const PrincipalView& who) {
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  if (auto refusal = refuse_members(body.json, "backup_id")) return respond(*std::move(refusal));
  const std::string backup_id = body.json["backup_id"].as_string();
  if (backup_id.empty()) return respond(unprocessable("the body needs \"backup_id\", the id of the backup to restore"));
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  with_backup(backup_id, respond, who, [this, id = view->session.id, options = *options, respond](BackupRecord backup) {
    engine_.restore(id, std::move(backup), options, [this, options, respond](Result<SessionView> begun) {
      if (!begun.ok()) return respond(failure(begun.error()));
      const Session& session = (*begun)->session;
      const std::string source = session.operation->source ? session.operation->source->backup_id : std::string();
      if (!options.dry_run)
        (void)audit({options.actor, "session.restore", session.id, "accepted", Json::object({{"backup_id", source}})});
      Json answer = Json::object({{"uuid", session.id}, {"backup_id", source}, {"status", "restoring"}});
      respond(begun_response(std::move(answer), *session.operation, options.dry_run));
    });
  });
}

void Api::Impl::restore_as_new(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  if (auto refusal = refuse_members(body.json, "user_id")) return respond(*std::move(refusal));
  const std::string wanted = body.json["user_id"].as_string();
  if (!wanted.empty() && !who->sees(wanted))
    return respond(http::problem(403, "the key \"" + who->name + "\" creates sessions of its own user only"));
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  with_backup(request.parameters[0], respond, who, [this, wanted, options = *options, respond](BackupRecord backup) {
    const std::string user = wanted.empty() ? backup.user_id : wanted;
    if (const Status valid = validate_user_id(user); !valid.ok()) return respond(unprocessable(valid.error().message));
    const std::string source = backup.id;
    engine_.restore_as_new(std::move(backup), user, options, [this, source, options, respond](Result<SessionView> made) {
      if (!made.ok()) return respond(failure(made.error()));
      const Session& session = (*made)->session;
      if (!options.dry_run)
        (void)audit({options.actor, "backup.restore", session.id, "accepted", Json::object({{"backup_id", source}})});
      auto answer = Json::parse(created_body(session, hooks_.workspace_url(session.id), options.dry_run));
      if (!answer.ok()) return respond(failure(answer.error()));
      if (session.operation) answer->set("operation", "/operations/" + session.operation->id);
      http::Response response = http::Response::json(options.dry_run ? 200 : 201, *answer);
      response.headers.emplace_back("etag", etag((*made)->revision));
      if (!options.dry_run) response.headers.emplace_back("location", "/session/" + session.id);
      respond(std::move(response));
    });
  });
}

}  // namespace roost::api
