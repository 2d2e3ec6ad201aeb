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

std::optional<http::Response> Api::Impl::refuse_failed(State& state, const Request& request, bool had_key) {
  const std::int64_t now_ns = clock_.monotonic_ns();
  if (state.failures_audited.take(now_ns) == 0) {
    const std::int64_t unaudited = state.failures_unaudited.exchange(0);
    (void)audit(
        {"", "authentication", "", "refused",
         Json::object({{"peer", request.peer}, {"key", had_key ? "unknown" : "missing"}, {"not_recorded_before", unaudited}})});
  } else {
    ++state.failures_unaudited;
  }
  if (const std::int64_t wait_ns = state.failures.take(request.peer, now_ns); wait_ns > 0) {
    return too_many("too many failed authentications from this address; check the key, then try again", wait_ns);
  }
  http::Response response =
      http::problem(401, had_key ? "this API key is not known here" : "an API key is needed: send it in the header X-API-Key");
  response.headers.emplace_back("www-authenticate", "Bearer realm=\"roost\"");
  return response;
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
  if (!who && access == Access::consumer) who = consumer(request, key);
  if (!who) return refuse_failed(*state, request, !key.empty());

  if (!who->session.empty()) {  // found for this very session; it has no scope to compare
    if (const std::int64_t wait_ns = state->consumers.take(who->session, clock_.monotonic_ns()); wait_ns > 0) {
      return too_many("this workspace asks for messages too often; claim with wait_s", wait_ns);
    }
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
