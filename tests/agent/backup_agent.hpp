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
#include <vector>

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
  bool exclusions = false;
  std::function<void()> before_exec = {};  // in the child
  bool as_job = false;                     // in a container as compute-kubernetes makes it for a Job
  std::string without = {};                // a capability of the Job that it does not get
  std::int64_t owner = -1;                 // of a restore
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
                              {"exclusions", run.exclusions},
                              {"archive", run.archive},
                              {"owner", run.owner},
                              {"backup_id", "abcd1234-20251115T035136Z"}});
    spec.set("backup", Json::object({{"manifest", std::string(ROOST_PLUGIN_DIR) + "/backup-directory.roost.json"},
                                     {"config", Json::object({{"path", store()}})},
                                     {"mounts", Json::array()}}));
    if (!run.volume.empty()) {
      spec.set("volume", Json::object({{"name", "pvc-abcd1234"}, {"token", "t"}, {"uid", "volume-1"}}));
      spec.set("volume_path", run.as_job ? "/workspace" : run.volume);
    }
    write_text(work() + "/spec.json", spec.dump());
    const std::string program = std::string(ROOST_BINARY_DIR) + "/bin/roost-agent";
    std::vector<std::string> words = {
        program, run.kind, "--spec", work() + "/spec.json", "--result", work() + "/result.json", "--progress", progress()};
    if (run.as_job) {
      write_text(work() + "/result.json", "");  // as the kubelet does
      words = job_words(run, program);
    }
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    const int output = ::open((work() + "/output").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const pid_t child = ::fork();
    if (child != 0) {
      ::close(output);
      return child;
    }
    ::dup2(output, 1);
    ::dup2(output, 2);
    if (run.before_exec) run.before_exec();
    ::execv(arguments[0], arguments.data());
    ::_exit(127);
  }
  [[nodiscard]] std::string output() const { return read_text(work() + "/output"); }

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
  // The container of plugins/compute/kubernetes/task_objects.cpp, by bubblewrap: the agent is its first process and root with
  // those capabilities only, the file system is read-only but for /tmp, and the result is a file that is mounted in /dev.
  [[nodiscard]] std::vector<std::string> job_words(const TaskRun& run, const std::string& program) const {
    const bool restore = run.kind == "restore";
    std::vector<std::string> words = {"/usr/bin/bwrap"};
    const auto add = [&words](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
    add({"--unshare-pid", "--as-pid-1", "--cap-drop", "ALL"});
    for (const char* capability : {"CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_FSETID"}) {
      if (restore && run.without != capability) add({"--cap-add", capability});
    }
    if (run.kind == "backup" && run.without != "CAP_DAC_READ_SEARCH") add({"--cap-add", "CAP_DAC_READ_SEARCH"});
    add({"--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"});
    for (const char* link : {"/bin", "/lib", "/lib64"}) add({"--symlink", std::string("usr") + link, link});
    add({"--ro-bind", ROOST_BINARY_DIR, ROOST_BINARY_DIR, "--ro-bind", work() + "/spec.json", "/roost/task/spec.json"});
    add({run.kind == "backup" ? "--bind" : "--ro-bind", store(), store()});
    if (!run.volume.empty()) add({restore ? "--bind" : "--ro-bind", run.volume, "/workspace"});
    add({"--bind", work() + "/result.json", "/dev/termination-log", "--remount-ro", "/", "--"});
    add({program, run.kind, "--spec", "/roost/task/spec.json", "--result", "/dev/termination-log"});
    add({"--progress", "/tmp/progress.json", "--print-progress", "1"});
    return words;
  }

  TempDir dir_;
};

}  // namespace roost::agent
