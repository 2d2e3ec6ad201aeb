// The catalogue over the API: lists, pages, one record, and whose they are.
#include <set>

#include "api/api_fixture.hpp"
#include "engine/documents.hpp"

namespace roost::api {
namespace {

class BackupsTest : public ApiFixture {
 protected:
  std::string deleted_session(const std::string& user) {
    const std::string id = create(user);
    world.user_writes(id);
    EXPECT_EQ(call("DELETE", "/session/" + id).status, 200);
    return id;
  }
  void put(const BackupRecord& record) {
    Commit commit;
    commit.partition = documents::backup_partition(record.id);
    commit.operations.push_back({StoreOperation::Kind::put, documents::backup_key(record.id), to_json(record).dump(), 0});
    ASSERT_TRUE(world.commit(commit).ok());
  }
  // `count` records of one session, a second apart.
  void put_many(const std::string& session, const std::string& user, int count) {
    for (int i = 0; i < count; ++i) {
      BackupRecord record;
      record.id = session + "-202511150351" + std::to_string(10 + i) + "Z";
      record.session_id = session;
      record.user_id = user;
      record.archive = record.receipt.archive = "workspace-" + record.id + ".zip";
      record.receipt.session_id = session;
      record.receipt.operation_id = "0badcafe";
      record.state = "verified";
      put(record);
    }
  }
  std::vector<std::string> walk(std::string target, const std::string& key = kAdmin) {
    std::vector<std::string> ids;
    std::string cursor;
    do {
      const Answer page = get(target + "&cursor=" + cursor, key);
      EXPECT_EQ(page.status, 200) << page.body;
      const Json body = page.json();
      EXPECT_EQ(body["count"].as_int(), static_cast<std::int64_t>(body["backups"].items().size()));
      for (const Json& backup : body["backups"].items()) ids.push_back(backup["id"].as_string());
      cursor = body["next_cursor"].as_string();
    } while (!cursor.empty() && ids.size() < 1000);
    return ids;
  }
};

TEST_F(BackupsTest, ABackupOutlivesItsSession) {
  const std::string id = deleted_session("alice");
  const Answer list = get("/session/" + id + "/backups", kAlice);
  ASSERT_EQ(list.status, 200) << list.body;
  ASSERT_EQ(list.json()["count"].as_int(), 1);
  const Json backup = list.json()["backups"].items().at(0);
  EXPECT_EQ(backup["session_id"].as_string(), id);
  EXPECT_EQ(backup["user_id"].as_string(), "alice");
  EXPECT_EQ(backup["trigger"].as_string(), "delete");
  EXPECT_EQ(backup["state"].as_string(), "verified");
  EXPECT_EQ(backup["consistency"].as_string(), "at rest");
  EXPECT_EQ(backup["place"].as_string(), "backup-simulated");
  EXPECT_EQ(backup["last_proven_restorable_at"], backup["verified_at"]);
  EXPECT_FALSE(backup["verified_at"].as_string().empty());
  EXPECT_EQ(get("/backups/" + backup["id"].as_string(), kAliceReads).json(), backup);
}

TEST_F(BackupsTest, PagesGiveEachRecordOnceAndInOrder) {
  put_many("00aaaaaa", "alice", 7);
  put_many("7f000001", "bob", 5);
  put_many("ff000001", "alice", 6);
  for (const int limit : {1, 3, 6, 100}) {
    const auto all = walk("/backups?limit=" + std::to_string(limit));
    EXPECT_EQ(all.size(), 18U);
    EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
    EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), 18U);
    EXPECT_EQ(walk("/backups?user_id=alice&limit=" + std::to_string(limit)).size(), 13U);
    EXPECT_EQ(walk("/backups?session_id=7f000001&limit=" + std::to_string(limit)).size(), 5U);
    EXPECT_EQ(walk("/session/ff000001/backups?limit=" + std::to_string(limit)).size(), 6U);
  }
}

TEST_F(BackupsTest, AKeyOfAUserSeesThatUsersBackupsOnly) {
  put_many("00aaaaaa", "alice", 2);
  put_many("7f000001", "bob", 2);
  EXPECT_EQ(walk("/backups?limit=1", kAlice).size(), 2U);
  EXPECT_EQ(walk("/backups?user_id=bob&limit=10", kAlice).size(), 0U);
  EXPECT_EQ(walk("/backups?session_id=7f000001&limit=10", kAlice).size(), 0U);
  EXPECT_EQ(get("/backups/00aaaaaa-20251115035110Z", kAlice).status, 200);
  const Answer others = get("/backups/7f000001-20251115035110Z", kAlice),
               nobodys = get("/backups/7f000001-20251115035199Z", kAlice);
  EXPECT_EQ(others.status, 404);
  EXPECT_EQ(others.detail(), "there is no backup 7f000001-20251115035110Z");
  EXPECT_EQ(nobodys.detail(), "there is no backup 7f000001-20251115035199Z");
  EXPECT_EQ(get("/session/7f000001/backups", kAlice).status, 404);
  EXPECT_EQ(get("/session/7f000001/backups", kAlice).detail(),
            get("/session/00000000/backups", kAlice).detail().replace(20, 8, "7f000001"));
  EXPECT_EQ(get("/backups", "").status, 401);
}

TEST_F(BackupsTest, ASessionWithoutBackupsIsNotAMissingSession) {
  const std::string id = create("alice");
  EXPECT_EQ(get("/session/" + id + "/backups").json()["count"].as_int(-1), 0);
  EXPECT_EQ(get("/session/00000000/backups").status, 404);
  EXPECT_EQ(get("/session/UPPER/backups").status, 404);
}

TEST_F(BackupsTest, WhatWasRemovedIsNotListedAndSaysWhy) {
  put_many("00aaaaaa", "alice", 2);
  BackupRecord record;
  record.id = "00aaaaaa-20251115035110Z";
  record.session_id = "00aaaaaa";
  record.user_id = "alice";
  record.archive = record.receipt.archive = "workspace-" + record.id + ".zip";
  record.receipt.session_id = "00aaaaaa";
  record.receipt.operation_id = "0badcafe";
  record.state = "deleted";
  record.note = BackupNote{"kept for 30 days", "retention", 1'763'178'696'653'291};
  put(record);
  EXPECT_EQ(walk("/backups?limit=10").size(), 1U);
  const Answer gone = get("/backups/" + record.id, kAlice);
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(gone.detail(),
            "the backup " + record.id + " was removed at 2025-11-15T03:51:36.653291 by retention: kept for 30 days");
}

TEST_F(BackupsTest, WrongQueriesSayWhatIsRight) {
  EXPECT_EQ(get("/backups?limit=0").status, 400);
  EXPECT_EQ(get("/backups?limit=1001").status, 400);
  EXPECT_EQ(get("/backups?cursor=../x").status, 400);
  EXPECT_EQ(get("/backups?session_id=zz").status, 400);
  EXPECT_EQ(get("/backups/..%2f").status, 404);
}

TEST_F(BackupsTest, AHoldKeepsABackupAndSaysWho) {
  const std::string session = deleted_session("alice");
  const std::string at = "/backups/" + get("/session/" + session + "/backups").json()["backups"].items().at(0)["id"].as_string();
  const Answer held = post(at + "/hold", R"({"until":null,"reason":"an audit"})", kAlice);
  EXPECT_EQ(held.status, 200) << held.body;
  EXPECT_EQ(held.json()["hold"].dump(), R"({"until":null,"reason":"an audit","by":"alice"})");
  EXPECT_EQ(audit.back().action, "backup.hold");
  const Answer refused = call("DELETE", at + "?override=true");
  EXPECT_EQ(refused.status, 409);
  EXPECT_NE(refused.detail().find("held by alice: an audit"), std::string::npos) << refused.detail();
  EXPECT_EQ(call("DELETE", at + "/hold", {kAlice, "", {}, "p"}).json()["hold"].dump(), "null");
  for (const char* wrong : {R"({})", R"({"reason":""})", R"({"reason":"x","until":"yesterday"})", R"({"reason":"x","until":5})",
                            R"({"reason":"x","until":"2001-01-01T00:00:00.000000"})"}) {
    EXPECT_EQ(post(at + "/hold", wrong).status, 422) << wrong;
  }
  EXPECT_EQ(post(at + "/hold", R"({"reason":"x"})", kRead).status, 403);
  EXPECT_EQ(post("/backups/7f000001-20251115035110Z/hold", R"({"reason":"x"})").status, 404);
}

TEST_F(BackupsTest, RemovingTheLastOneOfADeletedSessionNeedsAnAdmin) {
  const std::string session = deleted_session("alice");
  const std::string id = get("/session/" + session + "/backups").json()["backups"].items().at(0)["id"].as_string();
  const std::string at = "/backups/" + id;
  EXPECT_EQ(call("DELETE", at, {kAlice, "", {}, "p"}).status, 409);
  EXPECT_EQ(call("DELETE", at + "?override=true", {kSessions, "", {}, "p"}).status, 403);
  EXPECT_EQ(audit.back().outcome, "refused");
  audit_fails = true;
  EXPECT_EQ(call("DELETE", at + "?override=true").status, 503);
  audit_fails = false;
  const Answer removed = call("DELETE", at + "?override=true&reason=asked");
  EXPECT_EQ(removed.status, 202) << removed.body;
  EXPECT_EQ(removed.json().dump(), Json::object({{"id", id}, {"state", "deleting"}}).dump());
  EXPECT_TRUE(until([&] { return world.archives.empty(); }));
  EXPECT_TRUE(until([&] { return get(at).status == 404; }));
  EXPECT_NE(get(at).detail().find("by admin: asked"), std::string::npos) << get(at).detail();
  EXPECT_EQ(get("/session/" + session + "/backups").status, 404);
}

TEST_F(BackupsTest, ReadingAgainOnRequest) {
  const std::string session = deleted_session("alice");
  const std::string at = "/backups/" + get("/session/" + session + "/backups").json()["backups"].items().at(0)["id"].as_string();
  const std::string before = get(at).json()["last_proven_restorable_at"].as_string();
  const Answer asked = post(at + "/verify", "", kAlice);
  EXPECT_EQ(asked.status, 202);
  EXPECT_FALSE(asked.json()["verify_asked_at"].is_null());
  EXPECT_TRUE(until([&] { return get(at).json()["verify_asked_at"].is_null(); }));
  EXPECT_GT(get(at).json()["last_proven_restorable_at"].as_string(), before);
}

TEST_F(BackupsTest, StrangersAreForThoseWhoSeeEverybody) {
  world.archives["a-file-of-mine"].receipt.made_at_us = 1;  // it lies there for long
  pass_ms(120'000);
  EXPECT_EQ(get("/backups/strangers").json()["count"].as_int(), 1);
  EXPECT_EQ(get("/backups/strangers").json()["strangers"].items().at(0)["archive"].as_string(), "a-file-of-mine");
  EXPECT_EQ(get("/backups/strangers", kAlice).status, 403);
}

}  // namespace
}  // namespace roost::api
