// Digests and encodings as S3 wants them, over OpenSSL. Digests are raw bytes. Thread safety: pure functions.
#pragma once

#include <string>
#include <string_view>

namespace roost::backup_s3 {

[[nodiscard]] std::string sha256(std::string_view data);
[[nodiscard]] std::string md5(std::string_view data);  // for Content-MD5 only; throws where OpenSSL forbids it
[[nodiscard]] std::string hmac_sha256(std::string_view key, std::string_view data);
[[nodiscard]] std::string hex(std::string_view bytes);
[[nodiscard]] std::string base64(std::string_view bytes);
// Throws std::runtime_error for what is not base64 with its padding.
[[nodiscard]] std::string from_base64(std::string_view text);
[[nodiscard]] std::string random_hex(std::size_t bytes);

}  // namespace roost::backup_s3
