#include "host/backends.hpp"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "base/clock.hpp"
#include "host/manifest.hpp"

namespace roost {
namespace {

struct Part {
  PluginKind kind;
  const BackendSpec& spec;
  const LanesOptions& lanes;
};

std::array<Part, 3> parts(const BackendsSpec& spec) {
  return {{{PluginKind::store, spec.store, spec.store_lanes},
           {PluginKind::compute, spec.compute, spec.compute_lanes},
           {PluginKind::backup, spec.backup, spec.backup_lanes}}};
}

BackendProblems check_part(const Part& part, const std::vector<std::filesystem::path>& directories) {
  const std::string at = "/" + std::string(to_string(part.kind));
  const auto path = find_manifest(directories, part.spec.plugin);
  if (!path.ok()) return {{at + "/plugin", path.error().message}};
  const auto manifest = read_manifest(*path);
  if (!manifest.ok()) return {{at + "/plugin", manifest.error().message}};
  if (manifest->kind != part.kind) {
    return {{at + "/plugin", "\"" + part.spec.plugin + "\" is a " + std::string(to_string(manifest->kind)) + " plugin"}};
  }
  auto found = check_plugin_config(*manifest, part.spec.config);
  if (!found.ok()) return {{at + "/plugin", found.error().message}};
  BackendProblems problems;
  for (SchemaProblem& problem : *found) problems.push_back({at + "/config" + problem.pointer, std::move(problem.message)});
  std::vector<std::string> names;
  for (const auto& secret : part.spec.secrets) names.push_back(secret.first);
  for (SchemaProblem& problem : check_secret_names(*manifest, names)) {
    problems.push_back({at + "/secrets" + problem.pointer, std::move(problem.message)});
  }
  return problems;
}

Result<std::shared_ptr<OpenPlugin>> open_part(const Part& part, const BackendsSpec& spec, const HostApi& host) {
  const BackendProblems problems = check_part(part, spec.directories);
  if (!problems.empty()) return Error{Code::invalid, problems.front().pointer + ": " + problems.front().message, 0};
  ROOST_TRY(const std::filesystem::path path, find_manifest(spec.directories, part.spec.plugin));
  ROOST_TRY(PluginHandle plugin, load_plugin(path, part.kind, host));
  const std::int64_t deadline_ns = system_clock().monotonic_ns() + spec.timeouts.open_ms * 1'000'000;
  ROOST_TRY(std::shared_ptr<Instance> instance, Instance::open(std::move(plugin), std::string(to_string(part.kind)),
                                                               part.spec.config, part.spec.secrets, deadline_ns));
  return std::make_shared<OpenPlugin>(std::move(instance), part.spec.config, part.spec.secrets, part.lanes);
}

}  // namespace

struct Backends::Impl {
  Impl(const HostApi& host_api, Scheduler& scheduler, const CallTimeouts& timeouts)
      : host(host_api),
        store(slots[0], scheduler, timeouts),
        compute(slots[1], slots[2], scheduler, timeouts),
        backup(slots[2], scheduler, timeouts) {}

  const HostApi& host;
  std::array<PluginSlot, 3> slots;
  StoreAdapter store;
  ComputeAdapter compute;
  BackupAdapter backup;
  std::mutex reload_mutex;  // one reload at a time; guards spec. Held while old instances drain, so nothing else waits for it
  BackendsSpec spec;
  mutable std::mutex stuck_mutex;
  std::vector<std::shared_ptr<OpenPlugin>> stuck;
};

Backends::Backends(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Backends::~Backends() = default;

BackendProblems Backends::check(const BackendsSpec& spec) {
  BackendProblems problems;
  for (const Part& part : parts(spec)) {
    for (SchemaProblem& problem : check_part(part, spec.directories)) problems.push_back(std::move(problem));
  }
  return problems;
}

Result<std::unique_ptr<Backends>> Backends::open(const BackendsSpec& spec, const HostApi& host, Scheduler& scheduler) {
  auto impl = std::make_unique<Impl>(host, scheduler, spec.timeouts);
  impl->spec = spec;
  const auto all = parts(spec);
  for (std::size_t i = 0; i < all.size(); ++i) {
    auto opened = open_part(all[i], spec, host);
    if (!opened.ok()) return opened.error().context(to_string(all[i].kind));
    impl->slots[i].replace(std::move(*opened));
  }
  return std::unique_ptr<Backends>(new Backends(std::move(impl)));
}

Result<std::unique_ptr<Backends>> Backends::open_store(const BackendsSpec& spec, const HostApi& host, Scheduler& scheduler) {
  auto impl = std::make_unique<Impl>(host, scheduler, spec.timeouts);
  impl->spec = spec;
  ROOST_TRY(auto opened, open_part(parts(spec)[0], spec, host));
  impl->slots[0].replace(std::move(opened));
  return std::unique_ptr<Backends>(new Backends(std::move(impl)));
}

Result<std::unique_ptr<Backends>> Backends::open_storage(const BackendsSpec& spec, const HostApi& host, Scheduler& scheduler) {
  ROOST_TRY(auto backends, open_store(spec, host, scheduler));
  auto opened = open_part(parts(spec)[2], spec, host);
  if (!opened.ok()) return opened.error().context("backup");
  backends->impl_->slots[2].replace(std::move(*opened));
  return backends;
}

Store& Backends::store() { return impl_->store; }
bool Backends::store_is_shared() const {
  const auto path = find_manifest(impl_->spec.directories, impl_->spec.store.plugin);
  if (!path.ok()) return false;
  const auto manifest = read_manifest(*path);
  return manifest.ok() && std::count(manifest->capabilities.begin(), manifest->capabilities.end(), "shared") != 0;
}
Compute& Backends::compute() { return impl_->compute; }
BackupStorage& Backends::backup() { return impl_->backup; }

std::string Backends::backup_plugin() const { return impl_->slots[2].current()->manifest.name; }

void Backends::read_archive(const std::string& name, std::int64_t offset, std::int64_t length, Done<std::string> done) const {
  impl_->backup.read(name, offset, length, std::move(done));
}

Result<std::string> Backends::read_archive(const std::string& name, std::int64_t offset, std::int64_t length) const {
  return impl_->backup.read(name, offset, length);
}

Status Backends::reload(const BackendsSpec& spec, std::int64_t drain_ms) {
  const std::scoped_lock lock(impl_->reload_mutex);
  const auto before = parts(impl_->spec);
  const auto after = parts(spec);
  std::array<std::shared_ptr<OpenPlugin>, 3> opened;
  for (std::size_t i = 0; i < after.size(); ++i) {
    if (after[i].spec == before[i].spec) continue;
    auto part = open_part(after[i], spec, impl_->host);
    if (!part.ok()) return part.error().context(to_string(after[i].kind));
    opened[i] = std::move(*part);
  }
  for (std::size_t i = 0; i < opened.size(); ++i) {
    if (!opened[i]) continue;
    std::shared_ptr<OpenPlugin> old = impl_->slots[i].replace(std::move(opened[i]));
    if (old->lanes.drain(system_clock().monotonic_ns() + drain_ms * 1'000'000)) continue;
    const std::scoped_lock stuck_lock(impl_->stuck_mutex);
    std::erase_if(impl_->stuck, [](const auto& earlier) { return earlier->lanes.statistics().running == 0; });
    impl_->stuck.push_back(std::move(old));
  }
  impl_->spec = spec;
  return {};
}

bool Backends::drain(std::int64_t deadline_ns) {
  bool drained = true;
  for (const PluginSlot& slot : impl_->slots) {
    if (const auto open = slot.current()) drained = open->lanes.drain(deadline_ns) && drained;
  }
  const std::scoped_lock lock(impl_->stuck_mutex);
  for (const auto& old : impl_->stuck) drained = old->lanes.statistics().running == 0 && drained;
  return drained;
}

Backends::Statistics Backends::statistics() const {
  Statistics now;
  now.store = impl_->slots[0].current()->lanes.statistics();
  now.compute = impl_->slots[1].current()->lanes.statistics();
  now.backup = impl_->slots[2].current()->lanes.statistics();
  const std::scoped_lock lock(impl_->stuck_mutex);
  for (const auto& old : impl_->stuck) now.stuck_instances += old->lanes.statistics().running != 0 ? 1 : 0;
  return now;
}

}  // namespace roost
