#include "agent/backup_sink.hpp"

#include <algorithm>
#include <utility>

namespace roost::agent {

Result<std::unique_ptr<PartSink>> PartSink::start(Put put) {
  std::unique_ptr<PartSink> sink(new PartSink(std::move(put)));
  ROOST_CHECK(sink->thread_.start([self = sink.get()] { self->run(); }));
  return sink;
}

PartSink::~PartSink() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Status PartSink::write(std::string_view data) {
  while (!data.empty()) {
    if (part_.capacity() < kPart) part_.reserve(kPart);
    const std::size_t count = std::min(data.size(), kPart - part_.size());
    part_ += data.substr(0, count);
    data.remove_prefix(count);
    if (part_.size() == kPart) ROOST_CHECK(hand_over());
  }
  return {};
}

Status PartSink::hand_over() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return waiting_.size() < kWaiting || !failed_.ok(); });
  if (!failed_.ok()) return failed_;
  waiting_.push_back(std::exchange(part_, {}));
  if (!used_.empty()) {
    part_ = std::move(used_.back());
    used_.pop_back();
    part_.clear();
  }
  lock.unlock();
  changed_.notify_all();
  return {};
}

Status PartSink::flush() {
  if (!part_.empty()) ROOST_CHECK(hand_over());
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return (waiting_.empty() && !putting_) || !failed_.ok(); });
  return failed_;
}

void PartSink::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
    if (ended_) return;
    std::string part = std::move(waiting_.front());
    waiting_.pop_front();
    putting_ = true;
    lock.unlock();
    const Status status = put_(part);
    lock.lock();
    putting_ = false;
    used_.push_back(std::move(part));
    if (!status.ok()) failed_ = status;
    changed_.notify_all();
    if (!status.ok()) return;
  }
}

}  // namespace roost::agent
