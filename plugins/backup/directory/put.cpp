#include "backup/directory/put.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace roost::backup_directory {

namespace {

constexpr std::size_t kPartMax = 8u << 20;
// Dirty pages are sent on their way at this distance, so that a large archive does not all wait for the last fsync.
constexpr std::uint64_t kFlushDistance = 32u << 20;

}  // namespace

FilePut::FilePut(std::shared_ptr<const Directory> directory, std::string name)
    : directory_(std::move(directory)), name_(std::move(name)) {
  check_name(name_);
  std::tie(temporary_, file_) = directory_->create_temporary(name_);
}

FilePut::~FilePut() { discard(); }

void FilePut::discard() {
  if (!temporary_.empty()) ::unlinkat(directory_->fd(), temporary_.c_str(), 0);
  temporary_.clear();
  file_.reset();
}

void FilePut::part(const sdk::Call& call, std::string_view data) {
  if (data.size() > kPartMax) throw sdk::Failure(ROOST_INVALID, "a part is at most 8 MiB");
  if (!file_) throw sdk::Failure(ROOST_INVALID, "there was no room for this put: begin a new one");
  call.check();
  std::uint64_t reached = size_;
  while (!data.empty()) {
    const ssize_t written = ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(reached));
    if (written < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      if (no_room(error)) discard();  // first of all the room is given back
      // Of anything else nothing was done, as the code says: the same call again writes the same place.
      throw failure(error, "cannot write archive " + name_ + " beyond " + std::to_string(reached) + " bytes", directory_->fd());
    }
    reached += static_cast<std::uint64_t>(written);
    data.remove_prefix(static_cast<std::size_t>(written));
  }
  size_ = reached;
  if (size_ - flushed_ >= kFlushDistance) {
    ::sync_file_range(file_.get(), static_cast<off_t>(flushed_), static_cast<off_t>(size_ - flushed_), SYNC_FILE_RANGE_WRITE);
    flushed_ = size_;
  }
}

std::string FilePut::commit(const sdk::Call& call) {
  if (!file_) throw sdk::Failure(ROOST_INVALID, "there was no room for this put: begin a new one");
  call.check();
  // An fsync that failed once says nothing about what a second one would answer: the put has failed. Of a part that failed on
  // its way some bytes may lie behind the end.
  if (::ftruncate(file_.get(), static_cast<off_t>(size_)) != 0 || ::fsync(file_.get()) != 0)
    throw failure(errno, "cannot make archive " + name_ + " durable", directory_->fd());
  ::posix_fadvise(file_.get(), 0, 0, POSIX_FADV_DONTNEED);  // so that verification reads the medium
  publish();
  temporary_.clear();
  directory_->sync();
  return "{\"size\":" + std::to_string(size_) + "}";
}

// Renames without replacing; by link and unlink where the file system cannot.
void FilePut::publish() {
  const int fd = directory_->fd();
  if (::syscall(SYS_renameat2, fd, temporary_.c_str(), fd, name_.c_str(), RENAME_NOREPLACE) == 0) return;
  int error = errno;
  if (error == EINVAL || error == ENOSYS || error == EPERM) {
    if (::linkat(fd, temporary_.c_str(), fd, name_.c_str(), 0) == 0) {
      ::unlinkat(fd, temporary_.c_str(), 0);
      return;
    }
    error = errno;
  }
  if (error == EEXIST) throw sdk::Failure(ROOST_EXISTS, "there is an archive " + name_ + " already; it was left as it is");
  throw failure(error, "cannot give archive " + name_ + " its name", fd);
}

}  // namespace roost::backup_directory
