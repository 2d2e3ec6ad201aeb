#include "compute/process/files.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <sstream>

namespace roost::compute_process {

using std::chrono::milliseconds;

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

sdk::Failure failure(const std::string& what) {
  const int error = errno;
  roost_code code = ROOST_INTERNAL;
  if (error == ENOSPC || error == EDQUOT) code = ROOST_EXHAUSTED;
  if (error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN) code = ROOST_UNAVAILABLE;
  if (error == EACCES || error == EPERM || error == EROFS) code = ROOST_DENIED;
  return sdk::Failure(code, what + ": " + std::strerror(error));
}

bool exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0;
}

std::optional<std::string> read_file(const std::string& path, std::size_t limit) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.open()) return std::nullopt;
  std::string text;
  char buffer[4096];
  while (text.size() <= limit) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return std::nullopt;
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
  return std::nullopt;
}

Object::Ptr read_object(const std::string& path) {
  const auto text = read_file(path);
  return text ? try_parse(*text) : nullptr;
}

void sync_directory(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.open() || ::fsync(fd.get()) != 0) throw failure(path);
}

void replace_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  {
    const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    if (!fd.open()) throw failure(temporary);
    while (!text.empty()) {
      const ssize_t n = ::write(fd.get(), text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw failure(temporary);
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    if (::fsync(fd.get()) != 0) throw failure(temporary);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) throw failure(path);
  sync_directory(path.substr(0, path.rfind('/')));
}

void make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) return;
  const int error = errno;
  struct stat info {};
  if (error == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return;
  errno = error;
  throw failure("the directory " + path + " cannot be made");
}

void make_directories(const std::string& path, mode_t mode) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string parent = path.substr(0, at);
    if (!exists(parent)) make_directory(parent, 0755);
  }
  make_directory(path, mode);
}

void own(const std::string& path, std::int64_t uid) {
  if (uid < 0) return;
  if (::lchown(path.c_str(), static_cast<uid_t>(uid), static_cast<gid_t>(uid)) != 0) throw failure(path);
}

std::vector<std::string> names_in(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

// Every directory is opened from its parent's descriptor, never by a path that could be changed underneath. What lies deep is
// first moved up, so that neither the number of descriptors nor the stack grows with the depth that somebody chose.
class TreeRemover {
 public:
  TreeRemover(int root, const sdk::Call* call) : root_(root), call_(call) {}

  void empty(int directory, int depth) {
    const int copy = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* stream = copy < 0 ? nullptr : ::fdopendir(copy);
    if (stream == nullptr) {
      if (copy >= 0) ::close(copy);
      throw failure("a directory cannot be read");
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> owned(stream, ::closedir);
    while (const dirent* entry = ::readdir(stream)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      if (call_ != nullptr && call_->cancelled()) throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "removing goes on at the next call");
      if (::unlinkat(directory, name.c_str(), 0) == 0 || errno == ENOENT) continue;
      if (errno != EISDIR && errno != EPERM && errno != ENOTDIR) throw failure("a file cannot be removed");
      remove_directory(directory, name, depth);
    }
  }

 private:
  void remove_directory(int parent, const std::string& name, int depth) {
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0) return;
    if (depth > 32) {  // not deeper: it becomes a child of the root, which the caller goes over again
      const std::string moved = "." + std::to_string(++moved_) + "-" + random_hex(8);
      (void)!::fchmodat(parent, name.c_str(), 0700, 0);
      if (::renameat(parent, name.c_str(), root_, moved.c_str()) != 0) throw failure("a directory cannot be moved");
      return;
    }
    Fd child(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child.open() && errno == EACCES) {  // its owner took the permission away from itself
      (void)!::fchmodat(parent, name.c_str(), 0700, 0);
      child = Fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (!child.open()) throw failure("a directory cannot be opened");
    (void)!::fchmod(child.get(), 0700);
    empty(child.get(), depth + 1);
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) throw failure("a directory cannot be removed");
  }

  int root_;
  const sdk::Call* call_;
  std::uint64_t moved_ = 0;
};

}  // namespace

void remove_tree(const std::string& path, const sdk::Call* call) {
  const Fd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!root.open()) {
    if (errno == ENOENT) return;
    if ((errno == ENOTDIR || errno == ELOOP) && ::unlink(path.c_str()) == 0) return;
    throw failure(path);
  }
  TreeRemover remover(root.get(), call);
  for (;;) {  // again for what was moved up while the root was being read
    try {
      remover.empty(root.get(), 0);
    } catch (const sdk::Failure& problem) {
      throw sdk::Failure(problem.code(), path + ": " + problem.what());
    }
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return;
    if (errno != ENOTEMPTY && errno != EEXIST) throw failure(path);
  }
}

Lock::Lock(const sdk::Call& call, std::string path) : path_(std::move(path)) {
  for (;;) {
    call.check();
    fd_ = Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd_.open()) throw failure(path_);
    while (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      call.sleep_for(milliseconds(5));
      call.check();
    }
    struct stat mine {};
    struct stat named {};
    // Its holder may have removed the file: then this lock is on a name that is gone.
    if (::fstat(fd_.get(), &mine) == 0 && ::stat(path_.c_str(), &named) == 0 && mine.st_ino == named.st_ino) return;
    fd_ = Fd();
  }
}

void Lock::discard() { ::unlink(path_.c_str()); }

std::optional<Holder> lock_holder(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd.open() || ::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return std::nullopt;
  Holder holder;
  std::istringstream text(read_file(path, 8192).value_or(""));
  text >> holder.pid >> holder.start_time;
  std::getline(text >> std::ws, holder.run);
  return holder;
}

std::uint64_t start_time_of(pid_t pid) {
  const auto text = pid > 0 ? read_file("/proc/" + std::to_string(pid) + "/stat", 4096) : std::nullopt;
  const std::size_t end = text ? text->rfind(')') : std::string::npos;  // the command before it may hold anything
  if (end == std::string::npos || end + 2 >= text->size() || (*text)[end + 2] == 'Z' || (*text)[end + 2] == 'X') return 0;
  std::istringstream fields(text->substr(end + 2));
  std::string field;
  for (int number = 3; number <= 22; ++number) fields >> field;  // proc(5): the state is field 3, the start time 22
  return std::strtoull(field.c_str(), nullptr, 10);
}

void kill_process(const Holder& process, int signal) {
  const Fd pinned(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pinned.open() || process.start_time == 0 || start_time_of(process.pid) != process.start_time) return;
  ::syscall(SYS_pidfd_send_signal, pinned.get(), signal, nullptr, 0);
}

std::string boot_id() {
  std::string text = read_file("/proc/sys/kernel/random/boot_id", 64).value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string random_hex(std::size_t bytes) {
  std::string raw(bytes, '\0');
  if (::getrandom(raw.data(), raw.size(), 0) != static_cast<ssize_t>(bytes)) throw failure("getrandom");
  std::string text;
  for (const char c : raw) {
    text += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    text += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

namespace {

std::vector<Holder> recorded_processes(const Object& status) {
  std::vector<Holder> processes;
  for (const char* name : {"init", "outer"}) {
    const Object::Ptr process = object_of(status, name);
    const Holder holder{static_cast<pid_t>(number_of(*process, "pid")),
                        static_cast<std::uint64_t>(number_of(*process, "start_time")), ""};
    if (holder.pid > 0 && holder.start_time != 0 && start_time_of(holder.pid) == holder.start_time) processes.push_back(holder);
  }
  return processes;
}

std::vector<pid_t> recorded_members(const Object& status) {
  std::vector<pid_t> members;
  for (const std::string& directory : texts_of(status, "cgroups")) {
    std::istringstream pids(read_file(directory + "/cgroup.procs").value_or(""));
    for (pid_t pid = 0; pids >> pid;) members.push_back(pid);
  }
  return members;
}

}  // namespace

bool leftovers(const std::string& status_path) {
  const Object::Ptr status = read_object(status_path);
  if (status.isNull() || text_of(*status, "boot_id") != boot_id()) return false;
  return !recorded_processes(*status).empty() || !recorded_members(*status).empty();
}

bool kill_leftovers(const sdk::Call& call, const std::string& status_path) {
  const Object::Ptr status = read_object(status_path);
  if (status.isNull() || text_of(*status, "boot_id") != boot_id()) return true;  // nothing was begun since the machine's start
  for (;;) {
    const auto processes = recorded_processes(*status);
    const auto members = recorded_members(*status);
    if (processes.empty() && members.empty()) break;
    for (const Holder& process : processes) kill_process(process, SIGKILL);
    for (const pid_t pid : members) ::kill(pid, SIGKILL);
    if (!call.sleep_for(milliseconds(10))) {
      throw sdk::Failure(ROOST_OUTCOME_UNKNOWN, "processes of the workload are still ending");
    }
  }
  for (const std::string& directory : texts_of(*status, "cgroups")) ::rmdir(directory.c_str());
  // Without a process namespace and without a cgroup there may be descendants that nobody knows of.
  return flag_of(*status, "contained", true);
}

}  // namespace roost::compute_process
