#include "agent/front.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

namespace roost::agent {
namespace {

namespace fs = std::filesystem;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

Fd connect_to(const std::string& path) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 65536> buffer{};
  for (ssize_t n = 0; wait_for(fd, POLLIN, monotonic_ms() + 20'000) && (n = ::recv(fd, buffer.data(), buffer.size(), 0)) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  return text;
}

void send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
}

// A front in a thread of its own, before a workload whose listening socket the test serves.
class FrontTest : public testing::Test {
 protected:
  FrontTest() {
    std::string pattern = (fs::temp_directory_path() / "rf-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
    fs::create_directory(path_ + "/w");
    directory_.reset(::open((path_ + "/w").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(::pipe2(wake_, O_CLOEXEC), 0);
  }
  ~FrontTest() override {
    finish();
    fs::remove_all(path_);
  }
  void listen_as_workload() {
    auto made = listen_unix(path_ + "/w/app.sock", 0600);
    ASSERT_TRUE(made.ok());
    workload_ = std::move(*made);
    ::fcntl(workload_.get(), F_SETFL, 0);
  }
  void begin(uid_t owner = ::geteuid()) {
    loop_.add(wake_[0], EPOLLIN_, [this](std::uint32_t) { loop_.stop(); });
    front_ = std::make_unique<Front>(loop_, directory_.get(), "app.sock", owner);
    ASSERT_TRUE(front_->listen(path_ + "/front.sock").ok());
    thread_ = std::thread([this] { loop_.run(); });
  }
  // Ends the thread; from then on the front may be asked.
  void finish() {
    if (!thread_.joinable()) return;
    (void)!::write(wake_[1], "x", 1);
    thread_.join();
  }
  // Descriptors that the loop watches, as the kernel says.
  static std::size_t watched() {
    std::size_t count = 0;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
      std::error_code closed;
      if (fs::read_symlink(entry.path(), closed) != "anon_inode:[eventpoll]") continue;
      std::ifstream info("/proc/self/fdinfo/" + entry.path().filename().string());
      for (std::string line; std::getline(info, line);) count += line.starts_with("tfd:") ? 1 : 0;
    }
    return count;
  }
  Fd accept_as_workload() { return Fd(::accept4(workload_.get(), nullptr, nullptr, SOCK_CLOEXEC)); }

  static constexpr std::uint32_t EPOLLIN_ = 1;
  std::string path_;
  Fd directory_;
  Fd workload_;
  int wake_[2] = {-1, -1};
  Loop loop_;
  std::unique_ptr<Front> front_;
  std::thread thread_;
};

TEST_F(FrontTest, PassesBothDirectionsAndTheirEnds) {
  listen_as_workload();
  begin();
  const Fd client = connect_to(path_ + "/front.sock");
  const Fd server = accept_as_workload();
  send_all(client.get(), "GET / HTTP/1.1\r\n\r\n");
  ::shutdown(client.get(), SHUT_WR);
  EXPECT_EQ(read_all(server.get()), "GET / HTTP/1.1\r\n\r\n") << "the half close arrives, after the bytes";
  send_all(server.get(), "HTTP/1.1 200 OK\r\n\r\nhello");
  ::shutdown(server.get(), SHUT_WR);
  EXPECT_EQ(read_all(client.get()), "HTTP/1.1 200 OK\r\n\r\nhello");
  finish();
  EXPECT_GT(front_->activity().http_request_us, 0);
}

TEST_F(FrontTest, BytesSurviveASlowReaderAndASenderThatIsGone) {
  listen_as_workload();
  begin();
  const Fd client = connect_to(path_ + "/front.sock");
  std::string sent(8 << 20, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761u >> 13);
  std::thread sender([&] {
    const Fd server = accept_as_workload();
    send_all(server.get(), sent);
  });
  std::string received;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = ::recv(client.get(), buffer.data(), buffer.size(), 0)) > 0;)
    received.append(buffer.data(), static_cast<std::size_t>(n));
  sender.join();
  EXPECT_TRUE(received == sent) << received.size() << " of " << sent.size();
}

// A peer that has left is reported by the kernel whatever is asked for: watched, it would keep the loop busy for as long as the
// other one takes its time.
TEST_F(FrontTest, WhoHasLeftIsNotWatchedWhileItsBytesMustWait) {
  listen_as_workload();
  begin();
  const Fd client = connect_to(path_ + "/front.sock");
  Fd server = accept_as_workload();
  const std::int64_t deadline_ms = monotonic_ms() + 20'000;
  while (watched() < 4 && monotonic_ms() < deadline_ms) std::this_thread::yield();
  ASSERT_EQ(watched(), 4u) << "the test's own, the listener, both ends";
  const std::string piece(16 << 10, 'x');
  std::size_t sent = 0;
  while (watched() == 4 && monotonic_ms() < deadline_ms) {
    const ssize_t n = ::send(server.get(), piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    sent += n > 0 ? static_cast<std::size_t>(n) : 0;
  }
  EXPECT_EQ(watched(), 3u) << "nobody reads, and " << sent << " bytes are on their way";
  server.reset();
  EXPECT_EQ(read_all(client.get()).size(), sent);
}

// Such as "401" or "413" to an upload: the kernel reports the connection as broken, for bytes of the request were not read.
TEST_F(FrontTest, AnAnswerThatComesBeforeTheWholeRequestArrives) {
  listen_as_workload();
  begin();
  const std::string answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n" + std::string(50'000, 'a');
  for (const std::size_t body : {1'000u, 20'000u, 100'000u}) {
    for (int i = 0; i < 10; ++i) {
      const Fd client = connect_to(path_ + "/front.sock");
      send_all(client.get(), "POST / HTTP/1.1\r\n\r\n" + std::string(body, 'b'));
      {
        const Fd server = accept_as_workload();
        char byte = 0;
        ASSERT_EQ(::recv(server.get(), &byte, 1, 0), 1);
        send_all(server.get(), answer);
      }
      send_all(client.get(), "the rest");
      ASSERT_EQ(read_all(client.get()), answer) << body << " " << i;
    }
  }
}

TEST_F(FrontTest, ManyConnectionsNeedNoThreadAndShowAsConnections) {
  listen_as_workload();
  begin();
  std::vector<Fd> clients;
  std::vector<Fd> servers;
  for (int i = 0; i < 300; ++i) {
    clients.push_back(connect_to(path_ + "/front.sock"));
    servers.push_back(accept_as_workload());
  }
  for (int i = 0; i < 300; ++i) {
    send_all(clients[static_cast<std::size_t>(i)].get(), "x");
    char byte = 0;
    EXPECT_EQ(::recv(servers[static_cast<std::size_t>(i)].get(), &byte, 1, 0), 1);
  }
  finish();
  EXPECT_EQ(front_->activity().connections, 300);
}

TEST_F(FrontTest, AWorkloadThatIsNotThereIsAnswered503) {
  begin();
  const Fd client = connect_to(path_ + "/front.sock");
  EXPECT_TRUE(read_all(client.get()).starts_with("HTTP/1.1 503"));
}

TEST_F(FrontTest, ALinkIsNotFollowedAndAnothersSocketNotUsed) {
  auto host = listen_unix(path_ + "/host.sock", 0600);
  ASSERT_TRUE(host.ok());
  fs::create_symlink(path_ + "/host.sock", path_ + "/w/app.sock");
  EXPECT_FALSE(open_workload_socket(directory_.get(), "app.sock", ::geteuid()).ok());
  fs::remove(path_ + "/w/app.sock");
  fs::create_hard_link(path_ + "/host.sock", path_ + "/w/app.sock");
  EXPECT_TRUE(open_workload_socket(directory_.get(), "app.sock", ::geteuid()).ok());
  EXPECT_EQ(open_workload_socket(directory_.get(), "app.sock", ::geteuid() + 1).error().code, Code::denied);
  fs::remove(path_ + "/w/app.sock");
  std::ofstream(path_ + "/w/app.sock") << "a file";
  EXPECT_EQ(open_workload_socket(directory_.get(), "app.sock", ::geteuid()).error().code, Code::denied);
}

std::string frame(unsigned char opcode, std::size_t payload) {
  std::string made(1, static_cast<char>(0x80 | opcode));
  if (payload < 126) {
    made += static_cast<char>(0x80 | payload);
  } else {
    made += static_cast<char>(0x80 | 126);
    made += static_cast<char>(payload >> 8);
    made += static_cast<char>(payload & 255);
  }
  return made + "mask" + std::string(payload, 'p');
}

TEST_F(FrontTest, AWebSocketsKeepAlivesAreConnectionAndItsMessagesInteraction) {
  listen_as_workload();
  begin();
  const Fd client = connect_to(path_ + "/front.sock");
  const Fd server = accept_as_workload();
  std::array<char, 4096> buffer{};
  send_all(client.get(), "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
  ASSERT_GT(::recv(server.get(), buffer.data(), buffer.size(), 0), 0);
  send_all(server.get(), "HTTP/1.1 101 Switching Protocols\r\n\r\n");
  ASSERT_GT(::recv(client.get(), buffer.data(), buffer.size(), 0), 0);
  send_all(client.get(), frame(9, 4) + frame(2, 13));  // a ping, and an editor's keep-alive
  ASSERT_GT(::recv(server.get(), buffer.data(), buffer.size(), 0), 0);
  finish();
  FrontActivity seen = front_->activity();
  EXPECT_GT(seen.websocket_bytes_us, 0);
  EXPECT_EQ(seen.websocket_message_us, 0);
}

TEST(WebSocketMeterTest, FindsMessagesHoweverTheBytesAreCut) {
  const std::string quiet = frame(9, 100) + frame(2, 13) + frame(10, 0);
  const std::string loud = frame(2, 200);
  for (const std::size_t step : {1u, 2u, 3u, 7u, 1000u}) {
    WebSocketMeter meter;
    bool interaction = false;
    const auto feed = [&](const std::string& text) {
      for (std::size_t at = 0; at < text.size(); at += step)
        interaction = meter.feed(std::string_view(text).substr(at, step)) || interaction;
    };
    feed(quiet);
    EXPECT_FALSE(interaction) << step;
    feed(loud);
    EXPECT_TRUE(interaction) << step;
    interaction = false;
    feed(quiet);
    EXPECT_FALSE(interaction) << step;
  }
}

}  // namespace
}  // namespace roost::agent
