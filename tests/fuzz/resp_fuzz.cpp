// Replies of a Redis server. The first byte says in what pieces the rest arrives: whatever arrives, nothing may crash or be kept
// beyond the limits, and what is answered must not depend on the pieces.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "store/redis/resp.hpp"

using namespace roost::store_redis;

namespace {

// Everything that was answered, and how it ended.
std::string answers(std::string_view bytes, std::size_t piece) {
  ReplyLimits limits;
  limits.bulk = 64 * 1024;
  limits.items = 1'000;
  limits.total = 256 * 1024;
  ReplyReader reader(limits);
  std::string out;
  try {
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      reader.feed(bytes.substr(at, piece));
      for (Reply reply = reader.next(); !reply.isNull(); reply = reader.next()) out += reply->toString();
    }
    out += reader.idle() ? "whole" : "more";
  } catch (const ProtocolError&) {
    out += "refused";
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (answers(bytes, std::max<std::size_t>(data[0], 1)) != answers(bytes, std::max<std::size_t>(bytes.size(), 1))) std::abort();
  return 0;
}
