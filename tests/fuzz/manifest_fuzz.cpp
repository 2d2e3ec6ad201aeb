// Plugin manifests, and configurations checked against their schemas. The input is a manifest, then optionally a NUL and a
// configuration. Nothing may crash, whatever stands there; what is accepted keeps the promises of manifest.hpp.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "host/config_check.hpp"
#include "host/manifest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string_view text = input.substr(0, input.find('\0'));
  const auto manifest = roost::parse_manifest(text, "/plugins/x.roost.json");
  if (!manifest.ok()) {
    if (manifest.error().message.empty()) std::abort();
    return 0;
  }
  if (manifest->library.parent_path() != "/plugins" || manifest->sha256.size() != 64) std::abort();
  // Regular expressions of a schema may take for ever by design of their grammar; their length is limited, their time is not.
  if (text.size() == input.size() || text.find("pattern") != std::string_view::npos) return 0;
  const auto config = roost::Json::parse(input.substr(text.size() + 1));
  if (!config.ok()) return 0;
  const auto problems = roost::check_plugin_config(*manifest, *config);
  if (!problems.ok()) return 0;
  for (const roost::SchemaProblem& problem : *problems) {
    if (problem.message.empty()) std::abort();
  }
  return 0;
}
