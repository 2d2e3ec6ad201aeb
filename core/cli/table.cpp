#include "cli/table.hpp"

#include <algorithm>
#include <array>

#include "cli/text.hpp"

namespace roost::cli {
namespace {

constexpr int kGap = 2;
constexpr int kNarrowest = 6;  // below that a cut column says nothing

std::string_view sgr(Tone tone) {
  switch (tone) {
    case Tone::strong: return "\x1b[1m";
    case Tone::good: return "\x1b[32m";
    case Tone::bad: return "\x1b[31m";
    case Tone::busy: return "\x1b[33m";
    case Tone::plain: break;
  }
  return "";
}

}  // namespace

std::string toned(std::string_view text, Tone tone, const Style& style) {
  if (!style.colour || tone == Tone::plain || text.empty()) return std::string(text);
  return std::string(sgr(tone)) + std::string(text) + "\x1b[0m";
}

Tone tone_of(std::string_view state) {
  constexpr std::array<std::string_view, 7> kGood{"running", "verified", "answered", "done", "ok", "ready", "succeeded"};
  constexpr std::array<std::string_view, 8> kBad{"failed",  "delete_blocked", "volume_lost", "damaged",
                                                 "missing", "dead",           "error",       "cancelled"};
  constexpr std::array<std::string_view, 4> kQuiet{"asleep", "sleeping", "queued", "-"};
  const auto in = [&](const auto& list) { return std::find(list.begin(), list.end(), state) != list.end(); };
  if (in(kGood)) return Tone::good;
  if (in(kBad)) return Tone::bad;
  return in(kQuiet) || state.empty() ? Tone::plain : Tone::busy;
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  for (std::string& cell : cells) cell = cell.empty() ? "-" : printable(cell);
  rows_.push_back(std::move(cells));
}

std::vector<int> Table::widths(int terminal) const {
  std::vector<int> widths;
  for (const Column& column : columns_) widths.push_back(columns(column.title));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns(row[i]));
  }
  if (terminal <= 0 || widths.empty()) return widths;
  int sum = kGap * (static_cast<int>(widths.size()) - 1);
  for (const int width : widths) sum += width;
  while (sum > terminal) {
    std::size_t widest = columns_.size();
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i].fit == Fit::cut && widths[i] > kNarrowest && (widest == columns_.size() || widths[i] > widths[widest]))
        widest = i;
    }
    if (widest == columns_.size()) break;  // nothing more to give: the lines themselves are cut
    --widths[widest];
    --sum;
  }
  return widths;
}

std::string Table::line(const std::vector<std::string>& cells, const std::vector<int>& widths, const Style& style,
                        bool header) const {
  std::string out;
  int used = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const bool last = i + 1 == cells.size();
    const int room = style.width > 0 ? style.width - used : 0;
    if (style.width > 0 && room <= 0) break;
    const int width = style.width > 0 ? std::min(widths[i], room) : widths[i];
    const std::string cell = cut(cells[i], width);
    const std::string padding(static_cast<std::size_t>(std::max(0, width - columns(cell))), ' ');
    const std::string shown = toned(cell, header ? Tone::strong : i == toned_ ? tone_of(cells[i]) : Tone::plain, style);
    if (columns_[i].side == Side::right)
      out += padding + shown;
    else
      out += last ? shown : shown + padding;
    used += width;
    if (!last) out.append(kGap, ' '), used += kGap;
  }
  while (!out.empty() && out.back() == ' ') out.pop_back();
  return out + "\n";
}

std::string Table::text(const Style& style) const {
  const std::vector<int> widths = this->widths(style.width);
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  std::string out = line(titles, widths, style, true);
  for (const auto& row : rows_) out += line(row, widths, style, false);
  return out;
}

void Fields::add(std::string name, std::string_view value) {
  if (!value.empty()) fields_.push_back({std::move(name), printable(value), false});
}

void Fields::add_state(std::string name, std::string_view value) {
  if (!value.empty()) fields_.push_back({std::move(name), printable(value), true});
}

std::string Fields::text(const Style& style) const {
  int widest = 0;
  for (const Field& field : fields_) widest = std::max(widest, columns(field.name));
  std::string out;
  for (const Field& field : fields_) {
    const std::string padding(static_cast<std::size_t>(widest - columns(field.name) + kGap), ' ');
    out += toned(field.name + ":", Tone::strong, style) + padding;
    out += field.state ? toned(field.value, tone_of(field.value), style) : field.value;
    out += "\n";
  }
  return out;
}

}  // namespace roost::cli
