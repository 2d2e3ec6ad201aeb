// The loader: turns a manifest into a plugin that can be called. Everything that can be checked before the library's code runs is
// checked first; what the library then answers is checked again. A loaded plugin is never unloaded.
// Thread safety: load_plugin may be called from any thread (one at a time inside); a LoadedPlugin is immutable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"
#include "host/host_api.hpp"
#include "host/manifest.hpp"
#include "roost/plugin.h"

namespace roost {

// The tables are the host's copies: functions that a plugin with an older minor lacks are null in them.
struct LoadedPlugin {
  Manifest manifest;
  const HostApi* host = nullptr;
  roost_plugin plugin{};
  roost_store store{};  // of the kind of the manifest only one is filled
  roost_compute compute{};
  roost_backup backup{};
};
using PluginHandle = std::shared_ptr<const LoadedPlugin>;

// Loads the plugin of that kind. A plugin that is loaded already is answered again. `host` lives as long as the process.
// INVALID: wrong manifest, hash, kind, ABI, or an answer that breaks the rules; NOT_FOUND: a file is missing; UNSUPPORTED: no
// common ABI version; CONFLICT: the library changed since it was loaded, which needs a restart.
[[nodiscard]] Result<PluginHandle> load_plugin(const std::filesystem::path& manifest_path, PluginKind kind, const HostApi& host);

using Secrets = std::vector<std::pair<std::string, std::string>>;  // name, value; never logged

// An open instance; its destructor closes it. REQUIRES: no call is under way then.
class Instance {
 public:
  // Blocks up to the deadline (CLOCK_MONOTONIC), or longer where the plugin breaks the rules.
  [[nodiscard]] static Result<std::shared_ptr<Instance>> open(PluginHandle plugin, const std::string& name, const Json& config,
                                                              const Secrets& secrets, std::int64_t deadline_ns);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  [[nodiscard]] roost_instance* get() const { return instance_; }
  [[nodiscard]] const LoadedPlugin& plugin() const { return *plugin_; }

 private:
  Instance(PluginHandle plugin, roost_instance* instance) : plugin_(std::move(plugin)), instance_(instance) {}
  PluginHandle plugin_;
  roost_instance* instance_;
};

}  // namespace roost
