#include "cli/progress.hpp"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr std::int64_t kLineEveryNs = 10'000'000'000;
constexpr int kBar = 24;

// Of all of it, 0 to 1, by bytes, else by files; none where neither's total is known.
std::optional<double> done_of(const Progress& progress) {
  const bool by_bytes = progress.total_bytes > 0;
  const std::int64_t total = by_bytes ? progress.total_bytes : progress.total_files;
  if (total <= 0) return std::nullopt;
  return std::min(1.0, static_cast<double>(by_bytes ? progress.bytes : progress.files) / static_cast<double>(total));
}

std::string percent(double part) {
  char text[16];
  std::snprintf(text, sizeof text, "%3d%%", static_cast<int>(part * 100));
  return text;
}

std::string bar(double part) {
  const auto full = static_cast<std::size_t>(part * kBar);
  return "[" + std::string(full, '#') + std::string(kBar - full, '.') + "]";
}

std::string amounts(const Progress& progress, double bytes_per_s) {
  std::string text;
  if (progress.bytes > 0 || progress.total_bytes > 0) {
    text += "  " + human_bytes(progress.bytes);
    if (progress.total_bytes > 0) text += " of " + human_bytes(progress.total_bytes);
  }
  if (progress.files > 0 || progress.total_files > 0) {
    text += "  " + std::to_string(progress.files);
    if (progress.total_files > 0) text += " of " + std::to_string(progress.total_files);
    text += " files";
  }
  if (bytes_per_s >= 1) {
    text += "  " + human_bytes(static_cast<std::int64_t>(bytes_per_s)) + "/s";
    const std::int64_t left = progress.total_bytes - progress.bytes;
    if (left > 0) text += "  " + human_seconds(static_cast<std::int64_t>(static_cast<double>(left) / bytes_per_s)) + " left";
  }
  return text;
}

}  // namespace

Progress progress_of(const Json& operation) {
  Progress progress;
  progress.what = operation["kind"].as_string() + " of " + operation["uuid"].as_string() + ": " + operation["step"].as_string();
  const Json& numbers = operation["progress"];
  const auto number = [&](const char* name) { return std::max<std::int64_t>(0, numbers[name].as_int()); };
  progress.bytes = number("bytes");
  progress.total_bytes = number("total_bytes");
  progress.files = number("files");
  progress.total_files = number("total_files");
  return progress;
}

std::string progress_line(const Progress& progress, double bytes_per_s, int width) {
  std::string line = printable(progress.what);
  const std::string more = amounts(progress, bytes_per_s);
  if (const auto part = done_of(progress)) {
    const bool room = width <= 0 || columns(line) + kBar + 9 + columns(more) <= width;
    line += room ? "  " + bar(*part) + " " + percent(*part) : "  " + percent(*part);
  }
  line += more;
  return width > 0 ? cut(line, width) : line;
}

void Reporter::show(const Progress& progress, std::int64_t now_ns) {
  if (quiet_) return;
  const bool changed = progress.what != said_;
  if (changed || progress.bytes < began_bytes_) began_ns_ = now_ns, began_bytes_ = progress.bytes;
  const double seconds = static_cast<double>(now_ns - began_ns_) / 1e9;
  const double speed = seconds > 0.5 ? static_cast<double>(progress.bytes - began_bytes_) / seconds : 0;
  if (terminal_.err_is_tty) {
    terminal_.err("\r" + progress_line(progress, speed, std::max(20, terminal_.err_columns() - 1)) + "\x1b[K");
    drawn_ = true;
  } else if (changed || now_ns - said_ns_ >= kLineEveryNs) {
    terminal_.err(progress_line(progress, speed, 0) + "\n");
    said_ns_ = now_ns;
  }
  said_ = progress.what;
}

void Reporter::clear() {
  if (drawn_) terminal_.err("\r\x1b[K");
  drawn_ = false;
}

}  // namespace roost::cli
