#include "telemetry/audit.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "telemetry/log.hpp"

namespace roost::telemetry {
namespace {

constexpr std::size_t kEntryMax = 64 << 10;

Error io_error(const std::string& what, const std::string& path) {
  const int number = errno;
  const Code code = number == ENOSPC || number == EDQUOT || number == EFBIG ? Code::exhausted
                    : number == EACCES || number == EPERM                   ? Code::denied
                                                                            : Code::unavailable;
  return Error{code, "audit log " + path + ": " + what + ": " + std::strerror(number), 0};
}

Status sync_directory(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return io_error("open the directory", path);
  const bool synced = ::fsync(fd) == 0;
  const Status status = synced ? Status() : Status(io_error("fsync the directory", path));
  ::close(fd);
  return status;
}

}  // namespace

class Audit::Impl {
 public:
  Impl(Options options, Clock& clock) : options_(std::move(options)), clock_(clock) {}
  ~Impl() {
    if (fd_ >= 0) ::close(fd_);
  }

  Status open_file() {
    fd_ = ::open(options_.path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd_ < 0) return io_error("open", options_.path);
    if (::fchmod(fd_, 0600) != 0) return io_error("chmod 0600", options_.path);
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return io_error("stat", options_.path);
    if (!S_ISREG(info.st_mode)) return Error{Code::invalid, "audit log " + options_.path + ": not a regular file", 0};
    size_ = info.st_size;
    ROOST_CHECK(end_torn_line());
    return sync_directory(options_.path);
  }

  Status record(const AuditEntry& entry, Durability durability) {
    const std::string line = render(entry);
    const std::lock_guard lock(mutex_);
    if (fd_ < 0) ROOST_CHECK(open_file());
    if (size_ > 0 && size_ + static_cast<std::int64_t>(line.size()) > options_.file_bytes) ROOST_CHECK(rotate());
    ROOST_CHECK(append(line));
    if (durability == Durability::durable && ::fdatasync(fd_) != 0) return io_error("fsync", options_.path);
    return {};
  }

 private:
  std::string render(const AuditEntry& entry) const {
    Json line = Json::object({{"time", format_time(clock_.wall_us()) + "Z"},
                              {"actor", entry.actor},
                              {"action", entry.action},
                              {"target", entry.target},
                              {"outcome", entry.outcome}});
    std::string details = entry.details.is_null() ? std::string() : entry.details.dump();
    if (details.size() > kEntryMax) details = Json(std::string("(cut: larger than 64 KiB)")).dump();
    std::string text = line.dump();
    if (!details.empty()) {
      text.pop_back();
      text += ",\"details\":" + details + "}";
    }
    return log::redact(text) + "\n";
  }

  // What a crash or a full disk left of a line is ended, so that the next one stands alone.
  Status end_torn_line() {
    char last = '\n';
    if (size_ > 0 && ::pread(fd_, &last, 1, size_ - 1) != 1) return io_error("read", options_.path);
    return last == '\n' ? Status() : append("\n");
  }

  Status append(std::string_view text) {
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = ::write(fd_, text.data() + done, text.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        const Error error = io_error("write", options_.path);
        // Take back what was written of the line; where even that fails, the next open ends it.
        if (done > 0 && ::ftruncate(fd_, size_) != 0) reopen_later();
        return error;
      }
      done += static_cast<std::size_t>(n);
    }
    size_ += static_cast<std::int64_t>(text.size());
    return {};
  }

  void reopen_later() {
    ::close(fd_);
    fd_ = -1;
  }

  Status rotate() {
    if (::fdatasync(fd_) != 0) return io_error("fsync", options_.path);
    const auto numbered = [&](int n) { return options_.path + "." + std::to_string(n); };
    (void)::unlink(numbered(std::max(options_.files, 1)).c_str());
    for (int n = std::max(options_.files, 1) - 1; n >= 1; --n) {
      if (::rename(numbered(n).c_str(), numbered(n + 1).c_str()) != 0 && errno != ENOENT)
        return io_error("rotate", options_.path);
    }
    if (::rename(options_.path.c_str(), numbered(1).c_str()) != 0) return io_error("rotate", options_.path);
    reopen_later();
    return open_file();
  }

  const Options options_;
  Clock& clock_;
  std::mutex mutex_;
  int fd_ = -1;
  std::int64_t size_ = 0;
};

Audit::Audit(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Audit::~Audit() = default;

Result<std::unique_ptr<Audit>> Audit::open(Options options, Clock& clock) {
  auto impl = std::make_unique<Impl>(std::move(options), clock);
  ROOST_CHECK(impl->open_file());
  return std::unique_ptr<Audit>(new Audit(std::move(impl)));
}

Status Audit::record(const AuditEntry& entry, Durability durability) { return impl_->record(entry, durability); }

}  // namespace roost::telemetry
