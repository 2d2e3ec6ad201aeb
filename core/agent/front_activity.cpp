#include "agent/front_activity.hpp"

#include <algorithm>

namespace roost::agent {

bool WebSocketMeter::feed(std::string_view data) {
  bool interaction = false;
  while (!data.empty()) {
    if (skip_ > 0) {
      const auto n = std::min<std::uint64_t>(skip_, data.size());
      skip_ -= n;
      data.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    header_[have_++] = static_cast<unsigned char>(data.front());
    data.remove_prefix(1);
    if (have_ < 2) continue;
    const unsigned length = header_[1] & 0x7Fu;
    const std::size_t extended = length == 126 ? 2 : length == 127 ? 8 : 0;
    const std::size_t mask = (header_[1] & 0x80u) != 0 ? 4 : 0;
    if (have_ < 2 + extended + mask) continue;
    std::uint64_t payload = length;
    if (extended != 0) payload = 0;
    for (std::size_t i = 0; i < extended; ++i) payload = payload << 8 | header_[2 + i];
    const unsigned opcode = header_[0] & 0x0Fu;
    if (opcode <= 2 && payload > kKeepAliveBytes) interaction = true;
    skip_ = payload;
    have_ = 0;
  }
  return interaction;
}

}  // namespace roost::agent
