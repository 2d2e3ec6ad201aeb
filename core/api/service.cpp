#include "api/bodies.hpp"
#include "api/impl.hpp"

namespace roost::api {

void Api::Impl::add_service(http::Router& router) {
  using http::Run;
  add(router, "GET", "/health", Run::probe, Access::open, &Impl::health);
  add(router, "GET", "/ready", Run::probe, Access::open, &Impl::ready);
  add(router, "GET", "/metrics", Run::probe, Access::metrics, &Impl::metrics);
  add(router, "GET", "/version", Run::inline_, Access::open, &Impl::version);
  add(router, "GET", "/openapi.json", Run::inline_, Access::open, &Impl::openapi);
  add(router, "GET", "/", Run::inline_, Access::open, &Impl::index);
  add(router, "GET", "/events", Run::inline_, Access::read, &Impl::events);
  add(router, "GET", "/session/{}/events", Run::inline_, Access::read, &Impl::session_events);
}

void Api::Impl::health(const Request&, const Responder& respond, const PrincipalView&) {
  // 200 all the same: to start this process anew would mend nothing.
  if (const Status ready = engine_.ready(); !ready.ok())
    return respond(http::Response::json(200, Json::object({{"status", "ok"}, {"not_ready", ready.error().message}})));
  respond(http::Response::json_text(200, "{\"status\":\"ok\"}\n"));
}

void Api::Impl::ready(const Request&, const Responder& respond, const PrincipalView&) {
  if (draining_) return respond(http::problem(503, "shutting down"));
  if (const Status ready = engine_.ready(); !ready.ok()) return respond(http::problem(503, ready.error().message));
  loaded_ = true;  // whoever was told so must not hear that the sessions are still being loaded
  respond(http::Response::json_text(200, "{\"status\":\"ready\"}\n"));
}

void Api::Impl::metrics(const Request&, const Responder& respond, const PrincipalView&) {
  http::Response response;
  response.headers.emplace_back("content-type", "text/plain; version=0.0.4; charset=utf-8");
  if (hooks_.metrics) response.body = hooks_.metrics();
  respond(std::move(response));
}

void Api::Impl::version(const Request&, const Responder& respond, const PrincipalView&) {
  respond(http::Response::json(200, Json::object({{"name", "roost"}, {"version", hooks_.version}, {"plugin_abi", "1"}})));
}

void Api::Impl::openapi(const Request&, const Responder& respond, const PrincipalView&) {
  respond(http::Response::json_text(200, std::string(openapi_json())));
}

void Api::Impl::index(const Request&, const Responder& respond, const PrincipalView&) {
  respond(http::Response::json(200, Json::object({{"name", "roost"},
                                                  {"version", hooks_.version},
                                                  {"api", "/openapi.json"},
                                                  {"health", "/health"},
                                                  {"ready", "/ready"},
                                                  {"metrics", "/metrics"},
                                                  {"sessions", "/sessions"}})));
}

void Api::Impl::events(const Request& request, const Responder& respond, const PrincipalView& who) {
  const std::string user = request.query_parameter("user_id");
  if (!user.empty() && !who->sees(user))
    return respond(http::problem(403, "the key \"" + who->name + "\" sees its own user only"));
  stream({"", user.empty() ? who->user : user}, request, respond);
}

void Api::Impl::session_events(const Request& request, const Responder& respond, const PrincipalView& who) {
  const SessionView view = visible(request, respond, who);
  if (view) stream({view->session.id, ""}, request, respond);
}

void Api::Impl::stream(EventHub::Filter filter, const Request& request, const Responder& respond) {
  if (draining_) return respond(http::problem(503, "shutting down"));
  if (const Status room = hub.room(); !room.ok()) return respond(failure(room.error()));
  http::Response head;
  head.headers.emplace_back("content-type", "text/event-stream; charset=utf-8");
  head.headers.emplace_back("x-accel-buffering", "no");
  const std::string last(request.header("last-event-id"));
  if (auto opened = respond.stream(std::move(head))) hub.subscribe(std::move(filter), last, std::move(opened));
}

}  // namespace roost::api
