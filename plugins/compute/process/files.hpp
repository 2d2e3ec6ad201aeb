// Files, locks and processes for this plugin: durable writes, removal of trees whose content is hostile, locks that tell whether
// a supervisor lives. Thread safety: functions are independent; a Lock belongs to one thread. Every descriptor is close-on-exec.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "compute/process/json.hpp"
#include "roost/plugin.hpp"

namespace roost::compute_process {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A Failure by errno: EXHAUSTED for a full disk, DENIED, else INTERNAL.
sdk::Failure failure(const std::string& what);

bool exists(const std::string& path);  // a link that leads nowhere too
std::optional<std::string> read_file(const std::string& path, std::size_t limit = 1 << 20);
Object::Ptr read_object(const std::string& path);  // null where missing or damaged
// Either the old content or the new one is seen, also after a crash.
void replace_file(const std::string& path, std::string_view text, mode_t mode = 0600);
void make_directory(const std::string& path, mode_t mode);  // existing is fine
void make_directories(const std::string& path, mode_t mode);
void own(const std::string& path, std::int64_t uid);  // chown to uid:uid without following a link; -1: nothing
void sync_directory(const std::string& path);
std::vector<std::string> names_in(const std::string& path);  // sorted; none for a missing directory

// Removes whatever it is, without following links and whatever modes, names or depth its makers chose. It may be called again
// after it was cut short. OUTCOME_UNKNOWN where the call ends before it is through.
void remove_tree(const std::string& path, const sdk::Call* call);

// An exclusive lock on a file that is made for it. It waits until the call's end (DEADLINE, CANCELLED).
class Lock {
 public:
  Lock(const sdk::Call& call, std::string path);
  ~Lock() = default;
  void discard();  // removes the file: whoever waits for it makes a new one

 private:
  std::string path_;
  Fd fd_;
};

// Whether another process holds the lock of that file; its holder wrote "PID START_TIME RUN" into it.
struct Holder {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
  std::string run;  // the directory of its status.json
};
std::optional<Holder> lock_holder(const std::string& path);

std::uint64_t start_time_of(pid_t pid);                // 0: none, or a zombie
void kill_process(const Holder& process, int signal);  // that one or none
std::string boot_id();
std::string random_hex(std::size_t bytes);

// What a supervisor recorded of the processes below it (status.json): kills what is left of them, until nothing is or the call
// ends (OUTCOME_UNKNOWN). true: it is certain that nothing is left.
bool kill_leftovers(const sdk::Call& call, const std::string& status_path);
bool leftovers(const std::string& status_path);  // whether any of it lives

}  // namespace roost::compute_process
