#include "cli/table.hpp"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/text.hpp"

namespace roost::cli {
namespace {

using Fit = Table::Fit;
using Side = Table::Side;

Table sample() {
  Table table({{"ID"}, {"USER", Fit::cut}, {"SIZE", Fit::whole, Side::right}});
  table.add({"1823b3a8", "john@example.com", "3"});
  table.add({"ffffffff", "", "1200"});
  return table;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Table, AlignsItsColumns) {
  EXPECT_EQ(sample().text({}),
            "ID        USER              SIZE\n"
            "1823b3a8  john@example.com     3\n"
            "ffffffff  -                 1200\n");
}

TEST(Table, CutsTheWidestColumnThatMayBeCut) {
  EXPECT_EQ(sample().text({28, false}),
            "ID        USER          SIZE\n"
            "1823b3a8  john@exampl…     3\n"
            "ffffffff  -             1200\n");
}

TEST(Table, NoLineIsWiderThanTheTerminal) {
  Table table({{"ID"}, {"日本語", Fit::cut}, {"LONG", Fit::cut}});
  table.add({"1823b3a8", "日本語日本語日本語", std::string(300, 'x')});
  for (int width = 1; width < 60; ++width) {
    for (const std::string& line : lines_of(table.text({width, false}))) EXPECT_LE(columns(line), width) << line;
  }
}

TEST(Table, AServersBytesStayOnTheirLineAndDoNothing) {
  Table table({{"USER"}, {"STATE"}});
  table.add({"evil\x1b[2J\nuser", "ok\r"});
  EXPECT_EQ(table.text({}), "USER               STATE\nevil\\x1b[2J\\nuser  ok\\x0d\n");
}

TEST(Table, ColourIsOnlyThereWhereItIsAskedFor) {
  Table table({{"STATE"}});
  table.tone_column(0);
  table.add({"failed"});
  EXPECT_EQ(table.text({}).find('\x1b'), std::string::npos);
  EXPECT_EQ(table.text({80, true}), "\x1b[1mSTATE\x1b[0m\n\x1b[31mfailed\x1b[0m\n");
}

TEST(Fields, AlignValuesAndLeaveOutEmptyOnes) {
  Fields fields;
  fields.add("Session", "1823b3a8");
  fields.add("Reason", "");
  fields.add("User", "a\x1b");
  EXPECT_EQ(fields.text({}), "Session:  1823b3a8\nUser:     a\\x1b\n");
}

}  // namespace
}  // namespace roost::cli
