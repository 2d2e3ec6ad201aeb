#include "compute/kubernetes/quantity.hpp"

#include <charconv>
#include <cmath>

namespace roost::kubernetes {
namespace {

// The multiplier of a suffix, 0 for an unknown one.
double scale(std::string_view suffix) {
  static constexpr struct {
    std::string_view suffix;
    double value;
  } kScales[] = {{"", 1},
                 {"n", 1e-9},
                 {"u", 1e-6},
                 {"m", 1e-3},
                 {"k", 1e3},
                 {"M", 1e6},
                 {"G", 1e9},
                 {"T", 1e12},
                 {"P", 1e15},
                 {"E", 1e18},
                 {"Ki", 1024.0},
                 {"Mi", 1048576.0},
                 {"Gi", 1073741824.0},
                 {"Ti", 1099511627776.0},
                 {"Pi", 1125899906842624.0}};
  for (const auto& known : kScales) {
    if (known.suffix == suffix) return known.value;
  }
  return 0;
}

std::int64_t parse(std::string_view text, double unit) {
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc() || number < 0) return -1;
  const double factor = scale(text.substr(static_cast<std::size_t>(parsed.ptr - text.data())));
  const double value = std::ceil(number * factor * unit - 1e-6);
  return factor == 0 || value > 9e18 ? -1 : static_cast<std::int64_t>(value);
}

}  // namespace

std::int64_t cpu_millis(std::string_view text) { return parse(text, 1000); }
std::int64_t memory_bytes(std::string_view text) { return parse(text, 1); }

std::string cpu_text(std::int64_t millis) {
  return millis % 1000 == 0 ? std::to_string(millis / 1000) : std::to_string(millis) + "m";
}

std::string memory_text(std::int64_t bytes) {
  static constexpr const char* kSuffixes[] = {"", "Ki", "Mi", "Gi", "Ti"};
  std::size_t suffix = 0;
  while (suffix + 1 < std::size(kSuffixes) && bytes != 0 && bytes % 1024 == 0) {
    bytes /= 1024;
    ++suffix;
  }
  return std::to_string(bytes) + kSuffixes[suffix];
}

}  // namespace roost::kubernetes
