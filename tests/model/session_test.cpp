#include "model/session.hpp"

#include <gtest/gtest.h>

namespace roost {
namespace {

Session full() {
  Session s;
  s.id = "1823b3a8";
  s.user_id = "john@example.com";
  s.created_at_us = 1763178696653291;
  s.last_activity_us = 1763178696653292;
  s.wanted = Wanted::deleted;
  s.wanted_size = {2000, 2 << 20};
  s.spec_generation = 7;
  s.secret_nonce = "0123456789abcdef";
  s.wake_count = 3;
  s.volume = {"pvc-1823b3a8", "token", "uid", 2, 1 << 30};
  s.phase = Phase::delete_blocked;
  s.reason = "NoSpace";
  s.message = "the backup directory is full";
  s.observed = {1, true, "i1", {1000, 1 << 20}, "unix:/run/x", "CrashLoop", "exit 1", Json::object({{"network", "none"}})};
  s.operation = Operation{"0a1b2c3d",
                          OperationKind::remove,
                          OperationStep::verify,
                          OperationOutcome::failed,
                          "schedule",
                          4,
                          3,
                          true,
                          true,
                          true,
                          "a.zip",
                          "b",
                          Receipt{},
                          std::nullopt,
                          std::nullopt,
                          5,
                          "r",
                          "m"};
  s.operation->receipt->archive = "a.zip";
  s.operation->receipt->session_id = s.id;
  s.operation->receipt->operation_id = s.operation->id;
  s.operation->receipt->skipped.push_back({"file", "unreadable", 2, "x"});
  s.operation->source = s.operation->receipt;
  s.operation->source->archive = "source.zip";
  s.operation->target = Volume{"pvc-1823b3a8-g4", "token-4", "uid-4", 4, 1 << 30};
  s.volume_generation = 4;
  s.kept_volumes = {{{"pvc-1823b3a8-g1", "token-1", "uid-1", 1, 1 << 30}, *s.operation->receipt, 77}};
  s.discarded_volumes = {{"pvc-1823b3a8-g3", "token-3", "", 3, 1 << 30}};
  s.retired = {{"0a222222", 3, true}, {"0a333333", 1, false}};
  s.last_backup = {"1823b3a8-20251115T035136Z", 12, true, 6};
  s.scheduled = {13, 2, true};
  s.queue_length = 9;
  s.failures = 8;
  s.next_attempt_at_us = 11;
  return s;
}

TEST(Session, EveryMemberSurvivesTheStore) {
  const Session session = full();
  const auto text = to_json(session).dump();
  const auto back = session_from_json(*Json::parse(text));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(*back, session);
  EXPECT_FALSE(*back == Session{}) << "the comparison sees members";
}

TEST(Session, EveryPhaseSurvivesTheStore) {
  for (int i = 0; i <= static_cast<int>(Phase::failed); ++i) {
    Session session = full();
    session.phase = static_cast<Phase>(i);
    EXPECT_EQ(session_from_json(to_json(session))->phase, session.phase);
  }
}

TEST(Session, UnknownMembersAreIgnoredAndWrongOnesAreDataLossByName) {
  Json json = to_json(full());
  json.set("later", "x");
  EXPECT_TRUE(session_from_json(json).ok());
  json.set("phase", "levitating");
  const auto wrong = session_from_json(json);
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().code, Code::data_loss);
  EXPECT_NE(wrong.error().message.find("phase"), std::string::npos);
  Json id = to_json(full());
  id.set("id", "../../etc");
  EXPECT_FALSE(session_from_json(id).ok());
  EXPECT_FALSE(session_from_json(Json("text")).ok());
}

TEST(Session, ABackupOfAnEarlierVersionDoesNotSayThatTheFilesAreInIt) {
  Json json = to_json(full());
  json.set("last_backup", *Json::parse(R"({"id":"1823b3a8-20251115T035136Z","at_us":12,"live":false})"));
  EXPECT_EQ(session_from_json(json)->last_backup.wake_count, -1);
}

TEST(Session, TombstoneSurvivesTheStore) {
  const Tombstone tombstone{"1823b3a8", "john", 5, *full().operation};
  EXPECT_EQ(*tombstone_from_json(to_json(tombstone)), tombstone);
}

TEST(Session, ContractStatusFollowsTheGuide) {
  Session session = full();
  EXPECT_EQ(contract_status(session), ContractStatus::terminating);
  session.wanted = Wanted::asleep;
  EXPECT_EQ(contract_status(session), ContractStatus::sleeping);
  session.wanted = Wanted::running;
  session.observed.ready = false;
  EXPECT_EQ(contract_status(session), ContractStatus::waking);
  session.observed.ready = true;
  EXPECT_EQ(contract_status(session), ContractStatus::created);
  session.observed.ready = false;
  session.wake_count = 0;
  EXPECT_EQ(contract_status(session), ContractStatus::created) << "never slept";
}

TEST(Session, IdsAreEightLowerCaseHexDigits) {
  EXPECT_TRUE(valid_session_id("1823b3a8"));
  for (const char* id : {"", "1823b3a", "1823b3a88", "1823B3A8", "1823b3ag", "../../..", "1823b3a/"})
    EXPECT_FALSE(valid_session_id(id)) << id;
}

TEST(Session, UserIdsAreLimited) {
  EXPECT_TRUE(validate_user_id("jöhn@example.com").ok());
  for (const std::string& id : {std::string(), std::string(255, 'a'), std::string("a\nb"), std::string(" a"), std::string("\xff"),
                                std::string("a\0b", 3)}) {
    EXPECT_FALSE(validate_user_id(id).ok()) << id;
  }
}

}  // namespace
}  // namespace roost
