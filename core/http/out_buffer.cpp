#include "http/out_buffer.hpp"

#include "http/socket.hpp"

namespace roost::http {
namespace {

constexpr std::size_t kJoin = 16 << 10;  // a piece grows up to here
constexpr std::size_t kKeep = 4 << 10;   // storage that an idle connection may keep

}  // namespace

std::string& OutBuffer::tail() {
  if (first_ == pieces_.size() || pieces_.back().size() >= kJoin) pieces_.emplace_back();
  return pieces_.back();
}

void OutBuffer::append(std::string_view data) {
  if (data.empty()) return;
  tail().append(data);
  size_ += data.size();
}

void OutBuffer::append_owned(std::string&& data) {
  if (data.size() < kJoin / 4) {
    append(data);
    return;
  }
  size_ += data.size();
  pieces_.push_back(std::move(data));
}

OutBuffer::Flush OutBuffer::flush(Poco::Net::StreamSocket& socket, std::int64_t& sent) {
  while (size_ > 0) {
    const std::string& piece = pieces_[first_];
    if (offset_ == piece.size()) {
      ++first_;
      offset_ = 0;
      continue;
    }
    const Io io = send_some(socket, std::string_view(piece).substr(offset_));
    if (io.state == Io::State::blocked) return Flush::blocked;
    if (io.state != Io::State::moved) return Flush::failed;
    offset_ += io.bytes;
    size_ -= io.bytes;
    sent += static_cast<std::int64_t>(io.bytes);
  }
  clear();
  return Flush::done;
}

void OutBuffer::clear() {
  size_ = first_ = offset_ = 0;
  if (!pieces_.empty() && pieces_.front().capacity() <= kKeep) {
    pieces_.resize(1);
    pieces_.front().clear();
  } else {
    pieces_.clear();
  }
}

}  // namespace roost::http
