// Compute: workspaces and tasks on Kubernetes. It decides from the View and writes as little as it can; where a write meets a
// newer object it reads again, live. Everything destructive begins with a live read and names the UID that it saw.
// Thread safety: the host calls it from several threads; it locks nothing but the View.
// Invariants: a volume is POSTed, never applied; a pod is asked for only where none is left of the one before.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "compute/kubernetes/client.hpp"
#include "compute/kubernetes/documents.hpp"
#include "compute/kubernetes/reflector.hpp"
#include "compute/kubernetes/view.hpp"
#include "roost/plugin.hpp"

namespace roost::kubernetes {

class Compute final : public sdk::ComputePlugin {
 public:
  static constexpr std::uint32_t max_concurrency = 64;

  Compute(const sdk::Call& call, const sdk::OpenArgs& args);
  ~Compute() override;

  std::string apply(const sdk::Call& call, std::string_view spec) override;
  std::string observe(const sdk::Call& call, std::string_view id, std::uint32_t flags) override;
  void list(const sdk::Call& call, std::string_view after, std::uint32_t limit, sdk::Sink& sink) override;
  void watch(const sdk::Call& call, std::string_view resume, sdk::Sink& sink) override;
  void remove(const sdk::Call& call, std::string_view request) override;
  std::string task_start(const sdk::Call& call, std::string_view spec) override;
  std::string task_observe(const sdk::Call& call, std::string_view request) override;
  void task_remove(const sdk::Call& call, std::string_view request) override;
  std::string activity(const sdk::Call& call, std::string_view id) override;

 private:
  struct TaskName {
    std::string id;
    std::string operation;
    std::int64_t attempt = 1;
    [[nodiscard]] static TaskName parse(std::string_view request);
  };

  using Writes = std::vector<std::pair<Kind, Request>>;

  // What this instance knows of an id beside the cluster's objects.
  struct Fence {
    std::int64_t accepted = 0;  // the highest generation that it has begun to apply
    std::int64_t applied = 0;   // the highest that it has applied
    Size size;                  // of that
    std::string resized;        // UID of the pod that was last asked to have it
  };

  // ---- compute.cpp ----
  [[nodiscard]] std::string path(Kind kind, const std::string& name = {}) const;
  [[nodiscard]] std::string document(const std::string& id) const;
  // Reads everything of a session from the server itself into the view.
  void refresh(const sdk::Call& call, const std::string& id);
  void refresh_pods(const sdk::Call& call, const std::string& id);
  void refresh_jobs(const sdk::Call& call, const std::string& id);
  template <class T>
  void refresh_list(const sdk::Call& call, Kind kind, const std::string& id, const std::vector<T>& before);
  [[nodiscard]] bool exposed() const { return settings_.exposure != "none"; }

  // ---- apply.cpp ----
  void check_fence(const Spec& spec, const SessionState& session) const;
  void check_fence_live(const sdk::Call& call, const Spec& spec);
  void accept(const Spec& spec);
  void applied(const Spec& spec);
  void forget(const std::string& id);
  void note_foreign(const Spec& spec, const VolumeState& volume);
  void apply_once(const sdk::Call& call, const Spec& spec);
  // Whether the volume is there and ours; it may be made. `made`: by this call.
  bool ensure_volume(const sdk::Call& call, const Spec& spec, bool* made);
  void start(const sdk::Call& call, const Spec& spec, bool fresh_volume);
  void stop(const sdk::Call& call, const Spec& spec);
  void write_start(const sdk::Call& call, const std::string& id, Writes secret, Writes workload, Writes ways);
  void check_no_pod(const sdk::Call& call, const std::string& id);
  void resize(const sdk::Call& call, const Spec& spec, const PodState& pod, const WorkloadState& workload);
  void add(Kind kind, const std::vector<PlainState>& present, const Json& wanted, bool changed, Writes& writes) const;
  [[nodiscard]] Writes missing_secret(const Spec& spec, const SessionState& session) const;
  [[nodiscard]] Writes missing_ways(const Spec& spec, const SessionState& session) const;
  void write(const sdk::Call& call, Writes writes);
  [[nodiscard]] Request change(const WorkloadState& workload, const Spec& spec, bool with_template) const;

  // ---- remove.cpp ----
  void remove_workload(const sdk::Call& call, const std::string& id, const std::string& incarnation);
  void remove_volume(const sdk::Call& call, const std::string& id, const std::string& uid, const std::string& name);

  // ---- tasks.cpp ----
  [[nodiscard]] const PodState* task_pod(const SessionState& session, const JobState& job) const;
  void check_task_volume(const sdk::Call& call, const Task& task);
  void ensure_target(const sdk::Call& call, Task& task);
  std::optional<JobState> running_restore(const sdk::Call& call, const Task& task);
  JobState make_job(const sdk::Call& call, const Task& task);
  void delete_job(const sdk::Call& call, const std::string& id, const JobState& job);
  void ensure_task_secret(const sdk::Call& call, const Task& task, const std::string& job_uid);
  void delete_task_secret(const sdk::Call& call, const std::string& name, const std::string& uid = {});  // uid empty: any

  // ---- progress.cpp ----
  // How far a running task is, by what its agent printed last; null: not known.
  Json progress(const sdk::Call& call, const PodState& pod);
  // Whether a Job that has no pod has been seen so for longer than a cluster takes to make one.
  bool lacks_pod(const JobState& job, bool has_pod);

  Settings settings_;
  sdk::Log log_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<View> view_;
  std::string name_space_;
  std::vector<std::unique_ptr<Reflector>> reflectors_;  // after what they use, so that they end first
  std::atomic<int> starts_{0};                          // whose objects are being written now
  mutable std::mutex fence_mutex_;
  std::map<std::string, Fence> fences_;  // of each id; guarded by fence_mutex_
  struct Told {
    std::chrono::steady_clock::time_point next;  // not asked before
    Json progress;
  };
  std::mutex told_mutex_;
  std::map<std::string, Told> told_;                                      // by the UID of a task's pod; guarded by told_mutex_
  std::map<std::string, std::chrono::steady_clock::time_point> podless_;  // since when, by a Job's UID; guarded by told_mutex_
  std::map<std::string, std::string> foreign_;  // UIDs of volumes that bear another mark; guarded by fence_mutex_
};

// How long a removal itself looks whether what it deleted is gone: 1.5 s, less and less often. What takes longer must not hold
// one of the host's workers: the host is told to ask again (still_going), which writes nothing anew.
class Patience {
 public:
  [[nodiscard]] bool wait(const sdk::Call& call) {  // false: it is over, or the call is
    if (pause_ > kLongest || !call.sleep_for(pause_)) return false;
    pause_ *= 2;
    return true;
  }

 private:
  static constexpr std::chrono::milliseconds kLongest{800};
  std::chrono::milliseconds pause_{100};
};

[[noreturn]] void still_going(const std::string& message);

}  // namespace roost::kubernetes
