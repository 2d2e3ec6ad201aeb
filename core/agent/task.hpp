// What every task of the agent has in common: its specification, the way it reports, and how it is stopped. The result is a
// task.json document of at most 4096 bytes that appears whole or not at all. Thread safety: the main thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "agent/commands.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "model/receipt.hpp"

namespace roost::agent {

struct TaskSpec {
  std::string id;  // of the session
  std::string user_id;
  std::string operation;
  std::int64_t attempt = 0;
  bool live = false;
  bool exclusions = false;  // of a backup: leave out what .roostignore names
  std::string archive;
  std::string backup_id;
  std::string volume_uid;
  std::int64_t owner = -1;  // of a restore: whose the volume's files become; -1: its directory's owner
  std::string volume_path;  // empty for verify
  std::string plugin_manifest;
  Json plugin_config;
  Json plugin_secrets;
};

// INVALID, naming what is wrong, by schemas/task-spec.json.
[[nodiscard]] Result<TaskSpec> parse_task_spec(std::string_view text, TaskKind kind);

// The task.json document of an ended task, cut to at most 4096 bytes: first the examples of what was skipped, then the message.
[[nodiscard]] std::string task_document(const TaskSpec& spec, const Result<Receipt>& outcome);
// "NoSpace" for EXHAUSTED and so on: the reason of a failed task.
[[nodiscard]] std::string_view task_reason(Code code);

// Writes a file that appears whole: temporary file, fsync, rename. One that is there and cannot be replaced, because it is
// mounted (the termination log of a Kubernetes pod), is written in place.
Status write_file_whole(const std::string& path, std::string_view text, bool durable);

// Notices SIGTERM and SIGINT (which must be blocked), and tells how far the task is: in the progress file, rewritten about once a
// second, and, where asked, by a line of JSON on stdout, which is how a pod tells it.
class TaskMonitor {
 public:
  // `progress_path` may be empty. A line is printed every `print_every_s` seconds; 0: never.
  static Result<TaskMonitor> create(std::string progress_path, std::int64_t print_every_s = 0);
  ~TaskMonitor();
  TaskMonitor(TaskMonitor&& other) noexcept;
  TaskMonitor& operator=(TaskMonitor&&) = delete;

  [[nodiscard]] int cancel_fd() const { return fd_; }  // readable once the task should stop
  [[nodiscard]] bool cancelled() const;
  // Counts on; CANCELLED once the task should stop. Cheap enough for every file and every piece of one.
  Status advance(std::int64_t bytes, std::int64_t files);
  // What there will be in all, as far as that is known; < 0: it is not.
  void expect(std::int64_t bytes, std::int64_t files);

 private:
  TaskMonitor(std::string progress_path, std::int64_t print_every_ns, int fd)
      : progress_path_(std::move(progress_path)), print_every_ns_(print_every_ns), fd_(fd) {}
  void tell(std::int64_t now_ns);

  std::string progress_path_;
  std::int64_t print_every_ns_;
  int fd_;
  std::int64_t bytes_ = 0;
  std::int64_t files_ = 0;
  std::int64_t total_bytes_ = -1;
  std::int64_t total_files_ = -1;
  std::int64_t looked_at_ns_ = 0;
  std::int64_t written_at_ns_ = 0;
  std::int64_t printed_at_ns_ = 0;
};

}  // namespace roost::agent
