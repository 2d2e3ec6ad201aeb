// SIGINT and SIGTERM as something that every wait ends at; a second one ends the program as it always does.
// Thread safety: one thread; the handler only sets a flag and writes to a pipe.
#pragma once

#include <cstdint>

#include "base/result.hpp"

namespace roost::cli {

void catch_interrupts();
[[nodiscard]] bool interrupted();
[[nodiscard]] int interrupt_fd();  // readable once interrupted; -1 before catch_interrupts
[[nodiscard]] Error interruption();

// CANCELLED where an interrupt ended it early.
[[nodiscard]] Status sleep_ms(std::int64_t ms);

}  // namespace roost::cli
