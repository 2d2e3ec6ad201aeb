// Quantities with their units, as people write them. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::config {

// "1h30m", "15m", "500ms", "30d" in milliseconds. Units: ms, s, m, h, d, each at most once, the greater first.
[[nodiscard]] Result<std::int64_t> parse_duration_ms(std::string_view text);
// "5Gi" (1024), "5G" (1000), "1.5Gi" or a plain number of bytes. Units as in Kubernetes: Ki Mi Gi Ti k M G T.
[[nodiscard]] Result<std::int64_t> parse_size_bytes(const Json& value);
// 2, 0.5, "2", "0.5" or "500m" in thousandths of a processor.
[[nodiscard]] Result<std::int64_t> parse_cpu_millis(const Json& value);

// By the schema's x-unit: "duration", "size", "cpu".
[[nodiscard]] Result<std::int64_t> parse_unit(std::string_view unit, const Json& value);

}  // namespace roost::config
