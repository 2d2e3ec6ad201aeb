// Deflater: DEFLATE (RFC 1951) of data in memory, by libdeflate, which needs less than half of zlib's time for the same size. It
// makes whole streams only; zlib finds the mark of each one's last block, so that several threads can make parts of one stream.
// What such a part inflates to is compared with the data on the way. Thread safety: one thread.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace roost::agent {

class Deflater {
 public:
  static constexpr int kUsual = 6;  // what `zip` and `7z -tzip` do where they are not asked for more or less
  static constexpr int kFast = 1;
  static constexpr std::size_t kPartMax = 512u << 10;
  static constexpr std::string_view kStreamEnd{"\x03\x00", 2};  // an empty last block

  explicit Deflater(int level);
  ~Deflater();
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  // Appends a whole stream that is shorter than the data, or nothing and answers false where there is none.
  [[nodiscard]] bool deflate(std::string_view data, std::string& out);
  // Appends a part of a stream: blocks none of which is the last, up to a byte's end. Parts one after another and kStreamEnd are
  // a stream. What does not shrink passes through in stored blocks. REQUIRES: at most kPartMax bytes.
  void deflate_part(std::string_view data, std::string& out);

 private:
  struct State;
  [[nodiscard]] bool shrinks(std::string_view data);
  [[nodiscard]] bool open_end(std::string_view data, std::string& out, std::size_t begin);
  std::unique_ptr<State> state_;
};

}  // namespace roost::agent
