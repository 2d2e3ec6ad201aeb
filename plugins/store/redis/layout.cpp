#include "store/redis/layout.hpp"

#include <cstdint>

namespace roost::store_redis {
namespace {

constexpr char kHex[] = "0123456789abcdef";

bool plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-._~@+/").find(c) != std::string_view::npos;
}

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string encode_partition(std::string_view partition) {
  std::string out;
  for (const char c : partition) {
    if (plain(c)) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

std::string decode_partition(std::string_view encoded) {
  std::string out;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    if (encoded[i] == '%' && i + 2 < encoded.size() && hex(encoded[i + 1]) >= 0 && hex(encoded[i + 2]) >= 0) {
      out += static_cast<char>(hex(encoded[i + 1]) * 16 + hex(encoded[i + 2]));
      i += 2;
    } else {
      out += encoded[i];
    }
  }
  return out;
}

int bucket_of(std::string_view partition) {
  if (partition.size() == 2 && hex(partition[0]) >= 0 && hex(partition[1]) >= 0)
    return hex(partition[0]) * 16 + hex(partition[1]);
  std::uint32_t hash = 2'166'136'261u;  // FNV-1a
  for (const char c : partition) hash = (hash ^ static_cast<unsigned char>(c)) * 16'777'619u;
  return static_cast<int>((hash ^ (hash >> 8) ^ (hash >> 16) ^ (hash >> 24)) & 0xFF);
}

Bucket::Bucket(const std::string& key_prefix, int number)
    : stem(key_prefix + ":{" + kHex[number >> 4] + kHex[number & 15] + "}:"),
      documents(stem + "doc:"),
      index(stem + "index"),
      revisions(stem + "revisions"),
      due(stem + "due"),
      sequences(stem + "sequences"),
      changes(stem + "changes"),
      counters(stem + "counters") {}

std::string member_prefix(std::string_view partition) { return encode_partition(partition) + ":"; }

std::string hint_of(std::string_view member) {
  const auto colon = member.find(':');
  if (colon == std::string_view::npos) return {};
  return decode_partition(member.substr(0, colon)) + "\n" + std::string(member.substr(colon + 1));
}

std::string lease_key(const std::string& key_prefix, std::string_view name) { return key_prefix + ":lease:" + std::string(name); }

std::string schema_key(const std::string& key_prefix) { return key_prefix + ":schema"; }

}  // namespace roost::store_redis
