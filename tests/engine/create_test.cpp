// Creating a session: caps, keys, and what becomes of one that stopped half-way.
#include <gtest/gtest.h>

#include "engine/harness.hpp"

namespace roost::simulation {
namespace {

TEST(Create, MakesASessionThatComesUp) {
  Harness h;
  const std::string id = h.create_running();
  EXPECT_TRUE(valid_session_id(id));
  EXPECT_EQ(h.view(id)->session.volume.name, "pvc-" + id);
  EXPECT_FALSE(h.view(id)->session.volume.uid.empty());
  EXPECT_EQ(h.view(id)->session.observed.replicas, 1);
}

TEST(Create, RefusesPastTheUsersCapAndAgainAcceptsAfterADelete) {
  EngineOptions options;
  options.sessions_per_user = 2;
  Harness h(options);
  const std::string first = h.create_running("ada");
  ASSERT_TRUE(h.create("ada").ok());
  EXPECT_EQ(code_of(h.create("ada")), Code::exhausted);
  EXPECT_TRUE(h.create("grace").ok());
  ASSERT_TRUE(h.remove(first).ok());
  ASSERT_TRUE(h.wait_deleted(first).ok());
  EXPECT_TRUE(h.create("ada").ok());
}

TEST(Create, RefusesPastTheTotalCap) {
  EngineOptions options;
  options.sessions_total = 1;
  Harness h(options);
  ASSERT_TRUE(h.create("ada").ok());
  EXPECT_EQ(code_of(h.create("grace")), Code::exhausted);
}

TEST(Create, TheSameKeyGivesTheSameSession) {
  Harness h;
  auto first = h.create("ada", with_key("k"));
  auto second = h.create("ada", with_key("k"));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ((*first)->session.id, (*second)->session.id);
  EXPECT_EQ(h.engine().reads().size(), 1U);
  h.restart();
  auto third = h.create("ada", with_key("k"));
  ASSERT_TRUE(third.ok());
  EXPECT_EQ((*first)->session.id, (*third)->session.id);
}

TEST(Create, AKeyIsRememberedForAllOfItsTime) {
  EngineOptions options;
  options.idempotency_ms = 600'000;
  Harness h(options);
  auto first = h.create("ada", with_key("k"));
  ASSERT_TRUE(first.ok());
  h.pass_ms(580'000);
  EXPECT_EQ((*h.create("ada", with_key("k")))->session.id, (*first)->session.id);
  h.pass_ms(21'000);
  EXPECT_NE((*h.create("ada", with_key("k")))->session.id, (*first)->session.id);
}

TEST(Create, ADryRunChecksAndMakesNothing) {
  EngineOptions options;
  options.sessions_per_user = 1;
  Harness h(options);
  CommandOptions dry;
  dry.dry_run = true;
  ASSERT_TRUE(h.create("ada", dry).ok());
  EXPECT_EQ(h.engine().reads().size(), 0U);
  ASSERT_TRUE(h.create("ada").ok());
  EXPECT_EQ(code_of(h.create("ada", dry)), Code::exhausted);
}

TEST(Create, RefusesABadUser) {
  Harness h;
  EXPECT_EQ(code_of(h.create("")), Code::invalid);
}

// What the first of the two commits of a create leaves behind.
void leave_half_made(Harness& h, const std::string& user, const std::string& id, const std::string& key) {
  Commit half;
  half.partition = documents::user_partition(user);
  const Json reservation = Json::object({{"id", id}, {"at_us", h.simulator.wall_us()}});
  half.operations.push_back({StoreOperation::Kind::put, documents::reservation_key(id), reservation.dump(), 0});
  half.operations.push_back(
      {StoreOperation::Kind::put, documents::user_idempotency_key(key), Json::object({{"id", id}}).dump(), 0});
  ASSERT_TRUE(h.world.commit(half).ok());
}

TEST(Create, AHalfMadeOneIsFinishedByTheRetryThatCarriesItsKey) {
  Harness h;
  leave_half_made(h, "ada", "0badcafe", "k");
  auto made = h.create("ada", with_key("k"));
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)->session.id, "0badcafe");
  EXPECT_TRUE(h.until([&] { return h.phase("0badcafe") == Phase::running; }));
}

TEST(Create, AHalfMadeOneCountsUntilItIsOldAndIsThenFreed) {
  EngineOptions options;
  options.sessions_per_user = 1;
  Harness h(options);
  leave_half_made(h, "ada", "0badcafe", "k");
  EXPECT_EQ(code_of(h.create("ada")), Code::exhausted);
  h.pass_ms(11 * 60'000);
  EXPECT_TRUE(h.create("ada").ok());
  EXPECT_FALSE(h.world.get(documents::user_partition("ada"), documents::reservation_key("0badcafe")).ok());
}

// Of a session that another replica made a moment ago, or of a deleted one.
TEST(Create, AnIdThatIsTakenInTheStoreIsNotUsedAgain) {
  Harness h;
  auto first = h.create("ada");
  ASSERT_TRUE(first.ok());
  const std::string id = (*first)->session.id;
  for (const std::string& key : {documents::session_key(id), documents::tombstone_key(id)}) {
    Harness again;  // the same chance: it would choose the same id
    Session theirs = (*first)->session;
    theirs.user_id = "grace";
    Commit taken;
    taken.partition = documents::partition(id);
    taken.operations.push_back({StoreOperation::Kind::put, key, documents::encode(theirs, ""), 0});
    ASSERT_TRUE(again.world.commit(taken).ok());
    auto second = again.create("ada");
    ASSERT_TRUE(second.ok()) << key;
    EXPECT_NE((*second)->session.id, id) << key;
    EXPECT_EQ(again.world.get(documents::partition(id), key)->value, documents::encode(theirs, ""));
    EXPECT_FALSE(again.world.get(documents::user_partition("ada"), documents::reservation_key(id)).ok());
  }
}

TEST(Create, AnIdThatABackupBearsIsNotUsedAgain) {
  Harness h;
  auto first = h.create("ada");
  ASSERT_TRUE(first.ok());
  const std::string id = (*first)->session.id;
  Harness again;  // the same chance: it would choose the same id
  Commit backup;
  backup.partition = documents::backup_partition(id);
  backup.operations.push_back({StoreOperation::Kind::put, documents::backup_key(id + "-20251113T021320Z"), "{}", 0});
  ASSERT_TRUE(again.world.commit(backup).ok());
  auto second = again.create("ada");
  ASSERT_TRUE(second.ok());
  EXPECT_NE((*second)->session.id, id);
}

}  // namespace
}  // namespace roost::simulation
