// Answers that are written piece by piece.
#include "http/server_test.hpp"

namespace roost::http {
namespace {

using test::eventually;
using test::Message;
using test::take_head;
using test::take_message;
using test::Wire;

class StreamTest : public ServerTest {
 protected:
  StreamTest() {
    on_loop("GET", "/events", [this](const Request&, const Responder& respond) {
      Response head;
      head.headers.emplace_back("content-type", "text/event-stream");
      head.stream_length = length_;
      auto stream = respond.stream(std::move(head));
      stream->on_close([this] { ++closed_; });
      const std::lock_guard lock(mutex_);
      streams_.push_back(std::move(stream));
    });
    on_loop("GET", "/a", echo);
  }
  ~StreamTest() override { streams_.clear(); }
  std::shared_ptr<Stream> stream(std::size_t index) {
    EXPECT_TRUE(eventually([&] {
      const std::lock_guard lock(mutex_);
      return streams_.size() > index;
    }));
    const std::lock_guard lock(mutex_);
    return streams_[index];
  }
  std::mutex mutex_;
  std::vector<std::shared_ptr<Stream>> streams_;
  std::atomic<int> closed_{0};
  std::optional<std::uint64_t> length_;
};

TEST_F(StreamTest, ArrivesPieceByPieceAndTheConnectionGoesOn) {
  start();
  Wire wire = connect();
  wire.send(get("/events") + get("/a"));
  EXPECT_EQ(take_head(wire).headers.at("transfer-encoding"), "chunked");
  const auto events = stream(0);
  EXPECT_TRUE(events->write("data: 1\n\n"));
  EXPECT_EQ(wire.take(14), "9\r\ndata: 1\n\n\r\n");
  EXPECT_EQ(server_->statistics().streams, 1);
  EXPECT_EQ(server_->statistics().in_flight, 0);
  EXPECT_TRUE(events->write("data: 2\n\n"));
  events->end();
  Message rest;
  test::take_chunks(wire, rest);
  EXPECT_TRUE(rest.complete);
  EXPECT_EQ(rest.body, "data: 2\n\n");
  EXPECT_EQ(take_message(wire).body, "GET /a ");
  EXPECT_FALSE(events->write("late"));
  EXPECT_TRUE(eventually([&] { return closed_ == 1; }));
}

TEST_F(StreamTest, TellsTheWriterThatItsClientHasGone) {
  start();
  {
    Wire wire = connect();
    wire.send(get("/events"));
    EXPECT_EQ(take_head(wire).status, 200);
  }
  EXPECT_TRUE(eventually([&] { return closed_ == 1; }));
  EXPECT_FALSE(stream(0)->write("to nobody"));
  int at_once = 0;
  stream(0)->on_close([&] { ++at_once; });
  EXPECT_EQ(at_once, 1);
}

TEST_F(StreamTest, CutsOffAClientThatDoesNotRead) {
  options_.stream_buffer = 32 << 10;
  start();
  Wire slow = connect(4096);
  slow.send(get("/events"));
  EXPECT_EQ(take_head(slow).status, 200);
  Wire other = connect();
  other.send(get("/events"));
  EXPECT_EQ(take_head(other).status, 200);
  const auto events = stream(0);
  const std::string piece(8 << 10, 'x');
  std::size_t written = 0;
  ASSERT_TRUE(eventually([&] {
    while (events->write(piece)) written += piece.size();
    return true;
  }));
  EXPECT_LT(written, 64U << 20);
  EXPECT_TRUE(eventually([&] { return closed_ == 1; }));
  EXPECT_TRUE(stream(1)->write("still here"));
  EXPECT_EQ(other.take(15), "a\r\nstill here\r\n");
}

TEST_F(StreamTest, EndsWhenItsWriterLetsGoOfIt) {
  start();
  Wire wire = connect();
  wire.send(get("/events"));
  EXPECT_EQ(take_head(wire).status, 200);
  (void)stream(0);
  {
    const std::lock_guard lock(mutex_);
    streams_.clear();
  }
  Message rest;
  test::take_chunks(wire, rest);
  EXPECT_TRUE(rest.complete);
}

TEST_F(StreamTest, IsNotChunkedForHttp10AndHasNoBodyForHead) {
  start();
  Wire old = connect();
  old.send("GET /events HTTP/1.0\r\nHost: a\r\n\r\n");
  const Message head = take_head(old);
  EXPECT_EQ(head.headers.count("transfer-encoding"), 0U);
  stream(0)->write("plain");
  stream(0)->end();
  EXPECT_TRUE(old.drain());
  EXPECT_EQ(old.buffer, "plain");
  Wire head_only = connect();
  head_only.send("HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n" + get("/a"));
  EXPECT_EQ(take_message(head_only, true).status, 200);
  EXPECT_EQ(take_message(head_only).body, "GET /a ");
}

TEST_F(StreamTest, OfAKnownLengthIsNotChunkedAndTheConnectionGoesOn) {
  length_ = 10;
  start();
  Wire wire = connect();
  wire.send(get("/events") + get("/a"));
  const Message head = take_head(wire);
  EXPECT_EQ(head.headers.count("transfer-encoding"), 0U);
  EXPECT_EQ(head.headers.at("content-length"), "10");
  stream(0)->write("01234");
  stream(0)->write("56789");
  stream(0)->end();
  EXPECT_EQ(wire.take(10), "0123456789");
  EXPECT_EQ(take_message(wire).body, "GET /a ");
  Wire head_only = connect();
  head_only.send("HEAD /events HTTP/1.1\r\nHost: a\r\n\r\n" + get("/a"));
  EXPECT_EQ(take_message(head_only, true).headers.at("content-length"), "10");
  EXPECT_EQ(take_message(head_only).body, "GET /a ");
}

TEST_F(StreamTest, ThatEndsTooEarlyOrIsAbortedClosesTheConnection) {
  length_ = 10;
  start();
  int index = 0;
  for (const bool abort : {false, true}) {
    Wire wire = connect();
    wire.send(get("/events"));
    EXPECT_EQ(take_head(wire).headers.at("content-length"), "10");
    stream(index)->write("01234");
    EXPECT_EQ(wire.take(5), "01234");
    if (abort)
      stream(index)->abort();
    else
      stream(index)->end();
    EXPECT_TRUE(wire.drain());
    EXPECT_EQ(wire.buffer, "");
    ++index;
  }
}

TEST_F(StreamTest, ThatIsAbortedHasNoLastChunk) {
  start();
  Wire wire = connect();
  wire.send(get("/events"));
  EXPECT_EQ(take_head(wire).status, 200);
  stream(0)->abort();
  EXPECT_TRUE(wire.drain());
  EXPECT_EQ(wire.buffer, "");
}

// The writer of a download: it waits until its client has read, and so is never cut off.
TEST_F(StreamTest, AWriterThatWaitsIsToldWhenItsClientHasRead) {
  options_.stream_buffer = 16 << 10;
  length_ = 8 << 20;
  start();
  Wire slow = connect(4096);
  slow.send(get("/events"));
  EXPECT_EQ(take_head(slow).status, 200);
  const auto download = stream(0);
  const std::string piece(256 << 10, 'x');
  std::atomic<std::size_t> written{0};
  std::atomic<int> most_at_once{0}, now{0};
  std::function<void()> pump = [&] {
    most_at_once = std::max(most_at_once.load(), ++now);
    if (written < *length_ && download->write(piece)) {
      written += piece.size();
      --now;
      return download->when_drained(pump);
    }
    --now;
    download->end();
  };
  pump();
  EXPECT_LT(written, *length_) << "it must wait for its client";
  EXPECT_EQ(slow.take(*length_).size(), *length_);
  EXPECT_EQ(written, *length_);
  EXPECT_EQ(most_at_once, 1);
  EXPECT_TRUE(eventually([&] { return closed_ == 1; }));
  bool at_once = false;
  download->when_drained([&] { at_once = true; });
  EXPECT_TRUE(at_once);
}

TEST_F(StreamTest, EndsAtADrain) {
  start();
  Wire wire = connect();
  wire.send(get("/events"));
  EXPECT_EQ(take_head(wire).status, 200);
  stream(0)->write("before");
  server_->stop();
  Message rest;
  test::take_chunks(wire, rest);
  EXPECT_EQ(rest.body, "before");
  EXPECT_TRUE(rest.complete);
  EXPECT_TRUE(wire.drain());
}

}  // namespace
}  // namespace roost::http
