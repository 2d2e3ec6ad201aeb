// Manifest: what NAME.roost.json beside a plugin's library says. It is read and checked before the library is opened, so that a
// wrong file is refused without running any of its code. Its schema: core/abi/schemas/manifest.json.
// Thread safety: a plain value and pure functions.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/result.hpp"

namespace roost {

enum class PluginKind { compute = 1, store = 2, backup = 3 };  // the numbers of enum roost_kind
[[nodiscard]] std::string_view to_string(PluginKind kind);

struct Manifest {
  std::string name;
  PluginKind kind = PluginKind::store;
  std::string version;
  std::string description;
  std::int64_t abi_major = 0;
  std::int64_t abi_minor = 0;
  std::filesystem::path library;  // absolute, in the manifest's own directory
  std::string sha256;             // of the library, lower-case hex
  std::vector<std::string> capabilities;
  Json config_schema;
  std::vector<std::string> secrets;  // names that it may be given
  std::filesystem::path path;        // of the manifest itself, absolute
};

inline constexpr std::size_t kManifestBytesMax = 256 * 1024;

// INVALID, naming the file and the member, for anything that the schema does not allow. `path` is where the text came from.
[[nodiscard]] Result<Manifest> parse_manifest(std::string_view text, const std::filesystem::path& path);
// NOT_FOUND where there is no such file; else as parse_manifest.
[[nodiscard]] Result<Manifest> read_manifest(const std::filesystem::path& path);

// The manifest of the plugin of that name: the first NAME.roost.json in the directories, in order. NOT_FOUND lists where it
// looked.
[[nodiscard]] Result<std::filesystem::path> find_manifest(const std::vector<std::filesystem::path>& directories,
                                                          std::string_view name);

}  // namespace roost
