#include "agent/backup_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <ctime>

namespace roost::agent {

namespace {

constexpr std::int64_t kSettleNs = 20'000'000;

bool settled(OpenedFile& file) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    const timespec& changed = file.status.st_ctim;
    const std::int64_t age = (now.tv_sec - changed.tv_sec) * std::int64_t{1'000'000'000} + now.tv_nsec - changed.tv_nsec;
    if (age >= kSettleNs || age < 0) return true;
    const timespec pause{0, static_cast<long>(kSettleNs - age)};
    ::nanosleep(&pause, nullptr);
    if (::fstat(file.fd.get(), &file.status) != 0) return false;
  }
  return true;
}

}  // namespace

OpenedFile open_file(const FdOwner& parent, const char* name, Settle settle) {
  OpenedFile file;
  file.fd = FdOwner(open_beneath(parent.get(), name, O_RDONLY | O_NONBLOCK));
  if (!file.fd || ::fstat(file.fd.get(), &file.status) != 0) {
    file.refused = errno == ENOENT ? "vanished" : errno == ELOOP ? "changed" : "unreadable";
  } else if (!S_ISREG(file.status.st_mode)) {
    file.refused = "changed";
  } else if (settle == Settle::wait && !settled(file)) {
    file.refused = "unreadable";
  }
  return file;
}

void read_ahead(const OpenedFile& file) { ::posix_fadvise(file.fd.get(), 0, file.status.st_size, POSIX_FADV_WILLNEED); }

std::string_view read_piece(const OpenedFile& file, std::int64_t offset, std::size_t enough, std::span<char> buffer,
                            bool& error) {
  std::size_t got = 0;
  while (got < enough || got == 0) {
    const ssize_t now = ::pread(file.fd.get(), buffer.data() + got, buffer.size() - got, offset + static_cast<off_t>(got));
    if (now < 0 && errno == EINTR) continue;
    error = now < 0;
    if (now <= 0) break;
    got += static_cast<std::size_t>(now);
  }
  return {buffer.data(), error ? 0 : got};
}

bool still_unchanged(const OpenedFile& file) {
  struct stat after {};
  return ::fstat(file.fd.get(), &after) == 0 && unchanged(file.status, after);
}

Reading read_whole_file(const OpenedFile& file, OnChange on_change, std::span<char> buffer, std::string_view& contents) {
  const auto size = static_cast<std::size_t>(file.status.st_size);
  assert(size < buffer.size());
  bool error = false;
  // Room for a byte more than it had shows whether it has more.
  const std::string_view got = read_piece(file, 0, size, buffer.first(size + 1), error);
  if (error) return Reading::unreadable;
  contents = got.substr(0, size);
  if (got.size() == size && still_unchanged(file)) return Reading::whole;
  return on_change == OnChange::take ? Reading::torn : Reading::changed;
}

}  // namespace roost::agent
