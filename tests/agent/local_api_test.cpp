#include "agent/local_api.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <thread>

#include "agent/chat.hpp"
#include "base/crypto.hpp"

namespace roost::agent {
namespace {

namespace fs = std::filesystem;

std::string receive(int fd, std::string_view until) {
  std::string text;
  std::array<char, 65536> buffer{};
  while (until.empty() || text.find(until) == std::string::npos) {
    if (!wait_for(fd, POLLIN, monotonic_ms() + 20'000)) return text + " (nothing more came)";
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return text;
}

void send_text(int fd, std::string_view text) {
  ASSERT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

// The API in a thread of its own, before a daemon whose part the test plays.
class LocalApiTest : public testing::Test {
 protected:
  LocalApiTest() {
    std::string pattern = (fs::temp_directory_path() / "ra-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    daemon_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(daemon_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(daemon_.get(), 128), 0);
    EXPECT_EQ(::getsockname(daemon_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    host_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    EXPECT_TRUE(write_file(path_ + "/url", "http://" + host_ + "\n").ok());
    EXPECT_TRUE(write_file(path_ + "/token", "secret-token\n", 0600).ok());
    EXPECT_EQ(::pipe2(wake_, O_CLOEXEC), 0);
    loop_.add(wake_[0], 1, [this](std::uint32_t) { loop_.stop(); });
    api_ = std::make_unique<LocalApi>(loop_, LocalApiSpec{"1823b3a8", path_ + "/url", path_ + "/token"});
    EXPECT_TRUE(api_->listen(path_ + "/api.sock", -1).ok());
    thread_ = std::thread([this] { loop_.run(); });
  }
  ~LocalApiTest() override {
    (void)!::write(wake_[1], "x", 1);
    thread_.join();
    api_.reset();
    ::close(wake_[0]);
    ::close(wake_[1]);
    fs::remove_all(path_);
  }
  [[nodiscard]] Fd connect() const {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, (path_ + "/api.sock").c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return fd;
  }
  [[nodiscard]] Fd accept_as_daemon() const { return Fd(::accept4(daemon_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  [[nodiscard]] bool daemon_was_asked() const { return wait_for(daemon_.get(), POLLIN, monotonic_ms()); }

  std::string path_;
  std::string host_;
  Fd daemon_;
  int wake_[2] = {-1, -1};
  Loop loop_;
  std::unique_ptr<LocalApi> api_;
  std::thread thread_;
};

TEST(ConsumerPath, IsOfThisSessionAndNothingElse) {
  EXPECT_EQ(consumer_path("1823b3a8", "POST", "/messages/claim"), "/session/1823b3a8/messages/claim");
  EXPECT_EQ(consumer_path("1823b3a8", "POST", "/messages/0123456789abcdef/ack"),
            "/session/1823b3a8/messages/0123456789abcdef/ack");
  for (const char* target :
       {"", "/", "/messages", "/messages/", "/messages/claim/", "/messages/claim?max=1", "/messages/claim#x",
        "/messages/../claim", "/messages/0123456789abcde/ack", "/messages/0123456789abcdeF/ack",
        "/messages/0123456789abcdef/ack?x", "/messages/0123456789abcdef", "/messages/..%2f..%2fxxxxxx/ack",
        "/session/1823b3a8/messages/claim", "http://localhost/messages/claim", "/sessions", "//messages/claim"}) {
    EXPECT_EQ(consumer_path("1823b3a8", "POST", target), "") << target;
  }
  for (const char* method : {"GET", "PUT", "DELETE", "post", ""})
    EXPECT_EQ(consumer_path("1823b3a8", method, "/messages/claim"), "") << method;
}

TEST_F(LocalApiTest, ForwardsTheBodyWithTheTokenAndNothingElseOfTheClient) {
  const Fd client = connect();
  send_text(client.get(),
            "POST /messages/claim HTTP/1.1\r\nHost: evil.example\r\nX-API-Key: mine\r\nCookie: a=b\r\nX-Odd: 1\r\n"
            "Content-Length: 9\r\n\r\n{\"max\"");
  send_text(client.get(), ":1}");
  const Fd daemon = accept_as_daemon();
  const std::string request = receive(daemon.get(), "{\"max\":1}");
  EXPECT_EQ(request, "POST /session/1823b3a8/messages/claim HTTP/1.1\r\nHost: " + host_ +
                         "\r\nX-API-Key: secret-token\r\nContent-Type: application/json\r\nConnection: close\r\n"
                         "Content-Length: 9\r\n\r\n{\"max\":1}");
  send_text(daemon.get(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
  ::shutdown(daemon.get(), SHUT_RDWR);
  EXPECT_EQ(receive(client.get(), {}), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
}

TEST_F(LocalApiTest, RefusesOtherPathsAndWhatIsNoRequestWithoutAskingTheDaemon) {
  const std::pair<std::string, const char*> cases[] = {
      {"GET /sessions HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"},
      {"POST /session/ffffffff/messages/claim HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404"},
      {"POST /messages/claim HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", "HTTP/1.1 413"},
      {"nonsense\r\n\r\n", "HTTP/1.1 400"},
      {"POST /messages/claim HTTP/1.1\r\nX: " + std::string(10'000, 'x') + "\r\n\r\n", "HTTP/1.1 400"}};
  for (const auto& [request, answer] : cases) {
    const Fd client = connect();
    send_text(client.get(), request);
    EXPECT_TRUE(receive(client.get(), {}).starts_with(answer)) << request.substr(0, 60);
  }
  EXPECT_FALSE(daemon_was_asked());
}

TEST_F(LocalApiTest, FindsADaemonThatCameBackElsewhereAndSaysWhereThereIsNone) {
  ASSERT_TRUE(replace_file(path_ + "/url", "http://127.0.0.1:1\n").ok());
  auto answer = ask_api(path_ + "/api.sock", "/messages/claim", Json::object({{"max", 1}}), -1);
  ASSERT_FALSE(answer.ok());
  EXPECT_NE(answer.error().message.find("503"), std::string::npos) << answer.error().message;
  ASSERT_TRUE(replace_file(path_ + "/url", "http://" + host_ + "\n").ok());
  std::thread daemon([this] {
    const Fd asked = accept_as_daemon();
    (void)receive(asked.get(), "{\"max\":1}");
    const std::string_view text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"a\": 7}\r\n0\r\n\r\n";
    (void)!::send(asked.get(), text.data(), text.size(), MSG_NOSIGNAL);
  });
  answer = ask_api(path_ + "/api.sock", "/messages/claim", Json::object({{"max", 1}}), -1);
  daemon.join();
  ASSERT_TRUE(answer.ok()) << answer.error().message;
  EXPECT_EQ((*answer)["a"].as_int(), 7);
}

// The supervisor's loop must not wait for a name server.
TEST_F(LocalApiTest, LooksUpNoNameUnlessItIsToldTo) {
  for (const char* url : {"http://localhost:1", "http://localhost", "http://", "https://127.0.0.1:1", "http://127.0.0.1:0",
                          "http://127.0.0.1:x", "http://127.0.0.1:1/path", "http://user@127.0.0.1:1", "http://[::1"}) {
    ASSERT_TRUE(replace_file(path_ + "/url", std::string(url) + "\n").ok());
    const auto answer = ask_api(path_ + "/api.sock", "/messages/claim", Json::object(), -1);
    ASSERT_FALSE(answer.ok()) << url;
    EXPECT_NE(answer.error().message.find("503"), std::string::npos) << url << ": " << answer.error().message;
  }
  EXPECT_FALSE(daemon_was_asked());
}

TEST_F(LocalApiTest, AClaimEndsWhenItsClientGoesAway) {
  Fd client = connect();
  send_text(client.get(), "POST /messages/claim HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
  const Fd daemon = accept_as_daemon();
  (void)receive(daemon.get(), "{}");
  client.reset();
  EXPECT_EQ(receive(daemon.get(), {}), "") << "the daemon sees the connection's end";
}

TEST_F(LocalApiTest, ALargeAnswerReachesASlowReaderWhole) {
  const Fd client = connect();
  send_text(client.get(), "POST /messages/claim HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
  const Fd daemon = accept_as_daemon();
  (void)receive(daemon.get(), "{}");
  const std::string sent(6 << 20, 'r');
  std::thread sender([&] {
    for (std::string_view left = sent; !left.empty();) {
      const ssize_t n = ::send(daemon.get(), left.data(), left.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      left.remove_prefix(static_cast<std::size_t>(n));
    }
    ::shutdown(daemon.get(), SHUT_RDWR);
  });
  EXPECT_EQ(receive(client.get(), {}).size(), sent.size());
  sender.join();
}

TEST(Reply, IsValidAndWithinWhatTheApiTakes) {
  EXPECT_EQ(reply_of("hello\n"), Json::object({{"text", "hello\n"}}));
  EXPECT_EQ(reply_of("a\xFFz")["text"].as_string(), "a?z");
  for (const std::string& unit : {std::string("x"), std::string("\xE2\x82\xAC"), std::string("\x01", 1), std::string("\"")}) {
    std::string output;
    while (output.size() < 200'000) output += unit;
    const Json reply = reply_of(output);
    EXPECT_LE(reply.dump().size(), std::size_t{65'536});
    EXPECT_TRUE(reply["truncated"].as_bool());
    const std::string text = reply["text"].as_string();
    EXPECT_TRUE(valid_utf8(text));
    EXPECT_GT(text.size(), std::size_t{5'000});
    EXPECT_EQ(text.find('?'), std::string::npos) << "the cut goes through no character";
  }
}

}  // namespace
}  // namespace roost::agent
