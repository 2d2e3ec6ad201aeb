// The daemon's signals: blocked everywhere from the first instruction on, taken by whoever waits for them.
// Thread safety: block_signals before any thread starts; wait_for_signal from any thread, one of the waiting ones gets a signal.
#pragma once

#include <cstdint>

namespace roost::daemon {

void block_signals();  // TERM, INT and HUP; SIGPIPE is ignored
// The signal that came, or 0 after that time.
[[nodiscard]] int wait_for_signal(std::int64_t timeout_ms);

}  // namespace roost::daemon
