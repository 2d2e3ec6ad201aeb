// The engine's ports over real plugins: a store in memory, a scripted compute, and the C example as backup.
#include "host/backends.hpp"

#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "host/compute_documents.hpp"
#include "host/loop.hpp"
#include "plugin_fixture.hpp"
#include "wait.hpp"

namespace roost {
namespace {

using test::Answer;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class BackendsTest : public test::PluginFixture {
 protected:
  void SetUp() override {
    std::filesystem::create_directory(directory_ / "archives");
    Json store = manifest("memory", "store-memory", "store");
    store.set("secrets", Json(Json::Array{"password"}));
    store.set("config_schema", Json::object({{"properties", Json::object({{"fail", Json::object({{"type", "boolean"}})},
                                                                          {"color", Json::object({{"type", "string"}})},
                                                                          {"gate", Json::object({{"type", "integer"}})}})}}));
    write_manifest(store);
    write_manifest(manifest("scripted", "compute-scripted", "compute"));
    write_manifest(manifest("rogue", "store-rogue", "store"));
    spec_.directories = {directory_, ROOST_EXAMPLE_PLUGINS};
    spec_.store.plugin = "store-memory";
    spec_.compute.plugin = "compute-scripted";
    spec_.backup.plugin = "backup-minimal-c";
    spec_.backup.config = Json::object({{"directory", (directory_ / "archives").string()}});
    loop_.start();
  }
  ~BackendsTest() override {
    if (backends_) backends_->drain(in_seconds(60));
    loop_.stop();
  }
  Backends& open() {
    auto opened = Backends::open(spec_, host_.api, loop_);
    EXPECT_TRUE(opened.ok()) << opened.error().message;
    backends_ = std::move(*opened);
    return *backends_;
  }
  // Calls a port on the loop, as the engine does, and waits for its answer.
  template <class T>
  Result<T> call(std::function<void(Done<T>)> function) {
    Answer<T> answer;
    loop_.post([&] { function(answer.done()); });
    return answer.get();
  }
  Result<CommitResult> commit(std::vector<Condition> conditions, std::vector<StoreOperation> operations) {
    return call<CommitResult>([&](auto done) {
      backends_->store().commit({"p", std::move(conditions), std::move(operations)}, done);
    });
  }
  Result<Document> get(const std::string& key) {
    return call<Document>([&](auto done) { backends_->store().get("p", key, done); });
  }
  // The JSON that the scripted plugin was sent by that function last.
  Json sent(const std::string& function) {
    const std::scoped_lock lock(host_.mutex);
    for (auto line = host_.logs.rbegin(); line != host_.logs.rend(); ++line) {
      if (line->rfind(function + "{", 0) == 0) return Json::parse(line->substr(function.size())).value_or(Json());
    }
    return {};
  }

  BackendsSpec spec_;
  Loop loop_;
  std::unique_ptr<Backends> backends_;
};

TEST_F(BackendsTest, StoreCommitsReadsAndScans) {
  open();
  const auto committed =
      commit({{Condition::Kind::absent, "a", 0}}, {{StoreOperation::Kind::put, "a", "1", 0},
                                                   {StoreOperation::Kind::append, "q/", "m", 0},
                                                   {StoreOperation::Kind::put, "b", std::string("\0\xff", 2), 0}});
  ASSERT_TRUE(committed.ok()) << committed.error().message;
  ASSERT_EQ(committed->documents.size(), 3u);
  EXPECT_EQ(committed->documents[1].key, "q/0000000000000001");
  const auto read = get("b");
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->value, std::string("\0\xff", 2));
  EXPECT_EQ(read->revision, committed->documents[2].revision);
  const auto conflict = commit({{Condition::Kind::revision, "a", read->revision}}, {{StoreOperation::Kind::remove, "a", "", 0}});
  ASSERT_FALSE(conflict.ok());
  EXPECT_EQ(conflict.error().code, Code::conflict);
  EXPECT_EQ(get("nothing").error().code, Code::not_found);
  const auto scanned = call<std::vector<Document>>([&](auto done) { backends_->store().scan("p", "", "a", 1, done); });
  ASSERT_TRUE(scanned.ok());
  ASSERT_EQ(scanned->size(), 1u);
  EXPECT_EQ(scanned->front().key, "b");
  EXPECT_THAT(host_.violations(), IsEmpty());
}

TEST_F(BackendsTest, StoreLeasesAndWatches) {
  Store& store = open().store();
  const auto lease = call<Lease>([&](auto done) { store.lease("leader", "me", ROOST_LEASE_ACQUIRE, 5000, done); });
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(lease->holder, "me");
  EXPECT_EQ(lease->epoch, 1u);
  EXPECT_EQ(lease->remaining_ms, 5000);
  const auto taken = call<Lease>([&](auto done) { store.lease("leader", "you", ROOST_LEASE_ACQUIRE, 5000, done); });
  ASSERT_FALSE(taken.ok());
  EXPECT_EQ(taken.error().code, Code::conflict);

  Answer<Watched> watching;
  loop_.post([&] { store.watch("", watching.done()); });
  ASSERT_TRUE(commit({}, {{StoreOperation::Kind::put, "a", "1", 0}}).ok());
  const auto watched = watching.get();
  ASSERT_TRUE(watched.ok()) << watched.error().message;
  ASSERT_EQ(watched->changes.size(), 1u);
  EXPECT_EQ(watched->changes[0].partition, "p");
  EXPECT_EQ(watched->changes[0].key, "a");
  EXPECT_EQ(watched->resume, "1");
  const auto expired = call<Watched>([&](auto done) { store.watch("old", done); });
  EXPECT_EQ(expired.error().code, Code::expired);
}

TEST_F(BackendsTest, StoreRefusesWhatTheAbiDoesNotAllow) {
  open();
  EXPECT_EQ(commit({}, {{StoreOperation::Kind::put, std::string(600, 'k'), "", 0}}).error().code, Code::invalid);
  EXPECT_EQ(commit({}, {{StoreOperation::Kind::put, "a\nb", "", 0}}).error().code, Code::invalid);
  EXPECT_EQ(commit({}, {{StoreOperation::Kind::put, "a", std::string((1 << 20) + 1, 'v'), 0}}).error().code, Code::invalid);
  EXPECT_EQ(get(std::string(600, 'k')).error().code, Code::invalid);
}

TEST_F(BackendsTest, AMisbehavingStoreFailsItsCallsAndTheHostLives) {
  spec_.store.plugin = "store-rogue";
  Store& store = open().store();
  for (const char* key :
       {"throw", "negative", "unterminated", "record-size", "two-records", "after-stop", "wrong-key", "nothing"}) {
    const auto answer = get(key);
    ASSERT_FALSE(answer.ok()) << key;
    EXPECT_EQ(answer.error().code, Code::internal) << key;
  }
  EXPECT_EQ(commit({}, {{StoreOperation::Kind::put, "a", "1", 0}}).error().code, Code::internal);
  EXPECT_EQ(call<std::vector<Document>>([&](auto done) { store.scan("p", "", "", 10, done); }).error().code, Code::internal);
  EXPECT_EQ(call<Lease>([&](auto done) { store.lease("l", "h", 1, 1000, done); }).error().code, Code::internal);
  EXPECT_EQ(host_.violations().size(), 11u);
  EXPECT_TRUE(get("good").ok());
  ASSERT_TRUE(get("save-sink").ok());
  ASSERT_TRUE(get("use-saved-sink").ok());
  EXPECT_THAT(host_.violations(), Contains(HasSubstr("after its call had returned")));
}

TEST_F(BackendsTest, ComputeSendsTheSpecAndReadsTheWorkspace) {
  Compute& compute = open().compute();
  WorkspaceSpec spec;
  spec.id = "00000001";
  spec.user_id = "u\"ser";
  spec.generation = 3;
  spec.running = true;
  spec.volume = {"pvc-00000001", "tok", "u-1", 0, 1024};
  spec.create_volume = true;
  spec.token = "secret";
  const auto applied = call<Workspace>([&](auto done) { compute.apply(spec, done); });
  ASSERT_TRUE(applied.ok()) << applied.error().message;
  EXPECT_EQ(applied->workload_state, WorkloadState::running);
  EXPECT_EQ(applied->volume_uid, "u-1");
  EXPECT_EQ(applied->generation, 3);
  EXPECT_EQ(applied->observed.replicas, 1);
  EXPECT_TRUE(applied->observed.ready);
  EXPECT_EQ(applied->observed.size.memory_bytes, 1024);
  EXPECT_EQ(applied->observed.endpoint, "unix:/run/x.sock");
  EXPECT_EQ(applied->observed.isolation["kind"].as_string(), "none");
  const Json document = sent("apply");
  EXPECT_EQ(document["user_id"].as_string(), "u\"ser");
  EXPECT_EQ(document["state"].as_string(), "running");
  EXPECT_TRUE(document["volume"]["create"].as_bool());
  EXPECT_EQ(document["volume"]["token"].as_string(), "tok");
  const auto schema =
      Json::parse(test::read_all(std::filesystem::path(ROOST_SOURCE_DIR) / "core/abi/schemas/workspace-spec.json"));
  const auto problems = check_schema(*schema, document);
  ASSERT_TRUE(problems.ok());
  EXPECT_TRUE(problems->empty()) << problems->front().message;
}

TEST_F(BackendsTest, ComputeObservesListsWatchesAndRemoves) {
  Compute& compute = open().compute();
  EXPECT_TRUE(call<Workspace>([&](auto done) { compute.observe("00000001", true, done); }).ok());
  EXPECT_THAT(host_.logs, Contains("observelive"));
  const auto listed = call<std::vector<Workspace>>([&](auto done) { compute.list("00000001", 10, done); });
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_EQ(listed->front().id, "00000002");
  const auto watched = call<Watched>([&](auto done) { compute.watch("7", done); });
  ASSERT_TRUE(watched.ok());
  EXPECT_EQ(watched->changes.at(0).key, "00000001");
  EXPECT_EQ(watched->resume, "7+");
  EXPECT_TRUE(call<void>([&](auto done) { compute.remove_workload("00000001", "i-1", done); }).ok());
  EXPECT_EQ(sent("remove").dump(), R"({"id":"00000001","part":"workload","incarnation":"i-1"})");
  EXPECT_EQ(call<void>([&](auto done) { compute.remove_workload("00000001", "other", done); }).error().code, Code::conflict);
  EXPECT_TRUE(call<void>([&](auto done) { compute.remove_volume("00000001", {"pvc-00000001", "tok", "u-1", 0, 1}, done); }).ok());
  EXPECT_EQ(sent("remove")["part"].as_string(), "volume");
  EXPECT_EQ(sent("remove")["uid"].as_string(), "u-1");
}

TEST_F(BackendsTest, ComputeRefusesWrongWorkspaces) {
  Compute& compute = open().compute();
  for (const char* id : {"0000bad0", "0000bad1", "0000bad2", "0000bad3"}) {
    const auto answer = call<Workspace>([&](auto done) { compute.observe(id, false, done); });
    ASSERT_FALSE(answer.ok()) << id;
    EXPECT_EQ(answer.error().code, Code::internal) << id;
  }
  EXPECT_EQ(host_.violations().size(), 4u);
}

TEST_F(BackendsTest, ATaskIsStartedWithWhatTheBackupPluginDescribes) {
  Compute& compute = open().compute();
  TaskSpec spec;
  spec.id = "00000001";
  spec.operation = "0000000a";
  spec.attempt = 2;
  spec.archive = "a.zip";
  spec.backup_id = "00000001-x";
  spec.user_id = "user";
  spec.volume = {"pvc-00000001", "tok", "u-1", 0, 1};
  const auto started = call<Task>([&](auto done) { compute.task_start(spec, done); });
  ASSERT_TRUE(started.ok()) << started.error().message;
  EXPECT_EQ(started->state, TaskState::running);
  EXPECT_EQ(started->progress_files, 2);
  EXPECT_EQ(started->total_bytes, 50);
  EXPECT_LT(started->total_files, 0) << "it did not say";
  const Json document = sent("task_start");
  const std::string archives = (directory_ / "archives").string();
  EXPECT_EQ(document["backup"]["manifest"].as_string(), std::string(ROOST_EXAMPLE_PLUGINS) + "/backup-minimal-c.roost.json");
  EXPECT_EQ(document["backup"]["config"]["directory"].as_string(), archives);
  EXPECT_EQ(document["backup"]["mounts"].items().at(0)["path"].as_string(), archives);
  EXPECT_EQ(document["volume"]["uid"].as_string(), "u-1");
  const auto schema = Json::parse(test::read_all(std::filesystem::path(ROOST_SOURCE_DIR) / "core/abi/schemas/task-spec.json"));
  EXPECT_TRUE(check_schema(*schema, document)->empty());
  EXPECT_EQ(document.find("exclusions"), nullptr) << "a delete's backup takes everything";
  spec.exclusions = true;
  ASSERT_TRUE(call<Task>([&](auto done) { compute.task_start(spec, done); }).ok());
  EXPECT_TRUE(sent("task_start")["exclusions"].as_bool());
  EXPECT_TRUE(check_schema(*schema, sent("task_start"))->empty());
  spec.exclusions = false;
  spec.kind = TaskKind::verify;
  ASSERT_TRUE(call<Task>([&](auto done) { compute.task_start(spec, done); }).ok());
  EXPECT_EQ(sent("task_start").find("volume"), nullptr);
}

TEST_F(BackendsTest, TasksAreObservedWithTheirReceipts) {
  Compute& compute = open().compute();
  const auto ended = call<Task>([&](auto done) { compute.task_observe("00000001", "0000000a", 1, done); });
  ASSERT_TRUE(ended.ok()) << ended.error().message;
  EXPECT_EQ(ended->state, TaskState::succeeded);
  ASSERT_TRUE(ended->receipt.has_value());
  EXPECT_EQ(ended->receipt->volume_uid, "u-1");
  EXPECT_EQ(ended->receipt->verified_at_us, 2);
  const auto failed = call<Task>([&](auto done) { compute.task_observe("00000001", "0000fa11", 1, done); });
  EXPECT_EQ(failed->reason, "NoSpace");
  EXPECT_EQ(call<Task>([&](auto done) { compute.task_observe("00000001", "00000bad", 1, done); }).error().code, Code::internal);
  EXPECT_TRUE(call<void>([&](auto done) { compute.task_remove("00000001", "0000000a", 1, done); }).ok());
  EXPECT_EQ(sent("task_remove")["attempt"].as_int(), 1);
}

TEST(BackupForTask, CarriesOnlyTheSecretsThatAreNamed) {
  Manifest manifest;
  manifest.name = "backup-x";
  const Secrets secrets{{"key", "k"}, {"other", "o"}};
  const auto made = backup_for_task(*Json::parse(R"({"config":{},"secrets":["key"]})"), manifest, secrets);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ((*made)["secrets"].dump(), R"({"key":"k"})");
  const auto held =
      backup_for_task(*Json::parse(R"({"config":{},"secrets":["key"],"secret_values":{"token":"t"}})"), manifest, secrets);
  ASSERT_TRUE(held.ok());
  EXPECT_EQ((*held)["secrets"]["token"].as_string(), "t");  // what the plugin holds itself goes with what was configured
  EXPECT_EQ((*held)["secrets"].members().size(), 2u);
  EXPECT_FALSE(backup_for_task(*Json::parse(R"({"config":{},"secret_values":{"token":1}})"), manifest, secrets).ok());
  const auto missing = backup_for_task(*Json::parse(R"({"config":{},"secrets":["absent"]})"), manifest, secrets);
  ASSERT_FALSE(missing.ok());
  EXPECT_THAT(missing.error().message, HasSubstr("backup.secrets.absent"));
}

TEST_F(BackendsTest, ArchivesAreFoundAndReadInChunks) {
  open();
  const std::string content = std::string(300'000, 'z') + "end";
  test::write_all(directory_ / "archives" / "a.zip", content);
  const auto found = call<BackupStorage::Object>([&](auto done) { backends_->backup().stat("a.zip", done); });
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ(found->size, 300'003);
  EXPECT_EQ(*backends_->read_archive("a.zip", 0, kChunkMax), content);
  EXPECT_EQ(*backends_->read_archive("a.zip", 299'999, 10), "zend");
  EXPECT_EQ(*backends_->read_archive("a.zip", 300'003, 10), "");
  EXPECT_EQ(backends_->read_archive("b.zip", 0, 10).error().code, Code::not_found);
  EXPECT_EQ(backends_->read_archive("../a", 0, 10).error().code, Code::invalid);
  EXPECT_EQ(backends_->read_archive("a.zip", 0, kChunkMax + 1).error().code, Code::invalid);
}

TEST_F(BackendsTest, ArchivesAreListedInOrderAndRemoved) {
  BackupStorage& storage = open().backup();
  for (const char* name : {"b.zip", "a.zip", "c.zip"}) test::write_all(directory_ / "archives" / name, name);
  const auto list = [&](const std::string& after, std::uint32_t limit) {
    std::vector<std::string> names;
    auto page = call<std::vector<BackupStorage::Object>>([&](auto done) { storage.list(after, limit, done); });
    EXPECT_TRUE(page.ok()) << page.error().message;
    for (const auto& object : *page) names.push_back(object.name + ":" + std::to_string(object.size));
    return names;
  };
  EXPECT_THAT(list("", 10), ElementsAre("a.zip:5", "b.zip:5", "c.zip:5"));
  EXPECT_THAT(list("a.zip", 1), ElementsAre("b.zip:5"));
  EXPECT_TRUE(call<void>([&](auto done) { storage.remove("b.zip", done); }).ok());
  EXPECT_TRUE(call<void>([&](auto done) { storage.remove("b.zip", done); }).ok());  // gone already is success
  EXPECT_THAT(list("", 10), ElementsAre("a.zip:5", "c.zip:5"));
  EXPECT_EQ(call<void>([&](auto done) { storage.remove("../store", done); }).error().code, Code::invalid);
}

TEST_F(BackendsTest, AReadThatNobodyWaitsForBlocksNoThread) {
  open();
  test::write_all(directory_ / "archives" / "a.zip", "content");
  Answer<std::string> answer;
  backends_->read_archive("a.zip", 3, 4, answer.done());
  EXPECT_EQ(*answer.get(), "tent");
  bool refused = false;
  backends_->read_archive("../a", 0, 1, [&](const Result<std::string>& result) { refused = !result.ok(); });
  EXPECT_TRUE(refused);
}

TEST_F(BackendsTest, CheckPointsAtEveryProblemWithoutLoadingAnything) {
  spec_.store.config = Json::object({{"colour", "red"}});
  spec_.store.secrets = {{"passwort", "x"}};
  spec_.compute.plugin = "store-memory";
  spec_.backup.config = Json::object();
  std::vector<std::string> pointers;
  for (const SchemaProblem& problem : Backends::check(spec_)) pointers.push_back(problem.pointer);
  EXPECT_THAT(pointers, ElementsAre("/store/config/colour", "/store/secrets/passwort", "/compute/plugin", "/backup/config"));
  const auto opened = Backends::open(spec_, host_.api, loop_);
  ASSERT_FALSE(opened.ok());
  EXPECT_THAT(opened.error().message, HasSubstr("did you mean \"color\"?"));
}

TEST_F(BackendsTest, ReloadOpensTheNewInstanceBeforeItClosesTheOld) {
  open();
  ASSERT_TRUE(commit({}, {{StoreOperation::Kind::put, "a", "1", 0}}).ok());
  Store* port = &backends_->store();
  BackendsSpec failing = spec_;
  failing.store.config = Json::object({{"fail", true}});
  const Status refused = backends_->reload(failing, 1000);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("the server is away"));
  EXPECT_TRUE(get("a").ok());  // as it was
  BackendsSpec changed = spec_;
  changed.store.config = Json::object({{"color", "blue"}});
  ASSERT_TRUE(backends_->reload(changed, 1000).ok());
  EXPECT_EQ(&backends_->store(), port);
  EXPECT_EQ(get("a").error().code, Code::not_found);  // another instance
  EXPECT_THAT(host_.logs, Contains("closed"));
  const auto before = host_.logs.size();
  ASSERT_TRUE(backends_->reload(changed, 1000).ok());  // nothing changed, nothing opened
  EXPECT_EQ(host_.logs.size(), before);
}

TEST_F(BackendsTest, AReloadWaitsForTheOldInstanceWithoutKeepingAnybodyElse) {
  int gate[2] = {-1, -1};
  ASSERT_EQ(::pipe(gate), 0);
  spec_.store.config = Json::object({{"gate", gate[0]}});
  Store& store = open().store();
  Answer<Document> stuck;
  loop_.post([&] { store.get("p", "stuck", stuck.done()); });
  ASSERT_TRUE(test::eventually([&] { return backends_->statistics().store.running == 1; }));
  BackendsSpec changed = spec_;
  changed.store.config = Json::object();
  std::atomic<bool> reloaded{false};
  std::thread reload([&] {
    EXPECT_TRUE(backends_->reload(changed, 600'000).ok());
    reloaded = true;
  });
  EXPECT_TRUE(test::eventually([&] { return backends_->statistics().store.running == 0; }));  // the new instance
  EXPECT_EQ(get("a").error().code, Code::not_found);                                          // serves already
  EXPECT_FALSE(reloaded);
  EXPECT_FALSE(stuck.arrived());
  ASSERT_EQ(::write(gate[1], "x", 1), 1);
  reload.join();
  EXPECT_EQ(stuck.get().error().code, Code::not_found);
  EXPECT_EQ(backends_->statistics().stuck_instances, 0u);
  for (const int fd : gate) ::close(fd);
}

TEST_F(BackendsTest, AReloadGivesUpOnAStuckInstanceAndCountsIt) {
  int gate[2] = {-1, -1};
  ASSERT_EQ(::pipe(gate), 0);
  spec_.store.config = Json::object({{"gate", gate[0]}});
  spec_.store_lanes.grace_ms = 10;
  Store& store = open().store();
  Answer<Document> stuck;
  loop_.post([&] { store.get("p", "stuck", stuck.done()); });
  ASSERT_TRUE(test::eventually([&] { return backends_->statistics().store.running == 1; }));
  BackendsSpec changed = spec_;
  changed.store.config = Json::object();
  ASSERT_TRUE(backends_->reload(changed, 0).ok());
  EXPECT_EQ(backends_->statistics().stuck_instances, 1u);
  EXPECT_FALSE(backends_->drain(in_seconds(0)));
  ASSERT_EQ(::write(gate[1], "x", 1), 1);
  EXPECT_FALSE(stuck.get().ok());
  EXPECT_TRUE(test::eventually([&] { return backends_->statistics().stuck_instances == 0; }));
  EXPECT_TRUE(backends_->drain(in_seconds(60)));
  for (const int fd : gate) ::close(fd);
}

}  // namespace
}  // namespace roost
