// Who may do what: keys, scopes, bound users, a workspace's own token, limits.
#include <set>

#include "api/api_fixture.hpp"

namespace roost::api {
namespace {

class AccessTest : public ApiFixture {};

std::string with_id(std::string pattern, const std::string& id) {
  for (const char* value : {id.c_str(), "0000000000000001"}) {
    const std::size_t at = pattern.find("{}");
    if (at != std::string::npos) pattern.replace(at, 2, value);
  }
  return pattern;
}

TEST_F(AccessTest, EveryRouteNeedsAKeyButTheOpenOnes) {
  const std::set<std::string> open{"/", "/health", "/ready", "/metrics", "/version", "/openapi.json"};
  const std::string id = create("u", false);
  for (const http::Route& route : router.routes()) {
    const std::string target = with_id(route.pattern, id);
    const Answer without = call(route.method, target, {"", "", {}, "192.0.2.1"});
    const Answer wrong = call(route.method, target, {"wrong", "", {}, "192.0.2.1"});
    if (open.contains(route.pattern)) {
      EXPECT_EQ(without.status, 200) << route.pattern;
      continue;
    }
    EXPECT_EQ(without.status, 401) << route.method << " " << route.pattern;
    EXPECT_EQ(wrong.status, 401) << route.method << " " << route.pattern;
    EXPECT_EQ(without.header("www-authenticate"), "Bearer realm=\"roost\"");
    EXPECT_EQ(without.header("content-type"), "application/problem+json");
  }
  EXPECT_TRUE(replica->engine().reads().find(id)) << "nothing was done";
}

TEST_F(AccessTest, AReadingKeyChangesNothing) {
  const std::string id = create("u", false);
  for (const http::Route& route : router.routes()) {
    if (route.method == "GET" && route.pattern != "/session/{}/access") continue;
    const Answer refused = call(route.method, with_id(route.pattern, id), {kRead, "{}", {}, "192.0.2.1"});
    EXPECT_EQ(refused.status, 403) << route.method << " " << route.pattern;
    EXPECT_NE(refused.detail().find("sessions"), std::string::npos) << refused.body;
  }
  EXPECT_EQ(get("/session/" + id + "/status", kRead).status, 200);
  EXPECT_EQ(get("/session/" + id + "/access", kRead).status, 403) << "the link opens the workspace";
}

TEST_F(AccessTest, ABearerTokenIsAKey) {
  EXPECT_EQ(call("GET", "/sessions", {"", "", {{"authorization", std::string("Bearer ") + kRead}}, "192.0.2.1"}).status, 200);
  EXPECT_EQ(call("GET", "/sessions", {"", "", {{"authorization", std::string("bearer ") + kRead}}, "192.0.2.1"}).status, 200);
  EXPECT_EQ(call("GET", "/sessions", {"", "", {{"authorization", "Bearer"}}, "192.0.2.1"}).status, 401);
  EXPECT_EQ(call("GET", "/sessions", {"", "", {{"authorization", std::string("Basic ") + kRead}}, "192.0.2.1"}).status, 401);
}

TEST_F(AccessTest, ABoundKeySeesAndMakesItsOwnUsersSessionsOnly) {
  const std::string alices = create("alice"), bobs = create("bob");
  EXPECT_EQ(get("/session/" + alices + "/status", kAlice).status, 200);
  const Answer listed = get("/sessions", kAlice);
  EXPECT_EQ(listed.json()["count"].as_int(), 1);
  EXPECT_EQ(get("/sessions?user_id=bob", kAlice).json()["count"].as_int(-1), 0);
  EXPECT_EQ(post("/session/create", R"({"user_id":"bob"})", kAlice).status, 403);
  EXPECT_EQ(post("/session/create", R"({"user_id":"alice"})", kAlice).status, 201);
  for (const http::Route& route : router.routes()) {
    if (route.pattern.find("/session/{}") != 0) continue;
    const auto ask = [&](const std::string& id) {
      return call(route.method, with_id(route.pattern, id), {kAlice, R"({"scale":"up","message":"x"})", {}, "192.0.2.1"});
    };
    const Answer others = ask(bobs), nobodys = ask("00000000");
    EXPECT_EQ(others.status, 404) << route.method << " " << route.pattern;
    EXPECT_EQ(others.body.find("bob"), std::string::npos);
    std::string same = nobodys.body;
    if (const std::size_t at = same.find("00000000"); at != std::string::npos) same.replace(at, 8, bobs);
    EXPECT_EQ(others.body, same) << "another's session cannot be told from none";
  }
  EXPECT_TRUE(replica->engine().reads().find(bobs)->session.wanted == Wanted::running);
}

TEST_F(AccessTest, ABoundKeyLearnsNothingOfAnothersTombstoneAndOperation) {
  const std::string bobs = create("bob");
  const std::string operation = call("DELETE", "/session/" + bobs).json()["operation"].as_string();
  pass_ms(120'000);  // however long its backup takes
  ASSERT_EQ(operation.find("/operations/"), 0u);
  EXPECT_EQ(get(operation).status, 200);
  EXPECT_EQ(get(operation, kAlice).status, 404);
  EXPECT_EQ(call("DELETE", "/session/" + bobs, {kAlice, "", {}, "192.0.2.1"}).status, 404);
  EXPECT_EQ(get("/session/" + bobs, kAlice).detail(), "there is no session " + bobs);
  EXPECT_NE(get("/session/" + bobs).detail().find("was deleted at"), std::string::npos);
}

TEST_F(AccessTest, AWorkspacesTokenClaimsAndAcknowledgesItsOwnMessagesAndNothingElse) {
  const std::string id = create("u"), other = create("u");
  const std::string token = workspace_token(id);
  post("/session/" + id + "/chat", R"({"message":"hi"})");
  const Answer claimed = post("/session/" + id + "/messages/claim", "{}", token);
  ASSERT_EQ(claimed.status, 200) << claimed.body;
  const Json message = claimed.json()["messages"].items().at(0);
  EXPECT_EQ(message["message"].as_string(), "hi");
  const std::string ack = "/session/" + id + "/messages/" + message["id"].as_string() + "/ack";
  EXPECT_EQ(post(ack, R"({"reply":"done"})", token).status, 200);
  EXPECT_EQ(post("/session/" + other + "/messages/claim", "{}", token).status, 401);
  for (const http::Route& route : router.routes()) {
    if (route.pattern.find("/messages/claim") != std::string::npos || route.pattern.find("/ack") != std::string::npos) continue;
    const Answer refused = call(route.method, with_id(route.pattern, id), {token, "{}", {}, "192.0.2.1"});
    EXPECT_TRUE(refused.status == 401 || (refused.status == 200 && get(with_id(route.pattern, id), "").status == 200))
        << route.method << " " << route.pattern << " " << refused.status;
  }
}

// This replica `a`, and another one over the same store.
class ReplicasAccessTest : public ApiFixture {
 protected:
  ReplicasAccessTest() : ApiFixture({}, {1, 2}, named("a")), other(world, named("b")) {
    other.engine().start();
    EXPECT_TRUE(until([this] { return other.engine().ready().ok() && other.engine().is_current(); }));
  }
  // A session that the other replica has just made, and this one has not heard of.
  Session create_elsewhere() {
    std::optional<Result<SessionView>> made;
    other.engine().create("u", {}, [&](Result<SessionView> view) { made = std::move(view); });
    EXPECT_TRUE(until([&] { return made.has_value(); }));
    EXPECT_FALSE(replica->engine().reads().find((**made)->session.id)) << "then this shows nothing";
    return (**made)->session;
  }
  static EngineOptions named(const std::string& name) {
    EngineOptions options;
    options.replica = name;
    options.replicated = true;
    return options;
  }
  simulation::Replica other;
};

TEST_F(ReplicasAccessTest, AWorkspacesTokenOfASessionThatAnotherReplicaHasJustMadeIsGoodHere) {
  const Session session = create_elsewhere();
  EXPECT_EQ(post("/session/" + session.id + "/messages/claim", "{}", workspace_token(session)).status, 200);
}

TEST_F(ReplicasAccessTest, AnInventedTokenIs401AndDoesNotMakeTheStoreBeReadWithoutEnd) {
  const Session session = create_elsewhere();
  const Answer refused = post("/session/" + session.id + "/messages/claim", "{}", "invented");
  EXPECT_EQ(refused.status, 401);
  EXPECT_FALSE(refused.header("www-authenticate").empty());
  EXPECT_EQ(audit.back().action, "authentication");
  EXPECT_EQ(post("/session/00000001/messages/claim", "{}", workspace_token(session)).status, 401) << "another session's";
  EXPECT_EQ(send("POST", "/session/00000002/messages/claim", {"invented", "{}", {}, "192.0.2.1"})->answer.status, 429);
}

TEST_F(AccessTest, AnAuditEntryAndAnErrorNeverHoldTheKey) {
  const std::string secret = "a-wrong-key-that-is-secret";
  const Answer refused = get("/sessions", secret);
  EXPECT_EQ(refused.body.find(secret), std::string::npos);
  ASSERT_FALSE(audit.empty());
  for (const AuditNote& note : audit) EXPECT_EQ(note.details.dump().find(secret), std::string::npos);
  EXPECT_EQ(audit.back().action, "authentication");
  EXPECT_EQ(audit.back().details["peer"].as_string(), "192.0.2.1");
}

TEST_F(AccessTest, FailedAuthenticationsAreAuditedInSamplesThatCountTheRest) {
  for (int i = 0; i < 100; ++i) (void)get("/sessions", "wrong");
  EXPECT_LE(audit.size(), 11u);
  pass_ms(2000);
  (void)get("/sessions", "wrong");
  EXPECT_GE(audit.back().details["not_recorded_before"].as_int(), 89);
}

TEST_F(AccessTest, NewKeysHoldFromTheReloadOnAndStreamsEnd) {
  const Answer stream = get("/events");
  ASSERT_TRUE(stream.stream);
  Options changed = options({}, {});
  changed.keys = *KeyRing::make({{"new", to_hex(sha256("the-new-key")), {"admin"}, ""}}, {});
  changed.open_metrics = false;
  api->reconfigure(changed);
  EXPECT_TRUE(stream.stream->ended);
  EXPECT_EQ(get("/sessions").status, 401);
  EXPECT_EQ(get("/sessions", "the-new-key").status, 200);
  EXPECT_EQ(get("/metrics", "").status, 401);
  EXPECT_EQ(get("/metrics", "the-new-key").status, 200);
}

class LimitedTest : public ApiFixture {
 protected:
  LimitedTest() : ApiFixture({10, 3}, {1, 2}) {}
};

TEST_F(LimitedTest, AKeyThatIsTooFastIs429WithRetryAfterAndOthersAreNot) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(send("GET", "/version", {kRead, "", {}, "p"})->answer.status, 200);
  int refused = 0;
  std::string retry_after;
  for (int i = 0; i < 10; ++i) {
    const auto sent = send("GET", "/sessions", {kRead, "", {}, "p"});
    if (sent->answer.status != 429) continue;
    ++refused;
    retry_after = sent->answer.header("retry-after");
  }
  EXPECT_EQ(refused, 7);
  EXPECT_EQ(retry_after, "1");
  EXPECT_EQ(send("GET", "/sessions", {kAdmin, "", {}, "p"})->answer.status, 200);
  pass_ms(1000);
  EXPECT_EQ(send("GET", "/sessions", {kRead, "", {}, "p"})->answer.status, 200);
}

TEST_F(LimitedTest, FailedAuthenticationsOfAPeerAreLimitedAndTheRightKeyStillWorks) {
  EXPECT_EQ(send("GET", "/sessions", {"wrong", "", {}, "p"})->answer.status, 401);
  EXPECT_EQ(send("GET", "/sessions", {"", "", {}, "p"})->answer.status, 401);
  const auto limited = send("GET", "/sessions", {"wrong", "", {}, "p"});
  EXPECT_EQ(limited->answer.status, 429);
  EXPECT_FALSE(limited->answer.header("retry-after").empty());
  EXPECT_EQ(send("GET", "/sessions", {kRead, "", {}, "p"})->answer.status, 200) << "a neighbour behind the same address";
  EXPECT_EQ(send("GET", "/sessions", {"wrong", "", {}, "q"})->answer.status, 401);
}

}  // namespace
}  // namespace roost::api
