#include "api/api.hpp"

#include "api/impl.hpp"

namespace roost::api {

Api::Api(Engine& engine, Clock& clock, Random& random, Hooks hooks, Options options)
    : impl_(std::make_unique<Impl>(engine, clock, random, std::move(hooks), std::move(options))) {}
Api::~Api() = default;

void Api::register_routes(http::Router& router) { impl_->register_routes(router); }

http::Gatekeeper Api::gatekeeper() {
  return [impl = impl_.get()](const http::Request& request, const http::Route& route) { return impl->admit(request, route); };
}

http::Headers Api::response_headers() {
  return {{"cache-control", "no-store"},
          {"x-content-type-options", "nosniff"},
          {"referrer-policy", "no-referrer"},
          {"content-security-policy", "default-src 'none'; frame-ancestors 'none'"}};
}

void Api::reconfigure(Options options) { impl_->reconfigure(std::move(options)); }
void Api::publish(const Event& event) { impl_->publish(event); }
void Api::heartbeat() { impl_->hub.heartbeat(); }
void Api::drain() { impl_->drain(); }
std::size_t Api::event_streams() const { return impl_->hub.streams(); }

Api::Impl::Impl(Engine& engine, Clock& clock, Random& random, Hooks hooks, Options options)
    : hub(random.hex(4), EventHub::Limits{}),
      engine_(engine),
      clock_(clock),
      hooks_(std::move(hooks)),
      state_(std::make_shared<State>(std::move(options))) {}

void Api::Impl::register_routes(http::Router& router) {
  add_sessions(router);
  add_backups(router);
  add_messages(router);
  add_restore(router);
  add_service(router);
}

void Api::Impl::add(http::Router& router, std::string method, std::string pattern, http::Run run, Access access, Method handler,
                    std::size_t body_limit) {
  access_[pattern].push_back({method, access});
  auto call = [this, handler](const Request& request, Responder respond) {
    auto who = std::static_pointer_cast<const Principal>(request.context);
    if (!who)
      return respond(http::problem(401, "an API key is needed: send it in the header X-API-Key"));  // no gatekeeper was asked
    if (who->unproven) return prove(request, respond, handler);
    if (!must_look(request)) return (this->*handler)(request, respond, who);
    look(request, respond, who, handler);
  };
  router.add({std::move(method), std::move(pattern), run, std::move(call), body_limit});
}

// Where other replicas write to the store too, a session that is not here may be there, and what is here may be old.
bool Api::Impl::must_look(const Request& request) const {
  if (request.parameters.empty() || !request.path.starts_with("/session/") || !valid_session_id(request.parameters[0]))
    return false;
  return !engine_.is_current() || (engine_.is_replicated() && !engine_.reads().find(request.parameters[0]));
}

void Api::Impl::look(const Request& request, const Responder& respond, const PrincipalView& who, Method handler) {
  auto kept = std::make_shared<const Request>(request);
  engine_.look(kept->parameters[0], [this, kept, respond, who, handler](Result<SessionView> found) {
    if (!found.ok() && found.error().code != Code::not_found) return respond(failure(found.error()));
    (this->*handler)(*kept, respond, who);
  });
}

void Api::Impl::reconfigure(Options options) {
  state_.store(std::make_shared<State>(std::move(options)));
  hub.end_all();
}

void Api::Impl::publish(const Event& event) {
  hub.publish(event);
  if (event.type == "session.deleted") (void)audit({"roostd", "session.deleted", event.session_id, "done", event.data});
  if (event.type.starts_with("backup."))
    (void)audit({"roostd", event.type, event.data["backup_id"].as_string(), "done", event.data});
}

void Api::Impl::drain() {
  draining_ = true;
  hub.end_all();
}

Status Api::Impl::audit(AuditNote note) const {
  if (!hooks_.audit) return {};
  return hooks_.audit(note);
}

http::Response Api::Impl::not_found(std::string_view id) { return http::problem(404, "there is no session " + std::string(id)); }

bool Api::Impl::loaded() {
  if (!loaded_ && engine_.ready().ok()) loaded_ = true;
  return loaded_;
}

http::Response Api::Impl::failure(Error error) {
  if (error.code == Code::invalid) return unprocessable(error.message);
  if (error.retry_after_ms == 0 && error.code == Code::exhausted) error.retry_after_ms = 10'000;
  if (error.retry_after_ms == 0 && error.code == Code::unavailable) error.retry_after_ms = 1'000;
  return http::problem(error);
}

SessionView Api::Impl::visible(const Request& request, const Responder& respond, const PrincipalView& who) {
  const std::string& id = request.parameters[0];
  if (!valid_session_id(id)) {
    respond(http::problem(404, "that is not a session's uuid: it has 8 digits, 0-9 and a-f in lower case"));
    return nullptr;
  }
  SessionView view = engine_.reads().find(id);
  if (!view)
    answer_missing(id, respond, who);
  else if (!who->sees(view->session.user_id))
    respond(not_found(id));
  else
    return view;
  return nullptr;
}

// Says when the session was deleted, where that is known and the caller may know it.
void Api::Impl::answer_missing(std::string id, const Responder& respond, const PrincipalView& who) {
  engine_.find_tombstone(id, [id, respond, who](Result<Tombstone> found) {
    if (!found.ok() && found.error().code != Code::not_found) return respond(failure(found.error()));
    if (!found.ok() || !who->sees(found->user_id)) return respond(not_found(id));
    respond(http::problem(404, "the session " + id + " was deleted at " + format_time(found->deleted_at_us),
                          Json::object({{"operation", "/operations/" + found->operation.id}})));
  });
}

}  // namespace roost::api
