#include "gateway/gateway.hpp"

#include <algorithm>
#include <atomic>

#include "base/crypto.hpp"
#include "gateway/login.hpp"
#include "gateway/pages.hpp"

namespace roost::gateway {
namespace {

constexpr std::string_view kId = "{uuid}";
constexpr std::string_view kPort = "{port}";
constexpr std::size_t kIdLength = 8;
constexpr std::string_view kOwnPrefix = "/.roost/";
constexpr std::string_view kLoginPath = "/.roost/login";
constexpr int kRefreshSeconds = 2;

bool valid_id(std::string_view id) {
  return id.size() == kIdLength &&
         std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string replace(std::string text, std::string_view what, std::string_view with) {
  const auto at = text.find(what);
  if (at != std::string::npos) text.replace(at, what.size(), with);
  return text;
}

bool contains(std::string_view text, std::string_view what) { return text.find(what) != std::string_view::npos; }
bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

bool safe_method(std::string_view method) { return method == "GET" || method == "HEAD" || method == "OPTIONS"; }

bool is_upgrade(const http::Request& request) { return !request.header("upgrade").empty(); }

// A person who looks at a browser's window, rather than a script, an image or a WebSocket of a page that is open already.
bool wants_page(const http::Request& request) {
  if (request.method != "GET" && request.method != "HEAD") return false;
  return !is_upgrade(request) && contains(request.header("accept"), "text/html");
}

// Whether a request to a sleeping session wakes it. A tab that was left open keeps trying to reconnect: were that a visit, no
// workspace with a forgotten tab would ever stay asleep.
bool is_visit(const http::Request& request) {
  if ((request.method != "GET" && request.method != "HEAD") || is_upgrade(request)) return false;
  const std::string_view mode = request.header("sec-fetch-mode");
  return mode.empty() || mode == "navigate";
}

// Without the port where it is the scheme's own, as browsers write an origin.
std::string_view without_default_port(std::string_view host, std::string_view scheme) {
  const std::string_view suffix = scheme == "https" ? ":443" : ":80";
  if (host.size() > suffix.size() && host.substr(host.size() - suffix.size()) == suffix) host.remove_suffix(suffix.size());
  return host;
}

}  // namespace

class Gateway::Impl {
 public:
  Impl(Options given, Workspaces workspaces, Clock& clock, Random& random)
      : options(std::move(given)),
        sessions(std::move(workspaces)),
        clock_(clock),
        random_(random),
        port(options.port),
        nobodys_secret_(random.hex(32)),
        scheme_(options.url_pattern.substr(0, options.url_pattern.find(':'))),
        secure_(scheme_ == "https" || local()) {
    const auto at = options.host_pattern.find(kId);
    prefix_ = options.host_pattern.substr(0, at);
    suffix_ = at == std::string::npos ? "" : options.host_pattern.substr(at + kId.size());
  }

  // The session that a Host header names; "" where it names none.
  [[nodiscard]] std::string_view id_of(std::string_view host) const;
  [[nodiscard]] std::string url(const std::string& id) const;
  [[nodiscard]] http::ProxyDecision decide(const http::Request& request);
  [[nodiscard]] std::int64_t now_s() const { return clock_.wall_us() / 1'000'000; }

  const Options options;
  const Workspaces sessions;
  Clock& clock_;
  Random& random_;
  UsedTokens used;
  std::atomic<std::uint16_t> port;

 private:
  // http://localhost and its names are origins that browsers trust: see cookie_name().
  [[nodiscard]] bool local() const { return options.host_pattern.ends_with(".localhost") || options.host_pattern == "localhost"; }
  // The same work is done for a session that does not exist, so that the time tells nothing.
  [[nodiscard]] const std::string& secret_of(const std::optional<Workspace>& workspace) const {
    return workspace ? workspace->login_secret : nobodys_secret_;
  }
  [[nodiscard]] bool logged_in(const http::Request& request, const std::string& id,
                               const std::optional<Workspace>& workspace) const;
  [[nodiscard]] http::Response login(const http::Request& request, const std::string& id,
                                     const std::optional<Workspace>& workspace, bool has_cookie);
  [[nodiscard]] std::string_view origin_refusal(const http::Request& request) const;
  [[nodiscard]] static http::Response explain(const http::Request& request, const Page& page);
  [[nodiscard]] http::Response not_ready(const http::Request& request, const std::string& id, const Workspace& workspace) const;
  [[nodiscard]] http::ProxyDecision forward(const http::Request& request, const std::string& id,
                                            const Workspace& workspace) const;

  const std::string nobodys_secret_;
  const std::string scheme_;
  const bool secure_;
  std::string prefix_;
  std::string suffix_;
};

std::string_view Gateway::Impl::id_of(std::string_view host) const {
  const auto colon = host.find(':');
  if (colon != std::string_view::npos) host = host.substr(0, colon);
  if (host.size() != prefix_.size() + kIdLength + suffix_.size()) return {};
  if (!starts_with(host, prefix_) || host.substr(prefix_.size() + kIdLength) != suffix_) return {};
  const std::string_view id = host.substr(prefix_.size(), kIdLength);
  return valid_id(id) ? id : std::string_view{};
}

std::string Gateway::Impl::url(const std::string& id) const {
  return replace(replace(options.url_pattern, kId, id), kPort, std::to_string(port.load()));
}

bool Gateway::Impl::logged_in(const http::Request& request, const std::string& id,
                              const std::optional<Workspace>& workspace) const {
  std::string_view value;
  int seen = 0;
  for (const auto& [name, header] : request.headers) {
    if (name != "cookie") continue;
    const std::string_view found = find_cookie(header, cookie_name(secure_));
    if (found.empty()) continue;
    value = found;
    ++seen;
  }
  if (seen != 1) return false;
  return verify_cookie(value, secret_of(workspace), id, now_s()) && workspace.has_value();
}

http::Response Gateway::Impl::explain(const http::Request& request, const Page& page) {
  if (wants_page(request)) return render(page);
  http::Response response = http::problem(page.status, page.text);
  if (page.refresh_s > 0) response.headers.emplace_back("retry-after", std::to_string(page.refresh_s));
  add_own_headers(response);
  return response;
}

std::string_view Gateway::Impl::origin_refusal(const http::Request& request) const {
  const bool upgrade = is_upgrade(request);
  if (!upgrade && safe_method(request.method)) return {};
  const std::string_view origin = request.header("origin");
  if (!origin.empty()) {
    const std::string_view host = without_default_port(request.host, scheme_);
    const bool same = origin.size() == scheme_.size() + 3 + host.size() && starts_with(origin, scheme_) &&
                      origin.substr(scheme_.size(), 3) == "://" && origin.substr(scheme_.size() + 3) == host;
    return same ? std::string_view{} : "the request comes from a page of another origin";
  }
  if (upgrade) return "a WebSocket needs an Origin header";
  // A browser says Origin with every unsafe request; what has none and no Sec-Fetch-Site is no browser.
  const std::string_view site = request.header("sec-fetch-site");
  return site.empty() || site == "same-origin" || site == "none" ? std::string_view{}
                                                                 : "the request comes from a page of another origin";
}

http::Response Gateway::Impl::login(const http::Request& request, const std::string& id,
                                    const std::optional<Workspace>& workspace, bool has_cookie) {
  if (request.method != "GET") {  // a preview (HEAD) must not use the link up
    http::Response response = http::problem(405, "an access link is opened with GET");
    response.headers.emplace_back("allow", "GET");
    add_own_headers(response);
    return response;
  }
  const bool redeemed = used.redeem(request.query_parameter("token"), secret_of(workspace), id, now_s()) && workspace.has_value();
  if (!redeemed && !has_cookie) {
    return explain(request, {401, "This access link is not valid", "It was used already, or it is older than a minute.",
                             "Open the workspace from where you got the link, to get a new one."});
  }
  http::Response response;
  response.status = 303;
  response.headers.emplace_back("location", options.landing);
  if (redeemed) {
    const std::string value = sign_cookie(workspace->login_secret, id, now_s(), now_s() + options.cookie_ttl_s);
    response.headers.emplace_back("set-cookie", set_cookie(value, secure_, options.cookie_ttl_s));
  }
  add_own_headers(response);
  return response;
}

http::Response Gateway::Impl::not_ready(const http::Request& request, const std::string& id, const Workspace& workspace) const {
  switch (workspace.state) {
    case Workspace::State::asleep:
      if (!is_visit(request)) {
        return explain(request, {503, "This workspace sleeps", "The workspace sleeps; opening its page wakes it.", {}, 30});
      }
      sessions.wake(id);
      return explain(request,
                     {503, "Waking your workspace", "It was asleep. Your files are as you left them.", {}, kRefreshSeconds});
    case Workspace::State::starting:
    case Workspace::State::ready:
      return explain(request, {503, "Starting your workspace", "This takes a few seconds; the page goes on by itself.",
                               workspace.reason, kRefreshSeconds});
    case Workspace::State::unavailable: break;
  }
  return explain(request, {410, "This workspace is not available", "It cannot be opened now.", workspace.reason});
}

http::ProxyDecision Gateway::Impl::forward(const http::Request& request, const std::string& id,
                                           const Workspace& workspace) const {
  http::ProxyDecision decision;
  http::Upstream upstream;
  upstream.address = workspace.endpoint;
  upstream.set_headers = workspace.forward_headers;
  upstream.set_headers.emplace_back("x-forwarded-proto", scheme_);
  upstream.remove_headers = {"x-api-key"};
  upstream.remove_cookie = cookie_name(secure_);
  upstream.on_traffic = [touch = sessions.touch, id](std::int64_t, std::int64_t) { touch(id); };
  decision.upstream = std::move(upstream);
  // What decides about the page is taken along, for the request is gone by then.
  http::Request shape;
  shape.method = request.method;
  shape.headers = {{"accept", std::string(request.header("accept"))}};
  if (is_upgrade(request)) shape.headers.emplace_back("upgrade", "1");
  decision.on_upstream_error = [shape](const Error& error) {
    if (error.code == Code::deadline)
      return explain(shape, {504, "Your workspace does not answer", "It took too long to answer.", {}});
    return explain(shape,
                   {503, "Starting your workspace", "It does not answer yet; the page goes on by itself.", {}, kRefreshSeconds});
  };
  return decision;
}

http::ProxyDecision Gateway::Impl::decide(const http::Request& request) {
  http::ProxyDecision decision;
  const std::string id(id_of(request.host));
  const std::optional<Workspace> workspace = sessions.lookup(id);
  const bool has_cookie = logged_in(request, id, workspace);
  if (request.path == kLoginPath) {
    decision.answer = login(request, id, workspace, has_cookie);
  } else if (!has_cookie) {
    decision.answer = explain(request, {401, "This workspace is private", "Open it with an access link to log in.",
                                        "Whoever runs Roost for you can make one: it works once and for one minute."});
  } else if (const std::string_view refusal = origin_refusal(request); !refusal.empty()) {
    decision.answer = http::problem(403, refusal);
    add_own_headers(*decision.answer);
  } else if (starts_with(request.path, kOwnPrefix)) {
    decision.answer =
        explain(request, {404, "There is nothing here", "This address belongs to the gateway, and holds nothing.", {}});
  } else if (workspace->state == Workspace::State::ready && !workspace->endpoint.empty()) {
    return forward(request, id, *workspace);
  } else {
    decision.answer = not_ready(request, id, *workspace);
  }
  return decision;
}

Gateway::Gateway(Options options, Workspaces workspaces, Clock& clock, Random& random)
    : impl_(std::make_shared<Impl>(std::move(options), std::move(workspaces), clock, random)) {}

Gateway::~Gateway() = default;

Status Gateway::validate(const Options& options) {
  const auto once = [](std::string_view text, std::string_view what) {
    const auto at = text.find(what);
    return at != std::string_view::npos && text.find(what, at + 1) == std::string_view::npos;
  };
  if (!once(options.host_pattern, kId)) return Error{Code::invalid, "workspaces.host_pattern must hold {uuid} once", 0};
  for (const char c : replace(options.host_pattern, kId, "")) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
    if (!good) return Error{Code::invalid, "workspaces.host_pattern must be a host name in lower case, without a port", 0};
  }
  if (!once(options.url_pattern, kId)) return Error{Code::invalid, "workspaces.url_pattern must hold {uuid} once", 0};
  if (!starts_with(options.url_pattern, "http://") && !starts_with(options.url_pattern, "https://")) {
    return Error{Code::invalid, "workspaces.url_pattern must begin with http:// or https://", 0};
  }
  if (options.url_pattern.back() == '/') return Error{Code::invalid, "workspaces.url_pattern must not end with a slash", 0};
  if (!starts_with(options.landing, "/") || starts_with(options.landing, "//")) {
    return Error{Code::invalid, "workspaces.landing must be a path that begins with one slash", 0};
  }
  return {};
}

http::VirtualServer Gateway::virtual_server() {
  http::VirtualServer server;
  server.accepts = [impl = impl_](std::string_view host) { return !impl->id_of(host).empty(); };
  server.proxy = [impl = impl_](const http::Request& request) { return impl->decide(request); };
  return server;
}

Result<std::string> Gateway::access_url(const std::string& id) {
  const std::optional<Workspace> workspace = valid_id(id) ? impl_->sessions.lookup(id) : std::nullopt;
  if (!workspace) return Error{Code::not_found, "there is no session " + id, 0};
  const std::int64_t expires_s = impl_->now_s() + impl_->options.token_ttl_s;
  return impl_->url(id) + std::string(kLoginPath) +
         "?token=" + sign_token(workspace->login_secret, id, impl_->random_, expires_s);
}

std::string Gateway::workspace_url(const std::string& id) const { return impl_->url(id); }
void Gateway::set_port(std::uint16_t port) { impl_->port = port; }

}  // namespace roost::gateway
