// The engine in a made-up world: many seeds, all faults, the invariants of design section 9. A failing seed is printed; run it
// alone with ROOST_SIM_SEED=n, more of them with ROOST_SIM_SEEDS=n.
#include <gtest/gtest.h>

#include <cstdlib>

#include "simulation/run.hpp"

namespace roost::simulation {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kSeeds = 100;  // sanitizers are slow; a plain build runs the rest
#else
constexpr std::uint64_t kSeeds = 300;
#endif

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* value = std::getenv(name);
  return value ? std::strtoull(value, nullptr, 10) : fallback;
}

// What a seed is like follows from the seed, so that it can be run again alone.
Plan plan_of(std::uint64_t seed) {
  Plan plan;
  plan.seed = seed;
  plan.replicas = seed % 4 == 1 ? 2 : seed % 4 == 3 ? 3 : 1;
  plan.lost_volumes = seed % 8 == 2 || seed % 16 == 9;
  plan.cache_lag_ms = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 300 : 2500;
  if (seed % 5 == 4) plan.crash = 0.002;  // a bad day
  if (seed % 6 == 5) plan.faults.intruder = 0.002;
  // As on Kubernetes: pods take their grace period, claims stay Terminating, nodes are lost.
  if (seed % 5 == 3) plan.grace_ms = 60'000;
  if (seed % 5 == 2) plan.terminating_ms = 60'000;
  if (seed % 9 == 7) plan.faults.node_lost = 0.0005;
  if (seed % 2 == 0) plan.faults.archive_lost = plan.faults.archive_rots = plan.faults.stranger = 0.0005;
  if (seed % 4 == 2 || seed % 6 == 3) plan.backup_every_ms = 60'000;
  plan.restores = seed % 16 == 2 || seed % 16 == 6 || seed % 5 == 0 || seed % 12 == 9;
  if (seed % 10 == 0 || seed % 24 == 9) plan.crash_restoring = 0.03;
  plan.trace = std::getenv("ROOST_SIM_TRACE") != nullptr;
  if (seed % 7 == 6) plan.crash = plan.clock_jump = 0;
  return plan;
}

std::string list(const Report& report) {
  std::string text;
  for (const std::string& violation : report.violations) text += "\n  " + violation;
  return text;
}

TEST(Simulation, EverySeedKeepsTheInvariantsAndConverges) {
  const std::uint64_t one = from_environment("ROOST_SIM_SEED", 0);
  const std::uint64_t count = one ? one : from_environment("ROOST_SIM_SEEDS", kSeeds);
  Report total;
  for (std::uint64_t seed = one ? one : 1; seed <= count; ++seed) {
    const Report report = run(plan_of(seed));
    EXPECT_TRUE(report.violations.empty()) << "ROOST_SIM_SEED=" << seed << list(report);
    total.events += report.events;
    total.crashes += report.crashes;
    total.created += report.created;
    total.deleted += report.deleted;
    total.sent += report.sent;
    total.answered += report.answered;
    total.blocked += report.blocked;
    total.backups += report.backups;
    total.restores += report.restores;
    total.restored += report.restored;
    total.in_place.succeeded += report.in_place.succeeded;
    total.in_place.failed += report.in_place.failed;
    total.in_place.cancelled += report.in_place.cancelled;
    total.drilled += report.drilled;
    total.missing += report.missing;
    total.damaged += report.damaged;
    total.removed += report.removed;
    total.scheduled += report.scheduled;
  }
  std::printf("restores in place: %llu asked for, %llu succeeded, %llu failed, %llu cancelled\n",
              static_cast<unsigned long long>(total.restores), static_cast<unsigned long long>(total.in_place.succeeded),
              static_cast<unsigned long long>(total.in_place.failed), static_cast<unsigned long long>(total.in_place.cancelled));
  std::printf("backups: %llu proven again, %llu missing, %llu damaged, %llu removed\n",
              static_cast<unsigned long long>(total.drilled), static_cast<unsigned long long>(total.missing),
              static_cast<unsigned long long>(total.damaged), static_cast<unsigned long long>(total.removed));
  std::printf("%llu events, %llu crashes, %llu sessions made and %llu deleted, %llu messages sent, %llu acknowledgements\n",
              static_cast<unsigned long long>(total.events), static_cast<unsigned long long>(total.crashes),
              static_cast<unsigned long long>(total.created), static_cast<unsigned long long>(total.deleted),
              static_cast<unsigned long long>(total.sent), static_cast<unsigned long long>(total.answered));
  EXPECT_GT(total.created, 0U);
  EXPECT_GT(total.deleted, 0U);
  EXPECT_GT(total.answered, 0U);
  EXPECT_GT(total.backups, 0U);
  EXPECT_GT(total.restores, 0U);
  if (count >= kSeeds) {  // of fewer each restore may be cancelled
    EXPECT_GT(total.restored, 0U);
    EXPECT_GT(total.in_place.succeeded, 0U);
    EXPECT_GT(total.in_place.failed, 0U);
    EXPECT_GT(total.in_place.cancelled, 0U);
    EXPECT_GT(total.drilled, 0U);
    EXPECT_GT(total.missing, 0U);
    EXPECT_GT(total.damaged, 0U);
    EXPECT_GT(total.removed, 0U);
    EXPECT_GT(total.scheduled, 0U);
  }
}

// ---- the harness itself: with a bug in the world it must cry ----

// The first seed of `seeds` in which a violation speaks of one of `words`; 0: none does.
std::uint64_t noticed(const Sabotage& sabotage, std::uint64_t seeds, const std::vector<std::string>& words) {
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
    Plan plan = plan_of(seed);
    plan.lost_volumes = false;
    plan.sabotage = sabotage;
    plan.settle_ms = 300'000;
    const std::string violations = list(run(plan));
    for (const std::string& word : words) {
      if (violations.find(word) != std::string::npos) return seed;
    }
  }
  return 0;
}

TEST(SimulationHarness, NoticesAVerificationThatReadsNothing) {
  Sabotage sabotage;
  sabotage.verify_reads_nothing = true;
  EXPECT_NE(noticed(sabotage, 20, {"without a verified backup"}), 0U);
}

TEST(SimulationHarness, NoticesABackupThatMissesTheLastWrite) {
  Sabotage sabotage;
  sabotage.backup_takes_nothing = true;
  EXPECT_NE(noticed(sabotage, 20, {"without a verified backup"}), 0U);
}

TEST(SimulationHarness, NoticesAStoreThatIgnoresConditions) {
  Sabotage sabotage;
  sabotage.ignores_conditions = true;
  EXPECT_NE(noticed(sabotage, 60, {"is lost", "is said to hold", "never delivered"}), 0U);
}

TEST(SimulationHarness, NoticesAStoreThatForgetsWhatItAcknowledged) {
  Sabotage sabotage;
  sabotage.forgets_commits = true;
  EXPECT_NE(noticed(sabotage, 40, {"is lost", "never delivered", "neither a document"}), 0U);
}

TEST(SimulationHarness, NoticesMessagesThatAreOfferedOutOfOrder) {
  Sabotage sabotage;
  sabotage.offers_out_of_order = true;
  EXPECT_NE(noticed(sabotage, 40, {"passed over", "came after a later one"}), 0U);
}

// Of the platform's own guards and the engine's live look, each alone is enough; without both it must cry.
TEST(SimulationHarness, NoticesALiveObservationThatIsNone) {
  Sabotage sabotage;
  sabotage.live_is_cached = sabotage.unguarded = true;
  bool cried = false;
  for (std::uint64_t seed = 1; seed <= 100 && !cried; ++seed) {
    Plan plan = plan_of(seed);
    plan.lost_volumes = false;
    plan.faults.intruder = 0.001;
    plan.cache_lag_ms = 20'000;
    plan.sabotage = sabotage;
    plan.settle_ms = 300'000;
    cried = list(run(plan)).find("without a verified backup") != std::string::npos;
  }
  EXPECT_TRUE(cried);
}

// A short life, with a crash at each call that may change something, one run for each.
TEST(Simulation, ACrashAtAnyCallLosesNothing) {
  Plan plan;
  plan.seed = 77;
  plan.sessions = 2;
  plan.crash = plan.clock_jump = 0;
  plan.busy_ms = 120'000;
  plan.crash_at_call = 0;  // none: as those with one draw their random numbers
  const Report whole = run(plan);
  ASSERT_TRUE(whole.violations.empty()) << list(whole);
  ASSERT_GT(whole.calls, 20U);
  for (std::uint64_t at = 1; at <= std::min<std::uint64_t>(whole.calls, 150); ++at) {
    plan.crash_at_call = at;
    const Report report = run(plan);
    EXPECT_TRUE(report.violations.empty()) << "a crash at call " << at << list(report);
    EXPECT_EQ(report.crashes, 1U);
  }
}

TEST(Simulation, TheSameSeedGivesTheSameRun) {
  const Report first = run(plan_of(5));
  const Report second = run(plan_of(5));
  EXPECT_EQ(first.events, second.events);
  EXPECT_EQ(first.calls, second.calls);
  EXPECT_EQ(first.sent, second.sent);
}

}  // namespace
}  // namespace roost::simulation
