// The configuration: any bytes as a YAML file (up to a NUL) and, behind it, as one override from the environment. Nothing may
// crash, hang or grow without end, and what is accepted must keep its promises.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "config/config.hpp"
#include "config/yaml.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

// Every value of an accepted document has a place in it.
void check_places(const roost::Json& value, const roost::config::Positions& positions, const std::string& pointer) {
  require(positions.value(pointer).line >= 1);
  for (const auto& [key, item] : value.members()) check_places(item, positions, roost::config::child_pointer(pointer, key));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace roost::config;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const std::string text = input.substr(0, input.find('\0'));
  const std::string override_text = text.size() < input.size() ? input.substr(text.size() + 1) : "";

  YamlLimits limits;
  limits.values = 2'000;
  limits.depth = 16;
  const auto yaml = parse_yaml(text, "f.yaml", limits);
  if (yaml.ok()) {
    const auto again = roost::Json::parse(yaml->value.dump());
    require(again.ok() && *again == yaml->value);  // whatever YAML made is JSON
    if (!yaml->value.is_null()) check_places(yaml->value, yaml->positions, "");
  } else {
    require(yaml.error().message.rfind("f.yaml", 0) == 0);
  }

  Environment environment;
  if (!override_text.empty() && override_text.find('\0') == std::string::npos) {
    environment["ROOST_AUTH__KEYS"] = override_text;
    environment["ROOST_STORE__CONFIG__" + override_text.substr(0, 40)] = override_text;
    environment["ROOST_HTTP__LISTEN"] = override_text;
  }
  const auto config = Config::parse(text, "f.yaml", "/etc/roost", environment);
  if (config.ok()) {
    const std::string shown = config->describe().dump();
    require(!config->data_dir.empty() && config->http.loops >= 1 && config->http.header_bytes >= 1024);
    for (const ApiKey& key : config->auth.keys) require(key.sha256.size() == 64 && !(key.guide && !config->http.loopback));
    require(changes(*config, *config).empty());
  } else {
    require(!config.error().message.empty());
  }
  return 0;
}
