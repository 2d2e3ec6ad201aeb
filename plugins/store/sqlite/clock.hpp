// The store's clock: milliseconds since 1970 at the time the store was opened, moved on by a clock that never jumps, so that
// neither a correction of the machine's time nor a suspend makes a lease or a document live longer or shorter than it should.
// Thread safety: any thread.
#pragma once

#include <time.h>

#include <cstdint>

namespace roost::store_sqlite {

class StoreClock {
 public:
  StoreClock() : offset_ms_(read_ms(CLOCK_REALTIME) - read_ms(CLOCK_BOOTTIME)) {}
  [[nodiscard]] std::int64_t now_ms() const { return offset_ms_ + read_ms(CLOCK_BOOTTIME); }

 private:
  static std::int64_t read_ms(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<std::int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1'000'000;
  }
  const std::int64_t offset_ms_;
};

}  // namespace roost::store_sqlite
