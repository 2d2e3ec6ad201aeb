// Where backup-s3's keys come from: each source against a server of the test's that speaks as the real one does.
#include <gmock/gmock.h>
#include <stdlib.h>

#include <atomic>
#include <fstream>
#include <set>

#include "backup/s3/credentials.hpp"
#include "plugins/backup/backup_plugin.hpp"
#include "plugins/backup/s3_servers.hpp"

namespace roost::backup_s3 {
namespace {

using backup_test::Exchange;
using backup_test::TempDir;
using backup_test::TestServer;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::int64_t kNow = 1'763'179'200;  // 2025-11-15T04:00:00Z

class S3Credentials : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ROLE_ARN",
          "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
          "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}) {
      ::unsetenv(name);
    }
    ::setenv("AWS_SHARED_CREDENTIALS_FILE", (dir_ / "none").c_str(), 1);
  }
  void TearDown() override { SetUp(); }

  Credentials& open(CredentialSettings settings) {
    credentials_ =
        std::make_unique<Credentials>(std::move(settings), "eu-central-1", http_, sdk::Log(), [this] { return now_.load(); });
    return *credentials_;
  }
  Credential get() {
    roost_call raw{};
    raw.size = sizeof raw;
    raw.cancel_fd = -1;
    raw.deadline_ns = static_cast<std::uint64_t>(system_clock().monotonic_ns()) + 30'000'000'000;
    return credentials_->get(sdk::Call(&raw));
  }
  // What get() throws: its code and its text.
  std::pair<roost_code, std::string> refusal() {
    try {
      get();
    } catch (const sdk::Failure& failure) {
      return {failure.code(), failure.what()};
    }
    ADD_FAILURE() << "there are credentials";
    return {};
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }

  const TempDir dir_;
  std::atomic<std::int64_t> now_{kNow};
  Http http_{"", std::chrono::seconds(2), std::chrono::seconds(2)};
  std::unique_ptr<Credentials> credentials_;
};

std::string metadata(const std::string& id, const std::string& expires) {
  return R"({"Code":"Success","Type":"AWS-HMAC","AccessKeyId":")" + id + R"(","SecretAccessKey":"s","Token":"t","Expiration":")" +
         expires + "\"}";
}

TEST_F(S3Credentials, OfTheEnvironment) {
  ::setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
  ::setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
  ::setenv("AWS_SESSION_TOKEN", "token", 1);
  open({});
  EXPECT_EQ(get().access_key_id, "AKIAENV");
  EXPECT_EQ(get().secret_access_key, "secret");
  EXPECT_EQ(get().session_token, "token");
}

TEST_F(S3Credentials, OfAFileWhichMayChange) {
  write("credentials",
        "# comment\n[default]\naws_access_key_id=AKIADEFAULT\naws_secret_access_key=d\n\n[ other ]\n aws_access_key_id = "
        "AKIAOTHER\n"
        "aws_secret_access_key = o=/+\naws_session_token=tok\nregion = x\n");
  CredentialSettings settings;
  settings.file = dir_ / "credentials";
  open(settings);
  EXPECT_EQ(get().access_key_id, "AKIADEFAULT");
  write("credentials", "[default]\naws_access_key_id=AKIANEW\naws_secret_access_key=n\n");
  EXPECT_EQ(get().access_key_id, "AKIADEFAULT");  // not at each request
  now_ += 61;
  EXPECT_EQ(get().access_key_id, "AKIANEW");
  settings.profile = "absent";
  open(settings);
  EXPECT_THAT(refusal().second, HasSubstr("[absent]"));
  const auto other = parse_credentials_file("[other]\naws_access_key_id = A\naws_secret_access_key = o=/+\n", "other");
  ASSERT_TRUE(other.has_value());
  EXPECT_EQ(other->secret_access_key, "o=/+");
}

TEST_F(S3Credentials, OfAWebIdentityToken) {
  std::string seen;
  TestServer sts([&](Exchange& exchange) {
    seen = exchange.method + " " + exchange.target + " " + exchange.body;
    exchange.reply(
        200,
        "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult>"
        "<Credentials><AccessKeyId>ASIAWEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
        "<Expiration>2025-11-15T05:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
        "</AssumeRoleWithWebIdentityResponse>");
  });
  write("token", "ey.J&x\n");
  ::setenv("AWS_WEB_IDENTITY_TOKEN_FILE", (dir_ / "token").c_str(), 1);
  ::setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/roost", 1);
  CredentialSettings settings;
  settings.sts_endpoint = sts.url();
  open(settings);
  EXPECT_EQ(get().access_key_id, "ASIAWEB");
  EXPECT_EQ(get().session_token, "t");
  EXPECT_EQ(seen,
            "POST / Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Froost&RoleSessionName=roost&Version="
            "2011-06-15&WebIdentityToken=ey.J%26x");
}

TEST_F(S3Credentials, OfAnInstanceByIts2ndProtocol) {
  std::string expires = "2025-11-15T05:00:00Z";
  std::string id = "ASIAONE";
  bool up = true;
  int asked = 0;
  TestServer imds([&](Exchange& exchange) {
    if (!up) return exchange.reply(503, "");
    if (exchange.method == "PUT" && exchange.target == "/latest/api/token") {
      EXPECT_FALSE(exchange.headers["x-aws-ec2-metadata-token-ttl-seconds"].empty());
      return exchange.reply(200, "imds-token");
    }
    if (!exchange.has("x-aws-ec2-metadata-token", "imds-token")) return exchange.reply(401, "");
    if (exchange.target == "/latest/meta-data/iam/security-credentials/") return exchange.reply(200, "the-role\n");
    if (exchange.target != "/latest/meta-data/iam/security-credentials/the-role") return exchange.reply(404, "");
    ++asked;
    exchange.reply(200, metadata(id, expires));
  });
  CredentialSettings settings;
  settings.metadata_endpoint = imds.url();
  open(settings);
  EXPECT_EQ(get().access_key_id, "ASIAONE");
  id = "ASIATWO";
  expires = "2025-11-15T06:00:00Z";
  now_ = kNow + 3600 - 301;
  EXPECT_EQ(get().access_key_id, "ASIAONE");
  EXPECT_EQ(asked, 1);
  now_ = kNow + 3600 - 299;  // five minutes before they expire
  EXPECT_EQ(get().access_key_id, "ASIATWO");
  up = false;
  now_ = kNow + 7200 - 100;
  EXPECT_EQ(get().access_key_id, "ASIATWO");  // still valid, though they cannot be renewed
  now_ = kNow + 7200 + 1;
  EXPECT_EQ(refusal().first, ROOST_UNAVAILABLE);
  up = true;
  expires = "2025-11-15T08:00:00Z";
  EXPECT_EQ(get().access_key_id, "ASIATWO");
}

TEST_F(S3Credentials, OfAContainer) {
  TestServer server([&](Exchange& exchange) {
    const bool good = exchange.target == "/creds" && exchange.has("authorization", "container-token");
    exchange.reply(good ? 200 : 403, good ? metadata("ASIACONTAINER", "2025-11-15T05:00:00Z") : "");
  });
  ::setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", (server.url() + "/creds").c_str(), 1);
  ::setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token", 1);
  open({});
  EXPECT_EQ(get().access_key_id, "ASIACONTAINER");
  ::setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong", 1);
  open({});
  EXPECT_EQ(refusal().first, ROOST_DENIED);
}

TEST_F(S3Credentials, WhatIsNoCredentialIsRefusedAndNotTold) {
  const std::vector<std::string> answers = {
      "",
      "hush",
      "[]",
      R"({"Code":"Failed","SecretAccessKey":"hush"})",
      R"({"AccessKeyId":"A","SecretAccessKey":"hush","Expiration":"tomorrow"})",
      R"({"AccessKeyId":"A","SecretAccessKey":"hush\r\nX: y","Expiration":"2025-11-15T05:00:00Z"})",
      R"({"AccessKeyId":"","SecretAccessKey":"hush","Expiration":"2025-11-15T05:00:00Z"})",
      std::string(1u << 20, 'x'),
  };
  for (const std::string& answer : answers) {
    TestServer server([&](Exchange& exchange) { exchange.reply(200, answer); });
    ::setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", server.url().c_str(), 1);
    open({});
    const auto [code, text] = refusal();
    EXPECT_TRUE(code == ROOST_DENIED || code == ROOST_UNAVAILABLE) << answer.substr(0, 100);
    EXPECT_THAT(text, Not(HasSubstr("hush")));
  }
}

TEST_F(S3Credentials, TimesAreRead) {
  EXPECT_EQ(parse_time("2025-11-15T04:00:00Z"), kNow);
  EXPECT_EQ(parse_time("2025-11-15T04:00:00.123Z"), kNow);
  for (const char* text : {"", "2025-11-15", "2025-11-15T04:00:00+01:00", "2025-11-15T04:00:00Zx", "x"})
    EXPECT_EQ(parse_time(text), -1) << text;
}

}  // namespace
}  // namespace roost::backup_s3
