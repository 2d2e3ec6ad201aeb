// What backup-s3 gives a task to work with: keys of a role for its own archive, a pair of their own, or the daemon's.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>

#include "backup/s3/sts.hpp"
#include "backup/s3/task_policy.hpp"
#include "plugins/backup/backup_plugin.hpp"
#include "plugins/backup/s3_servers.hpp"

namespace roost::backup_test {
namespace {

using backup_s3::task_policy;
using backup_s3::TaskWork;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kRole = "arn:aws:iam::123456789012:role/roost-tasks";

backup_s3::Settings settings_at(const std::string& authority, const std::string& region) {
  backup_s3::Settings settings;
  settings.endpoint = {true, authority, authority == backup_s3::aws_host("s3", region)};
  settings.region = region;
  settings.bucket = "backups";
  settings.prefix = "roost/";
  return settings;
}

TEST(S3TaskPolicy, IsOneObjectToWriteOrToRead) {
  const backup_s3::Settings settings = settings_at("minio.example:9000", "us-east-1");
  EXPECT_EQ(task_policy(settings, {"backup", "a.zip"}),
            R"({"Statement":[{"Action":["s3:GetObject","s3:PutObject","s3:AbortMultipartUpload"],"Effect":"Allow",)"
            R"("Resource":"arn:aws:s3:::backups/roost/a.zip"}],"Version":"2012-10-17"})");
  for (const char* kind : {"verify", "restore"}) {
    EXPECT_EQ(task_policy(settings, {kind, "a.zip"}),
              R"({"Statement":[{"Action":["s3:GetObject"],"Effect":"Allow","Resource":"arn:aws:s3:::backups/roost/a.zip"}],)"
              R"("Version":"2012-10-17"})")
        << kind;
  }
}

TEST(S3TaskPolicy, AddsWhatTheSettingsNeed) {
  backup_s3::Settings settings = settings_at("minio.example", "us-east-1");
  settings.tags = {{"team", "a"}};
  settings.lock_mode = "GOVERNANCE";
  const std::string writes = task_policy(settings, {"backup", "a.zip"});
  const std::string reads = task_policy(settings, {"verify", "a.zip"});
  for (const char* action : {"s3:PutObjectTagging", "s3:PutObjectRetention", "s3:GetObjectRetention"}) {
    EXPECT_THAT(writes, HasSubstr(action));
    EXPECT_THAT(reads, Not(HasSubstr(action)));
  }
}

TEST(S3TaskPolicy, AtAwsTheKeyIsUsedThroughS3Only) {
  const std::string own = task_policy(settings_at("s3.eu-central-1.amazonaws.com", "eu-central-1"), {"backup", "a.zip"});
  EXPECT_THAT(own, HasSubstr(R"({"Action":["kms:Decrypt","kms:GenerateDataKey"],"Condition":{"StringEquals":{"kms:ViaService":)"
                             R"("s3.eu-central-1.amazonaws.com"}},"Effect":"Allow","Resource":"*"})"));
  const std::string read =
      task_policy(settings_at("bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com", "eu-central-1"), {"verify", "a.zip"});
  EXPECT_THAT(read, HasSubstr(R"("Action":["kms:Decrypt"])"));
  EXPECT_THAT(task_policy(settings_at("notamazonaws.com", "eu-central-1"), {"backup", "a.zip"}), Not(HasSubstr("kms")));
  const std::string china = task_policy(settings_at("s3.cn-north-1.amazonaws.com.cn", "cn-north-1"), {"verify", "a.zip"});
  EXPECT_THAT(china, HasSubstr("arn:aws-cn:s3:::backups/roost/a.zip"));
  EXPECT_THAT(china, HasSubstr("s3.cn-north-1.amazonaws.com.cn"));
  EXPECT_THAT(task_policy(settings_at("s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"), {"verify", "a.zip"}),
              HasSubstr("arn:aws-us-gov:s3:::"));
}

TEST(S3TaskPolicy, FitsWhatATokenServiceTakes) {
  backup_s3::Settings settings = settings_at("s3.eu-central-1.amazonaws.com", "eu-central-1");
  settings.bucket = std::string(63, 'b');
  settings.prefix = std::string(511, 'p') + "/";
  settings.tags = {{"team", "a"}};
  settings.lock_mode = "GOVERNANCE";
  const TaskWork work{"backup", std::string(255, 'a')};
  EXPECT_LE(task_policy(settings, work).size(), 2048u);
  EXPECT_EQ(backup_s3::task_session_name(work).size(), 64u);
  EXPECT_EQ(backup_s3::task_session_name({"verify", "workspace-0000abcd-20251115T040000Z.zip"}),
            "roost-verify-workspace-0000abcd-20251115T040000Z.zip");
}

TEST(S3TaskPolicy, IsMadeForKnownTasksAndPlainNamesOnly) {
  EXPECT_EQ(TaskWork::parse(R"({"kind":"restore","archive":"a.zip"})").archive, "a.zip");
  for (const char* request :
       {"", "{}", "[]", R"({"kind":"backup"})", R"({"kind":"delete","archive":"a.zip"})", R"({"kind":"backup","archive":"*"})",
        R"({"kind":"backup","archive":"../a"})", R"({"kind":"backup","archive":"${aws:username}"})"}) {
    EXPECT_THROW(static_cast<void>(TaskWork::parse(request)), sdk::Failure) << request;
  }
}

// The signatures are those of botocore's SigV4Auth for the same request.
TEST(S3Sts, AnAssumeRoleIsSignedAsAwsOwnClientSignsIt) {
  const backup_s3::RoleRequest wanted{"arn:aws:iam::123456789012:role/tasks", "roost-backup-a.zip", R"({"Version":"2012-10-17"})",
                                      900};
  backup_s3::Credential caller{"AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "", 0};
  const auto form = [&] {
    return assume_role_form("https://sts.eu-central-1.amazonaws.com", "eu-central-1", caller, wanted, 1'763'179'200);
  };
  const backup_s3::StsForm plain = form();
  EXPECT_EQ(plain.url, "https://sts.eu-central-1.amazonaws.com/");
  EXPECT_EQ(plain.body,
            "Action=AssumeRole&DurationSeconds=900&Policy=%7B%22Version%22%3A%222012-10-17%22%7D&RoleArn=arn%3Aaws%3Aiam%3A%3A"
            "123456789012%3Arole%2Ftasks&RoleSessionName=roost-backup-a.zip&Version=2011-06-15");
  EXPECT_EQ(plain.headers.back().second,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20251115/eu-central-1/sts/aws4_request, "
            "SignedHeaders=content-type;host;x-amz-date, "
            "Signature=a246548a986ee8bf9383f20cd63974cdfc88a89f6c2f7cf2fb179fe957861b99");
  caller.session_token = "session/token==";
  EXPECT_THAT(form().headers.back().second,
              HasSubstr("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, "
                        "Signature=baa6ee563699db6277433512a42749bf3b38d7f7c3d12e517267f32743b9d760"));
}

TEST(S3Sts, OnlyTheAnswerToTheActionHoldsKeys) {
  const auto answer = [](const std::string& action, const std::string& expires) {
    return "<" + action + "Response><" + action + "Result><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s" +
           "</SecretAccessKey><SessionToken>t</SessionToken><Expiration>" + expires + "</Expiration></Credentials></" + action +
           "Result></" + action + "Response>";
  };
  const auto found = backup_s3::parse_sts_answer(answer("AssumeRole", "2025-11-15T05:00:00Z"), "AssumeRole");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->access_key_id, "ASIA");
  EXPECT_EQ(found->session_token, "t");
  EXPECT_FALSE(backup_s3::parse_sts_answer(answer("AssumeRole", "soon"), "AssumeRole").has_value());
  EXPECT_FALSE(backup_s3::parse_sts_answer(answer("GetFederationToken", "2025-11-15T05:00:00Z"), "AssumeRole").has_value());
  EXPECT_FALSE(backup_s3::parse_sts_answer("<html>", "AssumeRole").has_value());
  EXPECT_EQ(backup_s3::parse_sts_refusal(
                "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not\n you</Message></Error></ErrorResponse>"),
            "AccessDenied: not? you");
  EXPECT_EQ(backup_s3::parse_sts_refusal("<html>"), "");
}

Secrets secrets_of(const Json& description) {
  Secrets secrets;
  for (const auto& [name, value] : description["secret_values"].members()) secrets.emplace_back(name, value.as_string());
  return secrets;
}

std::string decoded(const std::string& form, const std::string& name) {
  const std::size_t at = ("&" + form).find("&" + name + "=");
  if (at == std::string::npos) return {};
  const std::string value = form.substr(at + name.size() + 1, form.find('&', at) - at - name.size() - 1);
  std::string out;
  for (std::size_t i = 0; i < value.size(); ++i) {
    out += value[i] == '%' ? static_cast<char>(std::stoi(value.substr(i + 1, 2), nullptr, 16)) : value[i];
    if (value[i] == '%') i += 2;
  }
  return out;
}

// moto as the storage and as the token service; what is asked of the latter is seen on its way.
class S3Tasks : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = s3_missing(); !missing.empty()) GTEST_SKIP() << missing;
    bucket_ = make_bucket(real());
  }
  static const S3Server& real() { return s3_server("moto"); }
  Result<std::unique_ptr<BackupPlugin>> open(const Json& more, const Secrets& secrets = s3_secrets()) {
    Json config = s3_config(real().endpoint(), bucket_);
    for (const auto& [key, value] : more.members()) config.set(key, value);
    return BackupPlugin::open("backup-s3", config, secrets);
  }
  Json with_role(const TestServer& sts) {
    return Json::object({{"task_role", kRole}, {"task_session_s", 900}, {"sts_endpoint", sts.url()}});
  }
  std::string bucket_;
};

TEST_F(S3Tasks, ARoleGivesKeysForTheArchive) {
  std::string form;
  TestServer sts([&](Exchange& exchange) {
    form = exchange.body;
    EXPECT_THAT(exchange.headers["authorization"], HasSubstr("/us-east-1/sts/aws4_request"));
    exchange.send(exchange.forward(real().port));
  });
  const auto daemon = open(with_role(sts));
  ASSERT_TRUE(daemon.ok()) << daemon.error().message;
  const auto described = (*daemon)->describe(R"({"kind":"backup","archive":"a.zip"})");
  ASSERT_TRUE(described.ok()) << described.error().message;
  EXPECT_EQ(decoded(form, "RoleArn"), kRole);
  EXPECT_EQ(decoded(form, "RoleSessionName"), "roost-backup-a.zip");
  EXPECT_EQ(decoded(form, "DurationSeconds"), "900");
  EXPECT_THAT(decoded(form, "Policy"), HasSubstr("\"Resource\":\"arn:aws:s3:::" + bucket_ + "/roost/a.zip\""));
  EXPECT_THAT(decoded(form, "Policy"), HasSubstr("s3:PutObject"));
  EXPECT_TRUE((*described)["secrets"].items().empty());
  EXPECT_FALSE((*described)["secret_values"]["session_token"].as_string().empty());
  for (const char* key : {"task_role", "task_session_s", "sts_endpoint"})
    EXPECT_EQ((*described)["config"].find(key), nullptr) << key;
  EXPECT_THAT(described->dump(), Not(HasSubstr(kS3SecretKey)));
  const auto task = BackupPlugin::open("backup-s3", (*described)["config"], secrets_of(*described));
  ASSERT_TRUE(task.ok()) << task.error().message;
  ASSERT_TRUE((*task)->put("a.zip", "data").ok());
  ASSERT_TRUE((*daemon)->describe(R"({"kind":"verify","archive":"a.zip"})").ok());
  EXPECT_THAT(decoded(form, "Policy"), Not(HasSubstr("s3:PutObject")));
  EXPECT_EQ(code_of((*daemon)->describe("{}")), Code::invalid);
}

TEST_F(S3Tasks, ATokenServiceThatRefusesIsNamed) {
  TestServer sts([](Exchange& exchange) {
    exchange.reply(
        403, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>may not sts:AssumeRole</Message></Error></ErrorResponse>");
  });
  const auto described = (*open(with_role(sts)))->describe(R"({"kind":"backup","archive":"a.zip"})");
  EXPECT_EQ(code_of(described), Code::denied);
  EXPECT_THAT(described.error().message, HasSubstr("AccessDenied: may not sts:AssumeRole"));
  EXPECT_THAT(described.error().message, HasSubstr(kRole));
  EXPECT_THAT(described.error().message, Not(HasSubstr(kS3SecretKey)));
  TestServer away([](Exchange& exchange) { exchange.reply(503, ""); });
  EXPECT_EQ(code_of((*open(with_role(away)))->describe(R"({"kind":"backup","archive":"a.zip"})")), Code::unavailable);
  TestServer odd([](Exchange& exchange) { exchange.reply(200, "<html></html>"); });
  EXPECT_EQ(code_of((*open(with_role(odd)))->describe(R"({"kind":"backup","archive":"a.zip"})")), Code::denied);
}

TEST_F(S3Tasks, KeysThatExpiredAreReadAgainBeforeTheRoleIsAskedFor) {
  const TempDir dir;
  const auto write_keys = [&](const std::string& id) {
    std::ofstream(dir / "credentials") << "[default]\naws_access_key_id = " << id << "\naws_secret_access_key = x\n";
  };
  write_keys("AKIAOLD");
  int refused = 0;
  TestServer sts([&](Exchange& exchange) {
    if (exchange.headers["authorization"].find("AKIAOLD/") == std::string::npos)
      return exchange.send(exchange.forward(real().port));
    ++refused;
    write_keys("AKIANEW");
    exchange.reply(403, "<ErrorResponse><Error><Code>ExpiredToken</Code></Error></ErrorResponse>");
  });
  const auto daemon = open(with_role(sts).set("credentials", "file").set("credentials_file", dir / "credentials"), {});
  ASSERT_TRUE(daemon.ok()) << daemon.error().message;
  const auto described = (*daemon)->describe(R"({"kind":"verify","archive":"a.zip"})");
  EXPECT_TRUE(described.ok()) << described.error().message;
  EXPECT_EQ(refused, 1);
}

TEST_F(S3Tasks, APairOfTheirOwnTakesThePlaceOfTheDaemons) {
  const auto daemon = open(Json::object(), {{"access_key_id", kS3AccessKey},
                                            {"secret_access_key", kS3SecretKey},
                                            {"task_access_key_id", "AKIATASKS"},
                                            {"task_secret_access_key", "tasks-secret"}});
  ASSERT_TRUE(daemon.ok()) << daemon.error().message;
  const auto described = (*daemon)->describe();
  ASSERT_TRUE(described.ok()) << described.error().message;
  const Secrets wanted = {{"access_key_id", "AKIATASKS"}, {"secret_access_key", "tasks-secret"}};
  EXPECT_EQ(secrets_of(*described), wanted);
  EXPECT_TRUE((*described)["secrets"].items().empty());
  EXPECT_EQ((*described)["config"]["stale_after_s"].as_int(-1), 0);
  EXPECT_THAT(described->dump(), Not(HasSubstr(kS3SecretKey)));
}

// moto says of each upload that it was begun in 2010.
TEST_F(S3Tasks, WhatTasksMayNotClearAwayTheDaemonDoes) {
  backup_s3::S3Request request;
  request.method = "POST";
  request.key = "roost/left.zip";
  request.query = {{"uploads", ""}};
  ask_s3(real(), bucket_, request);
  ASSERT_EQ(unfinished_uploads(real(), bucket_), 1u);
  Secrets secrets = s3_secrets();
  secrets.insert(secrets.end(), {{"task_access_key_id", "AKIATASKS"}, {"task_secret_access_key", "tasks-secret"}});
  ASSERT_TRUE((*open(Json::object({{"stale_after_s", 86400}}), secrets))->describe().ok());
  EXPECT_EQ(unfinished_uploads(real(), bucket_), 0u);
}

TEST_F(S3Tasks, WithTheDaemonsOwnKeysThatIsSaidOnce) {
  const auto said = [&] {
    const auto lines = test_log().lines();
    return std::count_if(lines.begin(), lines.end(),
                         [&](const std::string& line) { return line.find("under " + bucket_ + "/roost/") != std::string::npos; });
  };
  const auto daemon = open(Json::object());
  ASSERT_TRUE(daemon.ok()) << daemon.error().message;
  EXPECT_EQ(said(), 0);
  ASSERT_TRUE((*daemon)->describe().ok() && (*daemon)->describe().ok());
  EXPECT_EQ(said(), 1);
}

TEST(S3TaskSettings, WhatCannotBeMeantIsRefused) {
  const auto opened = [](const Json& more, Secrets secrets) {
    Json config = Json::object({{"bucket", "some-bucket"}});
    for (const auto& [key, value] : more.members()) config.set(key, value);
    const Secrets own = s3_secrets();
    secrets.insert(secrets.end(), own.begin(), own.end());
    return code_of(BackupPlugin::open("backup-s3", config, secrets));
  };
  const Json role = Json::object({{"task_role", kRole}});
  const auto also = [&](const char* key, const Json& value) { return Json(role).set(key, value); };
  const Secrets pair = {{"task_access_key_id", "A"}, {"task_secret_access_key", "s"}};
  EXPECT_EQ(opened(role, {}), Code{});
  EXPECT_EQ(opened(Json::object(), pair), Code{});
  EXPECT_EQ(opened(role, pair), Code::invalid);
  EXPECT_EQ(opened(Json::object(), {{"task_access_key_id", "A"}}), Code::invalid);
  EXPECT_EQ(opened(also("endpoint", "https://minio.example"), {}), Code::invalid);  // whose token service?
  EXPECT_EQ(opened(also("endpoint", "https://minio.example").set("sts_endpoint", "https://minio.example"), {}), Code{});
  EXPECT_EQ(opened(also("sts_endpoint", "http://sts.example"), {}), Code::invalid);  // keys in the clear
  EXPECT_EQ(opened(also("sts_endpoint", "http://sts.example").set("plain_http", true), {}), Code{});
  EXPECT_EQ(opened(also("conditional_writes", false), {}), Code::invalid);
}

}  // namespace
}  // namespace roost::backup_test
