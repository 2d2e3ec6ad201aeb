#include "base/clock.hpp"

#include <sys/random.h>
#include <time.h>

#include <cerrno>
#include <chrono>
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
      if (n > 0)
        done += static_cast<std::size_t>(n);
      else if (errno != EINTR)
        std::abort();  // without randomness no secret can be made
    }
  }
};

// Digits by hand: every status answer shows two times, and snprintf would be a tenth of its cost.
void put_digits(char* out, int width, std::int64_t value) {
  for (int i = width - 1; i >= 0; --i, value /= 10) out[i] = static_cast<char>('0' + value % 10);
}

struct CivilTime {
  std::int64_t year, month, day, hour, minute, second, micros;
};

CivilTime civil(std::int64_t wall_us) {
  using namespace std::chrono;
  const sys_time<microseconds> time{microseconds{wall_us}};
  const auto midnight = floor<days>(time);
  const year_month_day date{midnight};
  const hh_mm_ss clock{time - midnight};
  return {int{date.year()},        unsigned{date.month()},  unsigned{date.day()},      clock.hours().count(),
          clock.minutes().count(), clock.seconds().count(), clock.subseconds().count()};
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

// Never destroyed: a thread that outlives main, as the one that ends a stop which takes too long, still asks them.
Clock& system_clock() {
  static SystemClock& clock = *new SystemClock;
  return clock;
}

Random& system_random() {
  static SystemRandom& random = *new SystemRandom;
  return random;
}

std::string format_time(std::int64_t wall_us) {
  const CivilTime t = civil(wall_us);
  std::string text = "0000-00-00T00:00:00.000000";
  put_digits(&text[0], 4, t.year);
  put_digits(&text[5], 2, t.month);
  put_digits(&text[8], 2, t.day);
  put_digits(&text[11], 2, t.hour);
  put_digits(&text[14], 2, t.minute);
  put_digits(&text[17], 2, t.second);
  put_digits(&text[20], 6, t.micros);
  return text;
}

std::string format_compact_time(std::int64_t wall_us) {
  const CivilTime t = civil(wall_us);
  std::string text = "00000000T000000Z";
  put_digits(&text[0], 4, t.year);
  put_digits(&text[4], 2, t.month);
  put_digits(&text[6], 2, t.day);
  put_digits(&text[9], 2, t.hour);
  put_digits(&text[11], 2, t.minute);
  put_digits(&text[13], 2, t.second);
  return text;
}

std::int64_t parse_time(const std::string& text) {
  tm t{};
  int micros = 0;
  int used = 0;
  if (text.size() != 26 ||
      std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%6d%n", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min,
                  &t.tm_sec, &micros, &used) != 7 ||
      used != 26) {
    return -1;
  }
  t.tm_year -= 1900;
  t.tm_mon -= 1;
  const std::int64_t wall_us = static_cast<std::int64_t>(timegm(&t)) * 1'000'000 + micros;
  return format_time(wall_us) == text ? wall_us : -1;  // refuses month 13 and the like
}

}  // namespace roost
