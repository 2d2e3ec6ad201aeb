// Clock and Random: time and chance, injected wherever a decision depends on them, so that a simulation can own both.
// Thread safety: implementations may be called from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace roost {

inline constexpr std::int64_t kDayUs = 24LL * 3600 * 1'000'000;

class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual std::int64_t monotonic_ns() const = 0;  // CLOCK_MONOTONIC; never goes back
  [[nodiscard]] virtual std::int64_t wall_us() const = 0;       // microseconds since 1970-01-01 UTC; may jump
};

class Random {
 public:
  virtual ~Random() = default;
  virtual void fill(std::span<unsigned char> bytes) = 0;  // cryptographic strength in production

  [[nodiscard]] std::string hex(std::size_t bytes);  // 2 lower-case digits a byte
  [[nodiscard]] double uniform();                    // [0, 1)
};

[[nodiscard]] Clock& system_clock();
[[nodiscard]] Random& system_random();  // getrandom(2)

// "2025-11-15T03:51:36.653291": UTC with microseconds and no zone, as the guide's bodies show it.
[[nodiscard]] std::string format_time(std::int64_t wall_us);
// "20251115T035136Z": for names of archives.
[[nodiscard]] std::string format_compact_time(std::int64_t wall_us);
// The inverse of format_time; -1 for anything else.
[[nodiscard]] std::int64_t parse_time(const std::string& text);

}  // namespace roost
