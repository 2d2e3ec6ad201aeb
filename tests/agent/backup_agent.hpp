// Agent: runs `roost-agent backup|verify|restore` as compute does, with backup-directory behind it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "agent/backup_archives.hpp"
#include "base/json.hpp"

namespace roost::agent {

struct TaskRun {
  std::string kind = "backup";
  std::string volume;  // empty: none
  std::string archive = "workspace-abcd1234-20251115T035136Z.zip";
  std::string operation = "0badcafe";
  std::int64_t attempt = 1;
  bool live = false;
  std::function<void()> before_exec = {};  // in the child
};

struct TaskOutcome {
  int status = 0;  // of waitpid
  Json document;   // task.json; null where none was written
  std::size_t document_bytes = 0;
  [[nodiscard]] bool succeeded() const { return status == 0 && document["state"].as_string() == "succeeded"; }
  [[nodiscard]] std::string reason() const { return document["reason"].as_string(); }
  [[nodiscard]] std::string message() const { return document["message"].as_string(); }
  [[nodiscard]] Receipt receipt() const {
    const auto receipt = receipt_from_json(document["receipt"]);
    EXPECT_TRUE(receipt.ok()) << document.dump();
    return receipt.ok() ? *receipt : Receipt();
  }
};

class Agent {
 public:
  Agent() { std::filesystem::create_directory(store()); }

  [[nodiscard]] std::string store() const { return dir_ / "store"; }
  [[nodiscard]] std::string work() const { return dir_ / "task"; }
  [[nodiscard]] std::string stored(const std::string& archive = TaskRun().archive) const { return store() + "/" + archive; }
  [[nodiscard]] std::string progress() const { return work() + "/progress.json"; }
  [[nodiscard]] const TempDir& dir() const { return dir_; }

  // Hidden files in the store: what was begun and not ended.
  [[nodiscard]] std::size_t unfinished() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(store()))
      count += entry.path().filename().string().front() == '.' ? 1 : 0;
    return count;
  }

  pid_t start(const TaskRun& run) {
    std::filesystem::create_directories(work());
    std::filesystem::remove(work() + "/result.json");
    std::filesystem::remove(progress());
    Json spec = Json::object({{"id", "abcd1234"},
                              {"user_id", "user@example.com"},
                              {"operation", run.operation},
                              {"attempt", run.attempt},
                              {"kind", run.kind},
                              {"live", run.live},
                              {"archive", run.archive},
                              {"backup_id", "abcd1234-20251115T035136Z"}});
    spec.set("backup", Json::object({{"manifest", std::string(ROOST_PLUGIN_DIR) + "/backup-directory.roost.json"},
                                     {"config", Json::object({{"path", store()}})},
                                     {"mounts", Json::array()}}));
    if (!run.volume.empty()) {
      spec.set("volume", Json::object({{"name", "pvc-abcd1234"}, {"token", "t"}, {"uid", "volume-1"}}));
      spec.set("volume_path", run.volume);
    }
    write_text(work() + "/spec.json", spec.dump());
    const std::string program = std::string(ROOST_BINARY_DIR) + "/bin/roost-agent";
    const std::string result = work() + "/result.json";
    const std::string spec_file = work() + "/spec.json";
    const pid_t child = ::fork();
    if (child != 0) return child;
    const int null = ::open("/dev/null", O_WRONLY);
    ::dup2(null, 2);
    if (run.before_exec) run.before_exec();
    ::execl(program.c_str(), program.c_str(), run.kind.c_str(), "--spec", spec_file.c_str(), "--result", result.c_str(),
            "--progress", progress().c_str(), nullptr);
    ::_exit(127);
  }

  TaskOutcome wait(pid_t child) {
    TaskOutcome outcome;
    EXPECT_EQ(::waitpid(child, &outcome.status, 0), child);
    const std::string text = read_text(work() + "/result.json");
    outcome.document_bytes = text.size();
    if (auto document = Json::parse(text); document.ok()) outcome.document = *std::move(document);
    return outcome;
  }

  TaskOutcome run(const TaskRun& run) { return wait(start(run)); }
  TaskOutcome verify(const std::string& archive = TaskRun().archive) {
    TaskRun task;
    task.kind = "verify";
    task.archive = archive;
    return run(task);
  }
  TaskOutcome restore(const std::string& into, const std::string& archive = TaskRun().archive) {
    TaskRun task;
    task.kind = "restore";
    task.volume = into;
    task.archive = archive;
    return run(task);
  }

 private:
  TempDir dir_;
};

}  // namespace roost::agent
