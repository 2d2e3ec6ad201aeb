#include "base/clock.hpp"

#include <sys/random.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/crypto.hpp"

namespace roost {
namespace {

class SystemClock : public Clock {
 public:
  std::int64_t monotonic_ns() const override { return read(CLOCK_MONOTONIC, 1); }
  std::int64_t wall_us() const override { return read(CLOCK_REALTIME, 1000); }

 private:
  static std::int64_t read(clockid_t id, std::int64_t divisor) {
    timespec now{};
    clock_gettime(id, &now);
    return (static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec) / divisor;
  }
};

class SystemRandom : public Random {
 public:
  void fill(std::span<unsigned char> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = getrandom(bytes.data() + done, bytes.size() - done, 0);
      if (n > 0) done += static_cast<std::size_t>(n);
      else if (errno != EINTR) std::abort();  // without randomness no secret can be made
    }
  }
};

tm utc(std::int64_t wall_us) {
  const time_t seconds = static_cast<time_t>(wall_us / 1'000'000);
  tm parts{};
  gmtime_r(&seconds, &parts);
  return parts;
}

}  // namespace

std::string Random::hex(std::size_t bytes) {
  std::string raw(bytes, '\0');
  fill({reinterpret_cast<unsigned char*>(raw.data()), raw.size()});
  return to_hex(raw);
}

double Random::uniform() {
  unsigned char raw[8];
  fill(raw);
  std::uint64_t value = 0;
  for (const unsigned char byte : raw) value = value << 8 | byte;
  return static_cast<double>(value >> 11) * 0x1.0p-53;
}

Clock& system_clock() {
  static SystemClock clock;
  return clock;
}

Random& system_random() {
  static SystemRandom random;
  return random;
}

std::string format_time(std::int64_t wall_us) {
  const tm t = utc(wall_us);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%06d", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
                t.tm_min, t.tm_sec, static_cast<int>(wall_us % 1'000'000));
  return text;
}

std::string format_compact_time(std::int64_t wall_us) {
  const tm t = utc(wall_us);
  char text[64];
  std::snprintf(text, sizeof text, "%04d%02d%02dT%02d%02d%02dZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour, t.tm_min,
                t.tm_sec);
  return text;
}

std::int64_t parse_time(const std::string& text) {
  tm t{};
  int micros = 0;
  int used = 0;
  if (text.size() != 26 || std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%6d%n", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
                                       &t.tm_min, &t.tm_sec, &micros, &used) != 7 || used != 26) {
    return -1;
  }
  t.tm_year -= 1900;
  t.tm_mon -= 1;
  const std::int64_t wall_us = static_cast<std::int64_t>(timegm(&t)) * 1'000'000 + micros;
  return format_time(wall_us) == text ? wall_us : -1;  // refuses month 13 and the like
}

}  // namespace roost
