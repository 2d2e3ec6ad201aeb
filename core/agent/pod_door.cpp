#include "agent/pod_door.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "agent/serve_posix.hpp"
#include "base/crypto.hpp"
#include "http/server.hpp"

namespace roost::agent {
namespace {

constexpr std::int64_t kAskMs = 2000;
constexpr std::size_t kMaxAnswer = 64 << 10;

// One question to the supervisor, which answers at once: a line each way.
Result<std::string> ask_supervisor(const std::string& path, std::string_view question) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return Error{Code::invalid, path + ": too long for a socket", 0};
  std::memcpy(address.sun_path, path.data(), path.size());
  const Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.open() || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_error(path);
  if (::send(fd.get(), question.data(), question.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(question.size()))
    return errno_error(path);
  const std::int64_t deadline_ms = monotonic_ms() + kAskMs;
  std::string answer;
  while (answer.find('\n') == std::string::npos && answer.size() < kMaxAnswer) {
    if (!wait_for(fd.get(), POLLIN, deadline_ms)) return Error{Code::deadline, "the supervisor does not answer", 0};
    char buffer[4096];
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) return Error{Code::unavailable, "the supervisor closed the connection", 0};
    answer.append(buffer, static_cast<std::size_t>(n));
  }
  return answer.substr(0, answer.find('\n'));
}

// The only session that lives here.
gateway::Workspaces one_workspace(const DoorSpec& spec) {
  gateway::Workspaces workspaces;
  workspaces.lookup = [&spec](const std::string& id) -> std::optional<gateway::Workspace> {
    if (id != spec.id) return std::nullopt;
    gateway::Workspace workspace;
    workspace.state = spec.ready->load() ? gateway::Workspace::State::ready : gateway::Workspace::State::starting;
    workspace.endpoint = "unix:" + spec.front;
    workspace.login_secret = spec.login_secret;
    return workspace;
  };
  workspaces.wake = [](const std::string&) {};
  workspaces.touch = [](const std::string&) {};  // the front sees it
  return workspaces;
}

void answer_probe(const DoorSpec& spec, const http::Responder& respond) {
  if (spec.ready->load()) return respond(http::Response::json(200, Json::object({{"status", "ready"}})));
  respond(http::problem(503, "the workspace's program does not answer yet; its output is in the container's log"));
}

void answer_activity(const DoorSpec& spec, const http::Request& request, const http::Responder& respond) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view authorization = request.header("authorization");
  const bool known = authorization.starts_with(kBearer) && !spec.token.empty() &&
                     constant_time_equal(authorization.substr(kBearer.size()), spec.token);
  if (!known) return respond(http::problem(401, "this needs the session's token: Authorization: Bearer TOKEN"));
  auto answer = ask_supervisor(spec.control, "{\"op\":\"activity\"}\n");
  if (!answer) return respond(http::problem(answer.error()));
  respond(http::Response::json_text(200, *std::move(answer)));
}

void add_routes(http::Router& router, const DoorSpec& spec) {
  router.add({"GET", "/.roost/healthz", http::Run::inline_,
              [&spec](const http::Request&, const http::Responder& respond) { answer_probe(spec, respond); }});
  router.add(
      {"GET", "/.roost/activity", http::Run::pooled,
       [&spec](const http::Request& request, const http::Responder& respond) { answer_activity(spec, request, respond); }});
}

}  // namespace

Result<gateway::Options> door_options(const DoorSpec& spec) {
  gateway::Options options;
  options.url_pattern = spec.url;
  const std::size_t scheme = spec.url.find("://");
  const std::size_t id = spec.url.find(spec.id);
  const std::size_t end = scheme == std::string::npos ? scheme : spec.url.find_first_of(":/?#", scheme + 3);
  if (spec.id.empty() || scheme == std::string::npos || id < scheme + 3 || id >= std::min(end, spec.url.size())) {
    return Error{Code::invalid, "the workspace's URL \"" + spec.url + "\" must hold its id " + spec.id + " in its host name", 0};
  }
  options.url_pattern.replace(id, spec.id.size(), "{uuid}");
  const std::size_t host = scheme + 3;
  options.host_pattern = options.url_pattern.substr(host, options.url_pattern.find_first_of(":/?#", host) - host);
  ROOST_CHECK(gateway::Gateway::validate(options));
  return options;
}

Status run_door(const DoorSpec& spec) {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  ::pthread_sigmask(SIG_SETMASK, &signals, nullptr);  // before any thread: they inherit it
  ROOST_TRY(gateway::Options options, door_options(spec));
  gateway::Gateway gateway(std::move(options), one_workspace(spec), system_clock(), system_random());
  http::Router router;
  add_routes(router, spec);
  std::vector<http::VirtualServer> virtual_servers;
  virtual_servers.push_back(gateway.virtual_server());
  http::VirtualServer own;
  own.accepts = [](std::string_view) { return true; };  // by address: kubelet, and roostd
  own.router = &router;
  virtual_servers.push_back(std::move(own));
  http::ServerOptions server_options;
  server_options.listen = spec.listen;
  server_options.loops = 1;
  server_options.pool_threads = 1;
  server_options.connections = 4096;
  server_options.connections_per_peer = 4096;  // they all come from the ingress controller
  server_options.drain_deadline = std::chrono::milliseconds(2000);
  http::Server server(std::move(server_options), std::move(virtual_servers));
  ROOST_CHECK(server.start());
  int signal = 0;
  ::sigwait(&signals, &signal);
  server.stop();
  return {};
}

}  // namespace roost::agent
