#include "store/shared/changes.hpp"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <iterator>

namespace roost::store {
namespace {

constexpr std::size_t kKept = 8'192;
constexpr std::size_t kEmittedAtOnce = 1'024;

std::string random_hex() {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) throw sdk::Failure(ROOST_INTERNAL, "store: getrandom failed");
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

// Registered while a watch waits; its descriptor turns readable when something was published.
class ChangeLog::Watcher {
 public:
  explicit Watcher(ChangeLog& log) : log_(log), fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (fd_ < 0) throw sdk::Failure(ROOST_EXHAUSTED, "store: eventfd failed: too many open files?", 1'000);
    const std::lock_guard lock(log_.mutex_);
    log_.watchers_.insert(this);
  }
  ~Watcher() {
    {
      const std::lock_guard lock(log_.mutex_);
      log_.watchers_.erase(this);
    }
    ::close(fd_);
  }
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;

  void wake() const {
    const std::uint64_t one = 1;
    (void)!::write(fd_, &one, sizeof one);
  }
  void clear() const {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);
  }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  ChangeLog& log_;
  int fd_;
};

ChangeLog::ChangeLog() : epoch_(random_hex()) {}

void ChangeLog::publish(std::vector<Changed> changes) {
  if (changes.empty()) return;
  const std::lock_guard lock(mutex_);
  entries_.insert(entries_.end(), std::make_move_iterator(changes.begin()), std::make_move_iterator(changes.end()));
  while (entries_.size() > kKept) {
    entries_.pop_front();
    ++first_;
  }
  for (const Watcher* watcher : watchers_) watcher->wake();
}

void ChangeLog::restart() {
  const std::lock_guard lock(mutex_);
  epoch_ = random_hex();
  first_ += entries_.size();
  entries_.clear();
  for (const Watcher* watcher : watchers_) watcher->wake();
}

void ChangeLog::suspend(const std::string& why) {
  const std::lock_guard lock(mutex_);
  suspended_ = why;
  for (const Watcher* watcher : watchers_) watcher->wake();
}

void ChangeLog::resume() {
  const std::lock_guard lock(mutex_);
  suspended_.clear();
}

void ChangeLog::check_running() const {
  if (!suspended_.empty()) throw sdk::Failure(ROOST_UNAVAILABLE, suspended_, 500);
}

std::string ChangeLog::token(const std::string& epoch, std::uint64_t position) { return epoch + ":" + std::to_string(position); }

std::uint64_t ChangeLog::position(std::string_view token) const {
  const std::uint64_t end = first_ + entries_.size();
  if (token.empty()) return end;
  const auto colon = token.find(':');
  std::uint64_t value = 0;
  const char* last = token.data() + token.size();
  if (token.size() > 64 || colon != epoch_.size() || std::from_chars(token.data() + colon + 1, last, value).ptr != last ||
      colon + 1 == token.size()) {
    throw sdk::Failure(ROOST_INVALID, "store: this is not a resume token");
  }
  if (token.substr(0, colon) != epoch_ || value < first_ || value > end) {
    throw sdk::Failure(ROOST_EXPIRED, "store: the resume token is too old: scan again, then watch from the empty one");
  }
  return value;
}

void ChangeLog::watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) {
  const Watcher watcher(*this);
  std::uint64_t at = 0;
  std::string epoch;
  {
    const std::lock_guard lock(mutex_);
    check_running();
    at = position(resume);
    epoch = epoch_;
  }
  for (;;) {
    watcher.clear();
    std::vector<Changed> found;
    {
      const std::lock_guard lock(mutex_);
      check_running();
      if (epoch != epoch_ || at < first_) throw sdk::Failure(ROOST_EXPIRED, "store: the watch fell behind: scan again");
      const auto begin = entries_.begin() + static_cast<std::ptrdiff_t>(at - first_);
      const auto count = std::min<std::size_t>(kEmittedAtOnce, static_cast<std::size_t>(entries_.end() - begin));
      found.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
    }
    if (!found.empty()) {
      for (const Changed& change : found) {
        if (!sink.emit(change.name, {}, change.revision)) return;
      }
      return sink.resume(token(epoch, at + found.size()));
    }
    if (call.wait(watcher.fd(), POLLIN) == 0) return sink.resume(token(epoch, at));
  }
}

}  // namespace roost::store
