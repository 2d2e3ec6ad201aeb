#include "agent/task.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "agent/backup.hpp"
#include "agent/restore.hpp"
#include "agent/task_storage.hpp"
#include "agent/verify.hpp"
#include "agent/walk_beneath.hpp"
#include "archive/manifest.hpp"
#include "base/clock.hpp"

namespace roost::agent {

namespace {

constexpr std::size_t kSpecMax = 1u << 20;
constexpr std::size_t kResultMax = 4096;
constexpr std::int64_t kProgressEveryNs = 1'000'000'000;
constexpr std::int64_t kLookEveryNs = 5'000'000;  // whether to stop: a system call, which small files come faster than

struct TaskFiles {
  std::string spec;
  std::string result;
  std::string progress;
  std::int64_t print_every_s = 0;
};

Result<TaskFiles> parse_arguments(int argc, char** argv) {
  TaskFiles files;
  for (int i = 0; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    if (name == "--spec") files.spec = argv[i + 1];
    if (name == "--result") files.result = argv[i + 1];
    if (name == "--progress") files.progress = argv[i + 1];
    if (name == "--print-progress") files.print_every_s = std::clamp(std::atoi(argv[i + 1]), 0, 3600);
  }
  if (argc % 2 != 0 || files.spec.empty() || files.result.empty()) {
    return {Code::invalid, "usage: --spec FILE --result FILE --progress FILE [--print-progress SECONDS]"};
  }
  return files;
}

Result<std::string> read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return {Code::invalid, "cannot read the specification " + path};
  std::string text{std::istreambuf_iterator<char>(in), {}};
  if (text.size() > kSpecMax) return {Code::invalid, "the specification " + path + " is larger than 1 MiB"};
  return text;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

Result<Receipt> perform(TaskKind kind, const TaskSpec& spec, const TaskFiles& files, TaskMonitor& monitor) {
  ROOST_TRY(const auto storage, TaskStorage::open(spec, monitor.cancel_fd()));
  if (kind == TaskKind::verify) return verify_archive(spec, *storage, monitor);
  if (kind == TaskKind::restore) return restore_archive(spec, *storage, monitor);
  // Where progress goes there is room for more than a result: in a pod that is /tmp, while the result lies in /dev.
  return backup_volume(spec, *storage, monitor, directory_of(files.progress.empty() ? files.result : files.progress));
}

Json failed_document(const TaskSpec& spec, const Error& error) {
  return Json::object({{"operation", spec.operation},
                       {"attempt", spec.attempt},
                       {"state", "failed"},
                       {"reason", task_reason(error.code)},
                       {"message", error.message}});
}

std::string cut(const std::string& text, std::size_t most) { return text.size() <= most ? text : escape_path(text, most); }

}  // namespace

Result<TaskSpec> parse_task_spec(std::string_view text, TaskKind kind) {
  ROOST_TRY(const Json document, Json::parse(text));
  TaskSpec spec;
  ROOST_TRY(spec.id, document.get_string("id"));
  ROOST_TRY(spec.user_id, document.get_string("user_id"));
  ROOST_TRY(spec.operation, document.get_string("operation"));
  ROOST_TRY(spec.attempt, document.get_int("attempt"));
  ROOST_TRY(spec.archive, document.get_string("archive"));
  ROOST_TRY(spec.backup_id, document.get_string("backup_id"));
  ROOST_TRY(const std::string name, document.get_string("kind"));
  spec.live = document["live"].as_bool();
  spec.exclusions = document["exclusions"].as_bool();
  spec.owner = document["owner"].as_int(-1);
  spec.volume_uid = document["volume"]["uid"].as_string();
  spec.volume_path = document["volume_path"].as_string();
  const Json& plugin = document["backup"];
  ROOST_TRY(spec.plugin_manifest, plugin.get_string("manifest"));
  spec.plugin_config = plugin["config"];
  spec.plugin_secrets = plugin["secrets"];

  const char* const wanted = kind == TaskKind::backup ? "backup" : kind == TaskKind::verify ? "verify" : "restore";
  if (name != wanted) return {Code::invalid, "kind is not \"" + std::string(wanted) + "\""};
  for (const std::string* word : {&spec.id, &spec.operation}) {
    if (word->size() != 8 || word->find_first_not_of("0123456789abcdef") != std::string::npos) {
      return {Code::invalid, "id and operation are 8 lower-case hex digits"};
    }
  }
  if (spec.attempt < 1) return {Code::invalid, "attempt is 1 or more"};
  if (spec.archive.empty() || spec.archive.size() > 255) return {Code::invalid, "archive is 1 to 255 bytes"};
  if (!spec.plugin_config.is_object()) return {Code::invalid, "backup.config is missing"};
  if (kind == TaskKind::verify) return spec;
  if (spec.volume_path.empty() || spec.volume_path.front() != '/') return {Code::invalid, "volume_path is not an absolute path"};
  if (spec.volume_uid.empty()) return {Code::invalid, "volume.uid is missing: whose data it would be is not known"};
  return spec;
}

std::string_view task_reason(Code code) {
  switch (code) {
    case Code::invalid: return "InvalidTask";
    case Code::not_found: return "NotFound";
    case Code::exists: return "Exists";
    case Code::conflict: return "Conflict";
    case Code::denied: return "Unreadable";
    case Code::exhausted: return "NoSpace";
    case Code::unavailable:
    case Code::expired:
    case Code::outcome_unknown: return "Unavailable";
    case Code::deadline: return "DeadlineExceeded";
    case Code::cancelled: return "Cancelled";
    case Code::unsupported: return "Unsupported";
    case Code::data_loss: return "Corrupt";
    case Code::internal: return "Internal";
  }
  return "Internal";
}

std::string task_document(const TaskSpec& spec, const Result<Receipt>& outcome) {
  if (!outcome.ok()) {
    Error error = outcome.error();
    std::string text = failed_document(spec, error).dump();
    for (std::size_t most = 1024; text.size() > kResultMax; most /= 2) {
      error.message = cut(error.message, most);
      text = failed_document(spec, error).dump();
    }
    return text;
  }
  Receipt receipt = *outcome;
  for (std::size_t most = 80;; most /= 2) {
    for (std::vector<Skipped>* list : {&receipt.skipped, &receipt.not_restored}) {
      for (Skipped& skipped : *list) skipped.example = most < 10 ? "" : cut(skipped.example, most);
    }
    std::string text =
        Json::object(
            {{"operation", spec.operation}, {"attempt", spec.attempt}, {"state", "succeeded"}, {"receipt", to_json(receipt)}})
            .dump();
    if (text.size() <= kResultMax || most == 0) return text;
  }
}

namespace {

Status write_in_place(const std::string& path, std::string_view text) {
  const FdOwner file(::open(path.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) || ::fsync(file.get()) != 0) {
    return errno_error(errno, "cannot write " + path);
  }
  return {};
}

Status replace_whole(const std::string& path, std::string_view text, bool durable) {
  const std::string temporary = path + ".new";
  const FdOwner file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return errno_error(errno, "cannot write " + temporary);
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return errno_error(errno, "cannot write " + temporary);
  }
  if (durable && ::fsync(file.get()) != 0) return errno_error(errno, "cannot write " + temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return errno_error(errno, "cannot write " + path);
  if (!durable) return {};
  const FdOwner directory(::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || ::fsync(directory.get()) != 0) return errno_error(errno, "cannot write " + path);
  return {};
}

}  // namespace

Status write_file_whole(const std::string& path, std::string_view text, bool durable) {
  const Status replaced = replace_whole(path, text, durable);
  struct stat there {};
  if (replaced.ok() || ::lstat(path.c_str(), &there) != 0 || !S_ISREG(there.st_mode)) return replaced;
  ::unlink((path + ".new").c_str());
  const Status written = write_in_place(path, text);
  return written.ok() ? written : replaced;
}

Result<TaskMonitor> TaskMonitor::create(std::string progress_path, std::int64_t print_every_s) {
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  const int fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return errno_error(errno, "signalfd");
  TaskMonitor monitor(std::move(progress_path), print_every_s * 1'000'000'000, fd);
  monitor.printed_at_ns_ = system_clock().monotonic_ns();  // a short task prints nothing but its end
  return monitor;
}

TaskMonitor::~TaskMonitor() {
  if (fd_ >= 0) ::close(fd_);
}

TaskMonitor::TaskMonitor(TaskMonitor&& other) noexcept
    : progress_path_(std::move(other.progress_path_)),
      print_every_ns_(other.print_every_ns_),
      fd_(std::exchange(other.fd_, -1)),
      printed_at_ns_(other.printed_at_ns_) {}

bool TaskMonitor::cancelled() const {
  pollfd signal{fd_, POLLIN, 0};
  return ::poll(&signal, 1, 0) > 0;
}

void TaskMonitor::expect(std::int64_t bytes, std::int64_t files) {
  if (bytes == total_bytes_ && files == total_files_) return;
  written_at_ns_ = 0;  // whoever watches waits for it
  total_bytes_ = bytes;
  total_files_ = files;
}

Status TaskMonitor::advance(std::int64_t bytes, std::int64_t files) {
  bytes_ += bytes;
  files_ += files;
  const std::int64_t now = system_clock().monotonic_ns();
  if (now - looked_at_ns_ < kLookEveryNs) return {};
  looked_at_ns_ = now;
  if (cancelled()) return {Code::cancelled, "the task was told to stop; nothing of it is left"};
  tell(now);
  return {};
}

// A courtesy: a task does not fail for it, and does not wait for whoever reads it.
void TaskMonitor::tell(std::int64_t now_ns) {
  const bool write = !progress_path_.empty() && now_ns - written_at_ns_ >= kProgressEveryNs;
  const bool print = print_every_ns_ > 0 && now_ns - printed_at_ns_ >= print_every_ns_;
  if (!write && !print) return;
  Json progress = Json::object({{"bytes", bytes_}, {"files", files_}});
  if (total_bytes_ >= 0) progress.set("total_bytes", total_bytes_);
  if (total_files_ >= 0) progress.set("total_files", total_files_);
  std::string text = progress.dump();
  if (write) {
    written_at_ns_ = now_ns;
    static_cast<void>(write_file_whole(progress_path_, text, false).ok());
  }
  if (!print) return;
  printed_at_ns_ = now_ns;
  text += '\n';
  pollfd out{STDOUT_FILENO, POLLOUT, 0};  // room for a line then: less than PIPE_BUF
  if (::poll(&out, 1, 0) == 1 && (out.revents & POLLOUT) != 0)
    static_cast<void>(::write(STDOUT_FILENO, text.data(), text.size()) < 0);
}

int run_task(TaskKind kind, int argc, char** argv) {
  // Before any thread of a plugin: signals are noticed by descriptor, so that what was begun is ended in order.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGTERM);
  ::sigaddset(&signals, SIGINT);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error like a full disk
  ::umask(077);

  const auto files = parse_arguments(argc, argv);
  if (!files.ok()) {
    std::fprintf(stderr, "roost-agent: %s\n", files.error().message.c_str());
    return 2;
  }
  TaskSpec spec;
  const auto outcome = [&]() -> Result<Receipt> {
    ROOST_TRY(const std::string text, read_whole(files->spec));
    ROOST_TRY(spec, parse_task_spec(text, kind));
    ROOST_TRY(TaskMonitor monitor, TaskMonitor::create(files->progress, files->print_every_s));
    return perform(kind, spec, *files, monitor);
  }();
  const Status written = write_file_whole(files->result, task_document(spec, outcome), true);
  if (!written.ok()) std::fprintf(stderr, "roost-agent: %s\n", written.error().message.c_str());
  if (!outcome.ok()) std::fprintf(stderr, "roost-agent: %s\n", escape_path(outcome.error().message, 1000).c_str());
  // For people: what `kubectl logs job/backup-ID` shows, as the guide has it. The result is the file.
  if (outcome.ok() && kind == TaskKind::verify) std::printf("Backup completed for %s\n", spec.id.c_str());
  return outcome.ok() && written.ok() ? 0 : 1;
}

}  // namespace roost::agent
