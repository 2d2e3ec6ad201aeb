#include "agent/task_read_ahead.hpp"

#include <algorithm>
#include <utility>

namespace roost::agent {

Result<std::unique_ptr<ReadAheadSource>> ReadAheadSource::start(ArchiveSource& source) {
  std::unique_ptr<ReadAheadSource> ahead(new ReadAheadSource(source));
  ROOST_CHECK(ahead->thread_.start([self = ahead.get()] { self->run(); }));
  return ahead;
}

ReadAheadSource::~ReadAheadSource() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<std::string> ReadAheadSource::read(std::uint64_t offset, std::size_t length) {
  if (offset != asked_) return source_.read(offset, length);
  std::string out;
  while (out.size() < length) {
    if (used_ == piece_.size()) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !pieces_.empty() || !failed_.ok(); });
      if (pieces_.empty()) return failed_.error();
      piece_ = std::move(pieces_.front());
      pieces_.pop_front();
      used_ = 0;
      lock.unlock();
      changed_.notify_all();
    }
    const std::size_t count = std::min(length - out.size(), piece_.size() - used_);
    out.append(piece_, used_, count);
    used_ += count;
    asked_ += count;
  }
  return out;
}

void ReadAheadSource::run() {
  for (std::uint64_t next = 0; next < source_.size();) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return ended_ || pieces_.size() < kAhead; });
      if (ended_) return;
    }
    const std::size_t length = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, source_.size() - next));
    auto piece = source_.read(next, length);
    next += length;
    const std::lock_guard lock(mutex_);
    if (piece.ok()) {
      pieces_.push_back(*std::move(piece));
    } else {
      failed_ = piece.error();
    }
    changed_.notify_all();
    if (!failed_.ok()) return;
  }
}

}  // namespace roost::agent
