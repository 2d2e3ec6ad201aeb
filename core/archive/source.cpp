#include "archive/source.hpp"

#include <algorithm>

namespace roost {

namespace {
constexpr std::size_t kFetchPiece = 256u << 10;
}

Result<std::string_view> ByteWindow::take(std::size_t count) {
  if (count > left()) return {Code::data_loss, "the archive is cut off"};
  while (buffer_.size() - used_ < count) {
    buffer_.erase(0, used_);
    used_ = 0;
    ROOST_TRY(const std::string piece,
              source_.read(next_, static_cast<std::size_t>(std::min<std::uint64_t>(kFetchPiece, end_ - next_))));
    next_ += piece.size();
    buffer_ += piece;
  }
  const std::string_view bytes = std::string_view(buffer_).substr(used_, count);
  used_ += count;
  at_ += count;
  return bytes;
}

}  // namespace roost
