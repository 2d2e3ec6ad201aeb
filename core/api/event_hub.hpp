// EventHub: hands the engine's events to SSE streams, and keeps the last ones so that a client that comes back with Last-Event-ID
// misses nothing. Thread safety: every function may be called from any thread.
// Invariants: the ring and the number of streams are bounded; each stream gets every matching event once and in order; a catch-up
// that is longer than a stream may buffer ends the stream, and the client fetches the rest with its next Last-Event-ID.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/engine.hpp"
#include "http/http.hpp"

namespace roost::api {

class EventHub {
 public:
  struct Limits {
    std::size_t events = 4096;
    std::size_t bytes = 1 << 20;
    std::size_t streams = 1024;
    std::size_t replay_bytes = 48 << 10;  // below the server's buffer of a stream
  };
  struct Filter {
    std::string session_id;  // empty: every session
    std::string user_id;     // empty: every user
  };

  // `epoch` names this process: ids of an earlier one cannot be continued, and the client is told so.
  EventHub(std::string epoch, Limits limits) : epoch_(std::move(epoch)), limits_(limits) {}

  void publish(const Event& event);
  // EXHAUSTED where there are too many streams; asked before a stream is opened.
  [[nodiscard]] Status room();
  // Replays what came after last_event_id (empty: nothing, and says at which id it begins), then follows. An id that is too old
  // or of another process gets the event "reset" first: the client reads the state again.
  void subscribe(Filter filter, std::string_view last_event_id, std::shared_ptr<http::Stream> stream);
  void heartbeat();  // a comment to every stream; finds those whose client is gone
  void end_all();    // a reload or the end: clients come back with Last-Event-ID
  [[nodiscard]] std::size_t streams();

 private:
  struct Entry {
    std::uint64_t sequence = 0;
    std::string session_id, user_id;
    std::string text;
    bool last = false;  // of its session
  };
  struct Subscriber {
    Filter filter;
    std::shared_ptr<http::Stream> stream;
    std::shared_ptr<std::atomic<bool>> closed;
  };
  static bool matches(const Filter& filter, const Entry& entry);
  // Nothing more can happen to the session that the filter asks for.
  static bool ends(const Filter& filter, const Entry& entry) { return entry.last && !filter.session_id.empty(); }
  // True where the stream can go on; so of replay(), which appends what the client missed to `text`.
  static bool deliver(const Subscriber& to, const Entry& entry);
  bool replay(const Filter& filter, std::string_view last_event_id, std::string& text);  // REQUIRES: mutex_ held
  void prune();                                                                          // REQUIRES: mutex_ held

  const std::string epoch_;
  const Limits limits_;
  std::mutex mutex_;
  std::uint64_t next_ = 1;
  std::size_t bytes_ = 0;
  std::deque<Entry> ring_;
  std::vector<Subscriber> subscribers_;
};

}  // namespace roost::api
