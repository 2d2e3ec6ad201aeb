// Loop: one event-loop thread over Poco's PollSet. It owns the sockets that were opened on it: only this thread adds them,
// changes what they wait for, removes them (before the close) and closes them. Other threads post.
// Thread safety: post() and is_current() from any thread; everything else on the loop's thread.
// Invariant: a socket that waits for nothing is not in the PollSet (with both ends closed PollSet 1.11 would spin on it).
#pragma once

#include <Poco/Net/PollSet.h>
#include <Poco/Net/StreamSocket.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace roost::http {

class Deadline;
class DeadlineList;

// Something that owns sockets of a loop, or deadlines.
class Pollable {
 public:
  virtual ~Pollable() = default;
  virtual void ready(bool readable, bool writable) = 0;
  virtual void expired(Deadline&) {}
};

// A point in time at which its owner's expired() is called. Embedded in the owner; disarmed when destroyed.
class Deadline {
 public:
  explicit Deadline(Pollable& owner) : owner_(owner) {}
  ~Deadline() { disarm(); }
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  void disarm();
  [[nodiscard]] bool armed() const { return list_ != nullptr; }

 private:
  friend class DeadlineList;
  friend class Loop;
  Pollable& owner_;
  DeadlineList* list_ = nullptr;
  Deadline* previous_ = nullptr;
  Deadline* next_ = nullptr;
  std::int64_t at_ns_ = 0;
};

// Deadlines of one and the same duration: the order in which they were armed is the order in which they expire, so arming,
// disarming and finding the next one take constant time.
class DeadlineList {
 public:
  explicit DeadlineList(std::int64_t duration) : duration_ns(duration) {}
  void push_back(Deadline& deadline, std::int64_t at_ns);
  void remove(Deadline& deadline);
  [[nodiscard]] Deadline* front() const { return first_; }
  const std::int64_t duration_ns;

 private:
  Deadline* first_ = nullptr;
  Deadline* last_ = nullptr;
};

class Loop {
 public:
  static constexpr int kRead = Poco::Net::PollSet::POLL_READ;
  static constexpr int kWrite = Poco::Net::PollSet::POLL_WRITE;

  explicit Loop(int index);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void start();
  void stop();                            // any thread but the loop's; sockets must have been closed
  void post(std::function<void()> work);  // any thread; dropped once the loop has stopped
  [[nodiscard]] bool is_current() const;  // any thread

  void open(const Poco::Net::Socket& socket, std::shared_ptr<Pollable> owner);
  // 0: nothing. False: the kernel refuses to watch it (its limits); then it must be closed.
  [[nodiscard]] bool wait_for(const Poco::Net::Socket& socket, int mode);
  void close(Poco::Net::Socket socket);

  void arm(Deadline& deadline, std::int64_t duration_ns);
  [[nodiscard]] std::int64_t now_ns() const { return now_ns_; }  // of this turn
  [[nodiscard]] const std::string& date();                       // of this second, as in the Date header
  [[nodiscard]] std::string new_trace_id();                      // 32 hex digits, unique, not secret
  [[nodiscard]] char* scratch() { return scratch_.data(); }
  static constexpr std::size_t kScratch = 16 << 10;

 private:
  struct Slot {
    const Poco::Net::SocketImpl* socket = nullptr;
    std::shared_ptr<Pollable> owner;
    int mode = 0;
  };
  void run();
  void run_posted();
  void run_deadlines();
  void dispatch(const Poco::Net::Socket& socket, int mode);
  [[nodiscard]] int timeout_ms() const;
  [[nodiscard]] Slot* slot(const Poco::Net::Socket& socket);
  void tick();

  const int index_;
  Poco::Net::PollSet poll_set_;
  Poco::Net::StreamSocket wakeup_;
  int wakeup_descriptor_ = -1;
  std::vector<Slot> slots_;  // by descriptor
  std::deque<DeadlineList> lists_;
  std::vector<char> scratch_;
  std::int64_t now_ns_ = 0;
  std::int64_t date_second_ = -1;
  std::string date_;
  std::uint64_t trace_high_ = 0;
  std::uint64_t trace_low_ = 0;

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  bool woken_ = false;
  bool stopped_ = true;
  std::atomic<bool> stop_{false};
  std::atomic<std::thread::id> thread_id_{};
  std::thread thread_;
};

}  // namespace roost::http
