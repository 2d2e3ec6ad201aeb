#include "agent/archive_spool.hpp"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "agent/walk_beneath.hpp"

namespace roost::agent {

namespace {
constexpr std::size_t kPending = 64u << 10;

int open_nameless(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
  if (fd >= 0) return fd;
  std::string name = directory + "/roost-spool-XXXXXX";
  const int named = ::mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(name.c_str());
  return named;
}

}  // namespace

Result<Spool> Spool::create(const std::string& directory) {
  int fd = -1;
  for (const std::string& place : {directory, std::string("/tmp"), std::string("/var/tmp")}) {
    fd = open_nameless(place);
    if (fd >= 0) return Spool(fd);
  }
  return errno_error(errno, "cannot make a temporary file in " + directory + ", /tmp or /var/tmp");
}

Spool::~Spool() {
  if (fd_ >= 0) ::close(fd_);
}

Spool::Spool(Spool&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), flushed_(other.flushed_), pending_(std::move(other.pending_)) {}

Status Spool::append(std::string_view data) {
  pending_ += data;
  return pending_.size() < kPending ? Status() : flush();
}

Status Spool::flush() {
  std::string_view left = pending_;
  while (!left.empty()) {
    const ssize_t written = ::pwrite(fd_, left.data(), left.size(), static_cast<off_t>(flushed_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno_error(errno, "cannot write the temporary file of the manifest");
    flushed_ += static_cast<std::uint64_t>(written);
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  pending_.clear();
  return {};
}

Result<std::string> Spool::read(std::uint64_t offset, std::size_t count) {
  ROOST_CHECK(flush());
  std::string out(count, '\0');
  ssize_t got = -1;
  do {
    got = ::pread(fd_, out.data(), count, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return errno_error(errno, "cannot read the temporary file of the manifest");
  out.resize(static_cast<std::size_t>(got));
  return out;
}

}  // namespace roost::agent
