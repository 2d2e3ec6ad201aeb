// Quantities of Kubernetes ("500m", "1Gi", "1e3") to whole numbers and back. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace roost::kubernetes {

// Thousandths of a core, rounded up; -1 for what is not a quantity.
[[nodiscard]] std::int64_t cpu_millis(std::string_view text);
// Bytes, rounded up; -1 for what is not a quantity.
[[nodiscard]] std::int64_t memory_bytes(std::string_view text);
// As the API server itself would write them, so that equal values are equal texts: 1000 is "1", 1500 is "1500m"; 1 GiB is "1Gi".
[[nodiscard]] std::string cpu_text(std::int64_t millis);
[[nodiscard]] std::string memory_text(std::int64_t bytes);

}  // namespace roost::kubernetes
