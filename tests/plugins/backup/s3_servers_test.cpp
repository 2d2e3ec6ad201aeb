// What backup-s3 asks of a real server beyond the suite: uploads in parts, versions, object lock, encryption, tags, names of
// hosts, TLS.
#include <gmock/gmock.h>

#include <atomic>
#include <fstream>

#include "backup/s3/put.hpp"
#include "plugins/backup/backup_plugin.hpp"
#include "plugins/backup/s3_servers.hpp"

namespace roost::backup_test {
namespace {

using ::testing::HasSubstr;

std::string why(const Status& status) { return status.ok() ? std::string() : status.error().message; }

class S3Servers : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (const std::string missing = s3_missing(); !missing.empty()) GTEST_SKIP() << missing;
  }
  static const S3Server& server() { return s3_server(GetParam()); }
  std::unique_ptr<BackupPlugin> open(const std::string& bucket, const Json& more = Json::object(),
                                     Secrets secrets = s3_secrets()) {
    Json config = s3_config(server().endpoint(), bucket).set("part_size", 5 * kMiB);
    for (const auto& [key, value] : more.members()) config.set(key, value);
    auto opened = BackupPlugin::open("backup-s3", config, secrets);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  // The headers of an object, as an administrator sees them.
  backup_s3::HttpResponse look(const std::string& bucket, const std::string& key, const backup_s3::Pairs& query = {}) {
    backup_s3::S3Request request;
    request.method = query.empty() ? "HEAD" : "GET";
    request.key = key;
    request.query = query;
    return ask_s3(server(), bucket, request);
  }
  const std::string large_ = noise(16 * kMiB + 77);
};

TEST_P(S3Servers, UploadsInPartsOfEachChecksum) {
  for (const char* checksum : {"sha256", "md5", "none"}) {
    const std::string bucket = make_bucket(server());
    const auto plugin = open(bucket, Json::object({{"checksum", checksum}}));
    ASSERT_EQ(why(plugin->put("a.zip", large_)), "") << checksum;
    EXPECT_THAT(look(bucket, "roost/a.zip").header("etag"), HasSubstr("-4")) << checksum;  // four parts
    EXPECT_TRUE(*plugin->read("a.zip", 0, 8 * kMiB) + *plugin->read("a.zip", 8 * kMiB, 8 * kMiB) +
                    *plugin->read("a.zip", 16 * kMiB, kMiB) ==
                large_)
        << checksum;
    EXPECT_EQ(code_of(plugin->put("a.zip", large_)), Code::exists);
    EXPECT_EQ(unfinished_uploads(server(), bucket), 0u) << checksum;
  }
}

TEST_P(S3Servers, ABoundaryOfPartsIsNoSpecialCase) {
  const auto plugin = open(make_bucket(server()));
  for (const std::uint64_t size : {5 * kMiB - 1, 5 * kMiB, 5 * kMiB + 1, 10 * kMiB}) {
    const std::string name = "n" + std::to_string(size);
    ASSERT_EQ(why(plugin->put(name, std::string_view(large_).substr(0, size))), "") << size;
    EXPECT_EQ((*plugin->stat(name))["size"].as_int(), static_cast<std::int64_t>(size));
    EXPECT_TRUE(*plugin->read(name, 4 * kMiB, 8 * kMiB) == large_.substr(4 * kMiB, size - 4 * kMiB));
  }
}

TEST_P(S3Servers, ListsMoreThanOnePage) {
  const std::string bucket = make_bucket(server());
  const auto plugin = open(bucket);
  std::vector<std::string> wanted;
  for (int i = 0; i < 25; ++i) {
    wanted.push_back("a" + std::to_string(100 + i));
    ASSERT_EQ(why(plugin->put(wanted.back(), "x")), "");
  }
  // A page of the server's own size: through a proxy that asks for ten at a time.
  TestServer pages([&](Exchange& exchange) {
    backup_s3::S3Request request;
    request.method = "GET";
    request.query = {{"list-type", "2"}, {"prefix", "roost/"}, {"delimiter", "/"}, {"max-keys", "10"}};
    const std::size_t token = exchange.target.find("continuation-token=");
    if (token != std::string::npos) {
      std::string value = exchange.target.substr(token + 19, exchange.target.find('&', token) - token - 19);
      std::string decoded;
      for (std::size_t i = 0; i < value.size(); ++i) {
        if (value[i] != '%') {
          decoded += value[i];
          continue;
        }
        decoded += static_cast<char>(std::stoi(value.substr(i + 1, 2), nullptr, 16));
        i += 2;
      }
      request.query.emplace_back("continuation-token", decoded);
    }
    exchange.reply(200, ask_s3(server(), bucket, request).body);
  });
  const auto paged = open(bucket, Json::object({{"endpoint", pages.url()}}));
  const auto listed = paged->list();
  ASSERT_TRUE(listed.ok()) << listed.error().message;
  std::vector<std::string> names;
  for (const Listed& one : *listed) names.push_back(one.name);
  EXPECT_EQ(names, wanted);
}

TEST_P(S3Servers, RemovingTakesTheVersionAwayOrHidesIt) {
  for (const bool marker : {false, true}) {
    const std::string bucket = make_bucket(server(), Bucket::lock);
    const auto plugin = open(bucket, Json::object({{"remove", marker ? "marker" : "version"}}));
    ASSERT_EQ(why(plugin->put("a.zip", "data")), "");
    const std::string version = look(bucket, "roost/a.zip").header("x-amz-version-id");
    ASSERT_FALSE(version.empty());
    ASSERT_TRUE(plugin->remove("a.zip").ok());
    EXPECT_TRUE(plugin->list()->empty());
    int status = 200;
    try {
      status = look(bucket, "roost/a.zip", {{"versionId", version}}).status;
    } catch (const backup_s3::S3Error& error) {
      status = error.status();
    }
    EXPECT_EQ(status, marker ? 200 : 404);
    if (marker) continue;  // versitygw takes a marker for an object where it is asked not to replace one; others do not
    ASSERT_EQ(why(plugin->put("a.zip", "again")), "");
    EXPECT_EQ(*plugin->read("a.zip", 0, 10), "again");
  }
}

TEST_P(S3Servers, ObjectLockKeepsAnArchive) {
  const std::string bucket = make_bucket(server(), Bucket::lock);
  const auto plugin = open(bucket, Json::object({{"object_lock", Json::object({{"mode", "COMPLIANCE"}, {"days", 1}})}}));
  for (const std::string& name : {std::string("small.zip"), std::string("large.zip")}) {
    if (GetParam() == "moto" && name == "large.zip") continue;  // it forgets the lock of an upload in parts
    ASSERT_EQ(why(plugin->put(name, name == "small.zip" ? std::string_view("data") : std::string_view(large_))), "") << name;
    EXPECT_EQ(look(bucket, "roost/" + name).header("x-amz-object-lock-mode"), "COMPLIANCE") << name;
    const Status removed = plugin->remove(name);
    EXPECT_EQ(code_of(removed), Code::denied);
    EXPECT_THAT(removed.error().message, HasSubstr("object lock"));
    EXPECT_EQ(*plugin->read(name, 0, 4), name == "small.zip" ? "data" : large_.substr(0, 4));
  }
}

TEST_P(S3Servers, TagsGoWithTheObject) {
  const std::string bucket = make_bucket(server());
  const auto plugin = open(bucket, Json::object({{"tags", Json::object({{"team", "a b+c=d"}, {"kind", "backup"}})}}));
  ASSERT_EQ(why(plugin->put("small.zip", "data")), "");
  ASSERT_EQ(why(plugin->put("large.zip", large_)), "");
  for (const char* key : {"roost/small.zip", "roost/large.zip"}) {
    const std::string body = look(bucket, key, {{"tagging", ""}}).body;
    EXPECT_THAT(body, HasSubstr("<Value>a b+c=d</Value>")) << key;
    EXPECT_THAT(body, HasSubstr("<Key>kind</Key>")) << key;
  }
}

TEST_P(S3Servers, AnEmptyPrefixIsTheWholeBucket) {
  const std::string bucket = make_bucket(server());
  const auto plugin = open(bucket, Json::object({{"prefix", ""}}));
  ASSERT_EQ(why(plugin->put("a.zip", "data")), "");
  ASSERT_TRUE(open(bucket)->put("b.zip", "data").ok());
  const auto listed = plugin->list();
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 1u);  // not what lies deeper
  EXPECT_EQ(listed->front().name, "a.zip");
}

INSTANTIATE_TEST_SUITE_P(Both, S3Servers, ::testing::Values("versitygw", "moto"),
                         [](const auto& tested) { return tested.param; });

class S3Versitygw : public S3Servers {};
class S3Moto : public S3Servers {};
INSTANTIATE_TEST_SUITE_P(One, S3Versitygw, ::testing::Values("versitygw"), [](const auto& tested) { return tested.param; });
INSTANTIATE_TEST_SUITE_P(One, S3Moto, ::testing::Values("moto"), [](const auto& tested) { return tested.param; });

TEST_P(S3Versitygw, TheBucketMayStandInTheHostsName) {
  const std::string bucket = make_bucket(server());
  const auto plugin =
      open(bucket, Json::object({{"endpoint", "http://s3.localhost:" + std::to_string(server().port)}, {"style", "virtual"}}));
  ASSERT_EQ(why(plugin->put("a.zip", large_)), "");
  EXPECT_EQ(look(bucket, "roost/a.zip").header("content-length"), std::to_string(large_.size()));
  EXPECT_EQ(plugin->list()->size(), 1u);
}

TEST_P(S3Versitygw, AYoungUploadOfAnotherWriterIsLeft) {
  const std::string bucket = make_bucket(server());
  const auto first = open(bucket, Json::object({{"stale_after_s", 3600}}));
  const auto put = first->put_begin("a.zip");
  ASSERT_TRUE(first->put_part(*put, std::string_view(large_).substr(0, 8 * kMiB)).ok());
  ASSERT_TRUE(first->put_part(*put, std::string_view(large_).substr(8 * kMiB, 8 * kMiB)).ok());
  ASSERT_TRUE(open(bucket, Json::object({{"stale_after_s", 3600}}))->put("b.zip", large_).ok());
  EXPECT_TRUE(first->put_commit(*put).ok());
}

// moto says of each upload that it was begun in 2010.
TEST_P(S3Moto, AnOldUploadUnderThePrefixIsEndedAndNoOther) {
  const std::string bucket = make_bucket(server());
  for (const char* key : {"roost/a.zip", "roost/sub/b.zip", "other/c.zip"}) {
    backup_s3::S3Request request;
    request.method = "POST";
    request.key = key;
    request.query = {{"uploads", ""}};
    ask_s3(server(), bucket, request);
  }
  ASSERT_EQ(unfinished_uploads(server(), bucket), 3u);
  ASSERT_TRUE(open(bucket, Json::object({{"stale_after_s", 86400}}))->put("n.zip", large_).ok());
  EXPECT_EQ(unfinished_uploads(server(), bucket), 2u);
}

TEST_P(S3Moto, EncryptionByTheServerIsAskedForAndConfirmed) {
  for (const char* type : {"AES256", "aws:kms"}) {
    const std::string bucket = make_bucket(server());
    const auto plugin = open(bucket, Json::object({{"sse", Json::object({{"type", type}})}}));
    ASSERT_EQ(why(plugin->put("small.zip", "data")), "") << type;
    const Status large = plugin->put("large.zip", large_);
    ASSERT_TRUE(large.ok()) << type << " " << large.error().message;
    EXPECT_EQ(look(bucket, "roost/large.zip").header("x-amz-server-side-encryption"), type);
  }
}

TEST(S3Parts, TenThousandReach5TB) {
  for (const std::uint64_t base : {5 * kMiB, 8 * kMiB, 64 * kMiB, 1024 * kMiB}) {
    std::uint64_t sum = 0;
    for (int number = 1; number <= 10'000; ++number) {
      const std::uint64_t size = backup_s3::part_bytes(number, base);
      EXPECT_GE(size, base);
      EXPECT_LE(size, 5ull << 30);
      sum += size;
    }
    EXPECT_GE(sum, 5'000'000'000'000u) << base;
  }
  EXPECT_EQ(backup_s3::part_bytes(1000, 8 * kMiB), 8 * kMiB);
  EXPECT_EQ(backup_s3::part_bytes(1001, 8 * kMiB), 16 * kMiB);
}

TEST(S3Encryption, ACustomersKeyGoesWithItsDigest) {
  backup_s3::Settings settings;
  settings.sse_customer_key = std::string(32, 'k');
  const backup_s3::Objects objects(settings, sdk::Log());
  // printf 'k%.0s' {1..32} | base64, and | openssl md5 -binary | base64
  const backup_s3::Pairs wanted = {{"x-amz-server-side-encryption-customer-algorithm", "AES256"},
                                   {"x-amz-server-side-encryption-customer-key", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="},
                                   {"x-amz-server-side-encryption-customer-key-MD5", "mT2HRsMGJ5IX5C+0rreZ8Q=="}};
  EXPECT_EQ(objects.customer_key(), wanted);
}

Code code_of_opening(const Json& more, const Secrets& secrets = s3_secrets()) {
  Json config = Json::object({{"bucket", "some-bucket"}});
  for (const auto& [key, value] : more.members()) config.set(key, value);
  return code_of(BackupPlugin::open("backup-s3", config, secrets));
}

TEST(S3Settings, WhatCannotBeMeantIsRefused) {
  EXPECT_EQ(code_of_opening(Json::object()), Code{});
  EXPECT_EQ(code_of_opening(Json::object({{"endpoint", "http://10.0.0.1:9000"}})), Code::invalid);  // archives in the clear
  EXPECT_EQ(code_of_opening(Json::object({{"endpoint", "http://127.0.0.1.example.com"}, {"plain_http", true}})), Code{});
  EXPECT_EQ(code_of_opening(Json::object({{"endpoint", "http://127.0.0.1:9000"}})), Code{});
  for (const char* endpoint : {"s3.example.com", "ftp://x", "https://x/path", "https://", "https://user@x", "https://x?y"}) {
    EXPECT_EQ(code_of_opening(Json::object({{"endpoint", endpoint}})), Code::invalid) << endpoint;
  }
  for (const char* prefix : {"roost", "/roost/", "a//b/", "../x/", "a/./", "a b/", "\xc3\xa9/"}) {
    EXPECT_EQ(code_of_opening(Json::object({{"prefix", prefix}})), Code::invalid) << prefix;
  }
  EXPECT_EQ(code_of_opening(Json::object({{"unsigned_payload", true}, {"endpoint", "http://127.0.0.1:9000"}})), Code::invalid);
  EXPECT_EQ(code_of_opening(Json::object({{"credentials", "secret"}}), {}), Code::invalid);
  EXPECT_EQ(code_of_opening(Json::object(), {{"access_key_id", "A"}}), Code::invalid);
  EXPECT_EQ(code_of_opening(Json::object({{"sse", Json::object({{"type", "customer"}})}})), Code::invalid);
  Secrets with_key = s3_secrets();
  with_key.emplace_back("sse_customer_key", "c2hvcnQ=");
  EXPECT_EQ(code_of_opening(Json::object({{"sse", Json::object({{"type", "customer"}})}}), with_key), Code::invalid);
}

}  // namespace
}  // namespace roost::backup_test
