// Tasks: backups, verifications and restores beside a volume, each the agent in a sandbox under a supervisor of its own
// (roost-agent task). tasks/ID-OPERATION-ATTEMPT/ holds lock, begun, runner.json (for the supervisor), spec.json (for the task;
// it may hold secrets, mode 0600, gone with the task's end), out/result.json and out/progress.json. Thread safety: the caller
// serialises changes to one session's tasks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compute/process/agent.hpp"
#include "compute/process/volumes.hpp"

namespace roost::compute_process {

class Tasks {
 public:
  explicit Tasks(const Settings& settings) : settings_(settings) {}

  // `spec` is a task-spec document. `volume` null: a verify.
  void start(const sdk::Call& call, const Object& spec, const Volume* volume);
  // A task document.
  std::string observe(const std::string& name) const;
  void remove(const sdk::Call& call, const std::string& name);

  bool known(const std::string& name) const;                                // begun at some time, or running
  std::vector<std::string> of_session(const std::string& id) const;         // names
  bool uses_volume(const std::string& name, const std::string& uid) const;  // and runs

  // INVALID where id, operation or attempt are not what they must be.
  static std::string name_of(const Object& request);

 private:
  std::string directory(const std::string& name) const { return settings_.data + "/tasks/" + name; }
  std::string runner_spec(const std::string& name, const Object& spec, const Volume* volume) const;
  bool runs(const std::string& name) const;
  const Settings& settings_;
};

}  // namespace roost::compute_process
