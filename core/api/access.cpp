#include <algorithm>
#include <cctype>

#include "api/impl.hpp"

namespace roost::api {
namespace {

// X-API-Key, or Authorization: Bearer.
std::string_view presented_key(const http::Request& request) {
  const std::string_view key = request.header("x-api-key");
  if (!key.empty()) return key;
  const std::string_view authorization = request.header("authorization");
  constexpr std::string_view kBearer = "bearer ";  // a scheme's case does not matter (RFC 9110, 11.1)
  const bool bearer = authorization.size() > kBearer.size() &&
                      std::equal(kBearer.begin(), kBearer.end(), authorization.begin(), [](char wanted, char given) {
                        return wanted == static_cast<char>(std::tolower(static_cast<unsigned char>(given)));
                      });
  return bearer ? authorization.substr(kBearer.size()) : std::string_view{};
}

http::Response too_many(std::string_view detail, std::int64_t wait_ns) {
  http::Response response = http::problem(429, detail);
  const std::int64_t seconds = (wait_ns + 999'999'999) / 1'000'000'000;
  response.headers.emplace_back("retry-after", std::to_string(std::max<std::int64_t>(1, seconds)));
  return response;
}

http::Response unauthorized(bool had_key) {
  http::Response response =
      http::problem(401, had_key ? "this API key is not known here" : "an API key is needed: send it in the header X-API-Key");
  response.headers.emplace_back("www-authenticate", "Bearer realm=\"roost\"");
  return response;
}

Scope scope_for(Access access) { return access == Access::read || access == Access::metrics ? Scope::read : Scope::sessions; }

const PrincipalView& nobody() {
  static const PrincipalView principal = std::make_shared<Principal>();
  return principal;
}

}  // namespace

Access Api::Impl::access_of(const http::Route& route) const {
  const auto found = access_.find(route.pattern);
  if (found != access_.end()) {
    for (const Rule& rule : found->second) {
      if (rule.method == route.method) return rule.access;
    }
  }
  return Access::sessions;  // a route that is not ours: never open
}

// A workspace's token is nowhere stored: the path names the session, and the token is derived from it again.
PrincipalView Api::Impl::consumer(const Request& request, std::string_view key) const {
  constexpr std::string_view kPrefix = "/session/";
  if (!hooks_.workspace_token || key.empty() || !request.path.starts_with(kPrefix)) return nullptr;
  const std::string_view id = std::string_view(request.path).substr(kPrefix.size(), 8);
  const SessionView view = valid_session_id(id) ? engine_.reads().find(id) : nullptr;
  if (!view || !constant_time_equal(hooks_.workspace_token(view->session), key)) return nullptr;
  auto principal = std::make_shared<Principal>();
  principal->name = "workspace";
  principal->user = view->session.user_id;
  principal->session = view->session.id;
  return principal;
}

void Api::Impl::audit_failed(State& state, const Request& request, bool had_key) {
  if (state.failures_audited.take(clock_.monotonic_ns()) != 0) {
    ++state.failures_unaudited;
    return;
  }
  const std::int64_t unaudited = state.failures_unaudited.exchange(0);
  (void)audit(
      {"", "authentication", "", "refused",
       Json::object({{"peer", request.peer}, {"key", had_key ? "unknown" : "missing"}, {"not_recorded_before", unaudited}})});
}

std::optional<http::Response> Api::Impl::refuse_many_failures(State& state, const Request& request) {
  const std::int64_t wait_ns = state.failures.take(request.peer, clock_.monotonic_ns());
  if (wait_ns <= 0) return std::nullopt;
  return too_many("too many failed authentications from this address; check the key, then try again", wait_ns);
}

std::optional<http::Response> Api::Impl::refuse_failed(State& state, const Request& request, bool had_key) {
  audit_failed(state, request, had_key);
  if (auto limited = refuse_many_failures(state, request)) return limited;
  return unauthorized(had_key);
}

std::optional<http::Response> Api::Impl::refuse_hurry(State& state, const Principal& workspace) {
  const std::int64_t wait_ns = state.consumers.take(workspace.session, clock_.monotonic_ns());
  if (wait_ns <= 0) return std::nullopt;
  return too_many("this workspace asks for messages too often; claim with wait_s", wait_ns);
}

// Whoever makes the store be read counts as one who failed, so that invented keys do not make it be read without end.
std::optional<http::Response> Api::Impl::admit_unproven(State& state, const Request& request) {
  if (auto limited = refuse_many_failures(state, request)) return limited;
  static const PrincipalView unproven = [] {
    auto principal = std::make_shared<Principal>();
    principal->unproven = true;
    return principal;
  }();
  request.context = unproven;
  return std::nullopt;
}

void Api::Impl::prove(const Request& request, const Responder& respond, Method handler) {
  auto kept = std::make_shared<const Request>(request);
  engine_.look(kept->parameters[0], [this, kept, respond, handler](Result<SessionView> found) {
    if (!found.ok() && found.error().code != Code::not_found) return respond(failure(found.error()));
    const std::shared_ptr<State> state = state_.load();
    const PrincipalView who = consumer(*kept, presented_key(*kept));
    if (!who) {
      audit_failed(*state, *kept, true);
      return respond(unauthorized(true));
    }
    if (auto refused = refuse_hurry(*state, *who)) return respond(*std::move(refused));
    (this->*handler)(*kept, respond, who);
  });
}

std::optional<http::Response> Api::Impl::admit(const Request& request, const http::Route& route) {
  const Access access = access_of(route);
  if (access == Access::open) {
    request.context = nobody();
    return std::nullopt;
  }
  const std::shared_ptr<State> state = state_.load();
  if (access == Access::metrics && state->options.open_metrics) {
    request.context = nobody();
    return std::nullopt;
  }
  const std::string_view key = presented_key(request);
  PrincipalView who = state->options.keys ? state->options.keys->find(key) : nullptr;
  if (!who && access == Access::consumer) {
    who = consumer(request, key);
    if (!who && !key.empty() && must_look(request)) return admit_unproven(*state, request);
  }
  if (!who) return refuse_failed(*state, request, !key.empty());

  if (!who->session.empty()) {  // found for this very session; it has no scope to compare
    if (auto refused = refuse_hurry(*state, *who)) return refused;
  } else {
    if (!who->may(scope_for(access))) {
      return http::problem(403, "the key \"" + who->name + "\" has the scope " + std::string(to_string(who->scope)) +
                                    "; this needs " + std::string(to_string(scope_for(access))));
    }
    if (const std::int64_t wait_ns = who->bucket->take(clock_.monotonic_ns()); wait_ns > 0) {
      return too_many("the key \"" + who->name + "\" is over its rate limit (limits.rate)", wait_ns);
    }
  }
  request.context = std::move(who);
  return std::nullopt;
}

}  // namespace roost::api
