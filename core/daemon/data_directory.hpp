// DataDirectory: the directory that one daemon owns: it makes it, holds its lock for as long as it lives, and keeps the master
// key from which every secret of a session is derived. Thread safety: made and destroyed on one thread; the rest is constant.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/result.hpp"
#include "model/session.hpp"

namespace roost::daemon {

class DataDirectory {
 public:
  // EXISTS naming the process that holds it; DENIED or UNAVAILABLE with the path where it cannot be used.
  // `secret_key`: the master key as 64 hex digits, where several daemons share one; empty: a file in the directory, made at
  // random.
  [[nodiscard]] static Result<DataDirectory> open(const std::string& path, const std::string& secret_key, Random& random);
  ~DataDirectory();
  DataDirectory(DataDirectory&& other) noexcept;
  DataDirectory& operator=(DataDirectory&&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

  // Derived from the master key, and stored nowhere: 64 hex digits.
  [[nodiscard]] std::string login_secret(const Session& session) const;
  [[nodiscard]] std::string workspace_token(const Session& session) const;
  // For anything else that must survive a restart: 32 bytes.
  [[nodiscard]] std::string derived_key(std::string_view purpose) const;

  // Where this daemon is reached from this machine, for the workspaces' supervisors, which outlive it: `api-url`, readable by
  // this user only. Written at each start; they read it for each request.
  [[nodiscard]] Status publish_url(std::string_view url) const;

 private:
  DataDirectory(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  std::string path_;
  int lock_ = -1;
  std::string master_;
};

}  // namespace roost::daemon
