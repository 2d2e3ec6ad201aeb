// Exchange and StreamState: the two ends of an answer that may come from any thread. They bring it to the loop that owns the
// connection, and notice when nobody is left to give it.
// Thread safety: as http.hpp says of Responder and Stream; what is marked [loop] on the loop's thread only.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "http/http.hpp"
#include "http/loop.hpp"

namespace roost::http {

class Connection;

class StreamState : public std::enable_shared_from_this<StreamState> {
 public:
  StreamState(std::shared_ptr<Loop> loop, std::weak_ptr<Connection> connection, std::size_t limit)
      : loop_(std::move(loop)), connection_(std::move(connection)), limit_(limit) {}

  bool write(std::string data);
  void end();
  void abort();
  void when_drained(std::function<void()> drained);
  void on_close(std::function<void()> closed);
  void write_first(std::string data);  // [loop] before what was written meanwhile

  struct Taken {
    std::string data;
    bool ended = false;
    bool cut = false;  // overflowed, or aborted
  };
  [[nodiscard]] Taken take();      // [loop]
  void unsent(std::size_t bytes);  // [loop] what the socket has not taken yet
  void close();                    // any thread, once the connection is gone

 private:
  void schedule();  // REQUIRES: mutex_ held

  const std::shared_ptr<Loop> loop_;
  const std::weak_ptr<Connection> connection_;
  const std::size_t limit_;
  std::mutex mutex_;
  std::string pending_;
  std::size_t unsent_ = 0;
  bool ended_ = false, cut_ = false, closed_ = false, scheduled_ = false;
  std::vector<std::function<void()>> callbacks_, drained_;
};

class Exchange : public Responder::Sink {
 public:
  Exchange(std::shared_ptr<Loop> loop, std::weak_ptr<Connection> connection, std::uint64_t serial, std::size_t stream_buffer)
      : loop_(std::move(loop)), connection_(std::move(connection)), serial_(serial), stream_buffer_(stream_buffer) {}
  ~Exchange() override;

  void respond(Response response) override;
  std::shared_ptr<Stream> stream(Response head) override;
  [[nodiscard]] bool open() const override { return !gone_.load(std::memory_order_relaxed); }
  void gone() { gone_.store(true, std::memory_order_relaxed); }

 private:
  const std::shared_ptr<Loop> loop_;
  const std::weak_ptr<Connection> connection_;
  const std::uint64_t serial_;
  const std::size_t stream_buffer_;
  std::atomic<bool> answered_{false};
  std::atomic<bool> gone_{false};
};

}  // namespace roost::http
