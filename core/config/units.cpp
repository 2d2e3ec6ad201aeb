#include "config/units.hpp"

#include <charconv>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

namespace roost::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};

constexpr Unit kDurations[] = {{"d", 86'400'000}, {"h", 3'600'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}};
constexpr Unit kSizes[] = {{"", 1},
                           {"k", 1'000},
                           {"M", 1'000'000},
                           {"G", 1'000'000'000},
                           {"T", 1'000'000'000'000},
                           {"Ki", std::int64_t{1} << 10},
                           {"Mi", std::int64_t{1} << 20},
                           {"Gi", std::int64_t{1} << 30},
                           {"Ti", std::int64_t{1} << 40}};

Error wrong(std::string_view text, std::string_view expected) {
  return Error{Code::invalid, "\"" + std::string(text.substr(0, 64)) + "\" is not " + std::string(expected), 0};
}

constexpr std::string_view kDurationExpected = "a duration such as 500ms, 15m or 1h30m";
constexpr std::string_view kSizeExpected = "a size such as 512Mi, 5Gi or a number of bytes";
constexpr std::string_view kCpuExpected = "a number of processors such as 2, 0.5 or 500m";

std::string as_text(const Json& value) { return value.is_string() ? value.as_string() : value.dump(); }

// A decimal number without a sign or an exponent; how far it reaches in `length`.
bool decimal(std::string_view text, double& value, std::size_t& length) {
  length = text.find_first_not_of("0123456789.");
  if (length == std::string_view::npos) length = text.size();
  if (length == 0 || text[0] == '.') return false;
  const auto parsed = std::from_chars(text.data(), text.data() + length, value);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + length;
}

}  // namespace

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  std::int64_t total = 0;
  const Unit* next = std::begin(kDurations);
  std::string_view rest = text;
  if (rest.empty()) return wrong(text, kDurationExpected);
  while (!rest.empty()) {
    std::int64_t number = 0;
    const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (parsed.ec != std::errc() || rest[0] == '-') return wrong(text, kDurationExpected);
    rest = rest.substr(static_cast<std::size_t>(parsed.ptr - rest.data()));
    const auto end = rest.find_first_of("0123456789");
    const std::string_view name = rest.substr(0, end);
    while (next != std::end(kDurations) && next->name != name) ++next;
    if (next == std::end(kDurations)) return wrong(text, kDurationExpected);
    std::int64_t part = 0;
    if (__builtin_mul_overflow(number, next->factor, &part) || __builtin_add_overflow(total, part, &total)) {
      return wrong(text, kDurationExpected);
    }
    ++next;
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end);
  }
  return total;
}

Result<std::int64_t> parse_size_bytes(const Json& value) {
  if (value.is_int()) {
    if (value.as_int() < 0) return wrong(value.dump(), kSizeExpected);
    return value.as_int();
  }
  const std::string text = as_text(value);
  double number = 0;
  std::size_t length = 0;
  if (!value.is_string() || !decimal(text, number, length)) return wrong(text, kSizeExpected);
  const std::string_view name = std::string_view(text).substr(length);
  for (const Unit& unit : kSizes) {
    if (unit.name != name) continue;
    const double bytes = number * static_cast<double>(unit.factor);
    if (bytes > 9e18 || bytes != std::floor(bytes)) return wrong(text, kSizeExpected);
    return static_cast<std::int64_t>(bytes);
  }
  return wrong(text, kSizeExpected);
}

Result<std::int64_t> parse_cpu_millis(const Json& value) {
  const std::string text = as_text(value);
  double number = 0;
  std::size_t length = 0;
  if (!(value.is_string() || value.is_int() || value.is_double()) || !decimal(text, number, length)) {
    return wrong(text, kCpuExpected);
  }
  const std::string_view name = std::string_view(text).substr(length);
  if (name != "" && name != "m") return wrong(text, kCpuExpected);
  const double millis = name == "m" ? number : number * 1000;
  const double rounded = std::round(millis);
  if (millis > 1e12 || std::abs(millis - rounded) > 1e-6) return wrong(text, "a number of processors in steps of 1m");
  return static_cast<std::int64_t>(rounded);
}

Result<std::int64_t> parse_unit(std::string_view unit, const Json& value) {
  if (unit == "size") return parse_size_bytes(value);
  if (unit == "cpu") return parse_cpu_millis(value);
  if (!value.is_string()) return wrong(value.dump(), kDurationExpected);
  return parse_duration_ms(value.as_string());
}

}  // namespace roost::config
