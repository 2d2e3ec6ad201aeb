#include "api/bodies.hpp"
#include "api/impl.hpp"

namespace roost::api {
namespace {

constexpr std::int64_t kPage = 100, kMaxPage = 1000;
constexpr std::int64_t kCatchUpMs = 2'000;  // a list waits so long for a read model that follows the store

http::Response with_etag(int status, std::string body, std::uint64_t revision) {
  http::Response response = http::Response::json_text(status, std::move(body));
  response.headers.emplace_back("etag", etag(revision));
  return response;
}

}  // namespace

void Api::Impl::add_sessions(http::Router& router) {
  using http::Run;
  add(router, "POST", "/session/create", Run::inline_, Access::sessions, &Impl::create);
  add(router, "GET", "/session/{}/status", Run::inline_, Access::read, &Impl::status);
  add(router, "POST", "/session/{}/sleep", Run::inline_, Access::sessions, &Impl::sleep);
  add(router, "POST", "/session/{}/wake", Run::inline_, Access::sessions, &Impl::wake);
  add(router, "POST", "/session/{}/scale", Run::inline_, Access::sessions, &Impl::scale);
  add(router, "DELETE", "/session/{}", Run::pooled, Access::sessions, &Impl::remove);
  add(router, "GET", "/session/{}", Run::inline_, Access::read, &Impl::get);
  add(router, "GET", "/session/{}/access", Run::inline_, Access::sessions, &Impl::access);
  add(router, "POST", "/session/{}/access", Run::inline_, Access::sessions, &Impl::access);
  add(router, "GET", "/sessions", Run::pooled, Access::read, &Impl::list);
  add(router, "GET", "/operations/{}", Run::inline_, Access::read, &Impl::operation);
}

void Api::Impl::create(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  const Json* user = body.json.find("user_id");
  if (!user || !user->is_string())
    return respond(unprocessable("the body needs \"user_id\", a string, for example {\"user_id\": \"user@example.com\"}"));
  const std::string user_id = user->as_string();
  if (const Status valid = validate_user_id(user_id); !valid.ok()) return respond(unprocessable(valid.error().message));
  if (!who->sees(user_id))
    return respond(http::problem(403, "the key \"" + who->name + "\" creates sessions of its own user only"));
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  const bool dry_run = options->dry_run;
  engine_.create(user_id, *std::move(options), [this, respond, dry_run](Result<SessionView> made) {
    if (!made.ok()) return respond(failure(made.error()));
    const SessionSnapshot& snapshot = **made;
    http::Response response =
        with_etag(dry_run ? 200 : 201, created_body(snapshot.session, hooks_.workspace_url(snapshot.session.id), dry_run),
                  snapshot.revision);
    if (!dry_run) response.headers.emplace_back("location", "/session/" + snapshot.session.id);
    respond(std::move(response));
  });
}

void Api::Impl::status(const Request& request, const Responder& respond, const PrincipalView& who) {
  const SessionView view = visible(request, respond, who);
  if (view) respond(with_etag(200, status_body(view->session), view->revision));
}

void Api::Impl::get(const Request& request, const Responder& respond, const PrincipalView& who) {
  const SessionView view = visible(request, respond, who);
  if (view) respond(with_etag(200, whole(*view, hooks_.workspace_url(view->session.id)).dump() + "\n", view->revision));
}

void Api::Impl::sleep(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  act(request, respond, who, {"sleep", "sleeping", "Pod queued for sleep"},
      [this](auto id, auto options, auto done) { engine_.sleep(std::move(id), std::move(options), std::move(done)); });
}

void Api::Impl::wake(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  act(request, respond, who, {"wake", "waking", ""},
      [this](auto id, auto options, auto done) { engine_.wake(std::move(id), std::move(options), std::move(done)); });
}

void Api::Impl::scale(const Request& request, const Responder& respond, const PrincipalView& who) {
  Body body = read_body(request);
  if (body.refusal) return respond(*std::move(body.refusal));
  const std::string direction = body.json["scale"].as_string();
  if (direction != "up" && direction != "down")
    return respond(unprocessable("the body needs \"scale\", either \"up\" or \"down\""));
  act(request, respond, who, {"scale_" + direction, "success", "Pod scaled " + direction},
      [this, up = direction == "up"](auto id, auto options, auto done) {
        engine_.scale(std::move(id), up, std::move(options), std::move(done));
      });
}

void Api::Impl::act(const Request& request, const Responder& respond, const PrincipalView& who, Action action,
                    const std::function<void(std::string id, CommandOptions, Done<SessionView>)>& run) {
  auto options = command_options(request, who->name);
  if (!options.ok()) return respond(http::problem(options.error()));
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  const bool dry_run = options->dry_run;
  run(view->session.id, *std::move(options), [respond, dry_run, action = std::move(action)](Result<SessionView> done) {
    if (!done.ok()) return respond(failure(done.error()));
    const SessionSnapshot& snapshot = **done;
    respond(
        with_etag(200, action_body(snapshot.session.id, action.name, action.status, action.message, dry_run), snapshot.revision));
  });
}

void Api::Impl::list(const Request& request, const Responder& respond, const PrincipalView& who) {
  if (!loaded())
    return respond(failure({Code::unavailable, "the sessions are still being loaded; /ready says when they are", 0}));
  const auto limit = query_number(request, "limit", kPage, 1, kMaxPage);
  if (!limit.ok()) return respond(http::problem(limit.error()));
  const std::string cursor = request.query_parameter("cursor");
  if (!cursor.empty() && !valid_session_id(cursor)) {
    return respond(http::problem(400, "the query parameter cursor must be the next_cursor of an earlier answer"));
  }
  std::string user = request.query_parameter(request.has_query_parameter("user_id") ? "user_id" : "user");
  if (!user.empty() && !who->sees(user)) {  // another's sessions do not exist for this key
    return respond(
        http::Response::json(200, Json::object({{"sessions", Json::array()}, {"count", 0}, {"next_cursor", nullptr}})));
  }
  if (user.empty()) user = who->user;
  const auto wanted = static_cast<std::size_t>(*limit);
  if (engine_.is_current()) return respond(page(cursor, wanted, user));
  engine_.await_current(kCatchUpMs, [this, cursor, wanted, user, respond](const Status& current) {
    if (!current.ok()) return respond(failure({Code::unavailable, "the list may be out of date: " + current.error().message, 0}));
    respond(page(cursor, wanted, user));
  });
}

http::Response Api::Impl::page(const std::string& cursor, std::size_t wanted, const std::string& user) const {
  auto views = engine_.reads().list(cursor, wanted + 1, user);
  const bool more = views.size() > wanted;
  if (more) views.resize(wanted);
  Json sessions = Json::array();
  for (const SessionView& view : views) sessions.push(summary(*view, hooks_.workspace_url(view->session.id)));
  return http::Response::json(200, Json::object({{"sessions", std::move(sessions)},
                                                 {"count", views.size()},
                                                 {"next_cursor", more ? Json(views.back()->session.id) : Json()}}));
}

void Api::Impl::access(const Request& request, const Responder& respond, const PrincipalView& who) {
  const SessionView view = visible(request, respond, who);
  if (!view) return;
  if (!hooks_.access_url) return respond(http::problem(501, "this server has no gateway for workspaces"));
  const auto url = hooks_.access_url(view->session.id);
  if (!url.ok()) return respond(failure(url.error()));
  respond(http::Response::json(200,
                               Json::object({{"uuid", view->session.id}, {"url", *url}, {"expires_in_s", hooks_.access_ttl_s}})));
}

}  // namespace roost::api
