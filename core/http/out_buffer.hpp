// OutBuffer: bytes on their way to a socket. Small pieces are joined, a large one is moved in and never copied.
// Thread safety: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace Poco::Net {
class StreamSocket;
}

namespace roost::http {

class OutBuffer {
 public:
  enum class Flush { done, blocked, failed };

  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  void append(std::string_view data);
  void append_owned(std::string&& data);
  // A string that may be appended to in place; call grown() with the bytes that were added.
  [[nodiscard]] std::string& tail();
  void grown(std::size_t bytes) { size_ += bytes; }
  // Sends as much as the socket takes. `sent` counts on.
  [[nodiscard]] Flush flush(Poco::Net::StreamSocket& socket, std::int64_t& sent);
  void clear();

 private:
  std::vector<std::string> pieces_;  // [first_, end); the first one from offset_ on
  std::size_t first_ = 0;
  std::size_t offset_ = 0;
  std::size_t size_ = 0;
};

}  // namespace roost::http
