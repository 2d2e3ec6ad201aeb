// Workloads: the supervisors of this machine's workspaces, one a session, each with a directory run/ws/ID/: lock, control.sock,
// front.sock, spec.json, status.json. What is alive is told by the lock, never by a recorded pid.
// Thread safety: the caller serialises changes to one session; reads need nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compute/process/agent.hpp"
#include "compute/process/volumes.hpp"

namespace roost::compute_process {

struct Size {
  std::int64_t cpu_millis = 0;
  std::int64_t memory_bytes = 0;
  bool operator==(const Size&) const = default;
};

class Workloads {
 public:
  explicit Workloads(const Settings& settings) : settings_(settings) {}

  std::vector<std::string> sessions() const;  // sorted
  std::string endpoint(const std::string& id) const { return "unix:" + directory(id) + "/front.sock"; }

  bool alive(const std::string& id) const { return lock_holder(directory(id) + "/lock").has_value(); }
  // What its supervisor says of it; of one that does not answer, what it last wrote; null where none lives.
  Object::Ptr status(const sdk::Call& call, const std::string& id) const;
  Object::Ptr activity(const sdk::Call& call, const std::string& id) const;
  std::string volume_uid(const std::string& id) const;  // of the volume that its last start used
  // Processes that outlived their supervisor, and are on their way out.
  bool remains(const std::string& id) const { return leftovers(directory(id) + "/status.json"); }
  // Ends a supervisor that uses the volume and stands in no run directory of ours: its own was changed in the configuration, or
  // cleaned, while it ran. As `end`.
  bool end_stray(const sdk::Call& call, const Volume& volume);

  // REQUIRES: not alive. api_token: secret; it goes into a file that the supervisor reads and the workload cannot.
  void start(const sdk::Call& call, const std::string& id, std::int64_t generation, const Volume& volume, const Size& size,
             const std::string& api_token);
  // EXHAUSTED: more memory is in use than that.
  void resize(const sdk::Call& call, const std::string& id, std::int64_t generation, const Size& size);
  void ask_to_stop(const sdk::Call& call, const std::string& id);
  // Ends it and waits until nothing is left; OUTCOME_UNKNOWN where the call ends first. Answers whether that is certain.
  bool end(const sdk::Call& call, const std::string& id);
  void forget(const std::string& id);  // REQUIRES: ended

 private:
  std::string directory(const std::string& id) const { return settings_.run + "/ws/" + id; }
  bool has_api() const { return !settings_.api_url_file.empty(); }
  std::string serve_spec(const std::string& id, std::int64_t generation, const Volume& volume, const Size& size) const;
  const Settings& settings_;
};

// A sandbox's mount, as the agent reads it.
Object::Ptr mount_json(const std::string& source, const std::string& target, bool writable);
// The name of a cgroup that no other data directory uses.
std::string cgroup_name(const Settings& settings, const std::string& name);

}  // namespace roost::compute_process
