#include "config/config.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <tuple>

#include "config/environment.hpp"
#include "config/rules.hpp"
#include "config/schema.hpp"
#include "config/yaml.hpp"

extern char** environ;

namespace roost::config {
namespace {

constexpr std::size_t kFaultsShown = 50;
constexpr const char* kRedacted = "[redacted]";

Result<std::string> read_file(const std::string& path, bool& readable_by_all) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    const Code code = errno == ENOENT ? Code::not_found : Code::denied;
    return Error{code, path + ": cannot read the configuration: " + std::strerror(errno), 0};
  }
  std::string text;
  char buffer[16 << 10];
  const std::size_t most = YamlLimits{}.bytes;
  ssize_t got = 0;
  while (text.size() <= most && (got = ::read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, static_cast<std::size_t>(got));
  const int number = errno;
  struct stat info {};
  readable_by_all = ::fstat(fd, &info) == 0 && (info.st_mode & S_IROTH) != 0;
  ::close(fd);
  if (got < 0) return Error{Code::unavailable, path + ": cannot read the configuration: " + std::strerror(number), 0};
  return text;
}

Error all_faults(const Config& config, const std::vector<Fault>& faults) {
  std::string message;
  std::size_t shown = 0;
  for (const Fault& fault : faults) {
    if (shown++ == kFaultsShown) {
      message += "\n... and " + std::to_string(faults.size() - kFaultsShown) + " more";
      break;
    }
    const Position place = fault.at_key ? config.positions->key(fault.pointer) : config.positions->value(fault.pointer);
    const std::string key = to_key(fault.pointer);
    message += (message.empty() ? "" : "\n") + (place.source.empty() ? config.file : place.text()) + ": " +
               (key.empty() ? "" : key + ": ") + fault.why;
  }
  return Error{Code::invalid, message, 0};
}

// The tree with every secret blotted out. `secrets`: the node is the map of a plugin's secrets.
Json without_secrets(const Json& node, const Json& value) {
  if (node.find("x-secret")) return Json(kRedacted);
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value.items()) out.push(without_secrets(node["items"], item));
    return out;
  }
  if (!value.is_object()) return value;
  const Json* more = node.find("additionalProperties");
  Json out = Json::object();
  for (const auto& [key, item] : value.members()) out.set(key, without_secrets(more ? *more : node["properties"][key], item));
  return out;
}

bool holds_secrets(const Json& tree) {
  if (!tree["auth"]["secret_key"].as_string().empty()) return true;
  for (const Json& key : tree["auth"]["keys"].items()) {
    if (key.find("key") && key["key"].as_string() != kGuideKey) return true;
  }
  for (const char* kind : {"store", "compute", "backup"}) {
    for (const auto& [name, source] : tree[kind]["secrets"].members()) {
      if (source.find("value")) return true;
    }
  }
  return false;
}

const Json* at(const Json& tree, const std::string& pointer) {
  const Json* node = &tree;
  for (const std::string& segment : split_pointer(pointer)) {
    node = node->find(segment);
    if (!node) return nullptr;
  }
  return node;
}

}  // namespace

Environment process_environment() {
  Environment out;
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals != std::string_view::npos) out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

Result<Config> Config::load(const std::string& path, const Environment& environment) {
  bool readable_by_all = false;
  ROOST_TRY(const std::string text, read_file(path, readable_by_all));
  const std::string directory = std::filesystem::absolute(path).lexically_normal().parent_path().string();
  // Secrets of the environment are in no file: the warning is about what the file itself says.
  ROOST_TRY(Config config, parse(text, path, directory, environment));
  if (readable_by_all) {
    const auto file_only = parse_yaml(text, path);
    if (file_only.ok() && holds_secrets(file_only->value)) {
      config.warnings.push_back(
          path + ": holds secrets and every user of this machine may read it; chmod it to 0600, or give the keys as sha256");
    }
  }
  return config;
}

Result<Config> Config::parse(std::string_view text, const std::string& name, const std::string& directory,
                             const Environment& environment) {
  ROOST_TRY(YamlDocument document, parse_yaml(text, name));
  Config config;
  config.file = name;
  std::vector<Fault> faults;
  const auto positions = std::make_shared<Positions>(std::move(document.positions));
  const Json merged = apply_environment(std::move(document.value), environment, *positions, faults, config.warnings);
  config.positions = positions;
  config.tree = complete(merged, faults);
  check(config.tree, faults);
  if (!faults.empty()) return all_faults(config, faults);
  interpret(config, directory, environment, faults);
  if (!faults.empty()) return all_faults(config, faults);
  return config;
}

std::string Config::where(std::string_view pointer) const {
  const Position place = positions ? positions->value(pointer) : Position{};
  return place.source.empty() ? file : place.text();
}

std::vector<std::string> Config::secret_values() const {
  std::vector<std::string> out;
  for (const Backend* backend : {&store, &compute, &backup}) {
    for (const auto& [name, value] : backend->secrets) out.push_back(value);
  }
  if (!auth.secret_key.empty()) out.push_back(auth.secret_key);
  for (const Json& key : tree["auth"]["keys"].items()) {
    // The guide's key is in every copy of the guide: to redact it would only hide which key is meant.
    const std::string& text = key["key"].as_string();
    if (!text.empty() && text != kGuideKey) out.push_back(text);
  }
  return out;
}

Json Config::describe() const { return without_secrets(schema(), tree); }

std::vector<Change> changes(const Config& from, const Config& to) {
  std::vector<Change> out;
  for (const Key& key : keys()) {
    if (key.pointer.empty()) continue;
    const Json* before = at(from.tree, key.pointer);
    const Json* after = at(to.tree, key.pointer);
    const bool same = before && after ? *before == *after : before == after;
    if (!same) out.push_back({key.name, key.schema->find("x-reload") == nullptr});
  }
  // What a secret's file or variable holds may change while the configuration stays the same.
  for (const auto& [name, a, b] :
       {std::tuple{"store.secrets", &from.store, &to.store}, std::tuple{"compute.secrets", &from.compute, &to.compute},
        std::tuple{"backup.secrets", &from.backup, &to.backup}}) {
    const bool listed = std::any_of(out.begin(), out.end(), [&, n = name](const Change& change) { return change.key == n; });
    if (a->secrets != b->secrets && !listed) out.push_back({name, false});
  }
  return out;
}

}  // namespace roost::config
