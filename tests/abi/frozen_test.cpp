// What was released stays: every structure, enumeration and constant of the frozen header (v1_0/) is in the present one,
// unchanged, with new fields only at the end. layout.c checks the numbers; this checks the types, function signatures among them.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>

namespace {

// A header without comments and with single spaces.
std::string code_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  for (auto begin = text.find("/*"); begin != std::string::npos; begin = text.find("/*")) {
    text.erase(begin, text.find("*/", begin) + 2 - begin);
  }
  return std::regex_replace(text, std::regex("[ \t\n]+"), " ");
}

// Name to body of every match of a pattern with two groups.
std::map<std::string, std::string> matches(const std::string& code, const char* pattern) {
  std::map<std::string, std::string> found;
  const std::regex expression(pattern);
  for (auto at = std::sregex_iterator(code.begin(), code.end(), expression); at != std::sregex_iterator(); ++at)
    found[(*at)[1]] = (*at)[2];
  return found;
}

const std::string kPresent = code_of(std::filesystem::path(ROOST_SOURCE_DIR) / "core/abi/include/roost/plugin.h");
const std::string kReleased = code_of(std::filesystem::path(ROOST_SOURCE_DIR) / "tests/abi/v1_0/roost/plugin.h");

TEST(FrozenAbi, StructuresGrowOnlyAtTheEnd) {
  const char* pattern = R"(typedef struct (\w+) \{([^}]*)\})";
  const auto present = matches(kPresent, pattern);
  const auto released = matches(kReleased, pattern);
  EXPECT_GE(released.size(), 16u);
  for (const auto& [name, body] : released) {
    ASSERT_TRUE(present.count(name)) << name;
    const std::string fields = body.substr(0, body.find_last_of(';') + 1);
    EXPECT_EQ(present.at(name).substr(0, fields.size()), fields) << name;
  }
}

TEST(FrozenAbi, ValuesStay) {
  const auto present = matches(kPresent, R"((ROOST_\w+) = (\d+))");
  for (const auto& [name, value] : matches(kReleased, R"((ROOST_\w+) = (\d+))")) {
    ASSERT_TRUE(present.count(name)) << name;
    EXPECT_EQ(present.at(name), value) << name;
  }
}

TEST(FrozenAbi, TheEntryStays) {
  const std::string entry = "const roost_plugin* roost_plugin_v1(const roost_negotiation* negotiation, roost_error* error);";
  EXPECT_NE(kReleased.find(entry), std::string::npos);
  EXPECT_NE(kPresent.find(entry), std::string::npos);
}

}  // namespace
