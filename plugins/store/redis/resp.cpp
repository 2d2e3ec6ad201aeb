#include "store/redis/resp.hpp"

#include <algorithm>
#include <charconv>

namespace roost::store_redis {
namespace {

using Poco::Redis::Array;
using Poco::Redis::BulkString;
using Poco::Redis::Error;
using Poco::Redis::Type;

constexpr std::int64_t kNone = -1;

std::int64_t parse_integer(std::string_view digits) {
  std::int64_t value = 0;
  const char* last = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), last, value);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != last) throw ProtocolError("a number that is none");
  return value;
}

template <class T>
const T* value_of(const Reply& reply) {
  const auto* typed = dynamic_cast<const Type<T>*>(reply.get());
  return typed ? &typed->value() : nullptr;
}

}  // namespace

void ReplyReader::feed(std::string_view bytes) {
  if (at_ != 0 && at_ == buffer_.size()) {
    buffer_.clear();
    at_ = searched_ = 0;
  } else if (at_ > (std::size_t{1} << 20)) {
    buffer_.erase(0, at_);
    searched_ -= std::min(searched_, at_);
    at_ = 0;
  }
  buffer_.append(bytes);
}

void ReplyReader::spend(std::size_t bytes) {
  total_ += bytes;
  if (total_ > limits_.total) throw ProtocolError("a reply that is larger than is taken");
}

Reply ReplyReader::next() {
  for (;;) {
    opened_ = false;
    Reply value = token();
    if (value.isNull() && !opened_) return value;
    if (!value.isNull()) value = close(value);
    if (!value.isNull()) {
      items_ = total_ = 0;
      return value;
    }
  }
}

// Puts a value into the array that waits for it; what that completes goes the same way. Null: more is needed.
Reply ReplyReader::close(Reply value) {
  while (!open_.empty()) {
    Open& top = open_.back();
    top.items.addRedisType(value);
    if (--top.missing > 0) return {};
    value = new Type<Array>(top.items);
    open_.pop_back();
  }
  return value;
}

Reply ReplyReader::token() {
  if (pending_bulk_ != kNone) return bulk(pending_bulk_);
  const std::size_t end = buffer_.find('\n', std::max(at_, searched_));
  if (end == std::string::npos) {
    searched_ = buffer_.size();
    if (searched_ - at_ > limits_.line) throw ProtocolError("a line that does not end");
    return {};
  }
  if (end < at_ + 2 || buffer_[end - 1] != '\r' || end - at_ > limits_.line) throw ProtocolError("a line that is none");
  const char marker = buffer_[at_];
  const std::string_view rest(buffer_.data() + at_ + 1, end - at_ - 2);
  spend(end + 1 - at_);
  if (++items_ > limits_.items) throw ProtocolError("more values in a reply than are taken");
  at_ = searched_ = end + 1;
  switch (marker) {
    case ':': return new Type<Poco::Int64>(parse_integer(rest));
    case '+': return new Type<std::string>(std::string(rest));
    case '-': return new Type<Error>(Error(std::string(rest)));
    case '$': return bulk(parse_integer(rest));
    case '*': return array(parse_integer(rest));
    default: throw ProtocolError("a reply of unknown kind: is this a Redis server, and does it speak TLS or not as configured?");
  }
}

Reply ReplyReader::bulk(std::int64_t length) {
  if (length == -1) return new Type<BulkString>(BulkString());
  if (length < 0 || static_cast<std::uint64_t>(length) > limits_.bulk)
    throw ProtocolError("a string of a length that is not taken");
  const auto size = static_cast<std::size_t>(length);
  if (pending_bulk_ == kNone) spend(size);
  pending_bulk_ = length;
  if (buffer_.size() - at_ < size + 2) return {};
  if (buffer_[at_ + size] != '\r' || buffer_[at_ + size + 1] != '\n')
    throw ProtocolError("a string that does not end where it says");
  Reply value = new Type<BulkString>(BulkString(buffer_.substr(at_, size)));
  at_ = searched_ = at_ + size + 2;
  pending_bulk_ = kNone;
  return value;
}

Reply ReplyReader::array(std::int64_t length) {
  Array made;
  if (length == -1 || length == 0) return new Type<Array>(made);
  if (length < 0 || static_cast<std::uint64_t>(length) > limits_.items)
    throw ProtocolError("an array of a length that is not taken");
  if (open_.size() >= limits_.depth) throw ProtocolError("arrays within arrays deeper than is taken");
  open_.push_back({std::move(made), static_cast<std::size_t>(length)});
  opened_ = true;
  return {};
}

std::int64_t integer(const Reply& reply) {
  if (const auto* value = value_of<Poco::Int64>(reply)) return *value;
  throw ProtocolError("a reply that should be a number is none");
}

std::string text(const Reply& reply) {
  if (const auto* value = value_of<std::string>(reply)) return *value;
  const auto* value = value_of<BulkString>(reply);
  if (value && !value->isNull()) return value->value();
  throw ProtocolError("a reply that should be a string is none");
}

bool is_null(const Reply& reply) {
  if (const auto* value = value_of<BulkString>(reply)) return value->isNull();
  if (const auto* value = value_of<Array>(reply)) return value->isNull();
  return false;
}

std::vector<Reply> items(const Reply& reply) {
  const auto* value = value_of<Array>(reply);
  if (!value) throw ProtocolError("a reply that should be a list is none");
  if (value->isNull()) return {};  // Poco's array has no other way to be empty
  return {value->begin(), value->end()};
}

std::vector<std::string> texts(const Reply& reply) {
  std::vector<std::string> out;
  for (const Reply& item : items(reply)) out.push_back(text(item));
  return out;
}

}  // namespace roost::store_redis
