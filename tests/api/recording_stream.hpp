// RecordingStream: an http::Stream that keeps what was written; it can be told to refuse, as a client that is gone does.
// Thread safety: a test's single thread.
#pragma once

#include <functional>
#include <string>

#include "http/http.hpp"

namespace roost::api {

class RecordingStream : public http::Stream {
 public:
  bool write(std::string data) override {
    if (ended || gone) return false;
    text += data;
    return true;
  }
  void end() override { close(ended); }
  void on_close(std::function<void()> closed) override { closed_ = std::move(closed); }
  void hang_up() { close(gone); }

  std::string text;
  bool ended = false;
  bool gone = false;

 private:
  void close(bool& flag) {
    flag = true;
    if (auto closed = std::exchange(closed_, nullptr)) closed();
  }
  std::function<void()> closed_;
};

}  // namespace roost::api
