#include "cli/progress.hpp"

#include <gtest/gtest.h>

#include "cli/text.hpp"

namespace roost::cli {
namespace {

TEST(ProgressLine, ShowsTheBarTheAmountsAndWhatIsLeft) {
  const Progress progress{"backup of 1823b3a8: backup", 512 << 20, 1024 << 20, 10, 20};
  EXPECT_EQ(
      progress_line(progress, 64 << 20, 0),
      "backup of 1823b3a8: backup  [############............]  50%  512 MiB of 1.0 GiB  10 of 20 files  64.0 MiB/s  8s left");
}

TEST(ProgressLine, WithoutATotalThereIsNoBar) {
  EXPECT_EQ(progress_line({"verify", 2048, 0, 3, 0}, 0, 0), "verify  2.0 KiB  3 files");
  EXPECT_EQ(progress_line({"stop", 0, 0, 0, 0}, 0, 0), "stop");
}

TEST(ProgressLine, WithTheNumberOfFilesOnlyTheBarIsOfFiles) {
  EXPECT_EQ(progress_line({"verify", 2048, 0, 3, 4}, 0, 0), "verify  [##################......]  75%  2.0 KiB  3 of 4 files");
}

TEST(ProgressLine, FitsTheTerminalAndGivesTheBarUpFirst) {
  const Progress progress{"backup of 1823b3a8: backup", 5, 10, 1, 2};
  for (int width = 1; width < 120; ++width) EXPECT_LE(columns(progress_line(progress, 1e6, width)), width);
  const std::string narrow = progress_line(progress, 0, 60);
  EXPECT_EQ(narrow.find('#'), std::string::npos);
  EXPECT_NE(narrow.find("50%"), std::string::npos);
}

TEST(ProgressLine, NumbersThatCannotBeDoNoHarm) {
  EXPECT_NE(progress_line({"x", 30, 10, 0, 0}, 0, 0).find("100%"), std::string::npos) << "more than all";
  EXPECT_EQ(progress_line({"evil\x1b[2J", 0, 0, 0, 0}, 0, 0), "evil\\x1b[2J");
  const auto wild =
      Json::parse(R"({"kind":"backup","uuid":"u","step":"backup","progress":{"bytes":-5,"total_bytes":"many","files":1.5}})");
  ASSERT_TRUE(wild.ok());
  const Progress progress = progress_of(*wild);
  EXPECT_EQ(progress.bytes + progress.total_bytes + progress.files, 0);
  EXPECT_EQ(progress.what, "backup of u: backup");
}

}  // namespace
}  // namespace roost::cli
