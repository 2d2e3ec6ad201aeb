#include "cli/text.hpp"

#include <locale.h>
#include <wchar.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "base/clock.hpp"

namespace roost::cli {
namespace {

constexpr std::int64_t kLongestMs = 3650LL * 86'400'000;

// The character at the beginning: how many bytes it has, and its code point. 0 bytes: not UTF-8.
struct Character {
  int bytes = 0;
  char32_t code = 0;
};

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const int bytes = lead >= 0xF0 && lead < 0xF5 ? 4 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xC2 && lead < 0xE0 ? 2 : 0;
  if (bytes == 0 || text.size() < static_cast<std::size_t>(bytes)) return {};
  char32_t code = lead & (0xFF >> (bytes + 1));
  for (int i = 1; i < bytes; ++i) {
    if ((byte(static_cast<std::size_t>(i)) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(static_cast<std::size_t>(i)) & 0x3F);
  }
  const bool shortest = bytes == 2 || (bytes == 3 && code >= 0x800) || (bytes == 4 && code >= 0x10000);
  if (!shortest || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return {};
  return {bytes, code};
}

// wcwidth(3) as UTF-8 has it, whatever the user's locale is; -1: not printable.
int width_of(char32_t code) {
  if (code >= 0x20 && code < 0x7F) return 1;
  static const locale_t utf8 = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (!utf8) return code < 0xA0 ? -1 : 1;
  const locale_t before = ::uselocale(utf8);
  const int width = ::wcwidth(static_cast<wchar_t>(code));
  ::uselocale(before);
  return width;
}

// Marks that are not seen but change how the rest is seen (UAX 9), and that hide in names.
bool is_invisible_mark(char32_t code) {
  return (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
         code == 0xFEFF || code == 0x061C || (code >= 0xFFF9 && code <= 0xFFFB) || (code >= 0xE0000 && code <= 0xE0FFF);
}

bool is_harmless(char32_t code) { return code >= 0x20 && !is_invisible_mark(code) && width_of(code) >= 0; }

void append_escape(std::string& out, char32_t code) {
  char text[16];
  std::snprintf(text, sizeof text, code < 0x80 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", static_cast<unsigned>(code));
  out += text;
}

// As JSON escapes it: a surrogate pair beyond the first plane.
void append_json_escape(std::string& out, char32_t code) {
  char text[16];
  if (code < 0x10000) {
    std::snprintf(text, sizeof text, "\\u%04x", static_cast<unsigned>(code));
  } else {
    const unsigned rest = static_cast<unsigned>(code) - 0x10000;
    std::snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
  }
  out += text;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Character next = first_character(text);
    if (next.bytes == 0) {
      append_escape(out, static_cast<unsigned char>(text.front()));
      if (static_cast<unsigned char>(text.front()) >= 0x80) out.replace(out.size() - 6, 4, "\\x");  // a byte, not a character
      text.remove_prefix(1);
      continue;
    }
    if (next.code == '\n')
      out += "\\n";
    else if (next.code == '\t')
      out += "\\t";
    else if (is_harmless(next.code))
      out += text.substr(0, static_cast<std::size_t>(next.bytes));
    else
      append_escape(out, next.code);
    text.remove_prefix(static_cast<std::size_t>(next.bytes));
  }
  return out;
}

std::string printable_json(std::string_view document) {
  std::string out;
  out.reserve(document.size());
  while (!document.empty()) {
    const Character next = first_character(document);
    const auto bytes = static_cast<std::size_t>(next.bytes);
    if (next.bytes == 0) {
      out += "\xEF\xBF\xBD";
      document.remove_prefix(1);
      continue;
    }
    if (next.code == '\n' || next.code == '\t' || next.code == '\r' || is_harmless(next.code))
      out += document.substr(0, bytes);
    else
      append_json_escape(out, next.code);
    document.remove_prefix(bytes);
  }
  return out;
}

bool is_plain_text(std::string_view piece) {
  while (!piece.empty()) {
    const Character next = first_character(piece);
    if (next.bytes == 0) {  // perhaps only cut: the rest of up to three bytes comes with the next piece
      const auto lead = static_cast<unsigned char>(piece.front());
      if (piece.size() >= 4 || (lead & 0xC0) != 0xC0) return false;
      for (const char byte : piece.substr(1)) {
        if ((static_cast<unsigned char>(byte) & 0xC0) != 0x80) return false;
      }
      return true;
    }
    const bool layout = next.code == '\n' || next.code == '\t' || next.code == '\r';
    if (!layout && !is_harmless(next.code)) return false;
    piece.remove_prefix(static_cast<std::size_t>(next.bytes));
  }
  return true;
}

std::string_view cut_character(std::string_view text) {
  for (std::size_t bytes = 1; bytes <= std::min<std::size_t>(3, text.size()); ++bytes) {
    const std::string_view end = text.substr(text.size() - bytes);
    if ((static_cast<unsigned char>(end.front()) & 0xC0) == 0x80) continue;  // within a character
    return first_character(end).bytes == 0 ? end : std::string_view();
  }
  return {};
}

int columns(std::string_view text) {
  int sum = 0;
  while (!text.empty()) {
    const Character next = first_character(text);
    if (next.bytes > 0) sum += std::max(0, width_of(next.code));
    text.remove_prefix(static_cast<std::size_t>(std::max(1, next.bytes)));
  }
  return sum;
}

std::string cut(std::string_view text, int most) {
  if (columns(text) <= most) return std::string(text);
  int sum = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const Character next = first_character(text.substr(at));
    const int width = next.bytes > 0 ? std::max(0, width_of(next.code)) : 0;
    if (sum + width > most - 1) break;
    sum += width;
    at += static_cast<std::size_t>(std::max(1, next.bytes));
  }
  return std::string(text.substr(0, at)) + "…";
}

std::string human_bytes(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (bytes < 0) return "-";
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, value < 99.95 ? "%.1f %s" : "%.0f %s", value, kUnits[unit]);
  return text;
}

std::string human_seconds(std::int64_t seconds) {
  char text[48];
  const long long s = seconds < 0 ? 0 : seconds;
  if (s < 60)
    std::snprintf(text, sizeof text, "%llds", s);
  else if (s < 3600)
    std::snprintf(text, sizeof text, "%lldm%02llds", s / 60, s % 60);
  else if (s < 2 * 86'400)
    std::snprintf(text, sizeof text, "%lldh%02lldm", s / 3600, s / 60 % 60);
  else
    std::snprintf(text, sizeof text, "%lldd", s / 86'400);
  return text;
}

std::string human_time(const std::string& time) {
  if (time.empty()) return "-";
  if (parse_time(time) < 0) return printable(time);
  std::string text = time.substr(0, 19) + "Z";
  text[10] = ' ';
  return text;
}

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  const Error refused{Code::invalid, "\"" + printable(text) + "\" is not a duration: write 30s, 5m, 2h or 7d", 0};
  std::int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = text.substr(static_cast<std::size_t>(stop - text.data()));
  if (error != std::errc{} || value <= 0 || value > kLongestMs) return refused;
  std::int64_t factor = 0;
  if (unit == "ms") factor = 1;
  if (unit == "s" || unit.empty()) factor = 1000;
  if (unit == "m") factor = 60'000;
  if (unit == "h") factor = 3'600'000;
  if (unit == "d") factor = 86'400'000;
  if (factor == 0 || value > kLongestMs / factor) return refused;
  return value * factor;
}

Result<std::string> parse_until(const std::string& text, std::int64_t now_us) {
  if (parse_time(text) >= 0) return text;
  const std::string day = text + "T00:00:00.000000";
  if (parse_time(day) >= 0) return day;
  const auto duration = parse_duration_ms(text);
  if (duration.ok()) return format_time(now_us + *duration * 1000);
  return Error{Code::invalid,
               "\"" + printable(text) + "\" is not a time: write 30d, 2026-01-31 or 2026-01-31T12:00:00.000000 (UTC)", 0};
}

}  // namespace roost::cli
