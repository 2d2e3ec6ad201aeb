// Layout: the names of our keys. Every partition belongs to one of 256 buckets, and all of a bucket's keys share a hash tag, so
// that one script may touch them all, in a Redis Cluster too:
//   roost:{ab}:doc:PARTITION:KEY            a document, as its bytes
//   roost:{ab}:index, :revisions, :due, :sequences    over PARTITION:KEY: order, revisions, ends of life, last numbers
//   roost:{ab}:changes, :counters           the latest changes (a stream); the last revision and change
//   roost:{ab}:commit:ID                    that a commit was made, for as long as it may be sent again
// Thread safety: a constant value.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace roost::store_redis {

inline constexpr int kBuckets = 256;

// A partition within keys: what is not a letter, digit or one of -._~@+/ is %XX, so that no colon is in it.
[[nodiscard]] std::string encode_partition(std::string_view partition);
[[nodiscard]] std::string decode_partition(std::string_view encoded);

// The bucket of a partition: itself where it is two hex digits (as those of sessions), else by its hash.
[[nodiscard]] int bucket_of(std::string_view partition);

struct Bucket {
  Bucket(const std::string& key_prefix, int number);

  std::string stem;  // "roost:{ab}:"
  std::string documents;
  std::string index, revisions, due, sequences, changes, counters;

  [[nodiscard]] std::array<std::string, 6> keys() const { return {index, revisions, due, sequences, changes, counters}; }
  [[nodiscard]] std::string commit(const std::string& id) const { return stem + "commit:" + id; }
};

// "PARTITION:", before each key in a bucket's index; the first name behind all that begin so.
[[nodiscard]] std::string member_prefix(std::string_view partition);

// Out of "PARTITION:KEY": partition + '\n' + key. Empty where it is no such name.
[[nodiscard]] std::string hint_of(std::string_view member);

[[nodiscard]] std::string lease_key(const std::string& key_prefix, std::string_view name);
[[nodiscard]] std::string schema_key(const std::string& key_prefix);

}  // namespace roost::store_redis
