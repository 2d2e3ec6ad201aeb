// RecordingStream: an http::Stream that keeps what was written; it can be told to refuse, as a client that is gone does.
// Thread safety: a test's single thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "http/http.hpp"

namespace roost::api {

class RecordingStream : public http::Stream {
 public:
  bool write(std::string data) override {
    if (ended || gone || aborted) return false;
    if (!text.empty() && text.size() + data.size() > limit) abort();
    if (aborted) return false;
    text += data;
    return true;
  }
  void end() override { close(ended); }
  void abort() override { close(aborted); }
  void when_drained(std::function<void()> drained) override {
    if (slow && !gone && !ended && !aborted)
      drained_ = std::move(drained);
    else
      drained();
  }
  // A slow client has read what there was.
  void drain() {
    if (auto drained = std::exchange(drained_, nullptr)) drained();
  }
  void on_close(std::function<void()> closed) override { closed_ = std::move(closed); }
  void hang_up() { close(gone); }

  std::string text;
  std::size_t limit = SIZE_MAX;  // of what a client that reads nothing may be behind, as the server has it
  bool ended = false;
  bool gone = false;
  bool aborted = false;
  bool slow = false;

 private:
  void close(bool& flag) {
    flag = true;
    if (auto closed = std::exchange(closed_, nullptr)) closed();
    drain();
  }
  std::function<void()> closed_, drained_;
};

}  // namespace roost::api
