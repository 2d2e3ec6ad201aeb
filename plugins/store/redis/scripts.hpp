// The scripts that the server runs: each is atomic, reads the server's clock, and checks every key's type before it writes, so
// that it does all or nothing. Thread safety: constants.
#pragma once

#include <string>

namespace roost::store_redis {

class Script {
 public:
  explicit Script(std::string text);
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] const std::string& sha() const { return sha_; }  // as EVALSHA wants it

 private:
  std::string text_;
  std::string sha_;
};

// Where a script takes "the bucket", its KEYS begin with Bucket::keys(). Revisions and times are decimal text.
//
// get: the bucket. ARGV: documents, member. -> {value, revision}, or nothing.
[[nodiscard]] const Script& get_script();
// scan: the bucket. ARGV: documents, from, to (bounds of ZRANGEBYLEX), limit, bytes.
// -> {next bound or "", member, value, revision, ...}. At least one document where there is one; the rest from the next bound.
[[nodiscard]] const Script& scan_script();
// count: the bucket. ARGV: from, to, the prefix of members. -> number
[[nodiscard]] const Script& count_script();
// commit: the bucket, the marker. ARGV: documents, the prefix of members, not after (ms), the marker's life (ms), how many
// conditions, {kind, key, revision}..., how many operations, {kind, key, value, ttl_ms}...
// -> {"OK", key, revision, ...} | {"CONFLICT", key, why} | {"LATE", the server's clock (ms)}
[[nodiscard]] const Script& commit_script();
// purge: the bucket. ARGV: documents, limit. -> how many documents it removed whose time is over
[[nodiscard]] const Script& purge_script();
// lease: its key. ARGV: holder, action, ttl_ms, the server's run_id, not after (ms).
// -> {"OK" or "CONFLICT", holder, epoch, remaining_ms} | {"LATE", the server's clock (ms)}
[[nodiscard]] const Script& lease_script();

}  // namespace roost::store_redis
