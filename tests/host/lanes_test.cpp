// Lanes over a real plugin: concurrency, deadlines, cancellation, stuck calls, closing.
#include "host/lanes.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "host/plugin_slot.hpp"
#include "plugin_fixture.hpp"
#include "wait.hpp"

namespace roost {
namespace {

using test::Answer;
using test::eventually;
using testing::Contains;
using testing::HasSubstr;

class LanesTest : public test::PluginFixture {
 protected:
  void SetUp() override {
    ASSERT_EQ(::pipe(gate_), 0);
    auto loaded = load_plugin(write_manifest(manifest("memory", "store-memory", "store")), PluginKind::store, host_.api);
    ASSERT_TRUE(loaded.ok()) << loaded.error().message;
    plugin_ = *loaded;
  }
  ~LanesTest() override {
    lanes_.reset();
    for (const int fd : gate_) ::close(fd);
  }
  Lanes& lanes(LanesOptions options = {}) {
    auto opened = Instance::open(plugin_, "test", Json::object({{"gate", gate_[0]}}), {}, in_seconds(10));
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    lanes_ = std::make_unique<Lanes>(std::move(*opened), options);
    return *lanes_;
  }
  void open_gate() { ASSERT_EQ(::write(gate_[1], "x", 1), 1); }
  // get of a key: the memory plugin knows "patient" (waits for its deadline or cancellation) and "stuck" (waits for open_gate
  // only).
  Lanes::Job get(const std::string& key, std::int64_t timeout_ms, const Done<std::string>& done) {
    Lanes::Job job;
    job.deadline_ns = system_clock().monotonic_ns() + timeout_ms * 1'000'000;
    job.what = "get " + key;
    job.run = [key, done](WorkerCall& call) {
      const Status status = call.invoke({}, [&](auto* instance, auto* raw, auto* sink, auto* error) {
        return call.plugin().store.get(instance, raw, to_bytes("p"), to_bytes(key), sink, error);
      });
      done(status.ok() ? Result<std::string>(call.records().at(0).value) : Result<std::string>(status.error()));
    };
    job.refuse = [done](Error error) { done(std::move(error)); };
    return job;
  }
  bool closed() {
    const std::scoped_lock lock(host_.mutex);
    return std::find(host_.logs.begin(), host_.logs.end(), "closed") != host_.logs.end();
  }

  int gate_[2] = {-1, -1};
  PluginHandle plugin_;
  std::unique_ptr<Lanes> lanes_;
};

TEST_F(LanesTest, GiveEachCallATraceId) {
  Answer<std::string> answer;
  lanes().submit(LaneKind::brief, get("trace", 60'000, answer.done()));
  const auto trace = answer.get();
  ASSERT_TRUE(trace.ok()) << trace.error().message;
  EXPECT_EQ(trace->size(), 32u);
}

TEST_F(LanesTest, CancelACallAtItsDeadline) {
  Answer<std::string> answer;
  lanes().submit(LaneKind::brief, get("patient", 50, answer.done()));
  const auto ended = answer.get();
  ASSERT_FALSE(ended.ok());
  EXPECT_EQ(ended.error().code, Code::deadline);
}

TEST_F(LanesTest, MakeTheCancelDescriptorReadableAtTheDeadline) {
  Answer<std::string> answer;
  lanes().submit(LaneKind::brief, get("poll", 50, answer.done()));
  const auto ended = answer.get();
  ASSERT_FALSE(ended.ok());
  EXPECT_EQ(ended.error().code, Code::cancelled);
}

TEST_F(LanesTest, AnswerAnOverrunCallOnlyWhenItReturnsAndAsUnknown) {
  LanesOptions options;
  options.grace_ms = 10;
  Answer<std::string> answer;
  Lanes& tested = lanes(options);
  tested.submit(LaneKind::brief, get("stuck", 20, answer.done()));
  ASSERT_TRUE(eventually([&] { return tested.statistics().overdue == 1; }));
  EXPECT_FALSE(answer.arrived());
  EXPECT_THAT(host_.violations(), Contains(HasSubstr("does not return from get stuck")));
  open_gate();
  const auto ended = answer.get();
  ASSERT_FALSE(ended.ok());
  EXPECT_EQ(ended.error().code, Code::outcome_unknown);
  EXPECT_TRUE(eventually([&] { return tested.statistics().running == 0; }));
  EXPECT_EQ(tested.statistics().overdue_total, 1u);
}

TEST_F(LanesTest, RefuseACallThatWaitedBeyondItsDeadlineBehindAStuckOne) {
  LanesOptions options;
  options.brief = {1, 10};
  Lanes& tested = lanes(options);
  Answer<std::string> stuck;
  Answer<std::string> behind;
  tested.submit(LaneKind::brief, get("stuck", 60'000, stuck.done()));
  ASSERT_TRUE(eventually([&] { return tested.statistics().running == 1; }));
  tested.submit(LaneKind::brief, get("trace", 20, behind.done()));
  const auto refused = behind.get();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::deadline);
  EXPECT_THAT(refused.error().message, HasSubstr("nothing was done"));
  EXPECT_FALSE(stuck.arrived());
  open_gate();
  EXPECT_FALSE(stuck.get().ok());  // the memory plugin has no document "stuck"
}

TEST_F(LanesTest, KeepAStuckCallFromTheOtherLanes) {
  LanesOptions options;
  options.brief = {1, 10};
  Lanes& tested = lanes(options);
  Answer<std::string> stuck;
  Answer<std::string> other;
  tested.submit(LaneKind::brief, get("stuck", 60'000, stuck.done()));
  tested.submit(LaneKind::bulk, get("trace", 60'000, other.done()));
  EXPECT_TRUE(other.get().ok());
  open_gate();
  EXPECT_FALSE(stuck.get().ok());
}

TEST_F(LanesTest, RunAsManyCallsAsThePluginBearsAndNoMore) {
  LanesOptions options;
  options.brief = {100, 1000};  // the memory plugin says 4
  Lanes& tested = lanes(options);
  std::vector<Answer<std::string>> answers(12);
  for (auto& answer : answers) tested.submit(LaneKind::brief, get("stuck", 60'000, answer.done()));
  ASSERT_TRUE(eventually([&] { return tested.statistics().running == 4; }));
  EXPECT_EQ(tested.statistics().queued, 8u);
  for (std::size_t i = 0; i < answers.size(); ++i) open_gate();
  for (auto& answer : answers) EXPECT_EQ(answer.get().error().code, Code::not_found);
}

TEST_F(LanesTest, NeverLetACallWaitBehindAnotherWhileAWorkerCouldBeMade) {
  for (int round = 0; round < 50; ++round) {  // whether the idle worker has woken by the next submit is up to the scheduler
    Lanes& tested = lanes();
    Answer<std::string> first;
    tested.submit(LaneKind::bulk, get("trace", 60'000, first.done()));
    EXPECT_TRUE(first.get().ok());  // now a worker is idle, or about to be
    std::vector<Answer<std::string>> answers(4);
    for (auto& answer : answers) tested.submit(LaneKind::bulk, get("stuck", 60'000, answer.done()));
    ASSERT_TRUE(eventually([&] { return tested.statistics().running == 4; }));
    for (std::size_t i = 0; i < answers.size(); ++i) open_gate();
    for (auto& answer : answers) EXPECT_FALSE(answer.get().ok());
  }
}

TEST_F(LanesTest, RefuseWhatDoesNotFitTheQueue) {
  LanesOptions options;
  options.brief = {1, 2};
  Lanes& tested = lanes(options);
  std::vector<Answer<std::string>> answers(4);
  tested.submit(LaneKind::brief, get("stuck", 60'000, answers[0].done()));
  ASSERT_TRUE(eventually([&] { return tested.statistics().running == 1; }));
  for (std::size_t i = 1; i < answers.size(); ++i) tested.submit(LaneKind::brief, get("trace", 60'000, answers[i].done()));
  const auto refused = answers[3].get();
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::exhausted);
  EXPECT_GT(refused.error().retry_after_ms, 0);
  open_gate();
  EXPECT_TRUE(answers[1].get().ok());
  EXPECT_TRUE(answers[2].get().ok());
}

TEST_F(LanesTest, ACancelledCallDoesNotCancelTheNextOneOfItsWorker) {
  LanesOptions options;
  options.brief = {1, 10};
  Lanes& tested = lanes(options);
  for (int i = 0; i < 20; ++i) {
    Answer<std::string> first;
    Answer<std::string> second;
    tested.submit(LaneKind::brief, get("poll", 1, first.done()));
    tested.submit(LaneKind::brief, get("trace", 60'000, second.done()));
    EXPECT_FALSE(first.get().ok());
    EXPECT_TRUE(second.get().ok());
  }
}

TEST_F(LanesTest, DrainEndsTheWatchAtOnceAndRefusesTheQueue) {
  LanesOptions options;
  options.brief = {1, 10};
  Lanes& tested = lanes(options);
  Answer<std::string> watching;
  Answer<std::string> running;
  Answer<std::string> queued;
  tested.submit(LaneKind::watch, get("patient", 3'600'000, watching.done()));
  tested.submit(LaneKind::brief, get("stuck", 60'000, running.done()));
  ASSERT_TRUE(eventually([&] { return tested.statistics().running == 2; }));
  tested.submit(LaneKind::brief, get("trace", 60'000, queued.done()));
  bool drained = false;
  std::thread drain([&] { drained = tested.drain(in_seconds(60)); });
  EXPECT_EQ(watching.get().error().code, Code::cancelled);
  EXPECT_EQ(queued.get().error().code, Code::cancelled);
  EXPECT_FALSE(running.arrived());
  open_gate();
  drain.join();
  EXPECT_TRUE(drained);
  EXPECT_TRUE(running.arrived());
  Answer<std::string> late;
  tested.submit(LaneKind::brief, get("trace", 60'000, late.done()));
  EXPECT_EQ(late.get().error().code, Code::cancelled);
  lanes_.reset();
  EXPECT_TRUE(closed());
}

TEST_F(LanesTest, AStuckCallSurvivesItsLanesAndClosesTheInstanceWhenItReturns) {
  LanesOptions options;
  options.grace_ms = 10;
  Answer<std::string> stuck;
  lanes(options).submit(LaneKind::brief, get("stuck", 60'000, stuck.done()));
  ASSERT_TRUE(eventually([&] { return lanes_->statistics().running == 1; }));
  EXPECT_FALSE(lanes_->drain(in_seconds(0)));
  lanes_.reset();
  EXPECT_FALSE(closed());
  open_gate();
  EXPECT_FALSE(stuck.get().ok());
  EXPECT_TRUE(eventually([&] { return closed(); }));
}

TEST_F(LanesTest, AnswerEveryCallExactlyOnceUnderConcurrency) {
  Lanes& tested = lanes();
  std::atomic<int> answered{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const char* key = (i + t) % 10 == 0 ? "patient" : "trace";
        tested.submit(i % 2 == 0 ? LaneKind::brief : LaneKind::bulk,
                      get(key, key[0] == 'p' ? 1 : 60'000, [&](Result<std::string>) { ++answered; }));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(eventually([&] { return answered == 800; }));
  EXPECT_TRUE(tested.drain(in_seconds(60)));
  EXPECT_EQ(answered, 800);
  EXPECT_EQ(host_.violations().size(), 0u);
}

}  // namespace
}  // namespace roost
