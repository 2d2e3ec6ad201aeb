// Table: rows under headers, aligned. Where a width is given, the widest columns that may be cut are cut until it fits.
// Thread safety: a plain value. Invariants: every row has as many cells as there are columns; cells are made printable when
// added.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace roost::cli {

// How text may be set off on a terminal.
enum class Tone { plain, strong, good, bad, busy };

struct Style {
  int width = 0;        // columns of the terminal; 0: as wide as it gets
  bool colour = false;  // ANSI SGR
};

[[nodiscard]] std::string toned(std::string_view text, Tone tone, const Style& style);
// How a phase or a state is set off: running is good, failed is bad.
[[nodiscard]] Tone tone_of(std::string_view state);

class Table {
 public:
  enum class Fit { whole, cut };    // whether a column may be cut
  enum class Side { left, right };  // numbers stand right
  struct Column {
    std::string title;
    Fit fit = Fit::whole;
    Side side = Side::left;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);                  // missing ones are empty, "" shows as "-"
  void tone_column(std::size_t column) { toned_ = column; }  // each cell of it by tone_of
  [[nodiscard]] std::string text(const Style& style) const;
  [[nodiscard]] std::size_t rows() const { return rows_.size(); }

 private:
  [[nodiscard]] std::vector<int> widths(int terminal) const;
  [[nodiscard]] std::string line(const std::vector<std::string>& cells, const std::vector<int>& widths, const Style& style,
                                 bool header) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::size_t toned_ = static_cast<std::size_t>(-1);
};

// "Name:  value" lines, the values below one another.
class Fields {
 public:
  void add(std::string name, std::string_view value);  // "" is left out
  void add_state(std::string name, std::string_view value);
  [[nodiscard]] std::string text(const Style& style) const;

 private:
  struct Field {
    std::string name, value;
    bool state = false;
  };
  std::vector<Field> fields_;
};

}  // namespace roost::cli
