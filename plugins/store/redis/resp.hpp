// The Redis protocol (RESP2): requests as bytes, and a reader of replies that trusts nobody: every length is checked against a
// limit before anything is kept, and a reply exists only once it is there to its last byte. (Poco 1.11's own reader takes a
// connection that dies in the middle of a reply for the reply's end.) Thread safety: one thread at a time.
#pragma once

#include <Poco/Redis/Array.h>
#include <Poco/Redis/Command.h>
#include <Poco/Redis/Error.h>
#include <Poco/Redis/Type.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace roost::store_redis {

using Poco::Redis::Command;
using Reply = Poco::Redis::RedisType::Ptr;

// What arrived is no RESP, or more than is taken.
struct ProtocolError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct ReplyLimits {
  std::size_t line = 16 * 1024;              // of an integer, a status, an error
  std::size_t bulk = std::size_t{32} << 20;  // of one string
  std::size_t items = 1'000'000;             // of one reply, at all depths together
  std::size_t depth = 8;
  std::size_t total = std::size_t{256} << 20;  // bytes of one reply
};

class ReplyReader {
 public:
  explicit ReplyReader(const ReplyLimits& limits = {}) : limits_(limits) {}

  void feed(std::string_view bytes);
  // The next whole reply; null where more bytes are needed. Throws ProtocolError; the reader is of no use then.
  [[nodiscard]] Reply next();
  [[nodiscard]] bool idle() const { return open_.empty() && pending_bulk_ < 0 && at_ == buffer_.size(); }  // nothing begun

 private:
  struct Open {
    Poco::Redis::Array items;
    std::size_t missing;
  };
  [[nodiscard]] Reply token();  // one value, or null; an array that has items is opened instead
  [[nodiscard]] Reply bulk(std::int64_t length);
  [[nodiscard]] Reply array(std::int64_t length);
  [[nodiscard]] Reply close(Reply value);
  void spend(std::size_t bytes);

  const ReplyLimits limits_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::size_t searched_ = 0;  // no line ends before this place
  std::int64_t pending_bulk_ = -1;
  std::vector<Open> open_;
  bool opened_ = false;
  std::size_t items_ = 0;
  std::size_t total_ = 0;
};

// ---- a reply's content; each throws ProtocolError where it is something else ----------------------------------------------
[[nodiscard]] std::int64_t integer(const Reply& reply);
[[nodiscard]] std::string text(const Reply& reply);  // a status or a string
[[nodiscard]] bool is_null(const Reply& reply);      // a null string, or a list that is null or empty
[[nodiscard]] std::vector<Reply> items(const Reply& reply);
[[nodiscard]] std::vector<std::string> texts(const Reply& reply);

}  // namespace roost::store_redis
