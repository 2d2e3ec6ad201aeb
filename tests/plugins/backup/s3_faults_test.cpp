// backup-s3 behind a server that plays tricks: mostly a proxy before a real S3 server. Never is half an object visible, never is
// a put answered with success that is not there whole, and what passes is tried again.
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <fstream>

#include "backup/s3/credentials.hpp"
#include "backup/s3/sigv4.hpp"
#include "plugins/backup/backup_plugin.hpp"
#include "plugins/backup/s3_servers.hpp"

namespace roost::backup_test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string error_body(const std::string& code) {
  return "<?xml version=\"1.0\"?><Error><Code>" + code + "</Code><Message>the test says so</Message></Error>";
}

bool is_part(const Exchange& exchange, int number) {
  return exchange.method == "PUT" && exchange.target.find("partNumber=" + std::to_string(number)) != std::string::npos;
}
bool is_complete(const Exchange& exchange) {
  return exchange.method == "POST" && exchange.target.find("uploadId=") != std::string::npos;
}
bool is_commit(const Exchange& exchange) {
  return is_complete(exchange) || (exchange.method == "PUT" && exchange.target.find('?') == std::string::npos);
}

std::unique_ptr<BackupPlugin> open_with(const Json& config, const Secrets& secrets = s3_secrets()) {
  auto opened = BackupPlugin::open("backup-s3", config, secrets);
  EXPECT_TRUE(opened.ok()) << opened.error().message;
  return opened.ok() ? *std::move(opened) : nullptr;
}

// A bucket of versitygw's, reached directly and through what a test puts before it.
class S3Faults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string missing = s3_missing(); !missing.empty()) GTEST_SKIP() << missing;
    bucket_ = make_bucket(real());
    direct_ = open_with(s3_config(real().endpoint(), bucket_));
  }
  static const S3Server& real() { return s3_server("versitygw"); }

  // The handler passes on what it does not answer itself.
  void through(const std::function<bool(Exchange&)>& trick, Json more = Json::object()) {
    proxy_ = std::make_unique<TestServer>([this, trick](Exchange& exchange) {
      ++requests_;
      if (!trick(exchange)) exchange.send(exchange.forward(real().port));
    });
    Json config = s3_config(proxy_->url(), bucket_).set("part_size", 5 * kMiB).set("attempts", 4);
    for (const auto& [key, value] : more.members()) config.set(key, value);
    plugin_ = open_with(config);
  }
  void expect_stored(const std::string& name, const std::string& data) {
    EXPECT_EQ((*direct_->stat(name))["size"].as_int(), static_cast<std::int64_t>(data.size()));
    std::string stored;
    while (stored.size() < data.size()) {
      const auto piece = direct_->read(name, stored.size(), 8 * kMiB);
      ASSERT_TRUE(piece.ok() && !piece->empty());
      stored += *piece;
    }
    EXPECT_TRUE(stored == data);
  }
  void expect_nothing() { EXPECT_TRUE(direct_->list()->empty()); }

  const std::string large_ = noise(12 * kMiB + 77);  // three parts
  const std::string small_ = noise(1000);
  std::string bucket_;
  std::unique_ptr<BackupPlugin> direct_;
  std::unique_ptr<TestServer> proxy_;
  std::unique_ptr<BackupPlugin> plugin_;  // ends before what it speaks to
  std::atomic<int> requests_{0};
  std::atomic<int> tricks_{0};
};

TEST_F(S3Faults, EveryRequestMayFailTwiceAndAllIsWell) {
  std::mutex mutex;
  std::map<std::string, int> seen;
  through([&](Exchange& exchange) {
    const std::lock_guard<std::mutex> lock(mutex);
    switch (++seen[exchange.method + exchange.target.substr(0, exchange.target.find("uploadId"))]) {
      case 1: exchange.reply(500, error_body("InternalError")); return true;
      case 2: exchange.reply(503, error_body("SlowDown"), "Retry-After: 0\r\n"); return true;
      default: return false;
    }
  });
  ASSERT_TRUE(plugin_->put("a.zip", large_).ok());
  expect_stored("a.zip", large_);
  EXPECT_TRUE(*plugin_->read("a.zip", kMiB, 8 * kMiB) == large_.substr(kMiB, 8 * kMiB));
  EXPECT_EQ(plugin_->list()->size(), 1u);
  EXPECT_TRUE(plugin_->remove("a.zip").ok());
  expect_nothing();
}

TEST_F(S3Faults, AServerThatOnlyFailsIsUnavailableAfterSoManyTries) {
  through([&](Exchange& exchange) { return exchange.reply(503, error_body("ServiceUnavailable"), "Retry-After: 0\r\n"), true; });
  const auto stat = plugin_->stat("a.zip");
  EXPECT_EQ(code_of(stat), Code::unavailable);
  EXPECT_EQ(requests_, 4);
  EXPECT_EQ(code_of(plugin_->put("a.zip", large_)), Code::unavailable);
  expect_nothing();
}

TEST_F(S3Faults, AnErrorWithinA200IsAFailure) {
  through([&](Exchange& exchange) {
    if (!is_complete(exchange) || ++tricks_ > 2) return false;
    exchange.reply(200, tricks_ == 1 ? error_body("InternalError") : "<Comp");
    return true;
  });
  ASSERT_TRUE(plugin_->put("a.zip", large_).ok());
  EXPECT_EQ(tricks_, 3);
  expect_stored("a.zip", large_);
}

TEST_F(S3Faults, A200ThatOnlyBringsErrorsLeavesNothing) {
  through([&](Exchange& exchange) { return is_complete(exchange) && (exchange.reply(200, error_body("InternalError")), true); });
  const Status put = plugin_->put("a.zip", large_);
  EXPECT_EQ(code_of(put), Code::outcome_unknown);
  expect_nothing();
}

TEST_F(S3Faults, AnAnswerThatIsLostIsFoundOutByLooking) {
  through([&](Exchange& exchange) {
    if (!is_commit(exchange)) return false;
    if (tricks_++ % 2 == 1) return false;
    static_cast<void>(exchange.forward(real().port));  // done, and nobody is told
    return true;
  });
  EXPECT_TRUE(plugin_->put("a.zip", large_).ok());
  expect_stored("a.zip", large_);
  EXPECT_TRUE(plugin_->put("b.zip", small_).ok());
  expect_stored("b.zip", small_);
  EXPECT_EQ(tricks_, 4);  // each was repeated
}

// What a later try is told says nothing about what an earlier one did.
TEST_F(S3Faults, ARefusalAfterATryThatMayHaveBeenDoneIsNoProofThatNothingIsStored) {
  bool does_it = true;
  through([&](Exchange& exchange) {
    if (!is_commit(exchange)) return false;
    if (++tricks_ % 2 == 0) return exchange.reply(403, error_body("AccessDenied")), true;
    if (does_it) static_cast<void>(exchange.forward(real().port));
    return exchange.reply(500, error_body("InternalError")), true;
  });
  for (const std::string& data : {small_, large_}) {
    const Status put = plugin_->put("a.zip", data);
    ASSERT_TRUE(put.ok()) << put.error().message;
    expect_stored("a.zip", data);
    ASSERT_TRUE(direct_->remove("a.zip").ok());
  }
  does_it = false;
  for (const std::string& data : {small_, large_}) EXPECT_EQ(code_of(plugin_->put("a.zip", data)), Code::outcome_unknown);
  EXPECT_EQ(tricks_, 8);
  expect_nothing();
}

// What a kept connection took that broke, libcurl sends once more: a commit's second try would look like its first.
TEST_F(S3Faults, ACommitIsNotSentTwiceUnnoticedWhereAKeptConnectionBreaks) {
  std::atomic<int> reused{0};
  through([&](Exchange& exchange) {
    exchange.keep = true;
    if (exchange.earlier > 0) ++reused;
    if (!is_commit(exchange)) return false;
    if (++tricks_ % 2 == 0) return exchange.reply(403, error_body("AccessDenied")), true;
    static_cast<void>(exchange.forward(real().port));  // done, and nobody is told
    exchange.keep = false;
    return true;
  });
  for (const std::string& data : {small_, large_}) {
    const Status put = plugin_->put("a.zip", data);
    ASSERT_TRUE(put.ok()) << put.error().message;
    expect_stored("a.zip", data);
    ASSERT_TRUE(direct_->remove("a.zip").ok());
  }
  EXPECT_EQ(tricks_, 4);
  EXPECT_GT(reused, 0) << "by what is not a commit";
}

// As where something between here and there sends a request twice.
TEST_F(S3Faults, AnUploadThatIsGoneMayHaveBeenCompleted) {
  bool does_it = true;
  through([&](Exchange& exchange) {
    if (!is_complete(exchange)) return false;
    if (does_it) static_cast<void>(exchange.forward(real().port));
    return exchange.reply(404, error_body("NoSuchUpload")), true;
  });
  const Status put = plugin_->put("a.zip", large_);
  ASSERT_TRUE(put.ok()) << put.error().message;
  expect_stored("a.zip", large_);
  ASSERT_TRUE(direct_->remove("a.zip").ok());
  does_it = false;
  EXPECT_EQ(code_of(plugin_->put("a.zip", large_)), Code::unavailable);
  expect_nothing();
}

TEST_F(S3Faults, AnotherWritersArchiveIsNotTakenForOnesOwn) {
  through([&](Exchange& exchange) {
    if (!is_complete(exchange)) return false;
    if (++tricks_ == 1) {
      EXPECT_TRUE(direct_->put("a.zip", small_).ok());  // comes in between
    }
    return false;
  });
  EXPECT_EQ(code_of(plugin_->put("a.zip", large_)), Code::exists);
  EXPECT_GE(tricks_, 1);
  expect_stored("a.zip", small_);
}

TEST_F(S3Faults, ABodyThatIsCutIsReadOnFromThere) {
  ASSERT_TRUE(direct_->put("a.zip", large_).ok());
  std::string ranges;
  through([&](Exchange& exchange) {
    if (exchange.method != "GET") return false;
    ranges += exchange.headers["range"] + ";";
    const std::string answer = exchange.forward(real().port);
    exchange.send(++tricks_ <= 2 ? answer.substr(0, answer.find("\r\n\r\n") + 4 + kMiB) : answer);
    return true;
  });
  EXPECT_TRUE(*plugin_->read("a.zip", 0, 4 * kMiB) == large_.substr(0, 4 * kMiB));
  EXPECT_EQ(ranges, "bytes=0-4194303;bytes=1048576-4194303;bytes=2097152-4194303;");
}

TEST_F(S3Faults, AnUploadThatIsCutIsRepeated) {
  through([&](Exchange& exchange) { return is_part(exchange, 2) && ++tricks_ <= 2; });  // hangs up without a word
  ASSERT_TRUE(plugin_->put("a.zip", large_).ok());
  EXPECT_EQ(tricks_, 3);
  expect_stored("a.zip", large_);
}

TEST_F(S3Faults, APartThatIsDamagedOnItsWayIsRefusedAndSentAgain) {
  std::string refusal;
  through([&](Exchange& exchange) {
    if (!is_part(exchange, 1) || ++tricks_ > 1) return false;
    refusal = exchange.forward_damaged(real().port);
    exchange.send(refusal);
    return true;
  });
  ASSERT_TRUE(plugin_->put("a.zip", large_).ok());
  EXPECT_THAT(refusal, HasSubstr(" 400 "));
  EXPECT_EQ(tricks_, 2);
  expect_stored("a.zip", large_);
}

TEST_F(S3Faults, APartThatWasStoredWithAnotherChecksumIsSentAgain) {
  through([&](Exchange& exchange) {
    if (!is_part(exchange, 1) || ++tricks_ > 1) return false;
    exchange.reply(200, "", "ETag: \"x\"\r\nx-amz-checksum-sha256: AAAA\r\n");
    return true;
  });
  ASSERT_TRUE(plugin_->put("a.zip", large_).ok());
  EXPECT_EQ(tricks_, 2);
  expect_stored("a.zip", large_);
}

TEST_F(S3Faults, APartThatIsLostByTheServerMakesNoObject) {
  through([&](Exchange& exchange) {
    return is_part(exchange, 2) && (exchange.reply(200, "", "ETag: \"0123456789abcdef0123456789abcdef\"\r\n"), true);
  });
  const Status put = plugin_->put("a.zip", large_);
  EXPECT_EQ(code_of(put), Code::unavailable);
  EXPECT_THAT(put.error().message, HasSubstr("InvalidPart"));
  expect_nothing();
}

TEST_F(S3Faults, AnObjectThatIsShorterThanWhatWasSentIsRemovedAgain) {
  through([&](Exchange& exchange) {
    if (!is_complete(exchange)) return false;
    const std::size_t third = exchange.body.find("<Part><PartNumber>3");  // goes without its last part
    backup_s3::S3Request shorter;
    shorter.method = "POST";
    shorter.key = "roost/a.zip";
    shorter.query = {{"uploadId", exchange.target.substr(exchange.target.find("uploadId=") + 9)}};
    const std::string body = exchange.body.substr(0, third) + "</CompleteMultipartUpload>";
    shorter.body = body;
    exchange.reply(200, ask_s3(real(), bucket_, shorter).body);
    return true;
  });
  const Status put = plugin_->put("a.zip", large_);
  EXPECT_EQ(code_of(put), Code::unavailable);
  expect_nothing();
}

// As a server answers keys that may not list the bucket, which a task's may not.
TEST_F(S3Faults, KeysThatMayNotSeeWhatIsAbsentMayWriteIt) {
  through([&](Exchange& exchange) {
    if (exchange.method != "HEAD") return false;
    const std::string answer = exchange.forward(real().port);
    if (answer.find(" 404 ") > 12) return exchange.send(answer), true;
    ++tricks_;
    return exchange.reply(403, ""), true;
  });
  for (const std::string& data : {small_, large_}) {
    ASSERT_TRUE(plugin_->put("a.zip", data).ok());
    expect_stored("a.zip", data);
    EXPECT_EQ(code_of(plugin_->put("a.zip", noise(500, 9))), Code::exists);
    expect_stored("a.zip", data);
    ASSERT_TRUE(direct_->remove("a.zip").ok());
  }
  EXPECT_EQ(tricks_, 2);
  const auto unseen = plugin_->stat("a.zip");
  EXPECT_EQ(code_of(unseen), Code::denied);  // who only reads is not told that it is gone
  EXPECT_THAT(unseen.error().message, HasSubstr("or there is no such object"));
}

TEST_F(S3Faults, WithoutConditionalWritesWhatCannotBeSeenIsNotWritten) {
  through([](Exchange& exchange) { return exchange.method == "HEAD" && (exchange.reply(403, ""), true); },
          Json::object({{"conditional_writes", false}}));
  EXPECT_EQ(code_of(plugin_->put("a.zip", small_)), Code::denied);
  expect_nothing();
}

TEST_F(S3Faults, KeysThatMayNotRemoveSayWhatIsLeft) {
  through(
      [](Exchange& exchange) { return exchange.method == "DELETE" && (exchange.reply(403, error_body("AccessDenied")), true); },
      Json::object({{"sse", Json::object({{"type", "AES256"}})}}));  // which versitygw takes no notice of
  const Status put = plugin_->put("a.zip", small_);
  EXPECT_EQ(code_of(put), Code::unsupported);
  EXPECT_THAT(put.error().message, HasSubstr("could not be removed"));
  EXPECT_EQ(direct_->list()->size(), 1u);
}

TEST_F(S3Faults, AFailedPieceHasAddedNothingAndCanBeRepeated) {
  std::atomic<bool> down{false};
  through([&](Exchange& exchange) {  // the upload begins, its first part fails
    return down && is_part(exchange, 1) && (exchange.reply(500, error_body("InternalError")), true);
  });
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(plugin_->put_part(*put, std::string_view(large_).substr(0, 6 * kMiB)).ok());
  down = true;
  EXPECT_EQ(code_of(plugin_->put_part(*put, std::string_view(large_).substr(6 * kMiB))), Code::unavailable);
  down = false;
  ASSERT_TRUE(plugin_->put_part(*put, std::string_view(large_).substr(6 * kMiB)).ok());
  ASSERT_TRUE(plugin_->put_commit(*put).ok());
  expect_stored("a.zip", large_);
}

TEST_F(S3Faults, AnAbortedUploadLeavesNoParts) {
  through([](Exchange&) { return false; });
  const auto put = plugin_->put_begin("a.zip");
  ASSERT_TRUE(plugin_->put_part(*put, std::string_view(large_).substr(0, 8 * kMiB)).ok());
  ASSERT_TRUE(plugin_->put_part(*put, std::string_view(large_).substr(8 * kMiB)).ok());
  EXPECT_NE(unfinished_uploads(real(), bucket_), 0u);
  plugin_->put_abort(*put);
  EXPECT_EQ(unfinished_uploads(real(), bucket_), 0u);
}

TEST_F(S3Faults, ASilentServerIsTriedAgain) {
  ASSERT_TRUE(direct_->put("a.zip", small_).ok());
  through([&](Exchange& exchange) { return ++tricks_ == 1 && (exchange.wait_for_hangup(), true); },
          Json::object({{"stall_timeout_s", 1}}));
  EXPECT_EQ(*plugin_->read("a.zip", 0, 2000), small_);
  EXPECT_EQ(tricks_, 2);
}

TEST_F(S3Faults, ACallEndsWhenItIsCancelledOrLate) {
  const int cancel = ::eventfd(0, EFD_CLOEXEC);
  through([&](Exchange& exchange) {
    if (exchange.headers["range"] == "bytes=1-1") {
      const std::uint64_t one = 1;
      EXPECT_EQ(::write(cancel, &one, sizeof one), 8);
    }
    exchange.wait_for_hangup();
    return true;
  });
  EXPECT_EQ(code_of(plugin_->read("a.zip", 1, 1, {cancel, -1})), Code::cancelled);
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 1, {-1, system_clock().monotonic_ns() + 50'000'000})), Code::deadline);
  ::close(cancel);
}

TEST_F(S3Faults, AClockThatIsWrongIsCorrectedByTheServers) {
  const std::int64_t theirs = system_clock().wall_us() / 1'000'000 + 7200;
  std::string dates;
  through([&](Exchange& exchange) {
    dates += exchange.headers["x-amz-date"] + ";";
    if (++tricks_ > 1) return exchange.reply(404, error_body("NoSuchKey")), true;
    char date[64];
    const std::time_t time = theirs;
    std::tm parts{};
    ::gmtime_r(&time, &parts);
    std::strftime(date, sizeof date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    exchange.reply(403, error_body("RequestTimeTooSkewed"), date);
    return true;
  });
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 1)), Code::not_found);
  EXPECT_EQ(tricks_, 2);
  EXPECT_EQ(dates.substr(17, 11), backup_s3::amz_date(theirs).substr(0, 11));  // to the hour
}

TEST_F(S3Faults, AClockThatCannotBeCorrectedIsDenied) {
  through([&](Exchange& exchange) { return exchange.reply(403, error_body("RequestTimeTooSkewed"), "Date: soon\r\n"), true; });
  const auto read = plugin_->read("a.zip", 0, 1);
  EXPECT_EQ(code_of(read), Code::denied);
  EXPECT_THAT(read.error().message, HasSubstr("clock"));
}

TEST_F(S3Faults, CredentialsThatExpiredAreReadAgain) {
  const TempDir dir;
  const auto write_keys = [&](const std::string& id) {
    std::ofstream(dir / "credentials") << "[default]\naws_access_key_id = " << id << "\naws_secret_access_key = " << kS3SecretKey
                                       << "\n";
  };
  write_keys("AKIAOLD");
  proxy_ = std::make_unique<TestServer>([&](Exchange& exchange) {
    if (exchange.headers["authorization"].find("AKIAOLD/") == std::string::npos)
      return exchange.send(exchange.forward(real().port));
    ++tricks_;
    write_keys(kS3AccessKey);
    exchange.reply(400, error_body("ExpiredToken"));
  });
  Json config = s3_config(proxy_->url(), bucket_);
  plugin_ = open_with(config.set("credentials", "file").set("credentials_file", dir / "credentials"), {});
  EXPECT_TRUE(plugin_->put("a.zip", small_).ok());
  EXPECT_EQ(tricks_, 1);
  expect_stored("a.zip", small_);
}

TEST_F(S3Faults, WrongKeysAreDeniedAndNotTold) {
  const auto plugin = open_with(s3_config(real().endpoint(), bucket_),
                                {{"access_key_id", kS3AccessKey}, {"secret_access_key", "not-the-secret"}});
  const Status put = plugin->put("a.zip", small_);
  EXPECT_EQ(code_of(put), Code::denied);
  EXPECT_THAT(put.error().message, Not(HasSubstr("not-the-secret")));
  expect_nothing();
}

TEST_F(S3Faults, ABucketOfAnotherRegionIsFoundThere) {
  std::string scopes;
  through([&](Exchange& exchange) {
    const std::string& value = exchange.headers["authorization"];
    scopes += value.substr(value.find("/s3/") - 9, 9) + ";";
    if (++tricks_ == 1) {
      exchange.reply(301, error_body("PermanentRedirect"), "x-amz-bucket-region: eu-west-9\r\nLocation: http://127.0.0.1:1/\r\n");
    } else {
      exchange.reply(404, error_body("NoSuchKey"));
    }
    return true;
  });
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 1)), Code::not_found);
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 1)), Code::not_found);
  EXPECT_EQ(scopes, "us-east-1;eu-west-9;eu-west-9;");
}

TEST_F(S3Faults, ABucketThatIsNotThereIsNamed) {
  const auto plugin = open_with(s3_config(real().endpoint(), "no-such-bucket"));
  const auto expect_named = [](const Status& status) {
    EXPECT_EQ(code_of(status), Code::unavailable);
    EXPECT_THAT(status.ok() ? "" : status.error().message, HasSubstr("backup.config.bucket"));
  };
  const auto listed = plugin->list();
  expect_named(listed.ok() ? Status{} : listed.error());
  // Nor is any archive lost, or removed.
  const auto found = plugin->stat("a.zip");
  expect_named(found.ok() ? Status{} : found.error());
  const auto read = plugin->read("a.zip", 0, 1);
  expect_named(read.ok() ? Status{} : read.error());
  expect_named(plugin->remove("a.zip"));
}

TEST_F(S3Faults, OnlyS3sOwnWordMeansThatAnArchiveIsNotThere) {
  ASSERT_TRUE(direct_->put("a.zip", small_).ok());
  for (const std::string& body : {std::string(), std::string("<html><body>no such page</body></html>")}) {
    through([&](Exchange& exchange) { return exchange.reply(404, body), true; });
    for (const Error& error :
         {plugin_->stat("a.zip").error(), plugin_->read("a.zip", 0, 1).error(), plugin_->remove("a.zip").error()}) {
      EXPECT_EQ(error.code, Code::unavailable);
      EXPECT_THAT(error.message, HasSubstr("backup.config.endpoint"));
    }
  }
  through([](Exchange& exchange) { return exchange.method == "HEAD" && (exchange.reply(404, ""), true); });
  EXPECT_EQ(code_of(plugin_->stat("a.zip")), Code::unavailable) << "it is there for who asks otherwise";
  EXPECT_EQ(code_of(plugin_->remove("a.zip")), Code::unavailable);
  EXPECT_EQ(code_of(plugin_->stat("b.zip")), Code::not_found);
  EXPECT_TRUE(plugin_->remove("b.zip").ok());
}

TEST_F(S3Faults, HostileListsAreRefused) {
  const std::string laughs =
      "<!DOCTYPE l [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;&a;\">]><ListBucketResult><Name>&b;</Name></ListBucketResult>";
  const std::string item =
      "<Contents><Key>roost/b</Key><Size>1</Size><LastModified>2025-01-01T00:00:00Z</LastModified></Contents>";
  const auto list = [](const std::string& inner) { return "<ListBucketResult>" + inner + "</ListBucketResult>"; };
  const std::vector<std::string> hostile = {
      laughs,
      std::string(5u << 20, ' '),
      "<html></html>",
      list(item + item),                                                                        // not in order
      list("<Contents><Key>other/b</Key><Size>1</Size></Contents>"),                            // not ours
      list("<Contents><Key>roost/b</Key><Size>-1</Size></Contents>"),                           // no size
      list("<Contents><Key>roost/b</Key><Size>99999999999999999999</Size></Contents>"),         // too large a one
      list("<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"),  // for ever
  };
  for (const std::string& body : hostile) {
    through([&](Exchange& exchange) { return exchange.reply(200, body), true; }, Json::object({{"attempts", 1}}));
    EXPECT_EQ(code_of(plugin_->list()), Code::unavailable) << body.substr(0, 100);
  }
}

TEST_F(S3Faults, StrangersObjectsUnderThePrefixAreNotListed) {
  through([](Exchange& exchange) {
    exchange.reply(
        200,
        "<ListBucketResult><Contents><Key>roost/a&#x1;b</Key><Size>1</Size></Contents><Contents><Key>roost/.x</Key></Contents>"
        "<Contents><Key>roost/ok.zip</Key><Size>5</Size><LastModified>2025-01-01T00:00:00.000Z</LastModified></Contents>"
        "<CommonPrefixes><Prefix>roost/sub/</Prefix></CommonPrefixes></ListBucketResult>");
    return true;
  });
  const auto listed = plugin_->list();
  ASSERT_TRUE(listed.ok()) << listed.error().message;
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_EQ(listed->front().name, "ok.zip");
  EXPECT_EQ(listed->front().size, 5);
  EXPECT_EQ(listed->front().modified, 1'735'689'600'000'000);
}

TEST_F(S3Faults, WrongRangesGiveNoBytes) {
  struct Trick {
    int status;
    std::string headers;
    Code code;
  };
  const std::vector<Trick> tricks = {{200, "ETag: \"e\"\r\n", Code::unsupported},
                                     {206, "ETag: \"e\"\r\nContent-Range: bytes 5-8/100\r\n", Code::unavailable},
                                     {206, "ETag: \"e\"\r\n", Code::unavailable},
                                     {206, "ETag: \"e\"\r\nContent-Range: bytes x-y/z\r\n", Code::unavailable}};
  for (const Trick& trick : tricks) {
    through([&](Exchange& exchange) { return exchange.reply(trick.status, "WXYZ", trick.headers), true; });
    EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 4)), trick.code) << trick.status << " " << trick.headers;
  }
}

TEST_F(S3Faults, ARangeWithoutItsBytesIsNotAskedForWithoutEnd) {
  through([&](Exchange& exchange) { return exchange.reply(206, "", "ETag: \"e\"\r\nContent-Range: bytes 0-3/100\r\n"), true; });
  EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 4)), Code::unavailable);
  EXPECT_EQ(requests_, 1);
}

TEST_F(S3Faults, AnObjectThatWasReplacedIsNoticed) {
  for (const bool server_checks : {true, false}) {
    ASSERT_TRUE(direct_->put("a.zip", noise(1000, 1)).ok());
    through([&](Exchange& exchange) {
      if (server_checks || exchange.method != "GET") return false;
      exchange.reply(206, noise(1000, 2), "ETag: \"other\"\r\nContent-Range: bytes 0-999/1000\r\n");
      return true;
    });
    ASSERT_TRUE(plugin_->stat("a.zip").ok());
    ASSERT_TRUE(direct_->remove("a.zip").ok());
    ASSERT_TRUE(direct_->put("a.zip", noise(1000, 2)).ok());
    EXPECT_EQ(code_of(plugin_->read("a.zip", 0, 1000)), Code::conflict);
    ASSERT_TRUE(direct_->remove("a.zip").ok());
  }
}

TEST_F(S3Faults, EncryptionThatTheServerIgnoresIsNoticed) {
  for (const std::string& data : {small_, large_}) {
    through([](Exchange&) { return false; }, Json::object({{"sse", Json::object({{"type", "AES256"}})}}));
    const Status put = plugin_->put("a.zip", data);
    EXPECT_EQ(code_of(put), Code::unsupported);
    EXPECT_THAT(put.error().message, HasSubstr("encryption"));
    expect_nothing();
  }
}

}  // namespace
}  // namespace roost::backup_test
