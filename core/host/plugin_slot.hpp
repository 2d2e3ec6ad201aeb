// OpenPlugin: an open instance with its lanes and what it was opened with. PluginSlot: the one in use for a kind, which a reload
// replaces; ports hold slots, so that they stay the same objects over a reload.
// Thread safety: everything may be called from any thread.
#pragma once

#include <memory>
#include <mutex>
#include <type_traits>
#include <utility>

#include "base/clock.hpp"
#include "engine/ports.hpp"
#include "host/lanes.hpp"
#include "host/loader.hpp"

namespace roost {

struct OpenPlugin {
  OpenPlugin(std::shared_ptr<Instance> instance, const Json& with_config, const Secrets& with_secrets, LanesOptions options)
      : manifest(instance->plugin().manifest), config(with_config), secrets(with_secrets), lanes(std::move(instance), options) {}

  const Manifest manifest;
  const Json config;
  const Secrets secrets;
  Lanes lanes;
};

class PluginSlot {
 public:
  [[nodiscard]] std::shared_ptr<OpenPlugin> current() const {
    const std::scoped_lock lock(mutex_);
    return plugin_;
  }
  // Answers the one before; null at first.
  std::shared_ptr<OpenPlugin> replace(std::shared_ptr<OpenPlugin> plugin) {
    const std::scoped_lock lock(mutex_);
    plugin_.swap(plugin);
    return plugin;
  }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<OpenPlugin> plugin_;
};

// Runs `work` on a lane of the plugin in use; `done` gets what it answers, or why it was not run, on the lane's thread.
template <class T>
void submit_call(const PluginSlot& slot, LaneKind lane, std::int64_t timeout_ms, const char* what,
                 std::type_identity_t<std::function<Result<T>(WorkerCall&)>> work, Done<T> done) {
  Lanes::Job job;
  job.deadline_ns = system_clock().monotonic_ns() + timeout_ms * 1'000'000;
  job.what = what;
  job.run = [work = std::move(work), done](WorkerCall& call) {
    Result<T> result(Code::internal, "the call was not made");
    try {
      result = work(call);
    } catch (const std::exception& exception) {
      result = Error{Code::internal, std::string("the host failed to handle a plugin's answer: ") + exception.what(), 0};
    }
    done(std::move(result));
  };
  job.refuse = [done](Error error) { done(std::move(error)); };
  slot.current()->lanes.submit(lane, std::move(job));
}

// The same, `done` being posted to the scheduler.
template <class T>
Done<T> posted(Scheduler& scheduler, Done<T> done) {
  return [&scheduler, done = std::move(done)](Result<T> result) {
    scheduler.post([done, result = std::move(result)]() mutable { done(std::move(result)); });
  };
}

}  // namespace roost
