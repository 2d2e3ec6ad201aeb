// Credentials: where the API server is and who we are to it. From the pod's service account, or from a kubeconfig (token, token
// file, client certificate, exec). Token files are read again every minute, as kubelets rotate them; a refused one at once.
// Thread safety: may be used from any thread. Secrets are never logged.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "compute/kubernetes/settings.hpp"

namespace roost::kubernetes {

struct Cluster {
  std::string url;  // https://host:port, without a slash at the end
  std::string ca_pem;
  std::string server_name;  // that the certificate must bear, where it is not the URL's host
  std::string name_space;
};

struct Identity {
  std::string token;  // empty: none
  std::string certificate_pem;
  std::string key_pem;
  std::uint64_t revision = 0;  // another number: connections of the old identity are not used again
};

// A program that prints an ExecCredential (client.authentication.k8s.io).
struct ExecSource {
  std::string api_version;
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment;
};

class Credentials {
 public:
  using Clock = std::chrono::steady_clock;

  // Throws INVALID, saying which file or member, where it makes no sense. Reads files; asks no server.
  static std::unique_ptr<Credentials> load(const Settings& settings);

  [[nodiscard]] const Cluster& cluster() const { return cluster_; }
  // Throws DENIED where there is none to be had. May run the exec program (at most 30 s).
  [[nodiscard]] Identity identity();
  // The server answered 401 to the identity of that revision.
  void rejected(std::uint64_t revision);

 private:
  Credentials() = default;
  static std::unique_ptr<Credentials> in_cluster(const Settings& settings);
  static std::unique_ptr<Credentials> from_kubeconfig(const Settings& settings);
  void read_token_file();
  void run_exec();

  Cluster cluster_;
  std::string token_file_;
  ExecSource exec_;
  std::mutex mutex_;
  Identity identity_;                // guarded by mutex_
  Clock::time_point fresh_until_{};  // guarded by mutex_; by default: long ago
};

// The whole of a file; throws INVALID with `what` where it cannot be read or is larger than 1 MiB.
[[nodiscard]] std::string read_file(const std::string& path, const std::string& what);
// Runs a program (no shell) and answers its standard output. Throws DENIED where it fails, or takes longer than `limit`.
[[nodiscard]] std::string run_program(const ExecSource& source, std::chrono::seconds limit);

}  // namespace roost::kubernetes
