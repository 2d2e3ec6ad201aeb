#include "host/loader.hpp"

#include <algorithm>
#include <array>
#include <boost/dll/shared_library.hpp>
#include <boost/dll/shared_library_load_mode.hpp>
#include <cstring>
#include <fstream>
#include <mutex>

#include "base/clock.hpp"
#include "base/crypto.hpp"
#include "host/plugin_call.hpp"

namespace roost {
namespace {

// The sizes as released with ABI 1.0: a table must hold at least these members, whatever was appended later.
constexpr std::size_t kPluginSize = offsetof(roost_plugin, backup) + sizeof(roost_plugin::backup);
constexpr std::size_t kStoreSize = offsetof(roost_store, watch) + sizeof(roost_store::watch);
constexpr std::size_t kComputeSize = offsetof(roost_compute, activity) + sizeof(roost_compute::activity);
constexpr std::size_t kBackupSize = offsetof(roost_backup, remove) + sizeof(roost_backup::remove);
constexpr std::uint32_t kMinMinor = 0;

// dlopen is a property of the process, so what was loaded is one too. Nothing here is ever destroyed: code of a plugin may run
// until the process ends.
struct Registry {
  std::mutex mutex;
  std::vector<std::unique_ptr<boost::dll::shared_library>> libraries;  // also of plugins that were refused
  std::vector<PluginHandle> plugins;
};
Registry& registry() {
  static auto* immortal = new Registry;
  return *immortal;
}

Result<std::string> hash_file(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return Error{Code::not_found, path.string() + ": no such library", 0};
  std::ifstream file(path, std::ios::binary);
  Sha256Stream hash;
  std::array<char, 64 * 1024> block;
  while (file) {
    file.read(block.data(), block.size());
    hash.update(std::string_view(block.data(), static_cast<std::size_t>(file.gcount())));
  }
  if (!file.eof()) return Error{Code::unavailable, path.string() + ": cannot be read", 0};
  return to_hex(hash.finish());
}

Status check_manifest(const Manifest& manifest, PluginKind kind) {
  const std::string who = manifest.path.string() + ": ";
  if (manifest.kind != kind) {
    return Error{Code::invalid,
                 who + "plugin \"" + manifest.name + "\" is of kind " + std::string(to_string(manifest.kind)) + ", but a " +
                     std::string(to_string(kind)) + " plugin is wanted here",
                 0};
  }
  if (manifest.abi_major != ROOST_ABI_MAJOR || manifest.abi_minor < kMinMinor) {
    return Error{Code::unsupported,
                 who + "built for plugin ABI " + std::to_string(manifest.abi_major) + "." + std::to_string(manifest.abi_minor) +
                     ", this host speaks " + std::to_string(ROOST_ABI_MAJOR) + "." + std::to_string(kMinMinor) + " to " +
                     std::to_string(ROOST_ABI_MAJOR) + "." + std::to_string(ROOST_ABI_MINOR) +
                     "; install a matching build of the plugin",
                 0};
  }
  ROOST_TRY(const std::string found, hash_file(manifest.library));
  if (found != manifest.sha256) {
    return Error{Code::invalid,
                 manifest.library.string() + ": its sha256 is " + found + ", the manifest says " + manifest.sha256 +
                     "; the library is damaged or not the one that the manifest describes",
                 0};
  }
  return {};
}

struct Entry {
  roost_plugin_v1_function function;
};

// Opens the library and finds its one symbol. REQUIRES: the registry's mutex is held.
Result<Entry> open_library(const std::filesystem::path& path, Registry& known) {
  namespace dll = boost::dll;
  try {
    auto opened = std::make_unique<dll::shared_library>();
    opened->load(path.string(), dll::load_mode::rtld_now | dll::load_mode::rtld_local);
    known.libraries.push_back(std::move(opened));
    dll::shared_library& library = *known.libraries.back();
    if (!library.has("roost_plugin_v1")) {
      return Error{Code::invalid, path.string() + ": exports no roost_plugin_v1; it is not a plugin of ABI major 1", 0};
    }
    return Entry{&library.get<const roost_plugin*(const roost_negotiation*, roost_error*)>("roost_plugin_v1")};
  } catch (const std::exception& exception) {
    return Error{Code::invalid, path.string() + ": cannot be loaded: " + exception.what(), 0};
  }
}

// A copy of a table, of what its `size` says is there.
template <class Table>
Status copy_table(const Table* table, std::size_t least, const char* what, Table& copy) {
  if (table == nullptr) return Error{Code::invalid, std::string("answered no table ") + what, 0};
  if (table->size < least) {
    return Error{Code::invalid,
                 std::string("answered a table ") + what + " of " + std::to_string(table->size) + " bytes; at least " +
                     std::to_string(least) + " are wanted",
                 0};
  }
  std::memcpy(&copy, table, std::min<std::size_t>(table->size, sizeof copy));
  copy.size = sizeof copy;
  return {};
}

Status require(std::initializer_list<bool> present, const char* what) {
  if (std::find(present.begin(), present.end(), false) == present.end()) return {};
  return Error{Code::invalid, std::string("answered a table ") + what + " with a missing function", 0};
}

Status check_answer(const roost_plugin* answer, LoadedPlugin& loaded) {
  const Manifest& manifest = loaded.manifest;
  roost_plugin& plugin = loaded.plugin;
  ROOST_CHECK(copy_table(answer, kPluginSize, "roost_plugin", plugin));
  if (plugin.abi_minor < kMinMinor || plugin.abi_minor > ROOST_ABI_MINOR) {
    return Error{Code::invalid, "chose ABI minor " + std::to_string(plugin.abi_minor) + ", which was not offered", 0};
  }
  if (plugin.kind != static_cast<std::int32_t>(manifest.kind)) {
    return Error{
        Code::invalid,
        "says that it is of kind " + std::to_string(plugin.kind) + ", its manifest says " + std::string(to_string(manifest.kind)),
        0};
  }
  if (plugin.name == nullptr || manifest.name != std::string_view(plugin.name, strnlen(plugin.name, 65))) {
    return Error{Code::invalid, "calls itself otherwise than its manifest does", 0};
  }
  ROOST_CHECK(require({plugin.version != nullptr, plugin.open != nullptr, plugin.close != nullptr}, "roost_plugin"));
  const roost_store& s = loaded.store;
  const roost_compute& c = loaded.compute;
  const roost_backup& b = loaded.backup;
  switch (manifest.kind) {
    case PluginKind::store:
      ROOST_CHECK(copy_table(plugin.store, kStoreSize, "roost_store", loaded.store));
      return require(
          {s.get != nullptr, s.scan != nullptr, s.commit != nullptr, s.count != nullptr, s.lease != nullptr, s.watch != nullptr},
          "roost_store");
    case PluginKind::compute:
      ROOST_CHECK(copy_table(plugin.compute, kComputeSize, "roost_compute", loaded.compute));
      return require({c.apply != nullptr, c.observe != nullptr, c.list != nullptr, c.watch != nullptr, c.remove != nullptr,
                      c.task_start != nullptr, c.task_observe != nullptr, c.task_remove != nullptr, c.activity != nullptr},
                     "roost_compute");
    case PluginKind::backup:
      ROOST_CHECK(copy_table(plugin.backup, kBackupSize, "roost_backup", loaded.backup));
      return require({b.describe != nullptr, b.put_begin != nullptr, b.put_part != nullptr, b.put_commit != nullptr,
                      b.put_abort != nullptr, b.list != nullptr, b.stat != nullptr, b.read != nullptr, b.remove != nullptr},
                     "roost_backup");
  }
  return Error{Code::internal, "unknown kind", 0};
}

Status negotiate(roost_plugin_v1_function entry, const HostApi& host, LoadedPlugin& loaded) {
  const roost_negotiation offer{sizeof(roost_negotiation), kMinMinor, ROOST_ABI_MINOR, 0, host.get()};
  roost_error error{};
  error.size = sizeof error;
  const roost_plugin* answer = nullptr;
  try {
    answer = entry(&offer, &error);
  } catch (...) {
    host.misbehaving(loaded.manifest.name, "threw an exception out of roost_plugin_v1");
    return Error{Code::invalid, "threw an exception out of roost_plugin_v1", 0};
  }
  if (answer == nullptr) {
    const Status refused = status_of(error.code == ROOST_OK ? static_cast<std::int32_t>(ROOST_UNSUPPORTED) : error.code, error);
    return refused.error().context("refuses this host");
  }
  const Status checked = check_answer(answer, loaded);
  if (!checked.ok()) host.misbehaving(loaded.manifest.name, checked.error().message);
  return checked;
}

}  // namespace

Result<PluginHandle> load_plugin(const std::filesystem::path& manifest_path, PluginKind kind, const HostApi& host) {
  ROOST_TRY(const Manifest manifest, read_manifest(manifest_path));
  ROOST_CHECK(check_manifest(manifest, kind));
  Registry& known = registry();
  const std::scoped_lock lock(known.mutex);
  for (const PluginHandle& old : known.plugins) {
    if (old->manifest.library != manifest.library) continue;
    if (old->manifest.sha256 != manifest.sha256) {
      return Error{Code::conflict, manifest.library.string() + ": it changed since it was loaded; restart to use the new one", 0};
    }
    if (old->host != &host) continue;
    auto again = std::make_shared<LoadedPlugin>(*old);
    again->manifest = manifest;  // its schema may have been corrected
    return PluginHandle(std::move(again));
  }
  auto loaded = std::make_shared<LoadedPlugin>();
  loaded->manifest = manifest;
  loaded->host = &host;
  ROOST_TRY(const Entry entry, open_library(manifest.library, known));
  if (const Status agreed = negotiate(entry.function, host, *loaded); !agreed.ok()) {
    return agreed.error().context(manifest.library.string());
  }
  known.plugins.push_back(loaded);
  return PluginHandle(std::move(loaded));
}

Result<std::shared_ptr<Instance>> Instance::open(PluginHandle plugin, const std::string& name, const Json& config,
                                                 const Secrets& secrets, std::int64_t deadline_ns) {
  const std::string config_text = config.dump();
  std::vector<roost_secret> raw_secrets;
  for (const auto& [secret, value] : secrets) {
    raw_secrets.push_back({sizeof(roost_secret), 0, to_bytes(secret), to_bytes(value)});
  }
  roost_open_args args{};
  args.size = sizeof args;
  args.name = to_bytes(name);
  args.config = to_bytes(config_text);
  args.secrets = {raw_secrets.data(), static_cast<std::uint32_t>(raw_secrets.size()), sizeof(roost_secret)};
  PluginCall call(*plugin, deadline_ns);
  roost_instance* instance = nullptr;
  const Status opened = call.run([&] { return plugin->plugin.open(call.raw(), &args, &instance, call.error()); });
  if (!opened.ok()) return opened.error().context("plugin \"" + plugin->manifest.name + "\": open");
  if (instance == nullptr) {
    plugin->host->misbehaving(plugin->manifest.name, "open answered OK without an instance");
    return Error{Code::internal, "plugin \"" + plugin->manifest.name + "\": open answered OK without an instance", 0};
  }
  return std::shared_ptr<Instance>(new Instance(std::move(plugin), instance));
}

Instance::~Instance() {
  try {
    plugin_->plugin.close(instance_);
  } catch (...) {
    plugin_->host->misbehaving(plugin_->manifest.name, "threw an exception out of close");
  }
}

}  // namespace roost
