// Backends: the three plugins of a running daemon: found, checked, loaded and opened, with the engine's ports over them. A reload
// opens and checks new instances before it lets go of the old ones; the ports stay the same objects.
// Thread safety: the ports as ports.hpp says; everything else from any thread but the scheduler's, for it blocks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/ports.hpp"
#include "host/backup_adapter.hpp"
#include "host/compute_adapter.hpp"
#include "host/config_check.hpp"
#include "host/lanes.hpp"
#include "host/store_adapter.hpp"
#include "host/timeouts.hpp"

namespace roost {

struct BackendSpec {
  std::string plugin;  // name, e.g. "store-sqlite"
  Json config = Json::object();
  Secrets secrets;
  bool operator==(const BackendSpec&) const = default;
};

struct BackendsSpec {
  std::vector<std::filesystem::path> directories;  // where NAME.roost.json is looked for, in order
  BackendSpec store;
  BackendSpec compute;
  BackendSpec backup;
  LanesOptions store_lanes;
  LanesOptions compute_lanes{{8, 16'384}, {16, 16'384}, {1, 8}, 1000};
  LanesOptions backup_lanes;
  CallTimeouts timeouts;
};

// What is wrong with a specification and where: "/store/config/pth", "/backup/secrets/x", "/compute/plugin".
using BackendProblems = std::vector<SchemaProblem>;

class Backends {
 public:
  // Reads manifests and checks configurations; runs no code of a plugin. Empty: all fine.
  [[nodiscard]] static BackendProblems check(const BackendsSpec& spec);

  // host and scheduler outlive the process's last call into a plugin. The error names the backend.
  [[nodiscard]] static Result<std::unique_ptr<Backends>> open(const BackendsSpec& spec, const HostApi& host,
                                                              Scheduler& scheduler);
  // The store alone, for what works on documents only.
  [[nodiscard]] static Result<std::unique_ptr<Backends>> open_store(const BackendsSpec& spec, const HostApi& host,
                                                                    Scheduler& scheduler);
  // Store and backup, for what works on the catalogue.
  [[nodiscard]] static Result<std::unique_ptr<Backends>> open_storage(const BackendsSpec& spec, const HostApi& host,
                                                                      Scheduler& scheduler);
  ~Backends();
  Backends(const Backends&) = delete;
  Backends& operator=(const Backends&) = delete;

  [[nodiscard]] Store& store();
  // Whether several daemons may use the store at once: its manifest has the capability "shared".
  [[nodiscard]] bool store_is_shared() const;
  [[nodiscard]] Compute& compute();
  [[nodiscard]] BackupStorage& backup();
  [[nodiscard]] std::string backup_plugin() const;  // its name, of the one in use now
  // See BackupAdapter::read.
  void read_archive(const std::string& name, std::int64_t offset, std::int64_t length, Done<std::string> done) const;
  [[nodiscard]] Result<std::string> read_archive(const std::string& name, std::int64_t offset, std::int64_t length) const;

  // Opens what changed; only when all of it is open are the old instances drained (for at most drain_ms each) and closed. On an
  // error everything stays as it was.
  [[nodiscard]] Status reload(const BackendsSpec& spec, std::int64_t drain_ms);

  // See Lanes::drain; false: end the process by _exit.
  bool drain(std::int64_t deadline_ns);

  struct Statistics {
    Lanes::Statistics store, compute, backup;
    std::size_t stuck_instances = 0;  // replaced by a reload, but a call of theirs does not return
  };
  [[nodiscard]] Statistics statistics() const;

 private:
  struct Impl;
  explicit Backends(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace roost
