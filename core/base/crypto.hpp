// Hashes, encodings and comparisons, over OpenSSL. Thread safety: pure functions.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace roost {

using Sha256 = std::array<unsigned char, 32>;

[[nodiscard]] Sha256 sha256(std::string_view data);
[[nodiscard]] Sha256 hmac_sha256(std::string_view key, std::string_view data);
[[nodiscard]] std::string to_hex(std::string_view bytes);
[[nodiscard]] std::string to_hex(const Sha256& digest);
[[nodiscard]] std::optional<std::string> from_hex(std::string_view hex);  // lower or upper case, even length
[[nodiscard]] std::string base64url(std::string_view bytes);              // RFC 4648 section 5, without padding
[[nodiscard]] std::optional<std::string> from_base64url(std::string_view text);
[[nodiscard]] bool constant_time_equal(std::string_view a, std::string_view b);  // time depends on the lengths only
[[nodiscard]] bool valid_utf8(std::string_view text);

// SHA-256 of data that comes in pieces.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;
  void update(std::string_view data);
  [[nodiscard]] Sha256 so_far() const;  // of what has come; more may follow
  [[nodiscard]] Sha256 finish();        // REQUIRES: called once

 private:
  void* context_;
};

}  // namespace roost
