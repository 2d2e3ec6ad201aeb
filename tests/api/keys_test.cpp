#include "api/keys.hpp"

#include <gtest/gtest.h>

namespace roost::api {
namespace {

KeySpec key_spec(std::string name, std::string_view key, std::vector<std::string> scopes, std::string user = {}) {
  return {std::move(name), to_hex(sha256(key)), std::move(scopes), std::move(user)};
}

TEST(KeyRing, FindsEachKeyAndNothingElse) {
  const auto ring = KeyRing::make({key_spec("a", "key-a", {"read"}), key_spec("b", "key-b", {"read", "admin"}, "u")}, {});
  ASSERT_TRUE(ring.ok());
  ASSERT_TRUE((*ring)->find("key-a"));
  EXPECT_EQ((*ring)->find("key-a")->name, "a");
  EXPECT_EQ((*ring)->find("key-b")->user, "u");
  for (const std::string_view wrong : {"", "key-", "key-aa", "KEY-A", "key-c", "key-a "})
    EXPECT_FALSE((*ring)->find(wrong)) << wrong;
  EXPECT_FALSE((*ring)->find(to_hex(sha256("key-a")))) << "the digest itself is no key";
  EXPECT_FALSE((*ring)->find(std::string(1 << 20, 'x')));
}

TEST(KeyRing, WhatAThreadRemembersIsOfThisRingAndThisKeyOnly) {
  const auto first = *KeyRing::make({key_spec("a", "key-a", {"read"}), key_spec("b", "key-b", {"admin"})}, {});
  const auto second = *KeyRing::make({key_spec("c", "key-a", {"admin"})}, {});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(first->find("key-a")->name, "a");
    EXPECT_EQ(first->find("key-a")->name, "a");
    EXPECT_FALSE(first->find("key-x"));
    EXPECT_EQ(first->find("key-b")->name, "b");
    EXPECT_EQ(second->find("key-a")->name, "c") << "a reload gives the key another meaning at once";
    EXPECT_FALSE(second->find("key-b"));
  }
}

TEST(KeyRing, AWiderScopeContainsTheNarrowerOnes) {
  const auto ring =
      KeyRing::make({key_spec("r", "r", {"read"}), key_spec("s", "s", {"sessions"}), key_spec("a", "a", {"admin", "read"})}, {});
  ASSERT_TRUE(ring.ok());
  const auto may = [&](std::string_view key, Scope scope) { return (*ring)->find(key)->may(scope); };
  EXPECT_TRUE(may("r", Scope::read) && !may("r", Scope::sessions) && !may("r", Scope::admin));
  EXPECT_TRUE(may("s", Scope::read) && may("s", Scope::sessions) && !may("s", Scope::admin));
  EXPECT_TRUE(may("a", Scope::read) && may("a", Scope::sessions) && may("a", Scope::admin));
}

TEST(KeyRing, AWorkspacesTokenHasNoScope) {
  Principal workspace;
  workspace.session = "1823b3a8";
  workspace.scope = Scope::admin;
  EXPECT_FALSE(workspace.may(Scope::read));
}

TEST(KeyRing, RefusesKeysThatCannotBeMeant) {
  const auto error = [](std::vector<KeySpec> keys) {
    const auto ring = KeyRing::make(keys, {});
    return ring.ok() ? std::string() : ring.error().message;
  };
  EXPECT_NE(error({key_spec("", "k", {"read"})}).find("no name"), std::string::npos);
  EXPECT_NE(error({key_spec("n", "k", {})}).find("no scopes"), std::string::npos);
  EXPECT_NE(error({key_spec("n", "k", {"write"})}).find("unknown scope"), std::string::npos);
  EXPECT_NE(error({key_spec("n", "k", {"read"}), key_spec("n", "l", {"read"})}).find("two API keys"), std::string::npos);
  EXPECT_NE(error({key_spec("n", "k", {"read"}), key_spec("m", "k", {"admin"})}).find("same as another"), std::string::npos);
  EXPECT_NE(error({KeySpec{"n", "abc", {"read"}, ""}}).find("64 hex digits"), std::string::npos);
}

TEST(KeyRing, ABoundKeySeesItsOwnUserOnly) {
  Principal bound, free;
  bound.user = "a";
  EXPECT_TRUE(bound.sees("a"));
  EXPECT_FALSE(bound.sees("b"));
  EXPECT_FALSE(bound.sees(""));
  EXPECT_TRUE(free.sees("b"));
}

}  // namespace
}  // namespace roost::api
