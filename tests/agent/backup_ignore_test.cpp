// What a .roostignore leaves out, case by case as git does it, and what a hostile one costs.
#include <fcntl.h>
#include <gmock/gmock.h>

#include "agent/backup_archives.hpp"
#include "agent/backup_ignore.hpp"

namespace roost::agent {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

struct Case {
  const char* rules;
  const char* path;  // with '/' at its end: a directory
  bool left_out;
};

TEST(BackupIgnore, LeavesOutWhatGitWould) {
  for (const Case& one : std::vector<Case>{
           {"", "a", false},
           {"# a\n\n  \n", "a", false},
           {"a", "a", true},
           {"a", "b/a", true},
           {"a", "a/", true},
           {"a", "ab", false},
           {"a\r\n", "a", true},
           {"a  ", "a", true},
           {"a\\ ", "a ", true},
           {"\\#a", "#a", true},
           {"\\!a", "!a", true},
           {"\\*", "*", true},
           {"\\*", "a", false},
           {"a\\", "a\\", true},
           {"*.o", "x.o", true},
           {"*.o", "d/x.o", true},
           {"*.o", ".o", true},
           {"*.o", "x.oo", false},
           {"*", "a/b/c", true},
           {"?", "a", true},
           {"?", "ab", false},
           {"a?c", "abc", true},
           {"a*c", "ac", true},
           {"a*b*c", "aXbYbZc", true},
           {"a*b*c", "aXbYbZ", false},
           {"/a", "a", true},
           {"/a", "b/a", false},
           {"/*.c", "x.c", true},
           {"/*.c", "d/x.c", false},
           {"a/", "a/", true},
           {"a/", "a", false},
           {"a/", "b/a/", true},
           {"/a/", "b/a/", false},
           {"a/b", "a/b", true},
           {"a/b", "c/a/b", false},
           {"a/*", "a/b", true},
           {"a/*", "a/b/c", false},
           {"a/**", "a/b/c", true},
           {"a/**", "a/", false},
           {"**/a", "a", true},
           {"**/a", "x/y/a", true},
           {"**/a/b", "x/a/b", true},
           {"**/a/b", "x/a/c/b", false},
           {"a/**/b", "a/b", true},
           {"a/**/b", "a/x/y/b", true},
           {"a/**/b", "a/x/y/c", false},
           {"a/**/**/b", "a/b", true},
           {"**", "a/b", true},
           {"a**b", "aXXb", true},
           {"/**/c", "a/b/c", true},
           {"a/**/b/**/c", "a/b/x/b/c", true},
           {"*.o\n!keep.o", "keep.o", false},
           {"*.o\n!keep.o", "x.o", true},
           {"!keep.o\n*.o", "keep.o", true},
           {"a\n!a\na", "a", true},
           {"!", "a", false},
           {"/", "a", false},
           {"!/", "a/", false},
           {"[ab]", "a", false},  // no classes: the brackets are meant as they are
           {"[ab]", "[ab]", true},
           {"\xff*", "\xff\xfe", true},
           {".roostignore", ".roostignore", true},
       }) {
    const auto rules = IgnoreRules::parse(one.rules);
    ASSERT_TRUE(rules.ok()) << one.rules;
    std::string path = one.path;
    const bool directory = path.back() == '/';
    if (directory) path.pop_back();
    EXPECT_EQ(rules->excludes(path, directory), one.left_out) << "rules \"" << one.rules << "\", path \"" << one.path << "\"";
  }
}

TEST(BackupIgnore, HasLimitsAndNamesTheLine) {
  const std::size_t most = IgnoreRules::kRuleMax;
  EXPECT_TRUE(IgnoreRules::parse(std::string(most, 'x')).ok());
  const auto longer = IgnoreRules::parse("# first\n" + std::string(most + 1, 'x'));
  ASSERT_FALSE(longer.ok());
  EXPECT_THAT(longer.error().message, HasSubstr("line 2"));
  std::string many;
  for (std::size_t i = 0; i < IgnoreRules::kRulesMax; ++i) many += "x\n";
  EXPECT_TRUE(IgnoreRules::parse(many).ok());
  EXPECT_TRUE(IgnoreRules::parse(many + "# not a rule\n").ok());
  EXPECT_FALSE(IgnoreRules::parse(many + "y\n").ok());
  EXPECT_FALSE(IgnoreRules::parse(std::string(IgnoreRules::kTextMax + 1, '\n')).ok());
}

// With a matcher that tries every way, each of these takes longer than the universe.
TEST(BackupIgnore, NoPatternIsExponential) {
  std::string stars;
  while (stars.size() + 2 <= IgnoreRules::kRuleMax - 1) stars += "a*";
  std::string depths;
  while (depths.size() + 5 <= IgnoreRules::kRuleMax - 1) depths += "**/a/";
  const auto rules = IgnoreRules::parse(stars + "b\n" + depths + "b\n");
  ASSERT_TRUE(rules.ok()) << rules.error().message;
  std::string path;
  for (int i = 0; i < 2000; ++i) path += "a/";
  EXPECT_FALSE(rules->excludes(path + std::string(255, 'a'), false));
  EXPECT_TRUE(rules->excludes(path + std::string(254, 'a') + "b", false));
}

TEST(BackupIgnore, IsReadFromTheRootAndNeverThroughALink) {
  const TempDir dir;
  const FdOwner root(::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const auto none = IgnoreRules::load(root);
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->empty());
  write_text(dir / "elsewhere", "x\n");
  fs::create_symlink("elsewhere", dir / ".roostignore");
  EXPECT_FALSE(IgnoreRules::load(root).ok());
  fs::remove(dir / ".roostignore");
  fs::create_directory(dir / ".roostignore");
  EXPECT_FALSE(IgnoreRules::load(root).ok());
  fs::remove(dir / ".roostignore");
  write_text(dir / ".roostignore", "x\n");
  const auto some = IgnoreRules::load(root);
  ASSERT_TRUE(some.ok());
  EXPECT_TRUE(some->excludes("x", false));
}

}  // namespace
}  // namespace roost::agent
