// What only compute-process can be asked: it survives the daemon, ends everything, and breaks in foreseen ways.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "base/clock.hpp"
#include "plugins/compute/compute_suite.hpp"

namespace roost::test {
namespace {

namespace fs = std::filesystem;

class ComputeProcess : public ComputeFixture {
 protected:
  void SetUp() override {
    quirks_ = all_quirks().front();
    if (const std::string reason = quirks_.unusable(); !reason.empty()) ROOST_SKIP_UNLESS_CI(reason);
  }
  void open_with(const std::function<void(Json&)>& change) {
    auto make = quirks_.config;
    quirks_.config = [make, change](const std::string& directory) {
      Json config = make(directory);
      change(config);
      return config;
    };
    open(quirks_);
  }
  [[nodiscard]] Json status(const std::string& id) const {
    return Json::parse(read_text(directory_.path() + "/run/ws/" + id + "/status.json")).value_or(Json::object());
  }
  // How many processes of the sandbox live, told by their user namespaces' root: the recorded init.
  static bool lives(const Json& process) {
    const std::string stat = read_text("/proc/" + std::to_string(process["pid"].as_int()) + "/stat");
    return process["pid"].as_int() > 0 && !stat.empty() && stat.find(") Z") == std::string::npos;
  }
};

TEST_F(ComputeProcess, AWorkspaceSurvivesTheKillOfItsDaemonAndIsAdopted) {
  quirks_ = all_quirks().front();
  const pid_t daemon = ::fork();
  if (daemon == 0) {  // a process of its own, as roostd is
    auto client = another();
    if (client && client->apply(spec(kId)).ok()) ::pause();
    ::_exit(1);
  }
  Json before;
  EXPECT_TRUE(eventually([&] { return (before = status(kId))["ready"].as_bool(); }));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);

  open(quirks_);
  const Json adopted = ready(kId);
  EXPECT_EQ(adopted["workload"]["incarnation"].as_string(), before["incarnation"].as_string());
  EXPECT_EQ(status(kId)["init"].dump(), before["init"].dump()) << "another process than before";
  applied(spec(kId));
  EXPECT_EQ(ready(kId)["workload"]["incarnation"].as_string(), before["incarnation"].as_string());
  ASSERT_TRUE(client_->remove(workload_request(kId, before["incarnation"].as_string())).ok());
  EXPECT_FALSE(lives(before["init"]));
}

TEST_F(ComputeProcess, ASupervisorThatIsKilledTakesItsWorkloadWithItAndTheNextApplyStartsAnew) {
  open(quirks_);
  applied(spec(kId));
  const std::string first = ready(kId)["workload"]["incarnation"].as_string();
  const Json before = status(kId);
  ASSERT_GT(before["pid"].as_int(), 1);
  ::kill(static_cast<pid_t>(before["pid"].as_int()), SIGKILL);
  stopped(kId);
  EXPECT_TRUE(eventually([&] { return !lives(before["init"]); }));
  applied(spec(kId));
  EXPECT_NE(ready(kId)["workload"]["incarnation"].as_string(), first);
}

TEST_F(ComputeProcess, AWorkloadOfAnotherRunDirectoryIsSeenEndedAndNeverJoinedByASecondOne) {
  open(quirks_);
  const std::string uid = applied(spec(kId))["volume"]["uid"].as_string();
  ready(kId);
  const Json before = status(kId);
  open_with([this](Json& config) { config.set("run_dir", directory_.path() + "/elsewhere"); });
  EXPECT_EQ((*client_->observe(kId))["workload"]["state"].as_string(), "stopping");
  EXPECT_EQ(client_->remove(volume_request(kId, uid)).error().code, Code::conflict);
  applied(spec(kId, 2));
  EXPECT_FALSE(lives(before["init"])) << "two workloads on one volume";
  EXPECT_FALSE(lives(Json::object({{"pid", before["pid"]}})));
  ready(kId);
  ASSERT_TRUE(client_->remove(workload_request(kId, "")).ok());
  EXPECT_EQ((*client_->observe(kId))["workload"]["state"].as_string(), "none");
  EXPECT_TRUE(client_->remove(volume_request(kId, uid)).ok());
}

TEST_F(ComputeProcess, WhatIsRemovedTwiceLeavesNothing) {
  open(quirks_);
  EXPECT_TRUE(client_->remove(workload_request(kId, "")).ok());
  EXPECT_TRUE(client_->list("", 10)->empty());
  const std::string uid = applied(spec(kId, 1, false))["volume"]["uid"].as_string();
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(client_->remove(workload_request(kId, "")).ok());
    EXPECT_TRUE(client_->remove(volume_request(kId, uid)).ok());
  }
  EXPECT_TRUE(client_->list("", 10)->empty());
  EXPECT_TRUE(fs::is_empty(directory_.path() + "/data/workspaces"));
}

TEST_F(ComputeProcess, VolumesMadeAtOnceNeverShareAUserAlsoWhenTheRangeIsUsedUp) {
  if (::geteuid() != 0) ROOST_SKIP_UNLESS_CI("only root gives each volume a user of its own");
  static constexpr int kUsers = 8;
  open_with([](Json& config) { config.set("uid_range", Json::object({{"first", 3'000'000}, {"count", kUsers}})); });
  const auto id_of = [](int round, int i) { return "0000" + std::to_string(1000 + round * 100 + i); };
  for (int round = 0; round < 6; ++round) {  // from the second one on, users that became free are given again
    std::vector<std::thread> makers;
    std::vector<std::string> uids(kUsers);
    for (int i = 0; i < kUsers; ++i) {
      makers.emplace_back([&, i] {
        const auto made = client_->apply(spec(id_of(round, i), 1, false));
        if (made.ok()) uids[static_cast<std::size_t>(i)] = (*made)["volume"]["uid"].as_string();
      });
    }
    for (std::thread& maker : makers) maker.join();
    std::set<std::int64_t> users;
    for (int i = 0; i < kUsers; ++i) {
      const std::string path = directory_.path() + "/data/volumes/pvc-" + id_of(round, i) + "/volume.json";
      users.insert(Json::parse(read_text(path)).value_or(Json::object())["host_uid"].as_int());
    }
    EXPECT_EQ(users.size(), static_cast<std::size_t>(kUsers)) << "round " << round;
    EXPECT_EQ(client_->apply(spec("ffffffff", 1, false)).error().code, Code::exhausted);
    for (int i = 0; i < kUsers; ++i)
      EXPECT_TRUE(client_->remove(volume_request(id_of(round, i), uids[static_cast<std::size_t>(i)])).ok());
  }
}

TEST_F(ComputeProcess, ASupervisorThatHangsIsEndedToo) {
  open_with([](Json& config) { config.set("stop_grace_ms", 0); });
  applied(spec(kId));
  ready(kId);
  const Json before = status(kId);
  ::kill(static_cast<pid_t>(before["pid"].as_int()), SIGSTOP);
  const Status removed = client_->remove(workload_request(kId, ""));
  EXPECT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_FALSE(lives(before["init"]));
  EXPECT_FALSE(lives(Json::object({{"pid", before["pid"]}})));
}

TEST_F(ComputeProcess, WhatIgnoresSigtermOrWasDaemonizedIsGoneAfterAStop) {
  open_with([](Json& config) { config.set("stop_grace_ms", 200); });
  applied(spec(kId));
  ready(kId);
  run(kId,
      "trap '' TERM; (setsid sh -c 'trap \"\" TERM; while :; do sleep 0.05; date +%s%N > /workspace/tick; done' &) >/dev/null "
      "2>&1");
  ASSERT_TRUE(eventually([&] { return run(kId, "test -s /workspace/tick && echo yes") == "yes\n"; }));
  const Json before = status(kId);
  ASSERT_TRUE(client_->remove(workload_request(kId, "")).ok());
  EXPECT_FALSE(lives(before["init"]));
  for (const Json& group : before["cgroups"].items()) EXPECT_FALSE(fs::exists(group.as_string())) << group.as_string();
}

TEST_F(ComputeProcess, ASupervisorsLockIsHeldUntilItHasEnded) {
  open(quirks_);
  applied(spec(kId));
  ready(kId);
  const std::string supervisor = "/proc/" + std::to_string(status(kId)["pid"].as_int()) + "/cmdline";
  ASSERT_NE(read_text(supervisor), "");
  const int lock = ::open((directory_.path() + "/run/ws/" + kId + "/lock").c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(lock, 0);
  ASSERT_TRUE(client_->apply(spec(kId, 2, false)).ok());
  ASSERT_EQ(::flock(lock, LOCK_SH), 0);  // waits for the moment at which "stopped" is told
  // Its last steps, a leak checker's for example, take a while: they must be over.
  EXPECT_EQ(read_text(supervisor), "");
  ::close(lock);
}

TEST_F(ComputeProcess, AWorkloadThatEndsAtOnceIsReportedAsCrashLoopAndRestartedByTheNextApply) {
  open_with([](Json& config) {
    Json command = Json::array();
    for (const char* word : {"/bin/sh", "-c", "echo out of luck; exit 7"}) command.push(word);
    config.set("command", command);
  });
  const std::string first = applied(spec(kId))["workload"]["incarnation"].as_string();
  ASSERT_TRUE(until(kId, "failed"));
  const Json failed = *client_->observe(kId);
  EXPECT_EQ(failed["workload"]["reason"].as_string(), "CrashLoop");
  EXPECT_NE(failed["workload"]["message"].as_string().find("out of luck"), std::string::npos) << failed.dump();
  const std::string second = applied(spec(kId))["workload"]["incarnation"].as_string();
  EXPECT_NE(first, second);
  applied(spec(kId, 2, false));
  stopped(kId);
}

TEST_F(ComputeProcess, AWorkloadThatCrashesOnceComesBackInTheSameIncarnation) {
  open(quirks_);
  applied(spec(kId));
  const Json before = ready(kId);
  const std::string pid = http(before["endpoint"].as_string(), "GET", "/pid").body;
  run(kId, "kill -9 " + pid);
  EXPECT_TRUE(eventually([&] {
    const HttpAnswer answer = http(before["endpoint"].as_string(), "GET", "/pid");
    return status(kId)["restarts"].as_int() == 1 && answer.status == 200;
  })) << status(kId).dump();
  EXPECT_EQ(ready(kId)["workload"]["incarnation"].as_string(), before["workload"]["incarnation"].as_string());
}

TEST_F(ComputeProcess, LimitsAreInForceAndFollowAResize) {
  open(quirks_);
  Json wanted = spec(kId);
  applied(wanted);
  const Json seen = ready(kId);
  EXPECT_EQ(seen["isolation"]["disk"].as_string().substr(0, 11), "not limited");
  if (seen["isolation"]["limits"].as_string().find("memory") == std::string::npos) {
    ROOST_SKIP_UNLESS_CI("no cgroup can be written here: " + seen["isolation"]["limits"].as_string());
  }
  const auto read_limits = [&] {
    std::pair<std::string, std::string> limits;  // memory, cpu
    const Json now = status(kId);
    for (const Json& group : now["cgroups"].items()) {
      const std::string at = group.as_string();
      for (const char* name : {"/memory.max", "/memory.limit_in_bytes"}) limits.first += read_text(at + name);
      for (const char* name : {"/cpu.max", "/cpu.cfs_quota_us"}) limits.second += read_text(at + name);
    }
    return limits;
  };
  EXPECT_EQ(read_limits().first, std::to_string(256 << 20) + "\n");
  EXPECT_EQ(read_limits().second.substr(0, 6), "100000");
  wanted = spec(kId, 2);
  wanted.set("size", Json::object({{"cpu_millis", 1500}, {"memory_bytes", 300 << 20}}));
  applied(wanted);
  EXPECT_EQ(read_limits().first, std::to_string(300 << 20) + "\n");
  EXPECT_EQ(read_limits().second.substr(0, 6), "150000");
  // The workload is really in there: more memory than that ends what asks for it, and not the workspace.
  EXPECT_EQ(run(kId, "python3 -c 'x=bytearray(600<<20)' >/dev/null 2>&1; echo $?").find("0\n"), std::string::npos);
  EXPECT_TRUE(eventually([&] { return run(kId, "echo here") == "here\n"; }));
}

TEST_F(ComputeProcess, AForkBombIsBoundedAndEnds) {
  open(quirks_);
  applied(spec(kId));
  const Json seen = ready(kId);
  if (seen["isolation"]["limits"].as_string().find("pids") == std::string::npos)
    ROOST_SKIP_UNLESS_CI("no pids limit can be set here");
  // One parent and 300 children at most: harmless to this machine even where the limit should be broken.
  run(kId,
      "(python3 -c 'import os,time\nfor i in range(300):\n  try:\n    if os.fork()==0: time.sleep(60); os._exit(0)\n  except "
      "OSError: time.sleep(0.01)' >/dev/null 2>&1 &)");
  const Json before = status(kId);
  const auto members = [&] {
    std::size_t most = 0;
    for (const Json& group : before["cgroups"].items()) {
      std::istringstream pids(read_text(group.as_string() + "/cgroup.procs"));
      std::size_t count = 0;
      for (std::string pid; std::getline(pids, pid);) ++count;
      most = std::max(most, count);
    }
    return most;
  };
  EXPECT_TRUE(eventually([&] { return members() > 30; }));
  EXPECT_LE(members(), 64u);
  ASSERT_TRUE(client_->remove(workload_request(kId, "")).ok());
  EXPECT_EQ(members(), 0u);
}

TEST_F(ComputeProcess, AVolumeWithHostileContentIsRemovedAndNothingBesideIt) {
  open(quirks_);
  const std::string uid = applied(spec(kId, 1, false))["volume"]["uid"].as_string();
  const fs::path data = directory_.path() + "/data/volumes/pvc-" + std::string(kId) + "/data";
  const fs::path outside = directory_.path() + "/outside";
  fs::create_directory(outside);
  std::ofstream(outside / "precious") << "precious";
  fs::create_directory_symlink(outside, data / "link");
  fs::create_directory(data / "closed");
  std::ofstream(data / "closed" / "file") << "x";
  fs::create_directory_symlink(outside, data / "closed" / "link");
  ASSERT_EQ(::chmod((data / "closed").c_str(), 0), 0);
  std::ofstream(data / std::string("odd\n\xff name")) << "x";
  ASSERT_EQ(::mkfifo((data / "fifo").c_str(), 0600), 0);
  // Deeper than a path may be long.
  const int top = ::open(data.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int at = ::dup(top);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(::mkdirat(at, "deep", 0700), 0);
    const int next = ::openat(at, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ::close(at);
    at = next;
  }
  ::close(at);
  ::close(top);
  const Status removed = client_->remove(volume_request(kId, uid));
  ASSERT_TRUE(removed.ok()) << removed.error().message;
  EXPECT_EQ(read_text(outside / "precious"), "precious");
  EXPECT_TRUE(fs::is_empty(directory_.path() + "/data/trash"));
  EXPECT_TRUE(client_->list("", 10)->empty());
}

TEST_F(ComputeProcess, ARemovalThatIsCutShortGoesOn) {
  open(quirks_);
  const std::string uid = applied(spec(kId, 1, false))["volume"]["uid"].as_string();
  const std::string data = directory_.path() + "/data/volumes/pvc-" + kId + "/data/";
  for (int i = 0; i < 5000; ++i) std::ofstream(data + std::to_string(i)) << i;
  int cut = 0;
  Status removed = client_->remove(volume_request(kId, uid), 5);
  for (; !removed.ok() && cut < 10'000; ++cut) {
    ASSERT_TRUE(removed.error().code == Code::outcome_unknown || removed.error().code == Code::deadline)
        << removed.error().message;
    EXPECT_TRUE(client_->observe(kId).ok());
    removed = client_->remove(volume_request(kId, uid), 5);
  }
  EXPECT_TRUE(removed.ok());
  EXPECT_TRUE(fs::is_empty(directory_.path() + "/data/trash"));
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "missing");
}

TEST_F(ComputeProcess, AVolumeThatWasMadeAndIsGoneIsNotReplacedByAnEmptyOneEvenForACallerWithoutItsUid) {
  open(quirks_);
  const Json made = applied(spec(kId, 1, false));
  const std::string volume = directory_.path() + "/data/volumes/pvc-" + kId;
  fs::rename(volume, directory_.path() + "/aside");
  EXPECT_EQ(client_->apply(spec(kId, 2)).error().code, Code::data_loss);
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "missing");
  fs::rename(directory_.path() + "/aside", volume);
  EXPECT_EQ(applied(spec(kId, 2))["volume"]["uid"].as_string(), made["volume"]["uid"].as_string());
  ready(kId);
}

TEST_F(ComputeProcess, AVolumeWithoutItsIdentityIsNobodysAndIsNotTouched) {
  open(quirks_);
  const std::string uid = applied(spec(kId, 1, false))["volume"]["uid"].as_string();
  const std::string volume = directory_.path() + "/data/volumes/pvc-" + kId;
  fs::remove(volume + "/volume.json");
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "foreign");
  EXPECT_EQ(client_->apply(spec(kId, 2)).error().code, Code::conflict);
  EXPECT_EQ(client_->remove(volume_request(kId, uid)).error().code, Code::conflict);
  EXPECT_TRUE(fs::exists(volume + "/data"));
}

class ComputeProcessTask : public ComputeProcess {
 protected:
  // A backup that takes a while: of a file that is large and holds nothing.
  Json start_slow_backup() {
    open(quirks_);
    const Json volume = applied(spec(kId, 1, false))["volume"];
    const std::string large = directory_.path() + "/data/volumes/pvc-" + kId + "/data/large";
    std::ofstream(large) << "x";
    fs::resize_file(large, std::uint64_t{64} << 30);
    const std::string place = directory_.path() + "/backups";
    fs::create_directory(place);
    Json mounts = Json::array();
    mounts.push(Json::object({{"path", place}, {"writable", true}}));
    const auto started = client_->task_start(
        Json::object({{"id", kId},
                      {"user_id", "tester"},
                      {"operation", "0badcafe"},
                      {"attempt", 1},
                      {"kind", "backup"},
                      {"volume", volume},
                      {"archive", std::string("workspace-") + kId + "-20260101T000000Z.zip"},
                      {"backup_id", std::string(kId) + "-20260101T000000Z"},
                      {"backup", Json::object({{"manifest", std::string(ROOST_PLUGIN_DIR) + "/backup-directory.roost.json"},
                                               {"config", Json::object({{"path", place}})},
                                               {"secrets", Json::object()},
                                               {"mounts", mounts}})}}));
    EXPECT_TRUE(started.ok()) << started.error().message;
    EXPECT_EQ((*started)["state"].as_string(), "running") << started->dump();
    return volume;
  }
  [[nodiscard]] std::string task_directory() const { return directory_.path() + "/data/tasks/" + kId + "-0badcafe-1"; }
  [[nodiscard]] Json task_status() const {
    return Json::parse(read_text(task_directory() + "/status.json")).value_or(Json::object());
  }
  static Json request() { return Json::object({{"id", kId}, {"operation", "0badcafe"}, {"attempt", 1}}); }
};

TEST_F(ComputeProcessTask, AKilledAgentIsAFailedTask) {
  start_slow_backup();
  const Json running = task_status();
  ASSERT_GT(running["init"]["pid"].as_int(), 1);
  ::kill(static_cast<pid_t>(running["init"]["pid"].as_int()), SIGKILL);
  Json last;
  EXPECT_TRUE(eventually([&] { return (last = *client_->task_observe(request()))["state"].as_string() == "failed"; }));
  EXPECT_EQ(last["reason"].as_string(), "Killed") << last.dump();
}

TEST_F(ComputeProcessTask, AKilledSupervisorOfATaskTakesItAlongAndIsFoundByANewDaemon) {
  start_slow_backup();
  const Json running = task_status();
  ::kill(std::atoi(read_text(task_directory() + "/lock").c_str()), SIGKILL);
  client_ = another();
  Json last;
  EXPECT_TRUE(eventually([&] { return (last = *client_->task_observe(request()))["state"].as_string() == "failed"; }));
  EXPECT_EQ(last["reason"].as_string(), "Killed") << last.dump();
  EXPECT_FALSE(lives(running["init"]));
  EXPECT_FALSE(fs::exists(task_directory() + "/spec.json")) << "it may hold the storage's secrets";
}

TEST_F(ComputeProcessTask, AVolumeThatATaskReadsStaysAndARemovedTaskIsGone) {
  const std::string uid = start_slow_backup()["uid"].as_string();
  const Json running = task_status();
  EXPECT_EQ(client_->remove(volume_request(kId, uid)).error().code, Code::conflict);
  ASSERT_TRUE(client_->task_remove(request()).ok());
  EXPECT_FALSE(lives(running["init"]));
  EXPECT_FALSE(fs::exists(task_directory()));
  EXPECT_TRUE(client_->remove(volume_request(kId, uid)).ok());
}

TEST_F(ComputeProcessTask, ATaskThatIsRemovedTakesBackWhatItHadBegunToStore) {
  start_slow_backup();
  const auto begun = [&] { return !fs::is_empty(directory_.path() + "/backups"); };
  ASSERT_TRUE(eventually(begun));
  ASSERT_TRUE(client_->task_remove(request()).ok());
  EXPECT_FALSE(begun());
}

TEST_F(ComputeProcessTask, ATaskSeesTheVolumeReadOnlyAndNothingElseOfThisMachine) {
  start_slow_backup();
  const Json running = task_status();
  const std::string mounts = read_text("/proc/" + std::to_string(running["init"]["pid"].as_int()) + "/mounts");
  EXPECT_NE(mounts.find(" /volume "), std::string::npos) << mounts;
  std::istringstream lines(mounts);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_TRUE(line.find(" /volume ") == std::string::npos || line.find(" ro,") != std::string::npos) << line;
    EXPECT_EQ(line.find(" /root"), std::string::npos) << line;
    EXPECT_EQ(line.find(" /home"), std::string::npos) << line;
  }
  EXPECT_EQ(fs::status(task_directory() + "/spec.json").permissions() & fs::perms(077), fs::perms::none);
}

TEST_F(ComputeProcess, OnAFullDiskApplyIsExhaustedAndWorksOnceThereIsRoom) {
  if (::geteuid() != 0) ROOST_SKIP_UNLESS_CI("only root can mount a small file system");
  const std::string data = directory_.path() + "/data";
  fs::create_directory(data);
  ASSERT_EQ(::mount("roost-test", data.c_str(), "tmpfs", 0, "size=256k,mode=0700"), 0);
  open(quirks_);
  {
    std::ofstream filler(data + "/filler");
    for (int i = 0; i < 1024 && filler; ++i) filler << std::string(1024, 'x') << std::flush;
  }
  EXPECT_EQ(client_->apply(spec(kId)).error().code, Code::exhausted);
  fs::remove(data + "/filler");
  applied(spec(kId));
  ready(kId);
  EXPECT_TRUE(client_->remove(workload_request(kId, "")).ok());
  client_.reset();
  EXPECT_EQ(::umount2(data.c_str(), MNT_DETACH), 0);
}

TEST_F(ComputeProcess, WithoutSandboxAndCgroupADeleteDoesNotReleaseTheVolume) {
  open_with([](Json& config) {
    config.set("sandbox", "none");
    config.set("limits", "none");
    config.set("uid_range", Json::object({{"first", 65534}, {"count", 1}}));
  });
  if (::geteuid() == 0) fs::permissions(directory_.path(), fs::perms::owner_all | fs::perms::others_exec);
  const std::string uid = applied(spec(kId))["volume"]["uid"].as_string();
  ASSERT_TRUE(client_->remove(workload_request(kId, "")).ok());
  const Status refused = client_->remove(volume_request(kId, uid));
  EXPECT_EQ(refused.error().code, Code::conflict);
  EXPECT_NE(refused.error().message.find("cannot be found"), std::string::npos) << refused.error().message;
  EXPECT_EQ((*client_->observe(kId))["volume"]["state"].as_string(), "present");
}

TEST_F(ComputeProcess, VsCodeBecomesReadyInItsSandbox) {
  bool found = false;
  for (const char* variable : {"ROOST_CODE_SERVER", "HOME"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr) continue;
    const std::string at =
        variable == std::string("HOME") ? std::string(value) + "/.cache/roost/code-server/lib/node_modules/code-server" : value;
    found = found || fs::exists(at + "/out/node/entry.js");
  }
  if (!found) ROOST_SKIP_UNLESS_CI("code-server is not installed: ./dev setup");
  open_with([](Json& config) {
    config.remove("command");
    config.set("pids", 1024);
  });
  Json wanted = spec(kId);
  wanted.set("size", Json::object({{"cpu_millis", 2000}, {"memory_bytes", std::int64_t{1} << 30}}));
  applied(wanted);
  EXPECT_TRUE(eventually([&] { return (*client_->observe(kId))["workload"]["ready"].as_bool(); }, 120'000))
      << (*client_->observe(kId)).dump() << read_text(directory_.path() + "/data/workspaces/" + kId + "/workload.log");
  const Json seen = *client_->observe(kId);
  EXPECT_NE(http(seen["endpoint"].as_string(), "GET", "/healthz").body.find("lastHeartbeat"), std::string::npos);
  EXPECT_EQ(http(seen["endpoint"].as_string(), "GET", "/?folder=/workspace").status, 200);
}

}  // namespace
}  // namespace roost::test
