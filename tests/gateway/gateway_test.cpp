// The gateway between a real server and a real upstream.
#include "gateway/gateway.hpp"

#include <gtest/gtest.h>

#include "gateway/fakes.hpp"
#include "http/client.hpp"

namespace roost::gateway {
namespace {

using test::eventually;
using test::Message;
using test::SocketServer;
using test::take_head;
using test::take_message;
using test::Wire;

constexpr const char* kId = "abcd0123";

class GatewayTest : public ::testing::Test {
 protected:
  GatewayTest()
      : upstream_([this](Wire& wire) {
          Message request = take_head(wire);
          const bool upgrade = request.headers.count("upgrade") != 0;
          {
            const std::lock_guard lock(mutex_);
            seen_.push_back(std::move(request));
          }
          if (!upgrade) {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\neditor");
            return;
          }
          wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
          while (wire.fill()) {
            wire.send(wire.buffer);
            wire.buffer.clear();
          }
        }) {}
  ~GatewayTest() override {
    if (server_) server_->stop();
  }

  void start() {
    gateway_ = std::make_unique<Gateway>(options_, sessions_.port(), clock_, system_random());
    http::ServerOptions options;
    options.listen = "127.0.0.1:0";
    server_ = std::make_unique<http::Server>(options, std::vector<http::VirtualServer>{gateway_->virtual_server()});
    ASSERT_TRUE(server_->start().ok());
    gateway_->set_port(server_->port());
    host_ = "vs-code-abcd0123.localhost:" + std::to_string(server_->port());
    origin_ = "http://" + host_;
  }
  void session(Workspace::State state, std::string reason = "") {
    sessions_.set(kId, {state, upstream_.address(), std::string(64, 's'), std::move(reason), {{"x-front", "token"}}});
  }
  [[nodiscard]] Message ask(const std::string& method, const std::string& path, const std::string& headers,
                            std::string host = "") {
    if (host.empty()) host = host_;
    return test::ask(server_->port(), method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + headers + "\r\n");
  }
  // Opens an access link; "name=value" of its cookie.
  std::string log_in() {
    const auto link = gateway_->access_url(kId);
    EXPECT_TRUE(link.ok());
    EXPECT_EQ(link->rfind(origin_ + "/.roost/login?token=", 0), 0U) << *link;
    const Message answer = ask("GET", link->substr(origin_.size()), "");
    EXPECT_EQ(answer.status, 303);
    const std::string cookie = answer.headers.count("set-cookie") == 0 ? "" : answer.headers.at("set-cookie");
    return cookie.substr(0, cookie.find(';'));
  }
  static std::string cookie_header(const std::string& cookie) { return "Cookie: theme=dark; " + cookie + "\r\n"; }
  [[nodiscard]] std::size_t forwarded() {
    const std::lock_guard lock(mutex_);
    return seen_.size();
  }

  TestClock clock_;
  TestSessions sessions_;
  std::mutex mutex_;
  std::vector<Message> seen_;
  SocketServer upstream_;
  Options options_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<http::Server> server_;
  std::string host_, origin_;
};

constexpr const char* kHtml = "Accept: text/html,application/xhtml+xml\r\n";

TEST_F(GatewayTest, LogsInByALinkThatWorksOnce) {
  session(Workspace::State::ready);
  start();
  const std::string link = gateway_->access_url(kId).value().substr(origin_.size());
  Wire preview = Wire::to_port(server_->port());  // which must not use the link up
  preview.send("HEAD " + link + " HTTP/1.1\r\nHost: " + host_ + "\r\n\r\n");
  EXPECT_EQ(take_message(preview, true).status, 405);
  const Message answer = ask("GET", link, "");
  EXPECT_EQ(answer.status, 303);
  EXPECT_EQ(answer.headers.at("location"), "/?folder=/workspace");
  EXPECT_EQ(answer.headers.at("referrer-policy"), "no-referrer");
  EXPECT_EQ(answer.headers.at("cache-control"), "no-store");
  const std::string cookie = answer.headers.at("set-cookie");
  EXPECT_EQ(cookie.rfind("__Host-roost=v1.", 0), 0U) << cookie;
  EXPECT_NE(cookie.find("; HttpOnly; SameSite=Lax; Secure"), std::string::npos);
  EXPECT_EQ(ask("GET", link, "").status, 401);
  EXPECT_EQ(ask("GET", "/", cookie_header(cookie.substr(0, cookie.find(';')))).body, "editor");
  EXPECT_EQ(forwarded(), 1U);
}

TEST_F(GatewayTest, ALinkExpiresAndIsGoodForItsSessionOnly) {
  session(Workspace::State::ready);
  sessions_.set("ffffffff", {Workspace::State::ready, upstream_.address(), std::string(64, 't'), "", {}});
  start();
  const std::string other = gateway_->access_url("ffffffff").value();
  EXPECT_EQ(ask("GET", other.substr(other.find("/.roost")), "").status, 401);
  const std::string link = gateway_->access_url(kId).value().substr(origin_.size());
  clock_.advance_s(61);
  EXPECT_EQ(ask("GET", link, "").status, 401);
  EXPECT_EQ(gateway_->access_url("00000000").error().code, Code::not_found);
  EXPECT_EQ(gateway_->access_url("../etc").error().code, Code::not_found);
}

TEST_F(GatewayTest, TellsAStrangerNothing) {
  session(Workspace::State::ready);
  start();
  const std::string missing_host = "vs-code-00000000.localhost:" + std::to_string(server_->port());
  for (const std::string& headers : std::vector<std::string>{kHtml, "", "Cookie: __Host-roost=v1.1.99999999999.x\r\n"}) {
    for (const std::string& path : std::vector<std::string>{"/", "/.roost/login?token=guess", "/.roost/x", "/a%2fb"}) {
      Message there = ask("GET", path, headers);
      Message missing = ask("GET", path, headers, missing_host);
      EXPECT_EQ(there.status, 401) << path;
      EXPECT_EQ(there.body, missing.body) << path;
      there.headers.erase("date");
      missing.headers.erase("date");
      EXPECT_EQ(there.headers, missing.headers) << path;
    }
  }
  EXPECT_EQ(forwarded(), 0U);
  EXPECT_EQ(sessions_.touched(kId), 0);
}

TEST_F(GatewayTest, TheCookieIsOfOneSessionAndDiesWithItsNonceAndItsTime) {
  session(Workspace::State::ready);
  sessions_.set("ffffffff", {Workspace::State::ready, upstream_.address(), std::string(64, 's'), "", {}});
  start();
  const std::string cookie = cookie_header(log_in());
  EXPECT_EQ(ask("GET", "/", cookie).status, 200);
  EXPECT_EQ(ask("GET", "/", cookie, "vs-code-ffffffff.localhost").status, 401);
  sessions_.set(kId, {Workspace::State::ready, upstream_.address(), std::string(64, 't'), "", {}});
  EXPECT_EQ(ask("GET", "/", cookie).status, 401);
  session(Workspace::State::ready);
  clock_.advance_s(options_.cookie_ttl_s + 1);
  EXPECT_EQ(ask("GET", "/", cookie).status, 401);
}

TEST_F(GatewayTest, ACookieOutlivesARestart) {
  session(Workspace::State::ready);
  start();
  const std::string cookie = cookie_header(log_in());
  server_->stop();
  start();
  EXPECT_EQ(ask("GET", "/", cookie).status, 200);
}

TEST_F(GatewayTest, ForwardsWithoutItsCookieAndWithoutTheKey) {
  session(Workspace::State::ready);
  start();
  EXPECT_EQ(ask("GET", "/static/x?y=%2F", cookie_header(log_in()) + "X-API-Key: secret\r\nX-Forwarded-For: 1.2.3.4\r\n").status,
            200);
  const Message& request = seen_.at(0);
  EXPECT_EQ(request.start, "GET /static/x?y=%2F HTTP/1.1");
  EXPECT_EQ(request.headers.at("cookie"), "theme=dark");
  EXPECT_EQ(request.headers.count("x-api-key"), 0U);
  EXPECT_EQ(request.headers.at("x-front"), "token");
  EXPECT_EQ(request.headers.at("x-forwarded-for"), "127.0.0.1");
  EXPECT_EQ(request.headers.at("x-forwarded-proto"), "http");
  EXPECT_TRUE(eventually([&] { return sessions_.touched(kId) > 0; }));
}

TEST_F(GatewayTest, AnswersItsHostsInAnyCaseAndOnlyThose) {
  session(Workspace::State::ready);
  start();
  const std::string cookie = cookie_header(log_in());
  for (const char* host : {"vs-code-abcd0123.localhost", "VS-Code-ABCD0123.LocalHost:8080", "vs-code-abcd0123.localhost:1"}) {
    EXPECT_EQ(ask("GET", "/", cookie, host).status, 200) << host;
  }
  for (const char* host :
       {"vs-code-abcd0123.localhost.evil.com", "vs-code-abcd0123.localhost.", "xvs-code-abcd0123.localhost", "localhost",
        "127.0.0.1", "vs-code-abcd012g.localhost", "vs-code-abcd01234.localhost", "vs-code-.localhost"}) {
    EXPECT_EQ(ask("GET", "/", cookie, host).status, 421) << host;
  }
}

TEST_F(GatewayTest, DemandsTheExactOriginOnWebSocketsAndUnsafeMethods) {
  session(Workspace::State::ready);
  start();
  const std::string cookie = cookie_header(log_in());
  const std::string upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n" + cookie;
  const std::string post = "Content-Length: 0\r\n" + cookie;
  for (const std::string& origin : std::vector<std::string>{
           "http://vs-code-ffffffff.localhost:" + std::to_string(server_->port()), "https://" + host_, "http://localhost", "null",
           "http://vs-code-abcd0123.localhost", origin_ + "0", origin_ + "/", "http://" + host_ + ".evil.com"}) {
    EXPECT_EQ(ask("GET", "/", upgrade + "Origin: " + origin + "\r\n").status, 403) << origin;
    EXPECT_EQ(ask("POST", "/", post + "Origin: " + origin + "\r\n").status, 403) << origin;
  }
  EXPECT_EQ(ask("GET", "/", upgrade).status, 403);
  EXPECT_EQ(ask("POST", "/", post + "Sec-Fetch-Site: cross-site\r\n").status, 403);
  EXPECT_EQ(ask("DELETE", "/", post + "Sec-Fetch-Site: same-site\r\n").status, 403);
  EXPECT_EQ(forwarded(), 0U);
  EXPECT_EQ(ask("POST", "/", post + "Origin: " + origin_ + "\r\n").status, 200);
  EXPECT_EQ(ask("POST", "/", post).status, 200);  // no browser
  EXPECT_EQ(ask("POST", "/", post + "Sec-Fetch-Site: same-origin\r\n").status, 200);
  // A browser leaves the scheme's own port out.
  EXPECT_EQ(ask("POST", "/", post + "Origin: http://vs-code-abcd0123.localhost\r\n", "vs-code-abcd0123.localhost:80").status,
            200);
}

TEST_F(GatewayTest, PassesAWebSocketThrough) {
  session(Workspace::State::ready);
  start();
  const std::string cookie = cookie_header(log_in());
  Wire wire = Wire::to_port(server_->port());
  wire.send("GET /ws HTTP/1.1\r\nHost: " + host_ + "\r\nOrigin: " + origin_ +
            "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + cookie + "\r\n");
  EXPECT_EQ(take_head(wire).status, 101);
  wire.send("ping");
  EXPECT_EQ(wire.take(4), "ping");
  EXPECT_TRUE(eventually([&] { return sessions_.touched(kId) > 0; }));
}

TEST_F(GatewayTest, WakesASleepingSessionOnAVisitOnly) {
  session(Workspace::State::asleep);
  start();
  const std::string cookie = cookie_header(log_in());
  EXPECT_EQ(ask("GET", "/", kHtml).status, 401);
  // A tab that was left open: its reconnecting WebSocket, its fetches.
  EXPECT_EQ(ask("GET", "/ws", cookie + "Origin: " + origin_ + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n").status, 503);
  EXPECT_EQ(ask("GET", "/x", cookie + "Sec-Fetch-Mode: cors\r\n").status, 503);
  EXPECT_EQ(ask("POST", "/x", cookie + "Content-Length: 0\r\nOrigin: " + origin_ + "\r\n").status, 503);
  EXPECT_EQ(sessions_.woken(kId), 0);
  const Message page = ask("GET", "/", cookie + kHtml + "Sec-Fetch-Mode: navigate\r\n");
  EXPECT_EQ(page.status, 503);
  EXPECT_EQ(sessions_.woken(kId), 1);
  EXPECT_NE(page.body.find("<meta http-equiv=\"refresh\""), std::string::npos);
  EXPECT_EQ(page.body.find("<script"), std::string::npos);
  EXPECT_EQ(page.body.find("http://"), std::string::npos);
  EXPECT_EQ(page.headers.at("content-security-policy").rfind("default-src 'none'; style-src 'sha256-", 0), 0U);
  EXPECT_EQ(page.headers.at("cache-control"), "no-store");
  EXPECT_EQ(page.headers.count("retry-after"), 1U);
  const Message plain = ask("GET", "/api", cookie + "Accept: application/json\r\n");
  EXPECT_EQ(plain.status, 503);
  EXPECT_EQ(plain.headers.at("content-type"), "application/problem+json");
  EXPECT_EQ(plain.headers.count("retry-after"), 1U);
  EXPECT_EQ(sessions_.woken(kId), 2);
  EXPECT_EQ(forwarded(), 0U);
}

TEST_F(GatewayTest, ShowsWhyAWorkspaceCannotBeOpened) {
  session(Workspace::State::starting, "<b>StartFailed</b>");
  start();
  const std::string cookie = cookie_header(log_in());
  const Message starting = ask("GET", "/", cookie + kHtml);
  EXPECT_EQ(starting.status, 503);
  EXPECT_NE(starting.body.find("&lt;b&gt;StartFailed"), std::string::npos);
  session(Workspace::State::unavailable, "It is being deleted");
  const Message gone = ask("GET", "/", cookie + kHtml);
  EXPECT_EQ(gone.status, 410);
  EXPECT_NE(gone.body.find("It is being deleted"), std::string::npos);
  EXPECT_EQ(gone.body.find("refresh"), std::string::npos);
  EXPECT_EQ(ask("GET", "/.roost/anything", cookie).status, 404);
  EXPECT_EQ(sessions_.woken(kId), 0);
}

TEST_F(GatewayTest, ShowsTheStartingPageWhileTheFrontDoesNotAnswer) {
  sessions_.set(kId, {Workspace::State::ready, "unix:/nonexistent/socket", std::string(64, 's'), "", {}});
  start();
  const std::string cookie = cookie_header(log_in());
  const Message page = ask("GET", "/", cookie + kHtml);
  EXPECT_EQ(page.status, 503);
  EXPECT_NE(page.body.find("refresh"), std::string::npos);
  EXPECT_EQ(page.body.find("nonexistent"), std::string::npos);
  EXPECT_EQ(ask("GET", "/x", cookie).headers.at("content-type"), "application/problem+json");
}

TEST(GatewayOptions, AreChecked) {
  Options good;
  EXPECT_TRUE(Gateway::validate(good).ok());
  const auto refused = [&](const std::function<void(Options&)>& change) {
    Options options = good;
    change(options);
    const Status status = Gateway::validate(options);
    return !status.ok() && status.error().code == Code::invalid;
  };
  EXPECT_TRUE(refused([](Options& o) { o.host_pattern = "vs-code.localhost"; }));
  EXPECT_TRUE(refused([](Options& o) { o.host_pattern = "{uuid}-{uuid}.localhost"; }));
  EXPECT_TRUE(refused([](Options& o) { o.host_pattern = "{uuid}.localhost:80"; }));
  EXPECT_TRUE(refused([](Options& o) { o.host_pattern = "{uuid}.LOCALHOST"; }));
  EXPECT_TRUE(refused([](Options& o) { o.url_pattern = "ftp://{uuid}.localhost"; }));
  EXPECT_TRUE(refused([](Options& o) { o.url_pattern = "http://localhost"; }));
  EXPECT_TRUE(refused([](Options& o) { o.landing = "//evil.com"; }));
}

TEST(GatewayUrl, FollowsThePattern) {
  Options options;
  options.host_pattern = "vs-code-{uuid}.example.org";
  options.url_pattern = "https://vs-code-{uuid}.example.org";
  TestSessions sessions;
  TestClock clock;
  const Gateway gateway(options, sessions.port(), clock, system_random());
  EXPECT_EQ(gateway.workspace_url("abcd0123"), "https://vs-code-abcd0123.example.org");
}

}  // namespace
}  // namespace roost::gateway
