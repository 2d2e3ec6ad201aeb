#include "host/manifest.hpp"

#include <fstream>
#include <iterator>
#include <system_error>

#include "host/schema.hpp"
#include "host/schemas.hpp"

namespace roost {
namespace {

Error invalid(const std::filesystem::path& path, std::string_view why) {
  return Error{Code::invalid, path.string() + ": " + std::string(why), 0};
}

std::vector<std::string> strings(const Json& list) {
  std::vector<std::string> out;
  for (const Json& item : list.items()) out.push_back(item.as_string());
  return out;
}

// A file system's path, limited before anything of it is read.
Result<std::string> read_limited(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return Error{Code::not_found, path.string() + ": no such manifest; install the plugin or correct plugins.directories", 0};
  }
  std::ifstream file(path, std::ios::binary);
  std::string text;
  text.resize(kManifestBytesMax + 1);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (!file.eof() && file.fail())) return Error{Code::unavailable, path.string() + ": cannot be read", 0};
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > kManifestBytesMax)
    return invalid(path, "a manifest has at most " + std::to_string(kManifestBytesMax) + " bytes");
  return text;
}

const Json& manifest_schema() {
  static const Json schema = Json::parse(schemas::manifest).value_or(Json());
  return schema;
}

}  // namespace

std::string_view to_string(PluginKind kind) {
  switch (kind) {
    case PluginKind::compute: return "compute";
    case PluginKind::store: return "store";
    case PluginKind::backup: return "backup";
  }
  return "unknown";
}

Result<Manifest> parse_manifest(std::string_view text, const std::filesystem::path& path) {
  auto parsed = Json::parse(text, {kManifestBytesMax, 32});
  if (!parsed.ok()) return invalid(path, parsed.error().message);
  const Json& document = *parsed;
  auto problems = check_schema(manifest_schema(), document);
  if (!problems.ok()) return problems.error().context(path.string());
  if (!problems->empty()) return invalid(path, problems->front().pointer + ": " + problems->front().message);

  Manifest manifest;
  manifest.path = std::filesystem::absolute(path);
  manifest.name = document["name"].as_string();
  const std::string& kind = document["kind"].as_string();
  manifest.kind = kind == "compute" ? PluginKind::compute : kind == "store" ? PluginKind::store : PluginKind::backup;
  manifest.version = document["version"].as_string();
  manifest.description = document["description"].as_string();
  manifest.abi_major = document["abi"]["major"].as_int();
  manifest.abi_minor = document["abi"]["minor"].as_int();
  manifest.library = manifest.path.parent_path() / document["library"].as_string();
  manifest.sha256 = document["sha256"].as_string();
  manifest.capabilities = strings(document["capabilities"]);
  manifest.config_schema = document["config_schema"];
  manifest.secrets = strings(document["secrets"]);
  return manifest;
}

Result<Manifest> read_manifest(const std::filesystem::path& path) {
  ROOST_TRY(const std::string text, read_limited(path));
  return parse_manifest(text, path);
}

Result<std::filesystem::path> find_manifest(const std::vector<std::filesystem::path>& directories, std::string_view name) {
  std::string looked;
  for (const std::filesystem::path& directory : directories) {
    const std::filesystem::path path = directory / (std::string(name) + ".roost.json");
    std::error_code error;
    if (name.find('/') == std::string_view::npos && std::filesystem::is_regular_file(path, error)) return path;
    looked += (looked.empty() ? "" : ", ") + directory.string();
  }
  return Error{Code::not_found,
               "plugin \"" + std::string(name) + "\": no " + std::string(name) + ".roost.json in " +
                   (looked.empty() ? "plugins.directories, which is empty" : looked),
               0};
}

}  // namespace roost
