// The handlers beyond the guide's bodies: refusals, preconditions, delete, chat, events.
#include "api/api_fixture.hpp"
#include "engine/documents.hpp"

namespace roost::api {
namespace {

class HandlersTest : public ApiFixture {
 protected:
  Answer with(const std::string& method, const std::string& target, http::Headers headers, const std::string& body = "") {
    return call(method, target, {kAdmin, body, std::move(headers), "192.0.2.1"});
  }
};

TEST_F(HandlersTest, BadBodiesAreRefusedAndDoNothing) {
  const std::string id = create("u");
  const struct {
    const char* target;
    const char* body;
    int status;
  } cases[] = {
      {"/session/create", "", 422},
      {"/session/create", "{", 400},
      {"/session/create", "[]", 400},
      {"/session/create", R"({"user_id":1})", 422},
      {"/session/create", R"({"user_id":""})", 422},
      {"/session/create", R"({"user_id":" a"})", 422},
      {"/session/create", R"({"user_id":"a\nb"})", 422},
      {"/session/create", R"({"user_id":"a","user_id":"b"})", 400},
      {"/session/ID/scale", R"({"scale":"sideways"})", 422},
      {"/session/ID/scale", R"({"scale":1})", 422},
      {"/session/ID/scale", "", 422},
      {"/session/ID/chat", R"({"message":""})", 422},
      {"/session/ID/chat", R"({"message":5})", 422},
      {"/session/ID/chat", "{}", 422},
      {"/session/ID/sleep", "{", 400},
      {"/session/ID/messages/claim", R"({"max":0})", 422},
      {"/session/ID/messages/claim", R"({"max":101})", 422},
      {"/session/ID/messages/claim", R"({"wait_s":51})", 422},
      {"/session/ID/messages/claim", R"({"visibility_s":"1"})", 422},
      {"/session/ID/messages/0000000000000001/ack", R"({"claim":1})", 422},
      {"/session/ID/messages/x/ack", "{}", 404},
      {"/session/ID/messages/00000000000000aa/ack", "{}", 404},
  };
  for (const auto& bad : cases) {
    std::string target = bad.target;
    if (const std::size_t at = target.find("ID"); at != std::string::npos) target.replace(at, 2, id);
    const Answer refused = post(target, bad.body);
    EXPECT_EQ(refused.status, bad.status) << target << " " << bad.body << " " << refused.body;
    EXPECT_GT(refused.detail().size(), 10u) << target << " " << bad.body;
    EXPECT_EQ(refused.header("content-type"), "application/problem+json");
  }
  const Answer form = with("POST", "/session/create", {{"content-type", "application/x-www-form-urlencoded"}}, "user_id=a");
  EXPECT_EQ(form.status, 415);
  EXPECT_EQ(get("/sessions").json()["count"].as_int(), 1);
  EXPECT_EQ(get("/session/" + id + "/status").json()["queue_length"].as_int(-1), 0);
}

TEST_F(HandlersTest, WhatIsNoUuidIsNotFound) {
  for (const char* id : {"x", "1823b3a", "1823B3A8", "1823b3a88", "*", "........"}) {
    for (const auto& [method, rest] : {std::pair{"GET", "/status"},
                                       {"GET", ""},
                                       {"POST", "/sleep"},
                                       {"DELETE", ""},
                                       {"GET", "/events"},
                                       {"GET", "/messages"}}) {
      const Answer refused = call(method, "/session/" + std::string(id) + rest);
      EXPECT_EQ(refused.status, 404) << method << " " << id << rest;
      EXPECT_NE(refused.detail().find("8 digits"), std::string::npos) << refused.body;
    }
  }
}

TEST_F(HandlersTest, BadQueriesAndHeadersAre400) {
  const std::string id = create("u", false);
  for (const char* target : {"/sessions?limit=0", "/sessions?limit=x", "/sessions?limit=1001", "/sessions?cursor=zz"}) {
    EXPECT_EQ(get(target).status, 400) << target;
  }
  EXPECT_EQ(get("/session/" + id + "/messages?after=x").status, 400);
  EXPECT_EQ(post("/session/" + id + "/sleep?dry_run=maybe").status, 400);
  EXPECT_EQ(call("DELETE", "/session/" + id + "?backup=no").status, 400);
  EXPECT_EQ(with("POST", "/session/" + id + "/sleep", {{"if-match", "\"x\""}}).status, 400);
  EXPECT_EQ(with("POST", "/session/" + id + "/sleep", {{"idempotency-key", std::string(300, 'k')}}).status, 400);
}

TEST_F(HandlersTest, IfMatchHoldsAChangeOnTheRevisionThatWasSeen) {
  const std::string id = create();
  const std::string seen = get("/session/" + id).header("etag");
  EXPECT_EQ(seen, "\"" + get("/session/" + id).json()["revision"].as_string() + "\"");
  EXPECT_EQ(with("POST", "/session/" + id + "/sleep", {{"if-match", "\"1\""}}).status, 409);
  EXPECT_EQ(with("POST", "/session/" + id + "/sleep", {{"if-match", seen}}).status, 200);
  EXPECT_EQ(with("POST", "/session/" + id + "/wake", {{"if-match", seen}}).status, 409);
}

TEST_F(HandlersTest, ADryRunChangesNothing) {
  const std::string id = create();
  const std::string before = get("/session/" + id).header("etag");
  for (const char* call_of : {"/sleep", "/wake", "/scale", "/chat"}) {
    const Answer dry = post("/session/" + id + call_of + "?dry_run=true", R"({"scale":"up","message":"x"})");
    EXPECT_EQ(dry.status, 200) << call_of << dry.body;
    EXPECT_TRUE(dry.json()["dry_run"].as_bool()) << dry.body;
  }
  const Answer dry = call("DELETE", "/session/" + id + "?dry_run=true");
  EXPECT_EQ(dry.status, 200);
  EXPECT_TRUE(dry.json()["dry_run"].as_bool());
  const Answer made = post("/session/create?dry_run=true", R"({"user_id":"u"})");
  EXPECT_EQ(made.status, 200);
  EXPECT_TRUE(made.json()["dry_run"].as_bool());
  EXPECT_EQ(get("/sessions").json()["count"].as_int(), 1);
  pass_ms(5000);
  EXPECT_EQ(get("/session/" + id).header("etag"), before);
}

TEST_F(HandlersTest, AnIdempotencyKeyMakesOneSessionAndOneMessage) {
  const http::Headers key{{"idempotency-key", "login-42"}};
  const Answer first = with("POST", "/session/create", key, R"({"user_id":"a"})");
  const Answer again = with("POST", "/session/create", key, R"({"user_id":"a"})");
  EXPECT_EQ(first.json()["uuid"], again.json()["uuid"]);
  EXPECT_EQ(get("/sessions").json()["count"].as_int(), 1);
  const std::string id = first.json()["uuid"].as_string();
  const Answer one = with("POST", "/session/" + id + "/chat", key, R"({"message":"x"})");
  const Answer two = with("POST", "/session/" + id + "/chat", key, R"({"message":"x"})");
  EXPECT_EQ(one.json()["message_id"], two.json()["message_id"]);
  EXPECT_EQ(get("/session/" + id + "/status").json()["queue_length"].as_int(), 1);
}

TEST_F(HandlersTest, PastAUsersCapTheAnswerIs429WithRetryAfter) {
  for (int i = 0; i < 5; ++i) create("u", false);
  const Answer more = post("/session/create", R"({"user_id":"u"})");
  EXPECT_EQ(more.status, 429) << more.body;
  EXPECT_FALSE(more.header("retry-after").empty());
  EXPECT_EQ(post("/session/create", R"({"user_id":"v"})").status, 201);
}

TEST_F(HandlersTest, ThePagesOfAListMissNothing) {
  std::vector<std::string> made;
  for (int i = 0; i < 7; ++i) made.push_back(create("u" + std::to_string(i), false));
  std::sort(made.begin(), made.end());
  std::vector<std::string> seen;
  std::string cursor;
  for (int page = 0; page < 10; ++page) {
    const Json body = get("/sessions?limit=3&cursor=" + cursor).json();
    EXPECT_EQ(body["count"].as_int(), static_cast<std::int64_t>(body["sessions"].items().size()));
    for (const Json& session : body["sessions"].items()) seen.push_back(session["uuid"].as_string());
    if (body["next_cursor"].is_null()) break;
    cursor = body["next_cursor"].as_string();
  }
  EXPECT_EQ(seen, made);
  EXPECT_EQ(get("/sessions?user_id=u3").json()["count"].as_int(), 1);
  EXPECT_EQ(get("/sessions?user=u3").json()["count"].as_int(), 1);
}

TEST_F(HandlersTest, AnAccessLinkIsGivenForWhatExists) {
  const std::string id = create();
  for (const char* method : {"GET", "POST"}) {
    const Answer link = call(method, "/session/" + id + "/access");
    EXPECT_EQ(link.status, 200);
    EXPECT_NE(link.json()["url"].as_string().find("vs-code-" + id), std::string::npos);
    EXPECT_EQ(link.json()["expires_in_s"].as_int(), 60);
  }
  EXPECT_EQ(get("/session/00000000/access").status, 404);
}

TEST_F(HandlersTest, ADeleteThatTakesLongerIs202WithItsOperationAndGoesOn) {
  const std::string id = create();
  world.user_writes(id);
  const Answer begun = with("DELETE", "/session/" + id, {{"prefer", "respond-async"}});
  ASSERT_EQ(begun.status, 202) << begun.body;
  EXPECT_EQ(begun.json()["status"].as_string(), "terminating");
  const std::string operation = begun.json()["operation"].as_string();
  EXPECT_EQ(begun.header("location"), operation);
  const Json under_way = get(operation).json();
  EXPECT_EQ(under_way["uuid"].as_string(), id);
  EXPECT_FALSE(under_way["done"].as_bool(true));
  EXPECT_EQ(get("/session/" + id + "/status").json()["session"]["status"].as_string(), "terminating");
  EXPECT_EQ(post("/session/" + id + "/wake").status, 409);
  ASSERT_TRUE(until([&] { return !replica->engine().reads().find(id); }));
  EXPECT_TRUE(get(operation).json()["done"].as_bool());
  EXPECT_EQ(call("DELETE", "/session/" + id).json()["status"].as_string(), "terminated");
}

TEST_F(HandlersTest, ASecondDeleteAnswersTheSameReceipt) {
  const std::string id = create();
  world.user_writes(id);
  const Answer first = call("DELETE", "/session/" + id);
  const Answer second = call("DELETE", "/session/" + id);
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(second.status, 200);
  EXPECT_EQ(first.body, second.body);
  EXPECT_EQ(get("/session/" + id + "/status").status, 404);
  EXPECT_EQ(post("/session/" + id + "/wake").status, 404);
}

TEST_F(HandlersTest, ADeleteWaitsAsLongAsThePreferenceSaysThenAnswers202) {
  const std::string id = create();
  world.faults.disk_full = 1;  // the backup cannot be made
  world.user_writes(id);
  const std::int64_t before_ms = simulator.now_ms();
  const Answer blocked = with("DELETE", "/session/" + id, {{"prefer", "wait=7"}});
  EXPECT_EQ(blocked.status, 202) << blocked.body;
  EXPECT_GE(simulator.now_ms() - before_ms, 6'000);
  EXPECT_LE(simulator.now_ms() - before_ms, 9'000);
  const Answer long_wait = call("DELETE", "/session/" + id);
  EXPECT_EQ(long_wait.status, 202);
  EXPECT_GE(simulator.now_ms() - before_ms, 50'000);
  EXPECT_FALSE(long_wait.json()["reason"].as_string().empty()) << long_wait.body;
  EXPECT_EQ(get("/session/" + id).json()["phase"].as_string(), "delete_blocked");
}

TEST_F(HandlersTest, AClientThatGoesAwayOrAShutdownEndsTheWait) {
  const std::string id = create();
  world.faults.disk_full = 1;
  world.user_writes(id);
  const auto gone = send("DELETE", "/session/" + id);
  pass_ms(500);
  gone->is_open = false;
  pass_ms(4'000);
  EXPECT_EQ(gone->answer.status, 202);
  const auto waiting = send("DELETE", "/session/" + id);
  pass_ms(500);
  api->drain();
  pass_ms(4'000);
  EXPECT_EQ(waiting->answer.status, 202);
  EXPECT_EQ(get("/ready", "").status, 503);
  EXPECT_EQ(get("/health", "").status, 200);
}

TEST_F(HandlersTest, GivingUpDataNeedsAnAdminAndIsRecordedFirst) {
  const std::string id = create();
  for (const char* query : {"?backup=skip", "?accept_losses=true"}) {
    audit.clear();
    const Answer refused = call("DELETE", "/session/" + id + query, {kSessions, "", {}, "192.0.2.1"});
    EXPECT_EQ(refused.status, 403) << query;
    ASSERT_EQ(audit.size(), 1u);
    EXPECT_EQ(audit[0].outcome, "refused");
  }
  audit_fails = true;
  EXPECT_EQ(call("DELETE", "/session/" + id + "?backup=skip").status, 503);
  EXPECT_EQ(replica->engine().reads().find(id)->session.wanted, Wanted::running) << "what cannot be recorded is not done";
  audit_fails = false;
  audit.clear();
  world.may_skip.insert(id);
  const Answer skipped = call("DELETE", "/session/" + id + "?backup=skip");
  EXPECT_EQ(skipped.status, 200) << skipped.body;
  EXPECT_TRUE(skipped.json()["backup"].is_null());
  ASSERT_GE(audit.size(), 2u);
  EXPECT_EQ(audit[0].action, "session.delete.skip_backup");
  EXPECT_EQ(audit[0].actor, "admin");
  EXPECT_EQ(audit[0].target, id);
  EXPECT_TRUE(audit[0].durable);
  EXPECT_EQ(audit.back().action, "session.deleted");
}

TEST_F(HandlersTest, MessagesAreClaimedInOrderAndKeptWithTheirReplies) {
  const std::string id = create();
  const std::string base = "/session/" + id + "/messages";
  for (const char* text : {"a", "b", "c"}) post("/session/" + id + "/chat", Json::object({{"message", text}}).dump());
  for (const char* text : {"a", "b", "c"}) {
    const Json claimed = post(base + "/claim", "{}").json()["messages"];
    ASSERT_EQ(claimed.items().size(), 1u);
    const Json& message = claimed.items()[0];
    EXPECT_EQ(message["message"].as_string(), text);
    EXPECT_EQ(message["attempt"].as_int(), 1);
    EXPECT_TRUE(post(base + "/claim", "{}").json()["messages"].items().empty()) << "nothing behind a claimed head is offered";
    const std::string ack = base + "/" + message["id"].as_string() + "/ack";
    EXPECT_EQ(post(ack, R"({"claim":"another"})").status, 409);
    const Answer acked =
        post(ack, Json::object({{"claim", message["claim"].as_string()}, {"reply", Json::object({{"to", text}})}}).dump());
    EXPECT_EQ(acked.status, 200) << acked.body;
    EXPECT_EQ(acked.json()["status"].as_string(), "answered");
  }
  const Json history = get(base).json();
  ASSERT_EQ(history["messages"].items().size(), 3u);
  EXPECT_EQ(history["messages"].items()[2]["reply"]["to"].as_string(), "c");
  const Json page = get(base + "?limit=2").json();
  EXPECT_EQ(page["messages"].items().size(), 2u);
  const Json rest = get(base + "?after=" + page["next_after"].as_string()).json();
  EXPECT_EQ(rest["messages"].items().size(), 1u);
  EXPECT_TRUE(rest["next_after"].is_null());
}

TEST_F(HandlersTest, TheLargestPageOfMessagesSaysWhetherMoreFollow) {
  const std::string id = create(), base = "/session/" + id + "/messages?limit=1000";
  Commit commit{documents::partition(id), {}, {}};
  const auto add = [&](int number) {
    documents::StoredMessage stored;
    stored.message.text = std::to_string(number);
    stored.message.state = MessageState::answered;
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016x", static_cast<unsigned>(number));
    commit.operations.push_back(
        {StoreOperation::Kind::put, documents::history_prefix(id) + digits, documents::encode(stored), 0});
  };
  for (int number = 1; number <= 1000; ++number) add(number);
  ASSERT_TRUE(world.commit(commit).ok());
  const Json all = get(base).json();
  EXPECT_EQ(all["messages"].items().size(), 1000u);
  EXPECT_TRUE(all["next_after"].is_null());
  commit.operations.clear();
  add(1001);
  ASSERT_TRUE(world.commit(commit).ok());
  const Json page = get(base).json();
  EXPECT_EQ(page["messages"].items().size(), 1000u);
  ASSERT_EQ(page["next_after"].as_string(), "00000000000003e8");
  const Json rest = get(base + "&after=" + page["next_after"].as_string()).json();
  ASSERT_EQ(rest["messages"].items().size(), 1u);
  EXPECT_EQ(rest["messages"].items()[0]["message"].as_string(), "1001");
  EXPECT_TRUE(rest["next_after"].is_null());
}

TEST_F(HandlersTest, AWaitingClaimIsAnsweredByTheNextMessage) {
  const std::string id = create();
  const auto waiting = send("POST", "/session/" + id + "/messages/claim", {kAdmin, R"({"wait_s":30})", {}, "192.0.2.1"});
  pass_ms(9'000);
  EXPECT_EQ(waiting->answer.status, 0);
  post("/session/" + id + "/chat", R"({"message":"hello"})");
  pass_ms(500);
  ASSERT_EQ(waiting->answer.status, 200);
  EXPECT_EQ(waiting->answer.json()["messages"].items().size(), 1u);
}

TEST_F(HandlersTest, ClaimsThatWaitAreLimitedForEachSession) {
  const std::string id = create(), other = create();
  const Call claim{kAdmin, R"({"wait_s":5})", {}, "192.0.2.1"};
  const std::string path = "/session/" + id + "/messages/claim";
  std::vector<std::shared_ptr<PendingAnswer>> waiting;
  for (int i = 0; i < 16; ++i) waiting.push_back(send("POST", path, claim));
  pass_ms(100);
  const Answer refused = call("POST", path, claim);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.header("retry-after"), "1");
  const auto others = send("POST", "/session/" + other + "/messages/claim", claim);
  pass_ms(100);
  EXPECT_EQ(others->answer.status, 0) << "it waits: another session's claims are not counted";
  pass_ms(6'000);
  for (const auto& one : waiting) EXPECT_EQ(one->answer.status, 200);
  EXPECT_EQ(post(path, "{}").status, 200);
}

TEST_F(HandlersTest, AClaimForAClientThatWentAwayTakesNothing) {
  for (const std::int64_t away_ms : {0, 3'000}) {
    const std::string id = create();
    const auto waiting = send("POST", "/session/" + id + "/messages/claim", {kAdmin, R"({"wait_s":30})", {}, "192.0.2.1"});
    pass_ms(100);
    waiting->is_open = false;
    pass_ms(away_ms);
    post("/session/" + id + "/chat", R"({"message":"hello"})");
    EXPECT_EQ(post("/session/" + id + "/messages/claim", "{}").json()["messages"].items().size(), 1u) << away_ms;
  }
}

TEST_F(HandlersTest, WhoWaitsBehindAClientThatWentAwayGetsTheMessage) {
  const std::string id = create();
  const auto away = send("POST", "/session/" + id + "/messages/claim", {kAdmin, R"({"wait_s":30})", {}, "192.0.2.1"});
  const auto next = send("POST", "/session/" + id + "/messages/claim", {kAdmin, R"({"wait_s":30})", {}, "192.0.2.1"});
  pass_ms(100);
  away->is_open = false;
  post("/session/" + id + "/chat", R"({"message":"hello"})");
  ASSERT_TRUE(until([&] { return next->answer.status != 0; }));
  EXPECT_NE(next->answer.body.find("hello"), std::string::npos) << next->answer.body;
}

TEST_F(HandlersTest, ALongEscapedMessageFitsItsRoute) {
  const std::string id = create();
  std::string escaped = "{\"message\":\"";
  for (int i = 0; i < 65536; ++i) escaped += "\\u0041";
  escaped += "\"}";
  const http::Router::Match match = router.match("POST", "/session/" + id + "/chat");
  EXPECT_LE(escaped.size(), match.route->body_limit);
  EXPECT_EQ(post("/session/" + id + "/chat", escaped).status, 200);
  EXPECT_EQ(post("/session/" + id + "/chat", Json::object({{"message", std::string(65537, 'x')}}).dump()).status, 422);
}

TEST_F(HandlersTest, EventsTellASessionsStory) {
  const Answer all = get("/events");
  ASSERT_TRUE(all.stream);
  EXPECT_EQ(all.header("content-type"), "text/event-stream; charset=utf-8");
  const std::string id = create("u");
  const Answer own = get("/session/" + id + "/events");
  const Answer alices = get("/events", kAliceReads);
  post("/session/" + id + "/chat", R"({"message":"hi"})");
  call("DELETE", "/session/" + id);
  ASSERT_TRUE(until([&] { return own.stream->ended; }));
  for (const char* type : {"session.created", "session.phase", "message.queued", "operation.step", "session.deleted"}) {
    EXPECT_NE(all.stream->text.find(std::string("event: ") + type + "\n"), std::string::npos) << type;
  }
  EXPECT_NE(all.stream->text.find("\"phase\":\"running\""), std::string::npos);
  EXPECT_EQ(own.stream->text.find("session.created"), std::string::npos);
  EXPECT_NE(own.stream->text.find("session.deleted"), std::string::npos);
  EXPECT_TRUE(own.stream->ended);
  EXPECT_EQ(alices.stream->text.find("data:"), std::string::npos) << "a key that is bound to a user sees that user's only";
  EXPECT_EQ(get("/events?user_id=u", kAliceReads).status, 403);
}

// A replica that cannot follow the store does not know the session; whose it is stands in the store all the same.
TEST_F(HandlersTest, AnOperationThatBeganOnAnotherReplicaIsShownToItsUserAndToNoOther) {
  EngineOptions options_of_other;
  options_of_other.replica = "other";
  options_of_other.replicated = true;
  simulation::Replica other(world, options_of_other);
  Hooks hooks;
  hooks.workspace_url = [](const std::string& of) { return of; };
  Api its(other.engine(), simulator, random, std::move(hooks), options({}, {}));
  other.engine().start();
  ASSERT_TRUE(until([&] { return other.engine().ready().ok(); }));
  world.faults.cancelled_watch = 1;
  world.troubled = true;
  const std::string alices = create("alice"), johns = create("john@example.com");
  std::string operations[2];
  for (const auto& [id, operation] : {std::pair{alices, &operations[0]}, {johns, &operations[1]}})
    *operation = with("DELETE", "/session/" + id, {{"prefer", "respond-async"}}).json()["operation"].as_string();
  http::Router routes;
  its.register_routes(routes);
  router = std::move(routes);
  ASSERT_FALSE(other.engine().reads().find(alices));
  const Answer own = get(operations[0], kAlice);
  EXPECT_EQ(own.status, 200) << own.body;
  EXPECT_EQ(own.json()["uuid"].as_string(), alices);
  EXPECT_EQ(get(operations[1], kAlice).status, 404);
  EXPECT_EQ(get(operations[1], kRead).status, 200);
}

TEST_F(HandlersTest, BeforeTheSessionsAreLoadedNothingIsSaidToBeMissing) {
  const std::string id = create();
  simulation::Replica restarted(world, EngineOptions{});
  Hooks hooks;
  hooks.workspace_url = [](const std::string& of) { return of; };
  Api fresh(restarted.engine(), simulator, random, std::move(hooks), options({}, {}));
  http::Router routes;
  fresh.register_routes(routes);
  router = std::move(routes);
  gatekeeper = fresh.gatekeeper();
  for (const auto& [method, target] : {std::pair<std::string, std::string>{"GET", "/session/" + id + "/status"},
                                       {"GET", "/sessions"},
                                       {"DELETE", "/session/" + id},
                                       {"POST", "/session/" + id + "/sleep"}}) {
    const Answer early = call(method, target);
    EXPECT_EQ(early.status, 503) << method << " " << target << early.body;
    EXPECT_FALSE(early.header("retry-after").empty());
  }
  EXPECT_EQ(get("/health", "").status, 200);
  EXPECT_EQ(get("/ready", "").status, 503);
  restarted.engine().start();
  ASSERT_TRUE(until([&] { return restarted.engine().ready().ok(); }));
  EXPECT_EQ(get("/session/" + id + "/status").status, 200);
  EXPECT_EQ(get("/sessions").json()["count"].as_int(), 1);
  gatekeeper = api->gatekeeper();
}

TEST_F(HandlersTest, TheDocumentShowsNoSecret) {
  const std::string id = create();
  const Session& session = replica->engine().reads().find(id)->session;
  const std::string body = get("/session/" + id).body;
  EXPECT_EQ(body.find(session.secret_nonce), std::string::npos);
  EXPECT_EQ(body.find(session.volume.token), std::string::npos);
  EXPECT_EQ(body.find(workspace_token(id)), std::string::npos);
}

}  // namespace
}  // namespace roost::api
