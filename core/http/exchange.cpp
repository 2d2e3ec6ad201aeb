#include "http/exchange.hpp"

#include "http/connection.hpp"

namespace roost::http {
namespace {

// What the application holds of a stream: letting go of it ends the stream.
class StreamHandle : public Stream {
 public:
  explicit StreamHandle(std::shared_ptr<StreamState> state) : state_(std::move(state)) {}
  ~StreamHandle() override { state_->end(); }
  bool write(std::string data) override { return state_->write(std::move(data)); }
  void end() override { state_->end(); }
  void abort() override { state_->abort(); }
  void when_drained(std::function<void()> drained) override { state_->when_drained(std::move(drained)); }
  void on_close(std::function<void()> closed) override { state_->on_close(std::move(closed)); }

 private:
  const std::shared_ptr<StreamState> state_;
};

}  // namespace

bool StreamState::write(std::string data) {
  const std::lock_guard lock(mutex_);
  if (closed_ || ended_ || cut_) return false;
  const std::size_t behind = pending_.size() + unsent_;
  if (behind > 0 && behind + data.size() > limit_) {
    cut_ = true;
    pending_.clear();
  } else {
    pending_.append(data);
  }
  schedule();
  return !cut_;
}

void StreamState::write_first(std::string data) {
  const std::lock_guard lock(mutex_);
  pending_.insert(0, data);
}

void StreamState::end() {
  const std::lock_guard lock(mutex_);
  if (closed_ || ended_) return;
  ended_ = true;
  schedule();
}

void StreamState::abort() {
  const std::lock_guard lock(mutex_);
  if (closed_ || ended_ || cut_) return;
  cut_ = true;
  pending_.clear();
  schedule();
}

void StreamState::when_drained(std::function<void()> drained) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_ && pending_.size() + unsent_ > 0) {
      drained_.push_back(std::move(drained));
      return;
    }
  }
  drained();
}

void StreamState::on_close(std::function<void()> closed) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      callbacks_.push_back(std::move(closed));
      return;
    }
  }
  closed();
}

void StreamState::schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  loop_->post([connection = connection_] {
    if (const auto alive = connection.lock()) alive->stream_ready();
  });
}

StreamState::Taken StreamState::take() {
  const std::lock_guard lock(mutex_);
  scheduled_ = false;
  Taken taken{std::move(pending_), ended_, cut_};
  pending_.clear();
  unsent_ += taken.data.size();
  return taken;
}

void StreamState::unsent(std::size_t bytes) {
  std::vector<std::function<void()>> drained;
  {
    const std::lock_guard lock(mutex_);
    unsent_ = bytes;
    if (pending_.size() + unsent_ == 0) drained.swap(drained_);
  }
  for (auto& callback : drained) callback();
}

void StreamState::close() {
  std::vector<std::function<void()>> callbacks;
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    closed_ = true;
    pending_.clear();
    callbacks.swap(callbacks_);
    for (auto& drained : drained_) callbacks.push_back(std::move(drained));
    drained_.clear();
  }
  for (auto& callback : callbacks) callback();
}

Exchange::~Exchange() {
  if (!answered_) respond(problem(500, "the request was dropped without an answer"));
}

void Exchange::respond(Response response) {
  if (answered_.exchange(true)) return;
  if (loop_->is_current()) {
    if (const auto alive = connection_.lock()) alive->answer(serial_, std::move(response));
    return;
  }
  loop_->post([connection = connection_, serial = serial_, response = std::move(response)]() mutable {
    if (const auto alive = connection.lock()) alive->answer(serial, std::move(response));
  });
}

std::shared_ptr<Stream> Exchange::stream(Response head) {
  auto state = std::make_shared<StreamState>(loop_, connection_, stream_buffer_);
  if (answered_.exchange(true)) {
    state->close();
  } else {
    // A stream whose connection is gone by then, or whose loop has stopped, is closed when the last holder lets go of `guard`.
    struct Guard {
      std::shared_ptr<StreamState> state;
      bool taken = false;
      ~Guard() {
        if (!taken) state->close();
      }
    };
    auto guard = std::make_shared<Guard>();
    guard->state = state;
    auto begin = [connection = connection_, serial = serial_, guard, head = std::move(head)]() mutable {
      const auto alive = connection.lock();
      guard->taken = alive != nullptr && alive->begin_stream(serial, std::move(head), guard->state);
    };
    if (loop_->is_current()) {
      begin();
    } else {
      loop_->post(std::move(begin));
    }
  }
  return std::make_shared<StreamHandle>(std::move(state));
}

}  // namespace roost::http
