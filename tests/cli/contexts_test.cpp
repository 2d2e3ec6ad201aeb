#include "cli/contexts.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace roost::cli {
namespace {

namespace fs = std::filesystem;

class ContextsFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "roost-contexts-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory = name;
    path = directory / "roost/config.yaml";
  }
  void TearDown() override { fs::remove_all(directory); }
  static Status add(const std::string& path, const std::string& name, const ContextEntry& entry) {
    return change_contexts(path, [&](Contexts& contexts) -> Status {
      contexts.entries[name] = entry;
      return {};
    });
  }
  fs::path directory, path;
};

TEST(Contexts, WhatIsWrittenIsReadAgain) {
  Contexts contexts;
  contexts.current = "prod";
  contexts.entries["prod"] = {"https://roost.example.com", "", "/home/a \"b\"/key: #1", "", "/etc/ca.pem"};
  contexts.entries["no"] = {"http://127.0.0.1:1", "s3cret\\key", "", "", ""};  // a name that YAML could take for false
  contexts.entries["1.5"] = {"http://127.0.0.1:2", "", "", "ROOST_DEV_KEY", ""};
  const auto again = parse_contexts(format_contexts(contexts), "config.yaml");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(*again, contexts);
}

TEST(Contexts, APersonsFileIsReadToo) {
  const auto file =
      parse_contexts("# mine\ncurrent: dev\ncontexts:\n  dev: {url: 'http://127.0.0.1:8080', key_env: DEV_KEY}\n", "c.yaml");
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->current, "dev");
  EXPECT_EQ(file->entries.at("dev").key_env, "DEV_KEY");
  EXPECT_TRUE(parse_contexts("", "c.yaml").ok());
}

TEST(Contexts, MistakesAreNamedWithTheirPlace) {
  const auto problem = [](const char* yaml) {
    const auto file = parse_contexts(yaml, "c.yaml");
    return file.ok() ? std::string("accepted") : file.error().message;
  };
  EXPECT_NE(problem("contexts:\n  a:\n    url: http://a\n    token: x\n").find("c.yaml:2"), std::string::npos);
  EXPECT_NE(problem("contexts:\n  a: {url: 'http://a', token: x}").find("\"token\" is not known"), std::string::npos);
  EXPECT_NE(problem("contexts: {a: {key_env: X}}").find("url is missing"), std::string::npos);
  EXPECT_NE(problem("contexts: {a: {url: 'ftp://a'}}").find("http://"), std::string::npos);
  EXPECT_NE(problem("contexts: {a: {url: 'http://a', key: 12}}").find("text"), std::string::npos);
  EXPECT_NE(problem("contexts: {a: {url: 'http://a', key: x, key_env: Y}}").find("only one"), std::string::npos);
  EXPECT_NE(problem("contexts: {'a b': {url: 'http://a'}}").find("name"), std::string::npos);
  EXPECT_NE(problem("current: [a]").find("current"), std::string::npos);
  EXPECT_NE(problem("contexts: {a: {url: 'http://a'}, a: {url: 'http://b'}}"), "accepted");
  EXPECT_NE(problem("- a"), "accepted");
  EXPECT_NE(problem("{"), "accepted");
}

TEST(Contexts, AKeyThatBreaksAHeaderIsRefusedAndNotRepeated) {
  const auto file = parse_contexts("contexts: {a: {url: 'http://a', key: \"evil\\r\\nX-Admin: 1\"}}", "c.yaml");
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().message.find("evil"), std::string::npos);
}

TEST_F(ContextsFileTest, IsMadeForItsOwnerOnlyAndReplacedAsAWhole) {
  ASSERT_TRUE(add(path, "a", {"http://a", "key", "", "", ""}).ok());
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const ino_t before = status.st_ino;
  ASSERT_TRUE(add(path, "b", {"http://b", "", "", "", ""}).ok());
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_NE(status.st_ino, before);
  const auto file = read_contexts(path);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->contexts.entries.size(), 2u);
  EXPECT_FALSE(file->exposed);
  EXPECT_EQ(std::distance(fs::directory_iterator(path.parent_path()), fs::directory_iterator()), 1) << "nothing is left behind";
}

TEST_F(ContextsFileTest, AFileWithAKeyThatOthersMayReadIsSeen) {
  ASSERT_TRUE(add(path, "a", {"http://a", "key", "", "", ""}).ok());
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  EXPECT_TRUE(read_contexts(path)->exposed);
  ASSERT_TRUE(add(path, "a", {"http://a", "", "/key", "", ""}).ok());
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_FALSE(read_contexts(path)->exposed) << "there is no key in it";
}

TEST_F(ContextsFileTest, WhereTheChangeIsRefusedNothingIsWritten) {
  const Status refused = change_contexts(path, [](Contexts&) -> Status { return {Code::invalid, "no"}; });
  EXPECT_FALSE(refused.ok());
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(ContextsFileTest, AFileThatCannotBeReadIsNotReplaced) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "contexts: {a: {url: nowhere}}\n";
  EXPECT_FALSE(add(path, "b", {"http://b", "", "", "", ""}).ok());
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, "contexts: {a: {url: nowhere}}");
}

TEST_F(ContextsFileTest, ALinkStaysALink) {
  const fs::path real = directory / "dotfiles.yaml";
  std::ofstream(real) << "current: \"\"\n";
  fs::create_directories(path.parent_path());
  fs::create_symlink(real, path);
  ASSERT_TRUE(add(path, "a", {"http://a", "", "", "", ""}).ok());
  EXPECT_TRUE(fs::is_symlink(path));
  EXPECT_EQ(read_contexts(real)->contexts.entries.size(), 1u);
}

TEST_F(ContextsFileTest, ThoseWhoChangeItAtOnceLoseNothing) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] { EXPECT_TRUE(add(path, "c" + std::to_string(i), {"http://a", "", "", "", ""}).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read_contexts(path)->contexts.entries.size(), 8u);
}

TEST(ContextsPath, FollowsXdgAndHome) {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  EXPECT_EQ(contexts_path(environment), "");
  variables["HOME"] = "/home/a";
  EXPECT_EQ(contexts_path(environment), "/home/a/.config/roost/config.yaml");
  variables["XDG_CONFIG_HOME"] = "relative";
  EXPECT_EQ(contexts_path(environment), "/home/a/.config/roost/config.yaml");
  variables["XDG_CONFIG_HOME"] = "/xdg";
  EXPECT_EQ(contexts_path(environment), "/xdg/roost/config.yaml");
}

TEST(Key, IsOneLineOfVisibleCharacters) {
  EXPECT_EQ(*checked_key("  abc-123\r\n", "x"), "abc-123");
  for (const char* text : {"", " \n", "a b", "a\nb", "a\x01", "ü"}) EXPECT_FALSE(checked_key(text, "x").ok()) << text;
  EXPECT_FALSE(checked_key(std::string(5000, 'a'), "x").ok());
}

}  // namespace
}  // namespace roost::cli
