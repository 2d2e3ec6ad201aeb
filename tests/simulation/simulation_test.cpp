// The engine in a made-up world: many seeds, all faults, the invariants of design section 9. A failing seed is printed; run it
// alone with ROOST_SIM_SEED=n, more of them with ROOST_SIM_SEEDS=n.
#include <gtest/gtest.h>

#include <cstdlib>

#include "simulation/run.hpp"

namespace roost::simulation {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* value = std::getenv(name);
  return value ? std::strtoull(value, nullptr, 10) : fallback;
}

// What a seed is like follows from the seed, so that it can be run again alone.
Plan plan_of(std::uint64_t seed) {
  Plan plan;
  plan.seed = seed;
  plan.two_replicas = seed % 4 == 1;
  plan.lost_volumes = seed % 8 == 2;
  plan.cache_lag_ms = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 300 : 2500;
  if (seed % 5 == 4) plan.crash = 0.01;  // a bad day
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
  const std::uint64_t count = one ? one : from_environment("ROOST_SIM_SEEDS", 300);
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
    if (::testing::Test::HasFailure() && report.violations.size() > 0 && seed - one > 400) break;
  }
  std::printf("%llu events, %llu crashes, %llu sessions made and %llu deleted, %llu messages sent, %llu acknowledgements\n",
              static_cast<unsigned long long>(total.events), static_cast<unsigned long long>(total.crashes),
              static_cast<unsigned long long>(total.created), static_cast<unsigned long long>(total.deleted),
              static_cast<unsigned long long>(total.sent), static_cast<unsigned long long>(total.answered));
  EXPECT_GT(total.created, 0U);
  EXPECT_GT(total.deleted, 0U);
  EXPECT_GT(total.answered, 0U);
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
