#include "cli/text.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "base/json.hpp"

namespace roost::cli {
namespace {

TEST(Printable, LeavesTextsOfAllScriptsAlone) {
  for (const char* text : {"john@example.com", "Ünïcödé", "日本語", "עברית", "e\xCC\x81", "🦊", ""})
    EXPECT_EQ(printable(text), text);
}

TEST(Printable, DisarmsWhatATerminalWouldObey) {
  EXPECT_EQ(printable("a\x1b[31mred\x1b]0;title\x07"), "a\\x1b[31mred\\x1b]0;title\\x07");
  EXPECT_EQ(printable("a\r\nb\tc\x7f"), "a\\x0d\\nb\\tc\\x7f");
  EXPECT_EQ(printable("csi \xC2\x9B"
                      "31m"),
            "csi \\u009b31m");
  EXPECT_EQ(printable(std::string_view("nul\0!", 5)), "nul\\x00!");
}

TEST(Printable, ShowsMarksThatHideOrTurnTheText) {
  EXPECT_EQ(printable("a\xE2\x80\xAE"
                      "cod.exe"),
            "a\\u202ecod.exe");
  EXPECT_EQ(printable("a\xE2\x80\x8B"
                      "b\xEF\xBB\xBF"),
            "a\\u200bb\\ufeff");
  EXPECT_EQ(printable("\xE2\x81\xA6x\xE2\x80\xA8"), "\\u2066x\\u2028");
}

TEST(Printable, ShowsBytesThatAreNotUtf8) {
  EXPECT_EQ(printable("\xFF\xC0\xAF"), "\\xff\\xc0\\xaf");           // never, and too long
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(printable("cut \xE6\x97"), "cut \\xe6\\x97");            // the end is missing
  EXPECT_EQ(printable("\xF4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
}

TEST(Printable, EveryByteAndPairOfBytesComesOutHarmless) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string out = printable(std::string{static_cast<char>(a), static_cast<char>(b)});
      for (const unsigned char c : out) ASSERT_TRUE(c >= 0x20 && c != 0x7F) << a << " " << b;
      ASSERT_TRUE(is_plain_text(out)) << a << " " << b;
    }
  }
}

TEST(PrintableJson, StaysTheSameDocument) {
  const std::string document =
      "{\"a\":\"\xC2\x9B"
      "31m \x7f \xE2\x80\xAE\",\n\t\"b\":\"ü\"}\n";
  const std::string shown = printable_json(document);
  EXPECT_EQ(shown.find('\x7f'), std::string::npos);
  EXPECT_EQ(shown.find("\xC2\x9B"), std::string::npos);
  EXPECT_NE(shown.find("\\u009b"), std::string::npos);
  const auto before = Json::parse(document), after = Json::parse(shown);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_EQ(*before, *after);
}

TEST(PlainText, KnowsWhatATerminalMayBeGiven) {
  EXPECT_TRUE(is_plain_text("line\n\ttabbed\r\nü"));
  EXPECT_TRUE(is_plain_text("cut off in a character \xE6\x97"));
  EXPECT_FALSE(is_plain_text("\x1b[2J"));
  EXPECT_FALSE(is_plain_text(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_plain_text("\xFF\xFE"));
  EXPECT_FALSE(is_plain_text("PK\x03\x04"));
}

TEST(PlainText, GoesOnInTheMiddleOfACharacter) {
  EXPECT_EQ(cut_character(""), "");
  EXPECT_EQ(cut_character("abc"), "");
  EXPECT_EQ(cut_character("日本"), "");
  EXPECT_EQ(cut_character("a\xC3"), "\xC3");
  EXPECT_EQ(cut_character("\xF0\x9F\x98"), "\xF0\x9F\x98");
  const std::string text = "日本語 ü 😀 é\n";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    std::string begun;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      const std::string more = begun + text.substr(at, piece);
      ASSERT_TRUE(is_plain_text(more)) << piece << " " << at;
      begun = cut_character(more);
    }
    EXPECT_EQ(begun, "");
  }
}

TEST(Columns, CountsWideCombiningAndPlainCharacters) {
  EXPECT_EQ(columns("abc"), 3);
  EXPECT_EQ(columns("日本"), 4);
  EXPECT_EQ(columns("e\xCC\x81"), 1);
  EXPECT_EQ(columns(""), 0);
}

TEST(Cut, NeverSplitsACharacterOrExceedsItsRoom) {
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdef", 4), "abc…");
  EXPECT_EQ(cut("日本語", 5), "日本…");
  EXPECT_EQ(cut("日本語", 4), "日…");
  EXPECT_EQ(cut("abc", 1), "…");
  for (int most = 1; most < 12; ++most) EXPECT_LE(columns(cut("a日b本c語d", most)), most);
}

TEST(Human, WritesSizesAndTimesAsPeopleDo) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(std::int64_t{5} << 30), "5.0 GiB");
  EXPECT_EQ(human_bytes(INT64_MAX), "8192 PiB");
  EXPECT_EQ(human_bytes(-1), "-");
  EXPECT_EQ(human_seconds(45), "45s");
  EXPECT_EQ(human_seconds(192), "3m12s");
  EXPECT_EQ(human_seconds(5 * 3600 + 120), "5h02m");
  EXPECT_EQ(human_seconds(12 * 86400), "12d");
  EXPECT_EQ(human_time("2025-11-15T03:51:36.653291"), "2025-11-15 03:51:36Z");
  EXPECT_EQ(human_time("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(human_time(""), "-");
}

TEST(Duration, TakesUnitsAndRefusesTheRest) {
  EXPECT_EQ(*parse_duration_ms("500ms"), 500);
  EXPECT_EQ(*parse_duration_ms("30"), 30'000);
  EXPECT_EQ(*parse_duration_ms("5m"), 300'000);
  EXPECT_EQ(*parse_duration_ms("2h"), 7'200'000);
  EXPECT_EQ(*parse_duration_ms("7d"), 604'800'000);
  for (const char* text : {"", "0", "-5s", "5 m", "5x", "m", "1e3", "99999999999999999999", "4000d", "0x10"})
    EXPECT_FALSE(parse_duration_ms(text).ok()) << text;
}

TEST(Until, TakesATimeADayOrADuration) {
  const std::int64_t now_us = parse_time("2026-01-01T00:00:00.000000");
  EXPECT_EQ(*parse_until("2026-02-03T04:05:06.000007", now_us), "2026-02-03T04:05:06.000007");
  EXPECT_EQ(*parse_until("2026-02-03", now_us), "2026-02-03T00:00:00.000000");
  EXPECT_EQ(*parse_until("2d", now_us), "2026-01-03T00:00:00.000000");
  EXPECT_FALSE(parse_until("2026-13-01", now_us).ok());
  EXPECT_FALSE(parse_until("tomorrow", now_us).ok());
}

}  // namespace
}  // namespace roost::cli
