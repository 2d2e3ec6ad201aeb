// log: structured lines on stderr (spdlog behind), as text for people or JSON for machines. Registered secrets never appear:
// each message and field is searched for them before it is written. Thread safety: every function, from any thread.
// The one global of Roost: before configure() it logs text at level info.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost::telemetry::log {

enum class Level { debug, info, warn, error };
enum class Format { text, json };

struct Options {
  Level level = Level::info;
  Format format = Format::text;
};

void configure(Options options);  // also on reload
[[nodiscard]] bool enabled(Level level);

// From now on "[redacted]" stands for these values wherever they occur. Shorter than 8 bytes: ignored (they would blot out
// words).
void register_secrets(const std::vector<std::string>& secrets);
[[nodiscard]] std::string redact(std::string_view text);

// message: one short sentence without values; fields: an object with the values, `{}` for none.
void write(Level level, std::string_view message, const Json& fields);
inline void debug(std::string_view message, const Json& fields = {}) { write(Level::debug, message, fields); }
inline void info(std::string_view message, const Json& fields = {}) { write(Level::info, message, fields); }
inline void warn(std::string_view message, const Json& fields = {}) { write(Level::warn, message, fields); }
inline void error(std::string_view message, const Json& fields = {}) { write(Level::error, message, fields); }
// {"error": code, "detail": message} added to the fields.
void error(std::string_view message, const Error& error, Json fields = {});
void warn(std::string_view message, const Error& error, Json fields = {});

// For tests: lines go there instead of stderr; null: back to stderr.
void redirect(void (*sink)(std::string_view line));

}  // namespace roost::telemetry::log
