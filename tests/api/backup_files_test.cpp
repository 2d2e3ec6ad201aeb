// Files out of backups: what is sent, what is fetched for it, and what happens when bytes are wrong or clients slow.
#include "agent/backup_archives.hpp"
#include "api/api_fixture.hpp"
#include "archive/virtual_archive.hpp"
#include "engine/documents.hpp"

namespace roost::api {
namespace {

using agent::ArchiveWriter;
using agent::at;

constexpr const char* kBackup = "abcd1234-20251115T035136Z";
const std::string kAt = std::string("/backups/") + kBackup;

class BackupFilesTest : public ApiFixture {
 protected:
  void keep(std::string bytes, const std::string& user = "alice") {
    stored = std::move(bytes);
    serve(stored.size(), to_hex(sha256(stored)), user, [this](std::uint64_t offset, std::uint64_t length) {
      return stored.substr(std::min<std::uint64_t>(offset, stored.size()), length);
    });
  }
  void serve(std::uint64_t size, const std::string& hash, const std::string& user,
             std::function<std::string(std::uint64_t, std::uint64_t)> bytes) {
    BackupRecord record;
    record.id = kBackup;
    record.session_id = "abcd1234";
    record.user_id = user;
    record.archive = record.receipt.archive = "workspace-abcd1234-20251115T035136Z.zip";
    record.state = state;
    record.receipt.session_id = "abcd1234";
    record.receipt.operation_id = "0badcafe";
    record.receipt.archive_bytes = static_cast<std::int64_t>(size);
    record.receipt.archive_sha256 = hash;
    Commit commit;
    commit.partition = documents::backup_partition(record.id);
    commit.operations.push_back({StoreOperation::Kind::put, documents::backup_key(record.id), to_json(record).dump(), 0});
    ASSERT_TRUE(world.commit(commit).ok());
    read_archive = [this, bytes = std::move(bytes)](const std::string&, std::int64_t offset,
                                                    std::int64_t length) -> Result<std::string> {
      ++reads;
      EXPECT_LE(length, 8 << 20);
      fetched += length;
      if (broken) return Error{Code::unavailable, "the storage is away", 0};
      return bytes(static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length));
    };
  }
  static std::string mixed() {
    return agent::make_archive([](ArchiveWriter& writer) {
      EXPECT_TRUE(writer.add_directory(at("src", 0755)).ok());
      EXPECT_TRUE(writer.add_file(at("src/main.c"), "int main() {}\n", false).ok());
      EXPECT_TRUE(writer.add_file(at("a b%.txt"), "spaces", false).ok());
      EXPECT_TRUE(writer.add_file(at("caf\xe9"), "latin", true).ok());
      EXPECT_TRUE(writer.add_file(at("empty"), "", false).ok());
      EXPECT_TRUE(writer.add_symlink(at("link", 0777), "src/main.c").ok());
      EXPECT_TRUE(writer.add_file(at("noise"), agent::noise(900'000), false).ok());
    });
  }
  // What the client got, and whether it was all.
  static std::string body(const Answer& answer) { return answer.stream ? answer.stream->text : answer.body; }
  static bool whole(const Answer& answer) { return answer.stream && answer.stream->ended && !answer.stream->aborted; }

  std::string stored, state = "verified";
  std::int64_t fetched = 0;
  int reads = 0;
  bool broken = false;
};

TEST_F(BackupFilesTest, EveryFileComesOutAsItWas) {
  keep(mixed());
  const auto file = [&](const std::string& path) { return get(kAt + "/files/" + path, kAliceReads); };
  const Answer main = file("src/main.c");
  EXPECT_EQ(main.status, 200);
  EXPECT_EQ(body(main), "int main() {}\n");
  EXPECT_TRUE(whole(main));
  EXPECT_EQ(main.header("etag"), "\"" + to_hex(sha256("int main() {}\n")) + "\"");
  EXPECT_EQ(main.header("content-type"), "application/octet-stream");
  EXPECT_EQ(main.header("content-disposition"), "attachment");
  EXPECT_EQ(body(file("a b%.txt")), "spaces");
  EXPECT_EQ(body(file("noise")), agent::noise(900'000));
  const Answer empty = file("empty");
  EXPECT_TRUE(whole(empty));
  EXPECT_EQ(body(empty), "");
  EXPECT_EQ(file("link").header("content-type"), "inode/symlink");
  EXPECT_EQ(body(file("link")), "src/main.c");
  EXPECT_EQ(body(file("?path_base64url=" + base64url("caf\xe9"))), "latin");
  EXPECT_EQ(file("src").status, 422);
  EXPECT_EQ(file("nothing").status, 404);
  EXPECT_EQ(file("").status, 404);
  EXPECT_EQ(file("?path_base64url=%21").status, 400);
  EXPECT_EQ(file("x?path_base64url=eA").status, 400);
}

TEST_F(BackupFilesTest, TheListSaysWhatIsThereAndHowToAskForIt) {
  keep(mixed());
  const Answer all = get(kAt + "/files", kAliceReads);
  ASSERT_EQ(all.status, 200) << all.body;
  EXPECT_EQ(all.json()["count"].as_int(), 7);
  EXPECT_TRUE(all.json()["next_cursor"].is_null());
  const Json::Array files = all.json()["files"].items();
  EXPECT_EQ(
      files[0].dump(),
      R"({"path":"src","type":"directory","size":0,"mode":"0755","modified_at":"2020-09-13T12:26:40.123456","sha256":null})");
  EXPECT_TRUE(files[3]["path"].is_null());
  EXPECT_EQ(files[3]["path_base64url"].as_string(), base64url("caf\xe9"));
  EXPECT_TRUE(files[3]["torn"].as_bool());
  std::vector<std::string> paths;
  std::string cursor = "0";
  while (!cursor.empty()) {
    const Answer page = get(kAt + "/files?limit=2&cursor=" + cursor);
    const Json body_of = page.json();
    for (const Json& file : body_of["files"].items()) paths.push_back(file["type"].as_string());
    cursor = page.json()["next_cursor"].as_string();
  }
  EXPECT_EQ(paths.size(), 7U);
  EXPECT_EQ(get(kAt + "/files?prefix=src%2F").json()["count"].as_int(), 1);
  EXPECT_EQ(get(kAt + "/files?cursor=x").status, 400);
  EXPECT_EQ(get(kAt + "/files?limit=0").status, 400);
}

TEST_F(BackupFilesTest, OneFileOutOfTwoGigabytesCostsLittleMoreThanItself) {
  constexpr std::uint64_t kSize = 1 << 20;
  const VirtualArchive archive("abcd1234", 2048, kSize, 1500);
  ASSERT_GT(archive.size(), std::uint64_t{2} << 30);
  serve(archive.size(), "", "alice", [&](std::uint64_t offset, std::uint64_t length) { return archive.read(offset, length); });
  const Answer answer = get(kAt + "/files/files/1500");
  EXPECT_TRUE(whole(answer)) << answer.body;
  EXPECT_EQ(body(answer), archive.file_bytes(1500, 0, kSize));
  EXPECT_LT(fetched, static_cast<std::int64_t>(kSize) + (1 << 20)) << "of " << archive.size();
  RecordProperty("fetched", std::to_string(fetched));
}

TEST_F(BackupFilesTest, AWrongByteCutsTheAnswerOff) {
  keep(mixed());
  const std::size_t where = stored.find(agent::noise(900'000).substr(0, 64));
  ASSERT_NE(where, std::string::npos);
  for (const std::size_t at : {where, where + 400'000, where + 899'999}) {
    stored[at] = static_cast<char>(stored[at] ^ 1);
    const Answer answer = get(kAt + "/files/noise");
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.stream->aborted) << at;
    EXPECT_LT(answer.stream->text.size(), 900'000U) << "the client must see that something is missing";
    stored[at] = static_cast<char>(stored[at] ^ 1);
  }
  const Answer all = get(kAt + "/archive");
  EXPECT_TRUE(whole(all));
  EXPECT_EQ(body(all), stored);
  stored[where] = static_cast<char>(stored[where] ^ 1);
  EXPECT_TRUE(get(kAt + "/archive").stream->aborted);
  state = "damaged";
  keep(stored);
  const Answer salvage = get(kAt + "/archive");
  EXPECT_TRUE(whole(salvage)) << "known to be damaged: it comes as it is";
  EXPECT_EQ(body(salvage), stored);
  EXPECT_EQ(salvage.header("etag"), "");
}

TEST_F(BackupFilesTest, WhatCannotBeReadIsAnErrorOfItsKind) {
  keep(mixed());
  const std::string good = stored;
  stored.resize(stored.size() - 1);  // the record still says the old size
  EXPECT_EQ(get(kAt + "/files").status, 500);
  stored = std::string(good.size(), 'x');
  EXPECT_EQ(get(kAt + "/files/src/main.c").status, 500);
  broken = true;
  EXPECT_EQ(get(kAt + "/files").status, 503);
  broken = false;
  read_archive = nullptr;
  EXPECT_EQ(get(kAt + "/files").status, 404);
  state = "missing";
  keep(good);
  EXPECT_EQ(get(kAt + "/files").status, 409);
  EXPECT_EQ(get(kAt + "/archive").status, 409);
}

TEST_F(BackupFilesTest, NobodyElseReadsThem) {
  keep(mixed(), "bob");
  for (const char* path : {"/files", "/files/src/main.c", "/archive"}) {
    EXPECT_EQ(get(kAt + path, kAlice).status, 404) << path;
    EXPECT_EQ(get(kAt + path, "").status, 401) << path;
    EXPECT_EQ(get(kAt + path, kRead).status, 200) << path;
  }
}

TEST_F(BackupFilesTest, RangesOfTheArchive) {
  keep(mixed());
  const auto ask = [&](const std::string& range, const std::string& if_range = "") {
    http::Headers headers{{"range", range}};
    if (!if_range.empty()) headers.emplace_back("if-range", if_range);
    return call("GET", kAt + "/archive", {kAdmin, "", headers, "p"});
  };
  const std::string size = std::to_string(stored.size());
  const Answer some = ask("bytes=10-19");
  EXPECT_EQ(some.status, 206);
  EXPECT_EQ(some.header("content-range"), "bytes 10-19/" + size);
  EXPECT_EQ(body(some), stored.substr(10, 10));
  EXPECT_TRUE(whole(some));
  EXPECT_EQ(body(ask("bytes=100-")), stored.substr(100));
  EXPECT_EQ(body(ask("bytes=-7")), stored.substr(stored.size() - 7));
  EXPECT_EQ(body(ask("bytes=0-99999999999")), stored);
  EXPECT_EQ(body(ask("bytes=-99999999999")), stored);
  EXPECT_EQ(body(ask("bytes=5-18446744073709551615")), stored.substr(5)) << "one more than the largest number is 0";
  for (const char* whole_answer :
       {"bytes=5-4", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=-", "bytes=99999999999999999999-"}) {
    EXPECT_EQ(ask(whole_answer).status, 200) << whole_answer;
    EXPECT_EQ(body(ask(whole_answer)), stored) << whole_answer;
  }
  const Answer beyond = ask("bytes=" + size + "-");
  EXPECT_EQ(beyond.status, 416);
  EXPECT_EQ(beyond.header("content-range"), "bytes */" + size);
  EXPECT_EQ(ask("bytes=-0").status, 416);
  const std::string etag = get(kAt + "/archive").header("etag");
  EXPECT_EQ(ask("bytes=0-1", etag).status, 206);
  EXPECT_EQ(ask("bytes=0-1", "\"other\"").status, 200);
}

TEST_F(BackupFilesTest, ASlowClientIsWaitedForAndFetchesNothingMeanwhile) {
  const VirtualArchive archive("abcd1234", 1, 8 << 20, 0);
  serve(archive.size(), "", "alice", [&](std::uint64_t offset, std::uint64_t length) { return archive.read(offset, length); });
  next_stream_is_slow = true;
  const Answer answer = get(kAt + "/archive");
  const auto stream = answer.stream;
  const std::int64_t first = fetched;
  EXPECT_LE(first, 512 << 10);
  pass_ms(60'000);
  EXPECT_EQ(fetched, first) << "nothing is fetched while the client does not read";
  while (!stream->ended && !stream->aborted) {
    const std::int64_t before = fetched;
    stream->drain();
    EXPECT_LE(fetched - before, 512 << 10);
  }
  EXPECT_TRUE(whole(answer));
  EXPECT_EQ(stream->text.size(), archive.size());
}

TEST_F(BackupFilesTest, AClientThatGoesEndsTheReading) {
  const VirtualArchive archive("abcd1234", 1, 8 << 20, 0);
  serve(archive.size(), "", "alice", [&](std::uint64_t offset, std::uint64_t length) { return archive.read(offset, length); });
  next_stream_is_slow = true;
  const Answer answer = get(kAt + "/archive");
  const std::int64_t first = fetched;
  answer.stream->hang_up();
  EXPECT_LE(fetched - first, 512 << 10);
  next_stream_is_slow = true;
  // Its place is free again, however many come and go.
  for (int i = 0; i < 40; ++i) {
    const Answer again = get(kAt + "/archive");
    ASSERT_EQ(again.status, 200) << i;
    again.stream->hang_up();
    next_stream_is_slow = true;
  }
}

TEST_F(BackupFilesTest, TooManyAtOnceAreRefused) {
  const VirtualArchive archive("abcd1234", 1, 8 << 20, 0);
  serve(archive.size(), "", "alice", [&](std::uint64_t offset, std::uint64_t length) { return archive.read(offset, length); });
  std::vector<Answer> open;
  for (int i = 0; i < 16; ++i) {
    next_stream_is_slow = true;
    open.push_back(get(kAt + "/archive"));
    ASSERT_EQ(open.back().status, 200);
  }
  next_stream_is_slow = false;
  const Answer refused = get(kAt + "/archive");
  EXPECT_EQ(refused.status, 429);
  EXPECT_FALSE(refused.header("retry-after").empty());
  open[3].stream->hang_up();
  EXPECT_EQ(get(kAt + "/archive").status, 200);
  for (Answer& answer : open) answer.stream->hang_up();
}

}  // namespace
}  // namespace roost::api
