#include "http/loop.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "base/clock.hpp"
#include "http/socket.hpp"

namespace roost::http {
namespace {

constexpr int kIdleTimeoutMs = 1000;

std::uint64_t mix(std::uint64_t& state) {  // SplitMix64: ids need to be unique, not secret
  state += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

void append_hex(std::string& out, std::uint64_t value) {
  static const char kDigits[] = "0123456789abcdef";
  for (int shift = 60; shift >= 0; shift -= 4) out.push_back(kDigits[(value >> shift) & 15]);
}

}  // namespace

void Deadline::disarm() {
  if (list_ != nullptr) list_->remove(*this);
}

void DeadlineList::push_back(Deadline& deadline, std::int64_t at_ns) {
  deadline.disarm();
  deadline.list_ = this;
  deadline.at_ns_ = at_ns;
  deadline.previous_ = last_;
  deadline.next_ = nullptr;
  (last_ == nullptr ? first_ : last_->next_) = &deadline;
  last_ = &deadline;
}

void DeadlineList::remove(Deadline& deadline) {
  (deadline.previous_ == nullptr ? first_ : deadline.previous_->next_) = deadline.next_;
  (deadline.next_ == nullptr ? last_ : deadline.next_->previous_) = deadline.previous_;
  deadline.list_ = nullptr;
  deadline.previous_ = deadline.next_ = nullptr;
}

Loop::Loop(int index) : index_(index), scratch_(kScratch) {
  wakeup_descriptor_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  wakeup_ = adopt_stream(wakeup_descriptor_);
  system_random().fill({reinterpret_cast<unsigned char*>(&trace_high_), sizeof trace_high_});
  system_random().fill({reinterpret_cast<unsigned char*>(&trace_low_), sizeof trace_low_});
}

Loop::~Loop() { stop(); }

void Loop::start() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = false;
  }
  stop_ = false;
  tick();
  thread_ = std::thread([this] { run(); });
}

void Loop::stop() {
  if (!thread_.joinable()) return;
  stop_ = true;
  post([] {});
  thread_.join();
  std::vector<std::function<void()>> dropped;  // let go outside the lock: it may post
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  dropped.swap(posted_);
}

void Loop::post(std::function<void()> work) {
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    posted_.push_back(std::move(work));
    wake = !woken_;
    woken_ = true;
  }
  if (!wake) return;
  const std::uint64_t one = 1;
  (void)!::write(wakeup_descriptor_, &one, sizeof one);  // EAGAIN: it is awake already
}

bool Loop::is_current() const { return thread_id_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

Loop::Slot* Loop::slot(const Poco::Net::Socket& socket) {
  const int descriptor = socket.impl()->sockfd();
  if (descriptor < 0 || static_cast<std::size_t>(descriptor) >= slots_.size()) return nullptr;
  Slot& found = slots_[static_cast<std::size_t>(descriptor)];
  return found.socket == socket.impl() ? &found : nullptr;
}

void Loop::open(const Poco::Net::Socket& socket, std::shared_ptr<Pollable> owner) {
  const auto descriptor = static_cast<std::size_t>(socket.impl()->sockfd());
  if (descriptor >= slots_.size()) slots_.resize(std::max(descriptor + 1, slots_.size() * 2));
  slots_[descriptor] = Slot{socket.impl(), std::move(owner), 0};
}

bool Loop::wait_for(const Poco::Net::Socket& socket, int mode) {
  Slot* found = slot(socket);
  if (found == nullptr || found->mode == mode) return true;
  try {
    if (mode == 0) {
      poll_set_.remove(socket);
    } else if (found->mode == 0) {
      poll_set_.add(socket, mode);
    } else {
      poll_set_.update(socket, mode);
    }
  } catch (const Poco::Exception&) {
    return false;
  }
  found->mode = mode;
  return true;
}

void Loop::close(Poco::Net::Socket socket) {
  Slot* found = slot(socket);
  if (found == nullptr) return;
  (void)wait_for(socket, 0);
  // The owner may be the caller, so it is let go of only after this turn's work.
  auto owner = std::move(found->owner);
  *found = Slot{};
  socket.close();
}

void Loop::arm(Deadline& deadline, std::int64_t duration_ns) {
  auto list = std::find_if(lists_.begin(), lists_.end(), [&](const DeadlineList& l) { return l.duration_ns == duration_ns; });
  DeadlineList& chosen = list == lists_.end() ? lists_.emplace_back(duration_ns) : *list;
  chosen.push_back(deadline, now_ns_ + duration_ns);
}

const std::string& Loop::date() {
  const std::int64_t second = system_clock().wall_us() / 1'000'000;
  if (second != date_second_) {
    date_second_ = second;
    const auto time = static_cast<std::time_t>(second);
    std::tm parts{};
    gmtime_r(&time, &parts);
    static const char* const kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char* const kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char text[64];
    std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[parts.tm_wday], parts.tm_mday,
                  kMonths[parts.tm_mon], parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
    date_ = text;
  }
  return date_;
}

std::string Loop::new_trace_id() {
  std::string id;
  id.reserve(32);
  append_hex(id, mix(trace_high_) | 1);  // never all zeros
  append_hex(id, mix(trace_low_));
  return id;
}

int Loop::timeout_ms() const {
  std::int64_t wait_ns = std::int64_t{kIdleTimeoutMs} * 1'000'000;
  for (const DeadlineList& list : lists_) {
    if (const Deadline* next = list.front()) wait_ns = std::min(wait_ns, next->at_ns_ - now_ns_);
  }
  return static_cast<int>(std::max<std::int64_t>(0, (wait_ns + 999'999) / 1'000'000));
}

void Loop::tick() { now_ns_ = system_clock().monotonic_ns(); }

void Loop::run() {
  thread_id_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  pthread_setname_np(pthread_self(), ("http-loop-" + std::to_string(index_)).c_str());
  poll_set_.add(wakeup_, kRead);
  while (!stop_) {
    const auto events = poll_set_.poll(Poco::Timespan(0, timeout_ms() * 1000));
    tick();
    for (const auto& [socket, mode] : events) dispatch(socket, mode);
    run_posted();
    run_deadlines();
  }
  run_posted();
  poll_set_.remove(wakeup_);
  thread_id_.store(std::thread::id(), std::memory_order_relaxed);  // a later thread may get this one's id
}

void Loop::dispatch(const Poco::Net::Socket& socket, int mode) {
  if (socket.impl() == wakeup_.impl()) {
    std::uint64_t count = 0;
    (void)!::read(wakeup_descriptor_, &count, sizeof count);
    return;
  }
  // A socket that an earlier event of this turn closed is not there any more, even if its number is in use again.
  const Slot* found = slot(socket);
  if (found == nullptr || found->mode == 0) return;
  const std::shared_ptr<Pollable> owner = found->owner;
  const bool failed = (mode & Poco::Net::PollSet::POLL_ERROR) != 0;
  owner->ready((mode & kRead) != 0 || failed, (mode & kWrite) != 0 || failed);
}

void Loop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    const std::lock_guard lock(mutex_);
    work.swap(posted_);
    woken_ = false;
  }
  for (auto& item : work) item();
}

void Loop::run_deadlines() {
  for (std::size_t i = 0; i < lists_.size(); ++i) {  // expired() may arm a duration that is new, which appends a list
    while (Deadline* next = lists_[i].front()) {
      if (next->at_ns_ > now_ns_) break;
      next->disarm();
      next->owner_.expired(*next);
    }
  }
}

}  // namespace roost::http
