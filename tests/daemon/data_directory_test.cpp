#include "daemon/data_directory.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/crypto.hpp"
#include "daemon/daemon_process.hpp"

namespace roost::daemon {
namespace {

class DataDirectoryTest : public testing::Test {
 protected:
  Result<DataDirectory> open() { return DataDirectory::open(directory.path() + "/a/data", "", system_random()); }
  static unsigned mode(const std::string& path) {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 0777u : 0;
  }
  std::string key_path() const { return directory.path() + "/a/data/secret.key"; }
  TemporaryDirectory directory;
};

TEST_F(DataDirectoryTest, MakesTheKeyOnceForItsOwnerOnly) {
  std::string first;
  {
    auto data = open();
    ASSERT_TRUE(data.ok()) << data.error().message;
    first = directory.read("a/data/secret.key");
  }
  EXPECT_EQ(first.size(), 65u);
  EXPECT_TRUE(from_hex(first.substr(0, 64)));
  EXPECT_EQ(mode(key_path()), 0600u);
  ASSERT_TRUE(open().ok());
  EXPECT_EQ(directory.read("a/data/secret.key"), first);
}

TEST_F(DataDirectoryTest, IsHeldByOneProcessAndNamesIt) {
  auto held = open();
  ASSERT_TRUE(held.ok());
  const auto second = open();
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::exists);
  EXPECT_NE(second.error().message.find("process " + std::to_string(::getpid())), std::string::npos) << second.error().message;
}

TEST_F(DataDirectoryTest, SecretsAreDerivedFromTheSessionAndItsNonceAndAreAllDifferent) {
  Session a, b, again;
  a.id = again.id = "1823b3a8";
  b.id = "1823b3a9";
  a.secret_nonce = b.secret_nonce = "0123456789abcdef";
  again.secret_nonce = "0123456789abcdee";
  std::string login, token, key;
  {
    const auto data = open();
    ASSERT_TRUE(data.ok());
    login = data->login_secret(a);
    token = data->workspace_token(a);
    key = data->derived_key("cookie");
    EXPECT_EQ(login.size(), 64u);
    EXPECT_NE(login, token);
    EXPECT_NE(login, data->login_secret(b));
    EXPECT_NE(login, data->login_secret(again));
    EXPECT_NE(token, data->workspace_token(b));
    EXPECT_EQ(key.size(), 32u);
    EXPECT_NE(key, data->derived_key("other"));
  }
  const auto data = open();
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(login, data->login_secret(a)) << "the same after a restart";
  EXPECT_EQ(key, data->derived_key("cookie"));
}

TEST_F(DataDirectoryTest, RefusesADamagedKeyInsteadOfMakingANewOne) {
  std::filesystem::create_directories(directory.path() + "/a/data");
  for (const char* text : {"", "abc\n", "zz", "0123456789abcdef\n"}) {
    directory.write("a/data/secret.key", text);
    ::chmod(key_path().c_str(), 0600);
    const auto data = open();
    ASSERT_FALSE(data.ok()) << text;
    EXPECT_EQ(data.error().code, Code::data_loss);
    EXPECT_EQ(directory.read("a/data/secret.key"), text);
  }
}

TEST_F(DataDirectoryTest, RefusesAKeyThatOthersCanReadOrThatIsALink) {
  { ASSERT_TRUE(open().ok()); }
  ::chmod(key_path().c_str(), 0640);
  EXPECT_EQ(open().error().code, Code::denied);
  std::filesystem::rename(key_path(), directory.path() + "/elsewhere");
  ::chmod((directory.path() + "/elsewhere").c_str(), 0600);
  std::filesystem::create_symlink(directory.path() + "/elsewhere", key_path());
  EXPECT_FALSE(open().ok());
}

TEST_F(DataDirectoryTest, SaysWhereItCannotBeMade) {
  directory.write("a", "a file");
  const auto data = open();
  ASSERT_FALSE(data.ok());
  EXPECT_NE(data.error().message.find(directory.path() + "/a/data"), std::string::npos);
}

}  // namespace
}  // namespace roost::daemon
