#include "daemon/data_directory.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/crypto.hpp"
#include "base/descriptor.hpp"

namespace roost::daemon {
namespace {

constexpr std::size_t kMasterBytes = 32;

Error system_error(const std::string& what, const std::string& path) {
  const int code = errno;
  const Code kind = code == EACCES || code == EPERM || code == EROFS ? Code::denied
                    : code == ENOSPC || code == EDQUOT               ? Code::exhausted
                                                                     : Code::unavailable;
  return Error{kind, what + " " + path + ": " + std::strerror(code), 0};
}

// The whole of a small file; at most `limit` bytes of it.
Result<std::string> read_small(int fd, const std::string& path, std::size_t limit) {
  std::string text(limit, '\0');
  std::size_t size = 0;
  while (size < limit) {
    const ssize_t n = ::pread(fd, text.data() + size, limit - size, static_cast<off_t>(size));
    if (n == 0) break;
    if (n < 0 && errno != EINTR) return system_error("cannot read", path);
    if (n > 0) size += static_cast<std::size_t>(n);
  }
  text.resize(size);
  return text;
}

Status write_all(int fd, std::string_view text, const std::string& path) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno != EINTR) return system_error("cannot write", path);
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<int> lock(const std::string& directory) {
  const std::string path = directory + "/roostd.lock";
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return system_error("cannot open", path);
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_error("cannot lock", path);
    ROOST_TRY(const std::string holder, read_small(file.get(), path, 32));
    const std::string pid = holder.substr(0, holder.find('\n'));
    return Error{Code::exists,
                 "the data directory " + directory + " is in use by the process " + (pid.empty() ? "(unknown)" : pid) +
                     "; stop that roostd, or give this one a data_dir of its own",
                 0};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file.get(), 0) != 0) return system_error("cannot write", path);
  ROOST_CHECK(write_all(file.get(), pid, path));
  return file.release();
}

// Written beside its place, synced, then renamed: a crash leaves the whole file or none, or the one before.
Status write_durably(const std::string& directory, const std::string& path, const std::string& text) {
  const std::string temporary = path + ".new";
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (file.get() < 0) return system_error("cannot make", temporary);
  ROOST_CHECK(write_all(file.get(), text, temporary));
  if (::fsync(file.get()) != 0) return system_error("cannot sync", temporary);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return system_error("cannot rename to", path);
  const Descriptor parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() < 0 || ::fsync(parent.get()) != 0) return system_error("cannot sync", directory);
  return {};
}

Result<std::string> read_master(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.get() < 0) return errno == ENOENT ? Error{Code::not_found, path, 0} : system_error("cannot open", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) return system_error("cannot examine", path);
  if (!S_ISREG(status.st_mode)) return Error{Code::invalid, path + " must be a regular file", 0};
  if ((status.st_mode & 077) != 0) return Error{Code::denied, path + " can be read by others; chmod 600 it", 0};
  ROOST_TRY(std::string text, read_small(file.get(), path, 256));
  if (!text.empty() && text.back() == '\n') text.pop_back();
  const auto key = from_hex(text);
  if (!key || key->size() != kMasterBytes) {
    return Error{Code::data_loss,
                 path +
                     " is damaged: it must hold 64 hex digits. Restore it from a copy; a new one would log every "
                     "user out of every workspace",
                 0};
  }
  return *key;
}

std::string text_of(const Sha256& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

}  // namespace

Result<DataDirectory> DataDirectory::open(const std::string& path, const std::string& secret_key, Random& random) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);  // 0700 by the process's umask
  if (failed) return Error{Code::unavailable, "cannot make the data directory " + path + ": " + failed.message(), 0};
  ROOST_TRY(const int held, lock(path));
  DataDirectory directory(path, held);
  if (!secret_key.empty()) {
    const auto key = from_hex(secret_key);
    if (!key || key->size() != kMasterBytes) return Error{Code::invalid, "auth.secret_key must be 64 hex digits", 0};
    directory.master_ = *key;
    return directory;
  }
  const std::string key_path = path + "/secret.key";
  auto master = read_master(key_path);
  if (!master.ok() && master.error().code == Code::not_found) {
    ROOST_CHECK(write_durably(path, key_path, random.hex(kMasterBytes) + "\n"));
    master = read_master(key_path);
  }
  if (!master.ok()) return master.error();
  directory.master_ = *std::move(master);
  return directory;
}

DataDirectory::DataDirectory(DataDirectory&& other) noexcept
    : path_(std::move(other.path_)), lock_(std::exchange(other.lock_, -1)), master_(std::move(other.master_)) {}

DataDirectory::~DataDirectory() {
  if (lock_ >= 0) ::close(lock_);
}

std::string DataDirectory::login_secret(const Session& session) const {
  return to_hex(hmac_sha256(master_, "login:" + session.id + ":" + session.secret_nonce));
}

std::string DataDirectory::workspace_token(const Session& session) const {
  return to_hex(hmac_sha256(master_, "token:" + session.id + ":" + session.secret_nonce));
}

std::string DataDirectory::derived_key(std::string_view purpose) const {
  return text_of(hmac_sha256(master_, "key:" + std::string(purpose)));
}

Status DataDirectory::publish_url(std::string_view url) const {
  return write_durably(path_, path_ + "/api-url", std::string(url) + "\n");
}

}  // namespace roost::daemon
