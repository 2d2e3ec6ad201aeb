// Text for people: what a server says is made harmless for a terminal, measured in columns, cut; sizes, times and durations as
// people write them. Thread safety: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace roost::cli {

// One line without anything that a terminal would obey: control characters, invalid UTF-8 and marks that turn the direction of
// writing or are invisible appear as \x1b, \u202e and the like; a line's end as \n.
[[nodiscard]] std::string printable(std::string_view text);
// The same for a JSON document, which stays the same JSON: of what is harmful only DEL, C1 and the invisible marks can be in it.
[[nodiscard]] std::string printable_json(std::string_view document);
// What `cat` may show on a terminal: text with no control characters but tab and line ends. A character cut at the end is text.
[[nodiscard]] bool is_plain_text(std::string_view piece);
// Of such a text the character that is cut at its end: what the next piece goes on with. Empty: none is.
[[nodiscard]] std::string_view cut_character(std::string_view text);

// Columns of a printable text: a wide character counts two, a combining one none.
[[nodiscard]] int columns(std::string_view text);
// At most that many columns, "…" in place of what was cut off. REQUIRES: most >= 1.
[[nodiscard]] std::string cut(std::string_view text, int most);

[[nodiscard]] std::string human_bytes(std::int64_t bytes);      // "3.4 MiB"
[[nodiscard]] std::string human_seconds(std::int64_t seconds);  // "45s", "3m12s", "5h02m", "12d"
// The API's time, to the second and with a Z: "2025-11-15 03:51:36Z". Another text, made printable, stays; "" becomes "-".
[[nodiscard]] std::string human_time(const std::string& time);

// "500ms", "30s" or "30", "5m", "2h", "7d" in milliseconds. INVALID for anything else, 0, and more than 10 years.
[[nodiscard]] Result<std::int64_t> parse_duration_ms(std::string_view text);
// A point in time for the API: its own form, "2026-01-31", or a duration from now. INVALID for anything else.
[[nodiscard]] Result<std::string> parse_until(const std::string& text, std::int64_t now_us);

}  // namespace roost::cli
