// What a client sees of the server, over real sockets.
#include "http/server_test.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <condition_variable>
#include <filesystem>

namespace roost::http {
namespace {

using test::eventually;
using test::Message;
using test::take_head;
using test::take_message;
using test::Wire;

std::string detail_of(const Message& message) {
  const auto body = Json::parse(message.body);
  return body.ok() ? (*body)["detail"].as_string() : "not JSON: " + message.body;
}

TEST_F(ServerTest, AnswersInOrderOverOneConnection) {
  on_loop("GET", "/{*}", echo);
  on_pool("POST", "/{*}", echo);
  start();
  Wire wire = connect();
  std::string all;
  for (int i = 0; i < 50; ++i) all += get("/g" + std::to_string(i)) + post("/p" + std::to_string(i), "body" + std::to_string(i));
  wire.send(all);
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(take_message(wire).body, "GET /g" + std::to_string(i) + " ");
    EXPECT_EQ(take_message(wire).body, "POST /p" + std::to_string(i) + " body" + std::to_string(i));
  }
  EXPECT_EQ(server_->statistics().requests, 100);
}

TEST_F(ServerTest, AnswersHeadAsGetWithoutABodyAndOptionsWithTheMethods) {
  on_loop("GET", "/a", echo);
  on_loop("POST", "/a", echo);
  start();
  Wire wire = connect();
  wire.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS /a HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" +
            get("/a"));
  const Message head = take_message(wire, true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "8");  // "HEAD /a "
  const Message options = take_message(wire);
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.headers.at("allow"), "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(options.headers.count("content-length"), 0U);
  EXPECT_EQ(take_message(wire).status, 204);
  EXPECT_EQ(take_message(wire).body, "GET /a ");
}

TEST_F(ServerTest, RefusesWhatIsNotThereWithProblemJsonAndKeepsTheConnection) {
  on_loop("GET", "/a", echo);
  start();
  Wire wire = connect();
  wire.send(get("/none") + "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get("/a/%2e%2e") +
            get("/a", "Expect: magic\r\n") + "GET /a HTTP/1.1\r\nHost: elsewhere\r\n\r\n" + get("/a"));
  const Message none = take_message(wire);
  EXPECT_EQ(none.status, 404);
  EXPECT_EQ(none.headers.at("content-type"), "application/problem+json");
  EXPECT_EQ(detail_of(none), "there is nothing at /none");
  const Message method = take_message(wire);
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers.at("allow"), "GET, HEAD, OPTIONS");
  EXPECT_EQ(take_message(wire).status, 400);
  EXPECT_EQ(take_message(wire).status, 417);
  EXPECT_EQ(take_message(wire).status, 421);
  EXPECT_EQ(take_message(wire).body, "GET /a ");
}

TEST_F(ServerTest, ClosesAfterAFramingErrorAndParsesNothingBehindIt) {
  std::atomic<int> served{0};
  on_loop("GET", "/{*}", [&](const Request& request, const Responder& respond) {
    ++served;
    echo(request, respond);
  });
  on_loop("POST", "/{*}", echo);
  start();
  const std::string smuggled = get("/smuggled");
  for (const std::string& bytes : std::vector<std::string>{
           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 40\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
           "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
           "GET / HTTP/1.1\nHost: a\n\n",
           "GET / HTTP/1.1\r\n\r\n",
       }) {
    Wire wire = connect();
    wire.send(bytes + smuggled);
    const Message answer = take_message(wire);
    EXPECT_GE(answer.status, 400) << bytes;
    EXPECT_EQ(answer.headers.at("connection"), "close") << bytes;
    EXPECT_NE(detail_of(answer), "") << bytes;
    wire.finish_sending();
    EXPECT_TRUE(wire.drain());
    EXPECT_EQ(wire.buffer, "") << "a second answer to: " << bytes;
  }
  EXPECT_EQ(served, 0);
}

TEST_F(ServerTest, AnswersTenThousandHeadersWith431) {
  on_loop("GET", "/a", echo);
  start();
  std::string headers;
  for (int i = 0; i < 10'000; ++i) headers += "X-Header-" + std::to_string(i) + ": value\r\n";
  Wire wire = connect();
  std::thread sender([&] { wire.send(get("/a", headers)); });  // it may be cut off in the middle
  const Message answer = take_message(wire);
  sender.join();
  EXPECT_EQ(answer.status, 431);
  EXPECT_TRUE(answer.complete);
}

TEST_F(ServerTest, HoldsBodiesAgainstTheRoutesLimit) {
  on_loop(
      "POST", "/a", [](const Request& r, const Responder& respond) { respond(Response::json(200, Json(r.body.size()))); }, 1000);
  start();
  EXPECT_EQ(ask(post("/a", std::string(1000, 'x'))).body, "1000");
  EXPECT_EQ(ask(post("/a", std::string(1001, 'x'))).status, 413);
  EXPECT_EQ(ask("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n").status, 413);
  EXPECT_EQ(
      ask("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + std::string(1000, 'x') + "\r\n0\r\n\r\n")
          .body,
      "1000");
  EXPECT_EQ(
      ask("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') + "\r\n0\r\n\r\n")
          .status,
      413);
  // No Content-Length is no body; announced content without a length is 411.
  EXPECT_EQ(ask("POST /a HTTP/1.1\r\nHost: a\r\n\r\n").body, "0");
  EXPECT_EQ(ask("POST /a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\r\n").status, 411);
}

TEST_F(ServerTest, SaysContinueOnlyAfterTheGatekeeperAndTheSizeCheck) {
  api_.gatekeeper = [](const Request& request, const Route&) -> std::optional<Response> {
    if (request.header("x-key") == "good") return std::nullopt;
    return problem(401, "no key");
  };
  on_loop("POST", "/a", echo, 10);
  start();
  const auto expecting = [](const char* key, int length) {
    return "POST /a HTTP/1.1\r\nHost: a\r\nX-Key: " + std::string(key) +
           "\r\nExpect: 100-continue\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
  };
  EXPECT_EQ(ask(expecting("bad", 5)).status, 401);
  EXPECT_EQ(ask(expecting("good", 11)).status, 413);
  Wire wire = connect();
  wire.send(expecting("good", 5));
  EXPECT_EQ(take_head(wire).start, "HTTP/1.1 100 Continue");
  wire.send("hello");
  EXPECT_EQ(take_message(wire).body, "POST /a hello");
}

TEST_F(ServerTest, AsksTheGatekeeperBeforeTheBodyAndWithTheRoute) {
  std::string pattern;
  api_.gatekeeper = [&](const Request& request, const Route& r) -> std::optional<Response> {
    pattern = r.pattern;
    EXPECT_EQ(request.parameters, std::vector<std::string>{"x1"});
    EXPECT_EQ(request.body, "");
    return problem(403, "no");
  };
  on_loop("POST", "/a/{}", echo);
  start();
  Wire wire = connect();
  wire.send(post("/a/x1", "ignored") + post("/a/x1", "ignored"));
  EXPECT_EQ(take_message(wire).status, 403);
  EXPECT_EQ(take_message(wire).status, 403);  // the first body was read and dropped
  EXPECT_EQ(pattern, "/a/{}");
  // A large one is not read: the answer comes at once, and the connection ends.
  wire.send("POST /a/x1 HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
  const Message answer = take_message(wire);
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.headers.at("connection"), "close");
}

TEST_F(ServerTest, CutsOffSlowHeadersAndBodiesWith408) {
  options_.header_deadline = std::chrono::milliseconds(150);
  options_.request_deadline = std::chrono::milliseconds(300);
  on_loop("POST", "/a", echo);
  start();
  Wire header = connect();
  header.send("GET /a HTTP/1.1\r\nHos");
  Wire dripping = connect();
  std::atomic<bool> stop{false};
  std::thread drip([&] {  // each byte in time, the header never
    while (!stop && dripping.send("x")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
  Wire body = connect();
  body.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
  for (Wire* wire : {&header, &dripping, &body}) {
    Message answer = take_message(*wire);
    EXPECT_EQ(answer.status, 408);
    EXPECT_EQ(answer.headers["connection"], "close");
  }
  stop = true;
  drip.join();
  EXPECT_EQ(server_->statistics().timeouts, 3);
}

TEST_F(ServerTest, EachOfManyPipedRequestsHasATimeOfItsOwn) {
  constexpr auto kDeadline = std::chrono::milliseconds(1000);
  options_.header_deadline = options_.request_deadline = kDeadline;
  on_loop("GET", "/a", echo);
  start();
  Wire wire = connect();
  const std::string request = get("/a");
  wire.send(request.substr(0, 5));
  const auto end = std::chrono::steady_clock::now() + 2 * kDeadline;
  while (std::chrono::steady_clock::now() < end) {
    ASSERT_TRUE(wire.send(request.substr(5) + request.substr(0, 5)));  // there is always a beginning without its end
    ASSERT_EQ(take_message(wire).status, 200);
  }
}

TEST_F(ServerTest, AClientThatPipesManyRequestsDoesNotHoldUpTheOthers) {
  options_.loops = 1;
  std::atomic<bool> asked{false};
  std::atomic<int> piped{0}, piped_before{0};
  on_loop("GET", "/p", [&](const Request& request, const Responder& respond) {
    if (piped++ == 0) (void)eventually([&] { return asked.load(); });
    echo(request, respond);
  });
  on_loop("GET", "/q", [&](const Request& request, const Responder& respond) {
    piped_before = piped.load();
    echo(request, respond);
  });
  start();
  Wire other = connect();
  other.send(get("/q"));
  EXPECT_EQ(take_message(other).status, 200);  // so it is with the loop already
  constexpr int kPiped = 400;
  std::string many;
  for (int i = 0; i < kPiped; ++i) many += get("/p");
  Wire wire = connect();
  wire.send(many);
  EXPECT_TRUE(eventually([&] { return piped > 0; }));
  other.send(get("/q"));
  asked = true;
  EXPECT_EQ(take_message(other).status, 200);
  EXPECT_LT(piped_before, kPiped / 2);
  for (int i = 0; i < kPiped; ++i) EXPECT_EQ(take_message(wire).status, 200) << i;
  server_->stop();
}

TEST_F(ServerTest, ClosesIdleConnections) {
  options_.idle_timeout = std::chrono::milliseconds(100);
  on_loop("GET", "/a", echo);
  start();
  Wire silent = connect();  // it never sends a byte
  Wire wire = connect();
  wire.send(get("/a"));
  EXPECT_EQ(take_message(wire).status, 200);
  EXPECT_TRUE(wire.drain());
  EXPECT_TRUE(silent.drain());
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 0; }));
}

TEST_F(ServerTest, AnswersATruncatedRequestWith400) {
  on_loop("POST", "/a", echo);
  start();
  for (const std::string& bytes :
       std::vector<std::string>{"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", "POST /a HTTP/1.1\r\nHo",
                                "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"}) {
    Wire wire = connect();
    wire.send(bytes);
    wire.finish_sending();
    EXPECT_EQ(take_message(wire).status, 400) << bytes;
    EXPECT_TRUE(wire.drain());
  }
}

TEST_F(ServerTest, AnswersAClientThatHasFinishedSending) {
  on_pool("GET", "/a", echo);
  start();
  Wire wire = connect();
  wire.send(get("/a") + get("/a"));
  wire.finish_sending();
  EXPECT_EQ(take_message(wire).body, "GET /a ");
  EXPECT_EQ(take_message(wire).body, "GET /a ");
  EXPECT_TRUE(wire.drain());
}

TEST_F(ServerTest, SpeaksHttp10) {
  on_loop("GET", "/a", echo);
  start();
  Wire once = connect();
  once.send("GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
  const Message answer = take_message(once);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(once.drain());
  Wire kept = connect();
  kept.send("GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(take_message(kept).headers.at("connection"), "keep-alive");
  kept.send("GET /a HTTP/1.0\r\nHost: a\r\n\r\n");
  EXPECT_EQ(take_message(kept).status, 200);
}

TEST_F(ServerTest, TurnsAHandlersFaultsInto500) {
  on_loop("GET", "/throws", [](const Request&, const Responder&) { throw std::runtime_error("secret"); });
  on_pool("GET", "/pool", [](const Request&, const Responder&) { throw 1; });
  on_loop("GET", "/drops", [](const Request&, const Responder&) {});
  on_pool("GET", "/drops_pooled", [](const Request&, const Responder&) {});
  on_loop("GET", "/twice", [](const Request&, const Responder& respond) {
    respond(Response::json_text(200, "1"));
    respond(Response::json_text(200, "2"));
  });
  start();
  Wire wire = connect();
  wire.send(get("/throws") + get("/pool") + get("/drops") + get("/drops_pooled") + get("/twice"));
  for (int i = 0; i < 4; ++i) {
    const Message answer = take_message(wire);
    EXPECT_EQ(answer.status, 500);
    EXPECT_EQ(answer.body.find("secret"), std::string::npos);
  }
  EXPECT_EQ(take_message(wire).body, "1");
}

TEST_F(ServerTest, ServesInlineRoutesWhateverTheLoadOfThePool) {
  std::mutex mutex;
  std::condition_variable changed;
  bool released = false;
  options_.pool_threads = 2;
  options_.pool_queue = 3;
  on_loop("GET", "/health", echo);
  on_pool("GET", "/slow", [&](const Request& request, const Responder& respond) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return released; });
    echo(request, respond);
  });
  start();
  std::vector<Wire> waiting;
  for (int i = 0; i < 5; ++i) {
    waiting.push_back(connect());
    waiting.back().send(get("/slow"));
    ASSERT_TRUE(eventually([&] { return server_->statistics().in_flight == i + 1; }));
    if (i < 2) std::this_thread::yield();
  }
  // Two run and three wait, once the threads have taken theirs; from then on there is no room.
  Message overflow;
  ASSERT_TRUE(eventually([&] {
    Wire wire = connect();
    wire.send(get("/slow"));
    if (!wire.fill(200)) {
      waiting.push_back(std::move(wire));
      return false;
    }
    overflow = take_message(wire);
    return true;
  }));
  EXPECT_EQ(overflow.status, 503);
  EXPECT_EQ(overflow.headers.at("retry-after"), "1");
  EXPECT_EQ(ask(get("/health")).status, 200);
  {
    const std::lock_guard lock(mutex);
    released = true;
  }
  changed.notify_all();
  for (Wire& wire : waiting) EXPECT_EQ(take_message(wire).status, 200);
}

TEST_F(ServerTest, CountsLateAnswersAgainstTheLimitButNotRoutesThatAnswerAtOnce) {
  std::mutex mutex;
  std::vector<Responder> held;
  options_.requests_in_flight = 3;
  on_loop("GET", "/health", echo);
  on_loop("GET", "/poll", [&](const Request&, const Responder& respond) {
    const std::lock_guard lock(mutex);
    held.push_back(respond);
  });
  start();
  std::vector<Wire> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(connect());
    waiting.back().send(get("/poll"));
    ASSERT_TRUE(eventually([&] { return server_->statistics().in_flight == i + 1; }));
  }
  EXPECT_EQ(ask(get("/poll")).status, 503);
  EXPECT_EQ(ask(get("/health")).status, 200);
  {
    const std::lock_guard lock(mutex);
    for (const Responder& respond : held) respond(Response::json_text(200, "late"));
    held.clear();
  }
  for (Wire& wire : waiting) EXPECT_EQ(take_message(wire).body, "late");
  EXPECT_EQ(server_->statistics().in_flight, 0);
}

TEST_F(ServerTest, RequestsThatWaitDoNotCountAgainstTheLimit) {
  std::mutex mutex;
  std::vector<Responder> held;
  options_.requests_in_flight = 1;
  router_.add({"GET", "/wait", Run::waiting, [&](const Request&, const Responder& respond) {
                 const std::lock_guard lock(mutex);
                 held.push_back(respond);
               }});
  on_pool("GET", "/work", echo);
  start();
  std::vector<Wire> waiting;
  for (std::size_t i = 0; i < 3; ++i) {
    waiting.push_back(connect());
    waiting.back().send(get("/wait"));
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex);
      return held.size() == i + 1;
    }));
  }
  EXPECT_EQ(ask(get("/work")).status, 200);
  const std::lock_guard lock(mutex);
  for (const Responder& respond : held) respond(Response::json_text(200, "now"));
  held.clear();
  for (Wire& wire : waiting) EXPECT_EQ(take_message(wire).body, "now");
}

TEST_F(ServerTest, TellsAHandlerThatItsClientHasGone) {
  std::mutex mutex;
  std::optional<Responder> held;
  on_loop("GET", "/poll", [&](const Request&, const Responder& respond) {
    const std::lock_guard lock(mutex);
    held = respond;
  });
  start();
  {
    Wire wire = connect();
    wire.send(get("/poll"));
    ASSERT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex);
      return held.has_value();
    }));
    EXPECT_TRUE(held->open());
  }
  EXPECT_TRUE(eventually([&] { return !held->open(); }));
  (*held)(Response::json_text(200, "to nobody"));
  held.reset();
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 0; }));
}

TEST_F(ServerTest, StopsReadingAClientThatDoesNotReadItsAnswers) {
  std::atomic<int> served{0};
  on_loop("GET", "/big", [&](const Request&, const Responder& respond) {
    ++served;
    Response response;
    response.body.assign(100'000, 'x');
    respond(std::move(response));
  });
  start();
  Wire wire = connect(4096);
  std::string all;
  for (int i = 0; i < 1000; ++i) all += get("/big");
  wire.send(all);
  // The answers would take 100 MB; only what the kernel buffers, and one answer more, is made.
  int before = -1;
  ASSERT_TRUE(eventually([&] {
    const int now = served;
    const bool still = now == before && now > 0;
    before = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return still;
  }));
  EXPECT_LT(served, 500);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(take_message(wire).body.size(), 100'000U) << i;
}

TEST_F(ServerTest, CutsOffAClientThatNeverReadsItsAnswer) {
  options_.request_deadline = std::chrono::milliseconds(200);
  on_loop("GET", "/big", [&](const Request&, const Responder& respond) {
    Response response;
    response.body.assign(50'000'000, 'x');
    respond(std::move(response));
  });
  start();
  Wire wire = connect(4096);
  wire.send(get("/big"));
  EXPECT_TRUE(eventually([&] { return server_->statistics().timeouts == 1; }));
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 0; }));
}

TEST_F(ServerTest, AnswersWithThousandsOfIdleConnectionsOpen) {
  constexpr int kIdle = 2000;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < 2 * kIdle + 100) GTEST_SKIP() << "this machine allows only " << limit.rlim_cur << " descriptors";
  on_loop("GET", "/health", echo);
  start();
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), std::filesystem::directory_iterator());
  };
  const auto before = threads();
  std::vector<Wire> idle;
  for (int i = 0; i < kIdle; ++i) {
    idle.push_back(connect());
    ASSERT_TRUE(idle.back().valid());
    idle.back().send(get("/health"));
    ASSERT_EQ(take_message(idle.back()).status, 200);
  }
  EXPECT_EQ(threads(), before);
  EXPECT_EQ(ask(get("/health")).status, 200);
  EXPECT_TRUE(eventually([&] { return server_->statistics().idle_connections == kIdle; }));
  idle.clear();
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 0; }));
}

TEST_F(ServerTest, TurnsAwayConnectionsPastItsLimit) {
  options_.connections = 2;
  on_loop("GET", "/a", echo);
  start();
  Wire first = connect();
  Wire second = connect();
  first.send(get("/a"));
  second.send(get("/a"));
  EXPECT_EQ(take_message(first).status, 200);
  EXPECT_EQ(take_message(second).status, 200);
  Wire third = connect();
  third.send(get("/a"));
  const Message answer = take_message(third);
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("retry-after"), "1");
  EXPECT_TRUE(third.drain());
  first.close();
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 1; }));
  EXPECT_EQ(ask(get("/a")).status, 200);
}

TEST_F(ServerTest, AnswersProbesWhenItsConnectionsHaveRunOut) {
  options_.connections = 2;
  router_.add({"GET", "/probe", Run::probe, echo});
  start();
  const Wire first = connect();
  const Wire second = connect();
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 2; }));
  for (int i = 0; i < 100; ++i) {
    Wire probe = connect();
    probe.send(get("/probe"));
    const Message answer = take_message(probe);
    ASSERT_EQ(answer.status, 200);
    EXPECT_EQ(answer.headers.at("connection"), "close");
    EXPECT_TRUE(probe.drain());
  }
}

TEST_F(ServerTest, LetsFewConnectionsInPastItsLimitAndOnlyForAMoment) {
  options_.connections = 2;
  router_.add({"GET", "/probe", Run::probe, echo});
  start();
  std::vector<Wire> silent;
  for (int i = 0; i < 70; ++i) silent.push_back(connect());
  EXPECT_TRUE(eventually([&] { return server_->statistics().rejected == 70 - 66; }));
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 2; }));
  Wire probe = connect();
  probe.send(get("/probe"));
  EXPECT_EQ(take_message(probe).status, 200);
}

TEST_F(ServerTest, ObservesEachAnswerWithItsRoute) {
  std::mutex mutex;
  std::vector<std::string> seen;
  observer_ = [&](const Request& request, std::string_view pattern, int status, std::chrono::nanoseconds took) {
    const std::lock_guard lock(mutex);
    EXPECT_GE(took.count(), 0);
    EXPECT_EQ(request.trace_id.size(), 32U);
    seen.push_back(request.method + " " + std::string(pattern) + " " + std::to_string(status));
  };
  std::string trace;
  on_pool("GET", "/a/{}", [&](const Request& request, const Responder& respond) {
    trace = request.trace_id;
    echo(request, respond);
  });
  start();
  Wire wire = connect();
  wire.send(get("/a/1", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n") + get("/none") +
            "junk\r\n\r\n");
  EXPECT_EQ(take_message(wire).status, 200);
  EXPECT_EQ(take_message(wire).status, 404);
  EXPECT_EQ(take_message(wire).status, 400);
  EXPECT_EQ(trace, "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(seen, (std::vector<std::string>{"GET /a/{} 200", "GET  404", "  400"}));
}

TEST_F(ServerTest, DrainsWhatIsInFlightAndRefusesNewConnections) {
  std::mutex mutex;
  std::optional<Responder> held;
  on_loop("GET", "/poll", [&](const Request&, const Responder& respond) {
    const std::lock_guard lock(mutex);
    held = respond;
  });
  start();
  Wire idle = connect();
  Wire busy = connect();
  busy.send(get("/poll"));
  ASSERT_TRUE(eventually([&] {
    const std::lock_guard lock(mutex);
    return held.has_value();
  }));
  std::thread stopper([&] { server_->stop(); });
  EXPECT_TRUE(idle.drain());
  EXPECT_TRUE(eventually([&] { return !connect().valid(); }));
  (*held)(Response::json_text(200, "drained"));
  const Message answer = take_message(busy);
  EXPECT_EQ(answer.body, "drained");
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(busy.drain());
  stopper.join();
  held.reset();
}

TEST_F(ServerTest, CutsWhatIsLeftAtTheDrainDeadline) {
  options_.drain_deadline = std::chrono::milliseconds(100);
  std::mutex mutex;
  std::optional<Responder> held;
  on_loop("GET", "/poll", [&](const Request&, const Responder& respond) {
    const std::lock_guard lock(mutex);
    held = respond;
  });
  start();
  Wire busy = connect();
  busy.send(get("/poll"));
  ASSERT_TRUE(eventually([&] { return server_->statistics().in_flight == 1; }));
  server_->stop();
  EXPECT_TRUE(busy.drain());
  EXPECT_EQ(busy.buffer, "");
  EXPECT_EQ(server_->statistics().open_connections, 0);
  (*held)(Response::json_text(200, "after the end"));
  held.reset();
}

TEST_F(ServerTest, SaysWhereItCannotListen) {
  start();
  ServerOptions options;
  options.listen = "127.0.0.1:" + std::to_string(port_);
  Server second(options, {api_});
  const Status taken = second.start();
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, Code::unavailable);
  EXPECT_NE(taken.error().message.find(options.listen), std::string::npos);
  options.listen = "nowhere";
  Server third(options, {api_});
  EXPECT_EQ(third.start().error().code, Code::invalid);
}

TEST_F(ServerTest, LeavesNoDescriptorToAChild) {
  on_loop("GET", "/a", echo);
  start();
  Wire wire = connect();
  wire.send(get("/a"));
  EXPECT_EQ(take_message(wire).status, 200);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const auto target = std::filesystem::read_symlink(entry, error);
    if (error || target.string().find("socket:") == std::string::npos) continue;
    const int descriptor = std::stoi(entry.path().filename());
    if (descriptor <= 2) continue;
    EXPECT_NE(::fcntl(descriptor, F_GETFD) & FD_CLOEXEC, 0) << descriptor;
  }
}

}  // namespace
}  // namespace roost::http
