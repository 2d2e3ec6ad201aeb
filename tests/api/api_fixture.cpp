#include "api/api_fixture.hpp"

#include "base/crypto.hpp"

namespace roost::api {
namespace {

simulation::Faults none() {
  simulation::Faults faults;
  faults.unavailable = faults.lost_answer = faults.lost_request = faults.late = faults.slow = faults.bad_start =
      faults.workload_dies = faults.task_killed = faults.task_late_killed = faults.corrupt = faults.unreadable =
          faults.disk_full = faults.task_vanishes = faults.task_hangs = faults.stale_result = faults.cancelled_watch =
              faults.expired_watch = 0;
  return faults;
}

std::string token_of(const Session& session) {
  return to_hex(hmac_sha256("master", "token:" + session.id + ":" + session.secret_nonce));
}

KeySpec spec(std::string name, std::string_view key, std::string scope, std::string user = {}) {
  return {std::move(name), to_hex(sha256(key)), {std::move(scope)}, std::move(user)};
}

}  // namespace

Options ApiFixture::options(Rate rate, Rate peer_failures) const {
  Options made;
  made.keys =
      *KeyRing::make({spec("admin", kAdmin, "admin"), spec("sessions", kSessions, "sessions"), spec("read", kRead, "read"),
                      spec("alice", kAlice, "sessions", "alice"), spec("alice-reads", kAliceReads, "read", "alice")},
                     rate);
  made.peer_failures = peer_failures;
  return made;
}

ApiFixture::ApiFixture(Rate rate, Rate peer_failures, EngineOptions engine) : world(simulator, none()) {
  engine.sessions_per_user = 5;
  engine.workspace_token = token_of;
  replica = std::make_unique<simulation::Replica>(world, engine);
  Hooks hooks;
  hooks.access_url = [](const std::string& id) -> Result<std::string> {
    return "http://vs-code-" + id + ".localhost/.roost/login?token=t";
  };
  hooks.workspace_url = [](const std::string& id) { return "http://vs-code-" + id + ".localhost:8080"; };
  hooks.workspace_token = token_of;
  hooks.metrics = [] { return std::string("roost_sessions 0\n"); };
  hooks.audit = [this](const AuditNote& note) -> Status {
    if (audit_fails) return Error{Code::exhausted, "the disk is full", 0};
    audit.push_back(note);
    return {};
  };
  hooks.version = "0.0.0";
  hooks.read_archive = [this](const std::string& archive, std::int64_t offset, std::int64_t length,
                              const Done<std::string>& done) {
    done(read_archive ? read_archive(archive, offset, length) : Result<std::string>(Code::not_found, "no such archive"));
  };
  hooks.backup_place = [] { return std::string("backup-simulated"); };
  api = std::make_unique<Api>(replica->engine(), simulator, random, std::move(hooks), options(rate, peer_failures));
  api->register_routes(router);
  gatekeeper = api->gatekeeper();
  replica->engine().on_event([this](const Event& event) { api->publish(event); });
  replica->engine().start();
  EXPECT_TRUE(until([this] { return replica->engine().ready().ok(); })) << replica->engine().ready().error().message;
}

std::shared_ptr<PendingAnswer> ApiFixture::send(const std::string& method, const std::string& target, const Call& with) {
  auto pending = std::make_shared<PendingAnswer>();
  pending->slow = std::exchange(next_stream_is_slow, false);
  http::Request request;
  request.method = method;
  request.target = target;
  const std::size_t mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string::npos) request.query = target.substr(mark + 1);
  request.peer = with.peer;
  request.headers = with.headers;
  if (!with.key.empty()) request.headers.emplace_back("x-api-key", with.key);
  request.body = with.body;
  const http::Router::Match match = router.match(method, request.path);
  if (match.route == nullptr) {
    pending->respond(http::problem(match.allow.empty() ? 404 : 405, "no such route"));
    return pending;
  }
  request.parameters = match.parameters;
  if (auto refusal = gatekeeper(request, *match.route))
    pending->respond(*std::move(refusal));
  else
    match.route->handler(request, http::Responder(pending));
  return pending;
}

Answer ApiFixture::call(const std::string& method, const std::string& target, const Call& with) {
  const auto pending = send(method, target, with);
  until([&] { return pending->answer.status != 0; });
  return pending->answer;
}

void ApiFixture::pass_ms(std::int64_t ms) {
  const std::int64_t end_ns = simulator.monotonic_ns() + ms * 1'000'000;
  while (simulator.step(end_ns)) {
  }
}

std::string ApiFixture::create(const std::string& user, bool running) {
  const Answer made = post("/session/create", Json::object({{"user_id", user}}).dump());
  EXPECT_EQ(made.status, 201) << made.body;
  const std::string id = made.json()["uuid"].as_string();
  if (!running) return id;
  EXPECT_TRUE(until_phase(id, Phase::running));
  return id;
}

bool ApiFixture::until_phase(const std::string& id, Phase phase) {
  return until([&] {
    const SessionView view = replica->engine().reads().find(id);
    return view && view->session.phase == phase;
  });
}

std::string ApiFixture::workspace_token(const std::string& id) {
  return workspace_token(replica->engine().reads().find(id)->session);
}
std::string ApiFixture::workspace_token(const Session& session) { return token_of(session); }

}  // namespace roost::api
