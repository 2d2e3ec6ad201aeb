// The reverse proxy, between real sockets on both sides.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>

#include "http/server_test.hpp"

namespace roost::http {
namespace {

using test::eventually;
using test::Message;
using test::SocketServer;
using test::take_head;
using test::take_message;
using test::Wire;

// Bytes that are not the same everywhere, so that a lost or doubled piece shows.
std::string pattern(std::size_t size) {
  std::string data(size, '\0');
  std::uint64_t state = 1;
  for (char& c : data) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    c = static_cast<char>(state >> 56);
  }
  return data;
}

class ProxyTest : public ServerTest {
 protected:
  ~ProxyTest() override { stop(); }
  // Ends both servers, and so every use of a test's variables by their threads, before those variables go.
  class Ending {
   public:
    explicit Ending(ProxyTest& test) : test_(test) {}
    ~Ending() { test_.stop(); }
    Ending(const Ending&) = delete;
    Ending& operator=(const Ending&) = delete;

   private:
    ProxyTest& test_;
  };
  [[nodiscard]] Ending start_proxy(SocketServer::Serve serve) {
    upstream_ = std::make_unique<SocketServer>(std::move(serve));
    address_ = upstream_->address();
    start_with_address();
    return Ending(*this);
  }
  void stop() {
    if (server_) server_->stop();
    upstream_.reset();
  }
  void start_with_address() {
    VirtualServer proxy;
    proxy.accepts = [](std::string_view host) { return host == "w"; };
    proxy.proxy = [this](const Request&) {
      ProxyDecision decision;
      decision.upstream =
          Upstream{address_, set_headers_, {"x-api-key"}, "__Host-roost", [this](std::int64_t up, std::int64_t down) {
                     up_ += up;
                     down_ += down;
                   }};
      return decision;
    };
    proxy.response_headers = {{"x-own", "1"}};
    start({proxy});
  }
  static std::string get_w(std::string_view path, std::string_view headers = "") {
    return "GET " + std::string(path) + " HTTP/1.1\r\nHost: w\r\n" + std::string(headers) + "\r\n";
  }
  static constexpr std::string_view kUpgrade =
      "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n";
  static void accept_upgrade(Wire& wire) {
    const Message request = take_head(wire);
    EXPECT_EQ(request.headers.count("upgrade"), 1U);
    wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n");
  }

  std::unique_ptr<SocketServer> upstream_;
  std::string address_;
  Headers set_headers_;
  std::atomic<std::int64_t> up_{0}, down_{0};
};

TEST_F(ProxyTest, PassesARequestOnWithTheHeadersThatItShould) {
  set_headers_ = {{"x-roost-user", "u1"}, {"x-forwarded-proto", "https"}};
  Message seen;
  const auto ending = start_proxy([&](Wire& wire) {
    seen = take_message(wire);
    wire.send(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: x\r\nConnection: X-Hop\r\nX-Hop: 1\r\nX-Kept: 2\r\nSet-Cookie: "
        "a\r\nSet-Cookie: b\r\n\r\nok");
  });
  Wire wire = connect();
  wire.send(
      get_w("/a/../b//c%2Fd?x=%20",
            "Connection: keep-alive, X-Private\r\nX-Private: 1\r\nX-API-Key: secret\r\nTE: trailers\r\nProxy-Connection: x\r\n"
            "Cookie: a=1; __Host-roost=secret; b=2\r\nX-Forwarded-For: spoofed\r\nForwarded: for=spoofed\r\nX-Roost-User: "
            "spoofed\r\nX-Mine: 1\r\n"));
  const Message answer = take_message(wire);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "ok");
  EXPECT_EQ(answer.headers.at("x-kept"), "2");
  EXPECT_EQ(answer.headers.count("x-hop") + answer.headers.count("keep-alive") + answer.headers.count("x-own"), 0U);
  EXPECT_EQ(std::count_if(answer.all.begin(), answer.all.end(), [](const auto& h) { return h.first == "set-cookie"; }), 2);
  EXPECT_EQ(seen.start, "GET /a/../b//c%2Fd?x=%20 HTTP/1.1");
  EXPECT_EQ(seen.headers.at("host"), "w");
  EXPECT_EQ(seen.headers.at("cookie"), "a=1; b=2");
  EXPECT_EQ(seen.headers.at("x-forwarded-for"), "127.0.0.1");
  EXPECT_EQ(seen.headers.at("x-forwarded-host"), "w");
  EXPECT_EQ(seen.headers.at("x-forwarded-proto"), "https");
  EXPECT_EQ(seen.headers.at("x-roost-user"), "u1");
  EXPECT_EQ(seen.headers.at("x-mine"), "1");
  for (const char* gone : {"x-api-key", "te", "proxy-connection", "x-private", "forwarded"})
    EXPECT_EQ(seen.headers.count(gone), 0U) << gone;
  wire.send(get("/none"));  // the connection goes on, with the other virtual server even
  EXPECT_EQ(take_message(wire).status, 404);
  EXPECT_GT(down_, 0);
}

TEST_F(ProxyTest, CarriesLargeBodiesBothWaysInEitherFraming) {
  const auto ending = start_proxy([](Wire& wire) {
    const Message request = take_message(wire);
    if (request.headers.count("content-length") != 0) {  // sized in, chunked out
      wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (std::size_t at = 0; at < request.body.size(); at += 100'000) {
        const std::string piece = request.body.substr(at, 100'000);
        char size[32];
        std::snprintf(size, sizeof size, "%zx;ext=1\r\n", piece.size());
        wire.send(size + piece + "\r\n");
      }
      wire.send("0\r\nTrailer: x\r\n\r\n");
    } else {  // chunked in, sized out
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(request.body.size()) + "\r\n\r\n" + request.body);
    }
  });
  const std::string body = pattern(20 << 20);
  Wire sized = connect();
  std::thread sender(
      [&] { sized.send("POST /up HTTP/1.1\r\nHost: w\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body); });
  const Message echoed = take_message(sized);
  sender.join();
  EXPECT_TRUE(echoed.complete);
  EXPECT_TRUE(echoed.body == body);
  Wire chunked = connect();
  std::thread chunker([&] {
    chunked.send("POST /up HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (std::size_t at = 0; at < body.size(); at += 333'333) {
      const std::string piece = body.substr(at, 333'333);
      char size[32];
      std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
      chunked.send(size + piece + "\r\n");
    }
    chunked.send("0\r\n\r\n");
  });
  const Message returned = take_message(chunked);
  chunker.join();
  EXPECT_TRUE(returned.body == body);
  EXPECT_TRUE(eventually(
      [&] { return up_ >= 2 * static_cast<std::int64_t>(body.size()) && down_ >= 2 * static_cast<std::int64_t>(body.size()); }));
}

TEST_F(ProxyTest, HoldsBackAnUpstreamWhoseClientDoesNotRead) {
  std::atomic<std::size_t> sent{0};
  const auto ending = start_proxy([&](Wire& wire) {
    (void)take_message(wire);
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n");
    const std::string piece(100'000, 'x');
    for (int i = 0; i < 2000 && wire.send(piece); ++i) sent += piece.size();
  });
  Wire wire = connect(4096);
  wire.send(get_w("/"));
  std::size_t before = 1;
  ASSERT_TRUE(eventually([&] {
    const bool still = sent == before && sent > 0;
    before = sent;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    return still;
  }));
  EXPECT_LT(sent, 40'000'000U);  // what the kernel holds for four socket ends
  EXPECT_EQ(take_message(wire).body.size(), 200'000'000U);
}

TEST_F(ProxyTest, PassesOnAnswersThatEndWithTheConnection) {
  const auto ending = start_proxy([](Wire& wire) {
    (void)take_message(wire);
    wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
  });
  Wire wire = connect();
  wire.send(get_w("/") + get("/none"));
  const Message answer = take_message(wire);
  EXPECT_EQ(answer.headers.at("transfer-encoding"), "chunked");
  EXPECT_EQ(answer.body, "until the end");
  EXPECT_EQ(take_message(wire).status, 404);
  Wire once = connect();
  once.send(get_w("/", "Connection: close\r\n"));
  EXPECT_EQ(take_message(once).headers.at("connection"), "close");
  EXPECT_TRUE(once.drain());
  Wire old = connect();
  old.send("GET / HTTP/1.0\r\nHost: w\r\n\r\n");
  EXPECT_EQ(take_head(old).headers.at("connection"), "close");
  EXPECT_TRUE(old.drain());
  EXPECT_EQ(old.buffer, "until the end");
}

TEST_F(ProxyTest, PassesOnAnswersWithoutABody) {
  const auto ending = start_proxy([](Wire& wire) {
    const Message request = take_message(wire);
    if (request.start.rfind("HEAD", 0) == 0) wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    if (request.start.rfind("GET /304", 0) == 0) wire.send("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n");
    if (request.start.rfind("GET /100", 0) == 0)
      wire.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
  });
  Wire wire = connect();
  wire.send("HEAD / HTTP/1.1\r\nHost: w\r\n\r\n" + get_w("/304") + get_w("/100") + get("/none"));
  const Message head = take_message(wire, true);
  EXPECT_EQ(head.headers.at("content-length"), "1000");
  EXPECT_EQ(take_message(wire).status, 304);
  EXPECT_EQ(take_message(wire).status, 204);
  EXPECT_EQ(take_message(wire).status, 404);
}

TEST_F(ProxyTest, AnswersForAnUpstreamThatCannot) {
  struct Case {
    const char* answer;
    int status;
  };
  const std::vector<Case> cases{{"", 502},
                                {"garbage\r\n\r\n", 502},
                                {"HTTP/1.1 200 OK\r\nContent-Length: 1", 502},
                                {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", 502},
                                {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", 502},
                                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\na", 502},
                                {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", 502},
                                {"HTTP/1.1 101 Switching Protocols\r\n\r\n", 502}};
  std::atomic<std::size_t> index{0};
  const auto ending = start_proxy([&](Wire& wire) {
    (void)take_message(wire);
    wire.send(cases[index].answer);
  });
  Wire wire = connect();
  for (; index < cases.size(); ++index) {
    wire.send(get_w("/"));
    const Message answer = take_message(wire);
    EXPECT_EQ(answer.status, cases[index].status) << cases[index].answer;
    EXPECT_EQ(answer.headers.at("x-own"), "1");
  }
}

TEST_F(ProxyTest, CutsTheClientOffWhereAnAnswerBreaksOff) {
  const auto ending = start_proxy([](Wire& wire) {
    const Message request = take_message(wire);
    if (request.start.rfind("GET /sized", 0) == 0) {
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    } else {
      wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
    }
  });
  for (const char* path : {"/sized", "/chunked"}) {
    Wire wire = connect();
    wire.send(get_w(path));
    const Message answer = take_message(wire);
    EXPECT_EQ(answer.status, 200);
    EXPECT_FALSE(answer.complete) << path;
    EXPECT_TRUE(wire.drain());
  }
}

TEST_F(ProxyTest, RefusesAddressesThatAreNotSockets) {
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("roost-proxy-" + std::to_string(::getpid()));
  std::filesystem::create_directories(directory);
  const SocketServer real(
      [](Wire& wire) {
        (void)take_message(wire);
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix");
      },
      directory / "socket");
  std::filesystem::create_symlink(directory / "socket", directory / "link");
  ::close(::open((directory / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  start_with_address();
  Wire wire = connect();
  for (const std::string& bad :
       {"unix:" + (directory / "link").string(), "unix:" + (directory / "file").string(), "unix:" + (directory / "none").string(),
        std::string("tcp:example.org:80"), std::string("tcp:127.0.0.1:1"), std::string("x")}) {
    address_ = bad;
    wire.send(get_w("/"));
    EXPECT_EQ(take_message(wire).status, 502) << bad;
  }
  address_ = real.address();
  wire.send(get_w("/"));
  EXPECT_EQ(take_message(wire).body, "unix");
  // A path that sockaddr_un cannot hold.
  const std::filesystem::path deep = directory / std::string(100, 'd') / std::string(100, 'e');
  std::filesystem::create_directories(deep);
  std::filesystem::rename(directory / "socket", deep / "socket");
  address_ = "unix:" + (deep / "socket").string();
  wire.send(get_w("/"));
  EXPECT_EQ(take_message(wire).body, "unix");
  std::filesystem::remove_all(directory);
}

TEST_F(ProxyTest, PassesAnEarlyAnswerOnAndEndsTheConnection) {
  const auto ending = start_proxy([](Wire& wire) {
    (void)take_head(wire);
    wire.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig");
  });
  Wire wire = connect();
  wire.send("POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 1000000000\r\n\r\nsome");
  const Message answer = take_message(wire);
  EXPECT_EQ(answer.status, 413);
  EXPECT_EQ(answer.body, "big");
  wire.finish_sending();
  EXPECT_TRUE(wire.drain());
}

TEST_F(ProxyTest, LetsGoOfTheUpstreamWhenTheClientGoes) {
  std::atomic<bool> gone{false};
  std::atomic<bool> asked{false};
  const auto ending = start_proxy([&](Wire& wire) {
    (void)take_message(wire);
    asked = true;
    gone = wire.drain();
  });
  {
    Wire wire = connect();
    wire.send(get_w("/never"));
    ASSERT_TRUE(eventually([&] { return asked.load(); }));
    EXPECT_EQ(server_->statistics().proxied, 1);
  }
  EXPECT_TRUE(eventually([&] { return gone.load(); }));
  EXPECT_TRUE(eventually([&] { return server_->statistics().proxied == 0; }));
}

TEST_F(ProxyTest, RefusesABrokenRequestBody) {
  const auto ending = start_proxy([&](Wire& wire) { (void)take_message(wire); });
  Wire wire = connect();
  wire.send("POST / HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\nzz\r\n\r\n");
  EXPECT_EQ(take_message(wire).status, 400);
  EXPECT_TRUE((wire.finish_sending(), wire.drain()));
  Wire cut = connect();
  cut.send("POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 10\r\n\r\nhalf");
  cut.finish_sending();
  EXPECT_EQ(take_message(cut).status, 400);
}

TEST_F(ProxyTest, TunnelsAWebSocketBothWaysWithHalfCloses) {
  std::string upstream_got;
  const auto ending = start_proxy([&](Wire& wire) {
    accept_upgrade(wire);
    wire.send("server first ");
    EXPECT_TRUE(wire.drain());  // the client's half close arrives
    upstream_got = wire.buffer;
    wire.send(pattern(1 << 20));  // and the other direction still works
    wire.finish_sending();
  });
  Wire wire = connect();
  // Bytes behind the request wait for the answer, and belong to the tunnel then.
  wire.send(get_w("/ws", kUpgrade) + "early ");
  const Message head = take_head(wire);
  EXPECT_EQ(head.status, 101);
  EXPECT_EQ(head.headers.at("upgrade"), "websocket");
  EXPECT_EQ(head.headers.at("connection"), "Upgrade");
  EXPECT_EQ(head.headers.at("sec-websocket-accept"), "y");
  EXPECT_EQ(wire.take(13), "server first ");
  EXPECT_EQ(server_->statistics().tunnels, 1);
  const std::string data = pattern(1 << 20);
  wire.send(data);
  wire.finish_sending();
  EXPECT_TRUE(wire.drain());
  EXPECT_TRUE(wire.buffer == data);
  EXPECT_TRUE(upstream_got == "early " + data);
  EXPECT_TRUE(eventually([&] { return server_->statistics().tunnels == 0 && server_->statistics().open_connections == 0; }));
}

TEST_F(ProxyTest, PassesTheUpstreamsHalfCloseOnAfterTheFlush) {
  std::atomic<bool> got_rest{false};
  const auto ending = start_proxy([&](Wire& wire) {
    accept_upgrade(wire);
    wire.send(pattern(3 << 20));
    wire.finish_sending();
    got_rest = wire.take(4) == "rest" && wire.drain();
  });
  Wire wire = connect(8192);
  wire.send(get_w("/ws", kUpgrade));
  EXPECT_EQ(take_head(wire).status, 101);
  EXPECT_TRUE(wire.drain());
  EXPECT_TRUE(wire.buffer == pattern(3 << 20));
  wire.send("rest");
  wire.finish_sending();
  EXPECT_TRUE(eventually([&] { return got_rest.load(); }));
}

TEST_F(ProxyTest, AnswersAnUpgradeThatTheUpstreamDeclines) {
  const auto ending = start_proxy([](Wire& wire) {
    (void)take_message(wire);
    wire.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
  });
  Wire wire = connect();
  wire.send(get_w("/ws", kUpgrade) + get("/none"));
  EXPECT_EQ(take_message(wire).status, 403);
  EXPECT_EQ(take_message(wire).status, 404);
}

TEST_F(ProxyTest, HoldsManyTunnelsWithoutAThreadForEach) {
  constexpr int kTunnels = 300;
  const auto ending = start_proxy([](Wire& wire) {
    accept_upgrade(wire);
    while (wire.fill()) {
      wire.send(wire.buffer);
      wire.buffer.clear();
    }
  });
  const auto server_threads = [] {
    int count = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name(32, '\0');
      const int descriptor = ::open((task.path() / "comm").c_str(), O_RDONLY | O_CLOEXEC);
      name.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(descriptor, name.data(), name.size()))));
      ::close(descriptor);
      count += name.rfind("http-", 0) == 0 ? 1 : 0;
    }
    return count;
  };
  std::vector<Wire> wires;
  for (int i = 0; i < kTunnels; ++i) {
    wires.push_back(connect());
    wires.back().send(get_w("/ws", kUpgrade));
  }
  for (Wire& wire : wires) ASSERT_EQ(take_head(wire).status, 101);
  EXPECT_EQ(server_->statistics().tunnels, kTunnels);
  EXPECT_EQ(server_threads(), options_.loops + options_.pool_threads);
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < kTunnels; ++i) wires[static_cast<std::size_t>(i)].send("ping" + std::to_string(1000 + i));
    for (int i = 0; i < kTunnels; ++i) ASSERT_EQ(wires[static_cast<std::size_t>(i)].take(8), "ping" + std::to_string(1000 + i));
  }
  wires.clear();
  EXPECT_TRUE(eventually([&] { return server_->statistics().tunnels == 0; }));
}

// Whichever of the two the loop sees first: that the upstream died, or that the client has sent something for it.
TEST_F(ProxyTest, EndsATunnelWhoseUpstreamDiesWhileItsClientSends) {
  constexpr int kTunnels = 32;
  options_.loops = 1;
  std::atomic<bool> held{false}, die{false}, go_on{false};
  std::atomic<int> dead{0};
  on_loop("GET", "/hold", [&](const Request&, const Responder& respond) {
    held = true;
    EXPECT_TRUE(eventually([&] { return go_on.load(); }));
    respond(Response{});
  });
  const auto ending = start_proxy([&](Wire& wire) {
    accept_upgrade(wire);
    EXPECT_TRUE(eventually([&] { return die.load(); }));
    const sockaddr nobody{AF_UNSPEC, {}};  // resets the connection
    EXPECT_EQ(::connect(wire.descriptor(), &nobody, sizeof nobody), 0);
    ++dead;
  });
  std::vector<Wire> wires;
  for (int i = 0; i < kTunnels; ++i) {
    wires.push_back(connect());
    wires.back().send(get_w("/ws", kUpgrade));
  }
  for (Wire& wire : wires) ASSERT_EQ(take_head(wire).status, 101);
  Wire holder = connect();
  holder.send(get("/hold"));
  ASSERT_TRUE(eventually([&] { return held.load(); }));
  die = true;
  EXPECT_TRUE(eventually([&] { return dead == kTunnels; }));
  for (Wire& wire : wires) wire.send("x");
  go_on = true;
  EXPECT_TRUE(eventually([&] { return server_->statistics().tunnels == 0; })) << server_->statistics().tunnels;
}

// h2c would be a tunnel to the upstream past every header that the gateway sets or removes.
TEST_F(ProxyTest, PassesOnNoUpgradeButToAWebSocket) {
  const auto ending = start_proxy([](Wire& wire) {
    const Message request = take_message(wire);
    EXPECT_EQ(request.headers.count("upgrade") + request.headers.count("http2-settings"), 0U);
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  Wire wire = connect();
  wire.send(get_w("/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"));
  EXPECT_EQ(take_message(wire).body, "ok");
}

TEST_F(ProxyTest, EndsATunnelAndAnAnswerThatRestForTooLong) {
  options_.proxy_idle_timeout = std::chrono::milliseconds(200);
  const auto ending = start_proxy([](Wire& wire) {
    const Message request = take_head(wire);
    if (request.headers.count("upgrade") != 0) {
      wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    } else {
      wire.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun");
    }
    EXPECT_TRUE(wire.drain());  // it neither answers nor ends by itself
  });
  Wire tunnel = connect();
  tunnel.send(get_w("/", kUpgrade));
  EXPECT_EQ(take_head(tunnel).status, 101);
  EXPECT_TRUE(tunnel.drain());
  Wire answer = connect();
  answer.send(get_w("/"));
  EXPECT_EQ(take_head(answer).status, 200);
  EXPECT_TRUE(answer.drain());
  EXPECT_EQ(answer.buffer, "begun");
  EXPECT_TRUE(eventually([&] { return server_->statistics().open_connections == 0; }));
}

TEST_F(ProxyTest, KeepsATunnelThatSaysSomethingNowAndThen) {
  constexpr auto kIdle = std::chrono::milliseconds(1500);
  options_.proxy_idle_timeout = kIdle;
  const auto ending = start_proxy([](Wire& wire) {
    accept_upgrade(wire);
    for (std::string got = wire.take(1); !got.empty(); got = wire.take(1)) wire.send(got);
  });
  Wire tunnel = connect();
  tunnel.send(get_w("/", kUpgrade));
  EXPECT_EQ(take_head(tunnel).status, 101);
  const auto end = std::chrono::steady_clock::now() + 2 * kIdle;
  while (std::chrono::steady_clock::now() < end) {
    ASSERT_TRUE(tunnel.send("x"));
    ASSERT_EQ(tunnel.take(1), "x");
  }
}

// The answer is owed from the last byte that the upstream took, however long the upload was on its way.
TEST_F(ProxyTest, AnUploadMayTakeLongerThanAnAnswer) {
  constexpr auto kAnswer = std::chrono::milliseconds(1500);
  options_.proxy_answer_deadline = kAnswer;
  const auto ending = start_proxy([](Wire& wire) {
    (void)take_message(wire);
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  });
  Wire wire = connect();
  wire.send("POST /up HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n");
  const auto end = std::chrono::steady_clock::now() + 2 * kAnswer;
  while (std::chrono::steady_clock::now() < end) {
    ASSERT_TRUE(wire.send("1\r\nx\r\n"));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it is the upload that takes its time
  }
  wire.send("0\r\n\r\n");
  EXPECT_EQ(take_message(wire).body, "ok");
}

TEST_F(ProxyTest, AnUpstreamThatDoesNotAnswerInTimeIs504) {
  options_.proxy_answer_deadline = std::chrono::milliseconds(100);
  const auto ending = start_proxy([](Wire& wire) { EXPECT_TRUE(wire.drain()); });
  Wire wire = connect();
  wire.send(get_w("/"));
  EXPECT_EQ(take_message(wire).status, 504);
}

TEST_F(ProxyTest, EndsTunnelsAtADrainAndFinishesAnswers) {
  std::atomic<bool> finish{false};
  const auto ending = start_proxy([&](Wire& wire) {
    const Message request = take_head(wire);
    if (request.headers.count("upgrade") != 0) {
      wire.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
      (void)wire.drain();
      return;
    }
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    EXPECT_TRUE(eventually([&] { return finish.load(); }));
    wire.send("cd");
  });
  Wire tunnel = connect();
  tunnel.send(get_w("/ws", kUpgrade));
  EXPECT_EQ(take_head(tunnel).status, 101);
  Wire answer = connect();
  answer.send(get_w("/"));
  EXPECT_EQ(take_head(answer).status, 200);
  std::thread stopper([&] { server_->stop(); });
  EXPECT_TRUE(tunnel.drain());
  finish = true;
  EXPECT_EQ(answer.take(4), "abcd");
  EXPECT_TRUE(answer.drain());
  stopper.join();
}

}  // namespace
}  // namespace roost::http
