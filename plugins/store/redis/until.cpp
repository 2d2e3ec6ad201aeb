#include "store/redis/until.hpp"

#include <poll.h>

#include <algorithm>

namespace roost::store_redis {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

Until::Until(const sdk::Call& call)
    : call_(&call),
      stop_fd_(call.cancel_fd()),
      deadline_(Clock::now() + std::min<nanoseconds>(call.remaining(), std::chrono::hours(24))) {}

Until::Until(int stop_fd, nanoseconds time) : stop_fd_(stop_fd), deadline_(Clock::now() + time) {}

Until Until::at_most(nanoseconds time) const {
  Until part = *this;
  part.deadline_ = std::min(deadline_, Clock::now() + time);
  return part;
}

bool Until::stopped() const {
  if (stopped_at_) return true;
  bool stop = false;
  if (stop_fd_ >= 0) {
    pollfd fd{stop_fd_, POLLIN, 0};
    stop = ::poll(&fd, 1, 0) > 0;
  } else if (call_) {
    stop = call_->cancelled();
  }
  if (stop) stopped_at_ = Clock::now();
  return stop;
}

bool Until::over() const {
  const auto now = Clock::now();
  if (now >= deadline_) return true;
  return stopped() && (!keep_waiting_ || now >= *stopped_at_ + kGrace);
}

milliseconds Until::remaining() const {
  return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(deadline_ - Clock::now()));
}

void Until::check() const {
  if (Clock::now() >= deadline_) throw sdk::Failure(ROOST_DEADLINE, "the deadline passed");
  if (stopped()) throw sdk::Failure(ROOST_CANCELLED, "the call was cancelled");
}

short Until::wait(int fd, short events) const {
  while (!over()) {
    auto end = deadline_;
    if (stopped_at_) end = std::min(end, *stopped_at_ + kGrace);
    // Without a descriptor to wake us, the host's flag must be looked at now and then.
    const bool blind = stop_fd_ < 0 && call_ != nullptr;
    auto left = std::min<nanoseconds>(end - Clock::now(), blind ? milliseconds(50) : milliseconds(60'000));
    left = std::max<nanoseconds>(left, nanoseconds(0));
    pollfd fds[2] = {{fd, events, 0}, {stopped_at_ ? -1 : stop_fd_, POLLIN, 0}};
    const int ready = ::poll(fds, 2, static_cast<int>((left.count() + 999'999) / 1'000'000));
    if (ready < 0 && errno != EINTR) throw sdk::Failure(ROOST_INTERNAL, "store-redis: poll failed");
    if (ready > 0 && fds[0].revents != 0) return fds[0].revents;
  }
  return 0;
}

}  // namespace roost::store_redis
