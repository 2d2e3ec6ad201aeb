// AWS Signature Version 4, as pure functions: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
// Invariant: path and query are encoded once, by the caller, with the functions here; the strings that are signed are those that
// are sent. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace roost::backup_s3 {

using Pairs = std::vector<std::pair<std::string, std::string>>;

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";

// Percent-encodes every byte but A-Z a-z 0-9 - . _ ~; with Slash::keep not the slash either, as in a key of S3.
enum class Slash { keep, encode };
[[nodiscard]] std::string uri_encode(std::string_view text, Slash slash);
// name=value joined by &, encoded, sorted by the encoded name, then value.
[[nodiscard]] std::string encode_query(const Pairs& query);
// "20130524T000000Z" of a time in seconds since 1970.
[[nodiscard]] std::string amz_date(std::int64_t unix_s);

struct SignedRequest {
  std::string method;
  std::string path;          // encoded, begins with a slash
  std::string query;         // encoded, of encode_query
  Pairs headers;             // all that are signed, with "host" and "x-amz-date", in any case and order
  std::string payload_hash;  // SHA-256 of the body in hex, or kUnsignedPayload
};

struct SigningKey {
  std::string access_key_id;
  std::string secret_access_key;
  std::string region;
  std::string service = "s3";
};

[[nodiscard]] std::string canonical_request(const SignedRequest& request);
[[nodiscard]] std::string string_to_sign(const SignedRequest& request, const SigningKey& key);
// The value of the Authorization header. REQUIRES: a header x-amz-date as amz_date makes it.
[[nodiscard]] std::string authorization(const SignedRequest& request, const SigningKey& key);

}  // namespace roost::backup_s3
