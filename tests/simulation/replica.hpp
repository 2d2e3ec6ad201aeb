// Replica: one engine in the world: its scheduler and its ports, through which calls travel to the world and answers come back,
// late, lost or never. It can be paused (a stopped process: nothing of it runs, what is under way arrives late) and crashed
// (destroyed: the engine is gone, its calls may still take effect). Thread safety: one thread, but for the engine's commands.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.hpp"
#include "simulation/world.hpp"

namespace roost::simulation {

class Replica {
 public:
  Replica(World& world, EngineOptions options);
  ~Replica();
  Replica(const Replica&) = delete;
  Replica& operator=(const Replica&) = delete;

  [[nodiscard]] Engine& engine() { return *engine_; }
  void pause() { life_->paused = true; }
  void resume();
  [[nodiscard]] bool paused() const { return life_->paused; }

  // What other threads posted since; call it on the thread that runs the simulator. True where there was anything.
  bool take_posted();

  std::function<void()> on_call;                       // before each call that may change something
  std::function<void(const std::string& key)> on_get;  // for a test: before a document is read
  std::int64_t late_ms = 0;                            // for a test: answers of calls that begin from now on arrive so much later

 private:
  struct SchedulerPort;
  struct StorePort;
  struct ComputePort;
  struct BackupPort;
  // Shared with what is under way, which may outlive the replica.
  struct Life {
    bool alive = true;
    bool paused = false;
    std::vector<std::function<void()>> held;  // what arrived while paused
  };

  static void deliver(const std::shared_ptr<Life>& life, std::function<void()> work);
  // `act` happens in the world at some moment between the call and its answer, or later, or never.
  template <class T>
  void call(bool mutating, std::function<Result<T>()> act, Done<T> done);
  void watch(const std::vector<Change>& changes, std::vector<std::function<void()>>& waiters, const std::string& resume,
             std::int64_t longest_ms, Done<Watched> done);

  const std::thread::id owner_ = std::this_thread::get_id();
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;  // by other threads
  World& world_;
  Simulator& simulator_;
  SimulatedRandom random_;
  std::shared_ptr<Life> life_ = std::make_shared<Life>();
  std::map<std::string, WorkloadState> told_;  // what the engine last heard of each workload
  std::unique_ptr<SchedulerPort> scheduler_;
  std::unique_ptr<StorePort> store_;
  std::unique_ptr<ComputePort> compute_;
  std::unique_ptr<BackupPort> backup_;
  std::unique_ptr<Engine> engine_;
};

}  // namespace roost::simulation
