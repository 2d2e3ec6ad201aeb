#include "api/bodies.hpp"
#include "api/impl.hpp"

namespace roost::api {
namespace {

// A body without members: what is not known is refused, so that a wish that means nothing is not passed over.
std::optional<http::Response> refuse_members(const Json& body) {
  if (body.members().empty()) return std::nullopt;
  return unprocessable("the body must be empty or {}: \"" + body.members().front().first + "\" is not known");
}

}  // namespace

void Api::Impl::add_restore(http::Router& router) {
  using http::Run;
  add(router, "POST", "/session/{}/backups", Run::inline_, Access::sessions, &Impl::begin_backup);
}

void Api::Impl::begin_backup(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  if (auto refusal = refuse_members(body.json)) return respond(*std::move(refusal));
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  const bool dry_run = options->dry_run;
  engine_.backup(view->session.id, "request", *std::move(options), [respond, dry_run](Result<SessionView> begun) {
    if (!begun.ok()) return respond(failure(begun.error()));
    const Operation& operation = *(*begun)->session.operation;
    Json answer = Json::object({{"uuid", (*begun)->session.id},
                                {"operation", "/operations/" + operation.id},
                                {"backup_id", operation.backup_id},
                                {"status", "started"},
                                {"live", operation.live}});
    if (dry_run) return respond(http::Response::json(200, answer.set("dry_run", true)));
    http::Response response = http::Response::json(202, answer);
    response.headers.emplace_back("location", "/operations/" + operation.id);
    respond(std::move(response));
  });
}

}  // namespace roost::api
