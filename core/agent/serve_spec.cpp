#include "agent/serve_spec.hpp"

#include <tuple>

#include "base/json.hpp"

namespace roost::agent {
namespace {

Status read_number(const Json& json, std::string_view key, std::int64_t& value, std::int64_t least) {
  const Json* found = json.find(key);
  if (found == nullptr) return {};
  if (!found->is_int() || found->as_int() < least)
    return Error{Code::invalid, std::string(key) + ": too small, or not a number", 0};
  value = found->as_int();
  return {};
}

}  // namespace

Result<ServeSpec> ServeSpec::load(const std::string& path) {
  ROOST_TRY(const std::string text, read_file(path));
  auto parsed = Json::parse(text);
  if (!parsed) return parsed.error().context(path);
  const Json& json = *parsed;
  ServeSpec spec;
  ROOST_TRY(spec.id, json.get_string("id"));
  ROOST_TRY(spec.incarnation, json.get_string("incarnation"));
  ROOST_TRY(spec.generation, json.get_int("generation"));
  ROOST_TRY(spec.run, json.get_string("run"));
  ROOST_TRY(spec.socket_directory, json.get_string("socket_directory"));
  ROOST_TRY(spec.log, json.get_string("log"));
  spec.volume_lock = json["volume_lock"].as_string();
  spec.events = json["events"].as_string();
  spec.api_socket = json["api_socket"].as_string();
  spec.api_url_file = json["api_url_file"].as_string();
  spec.token_file = json["token_file"].as_string();
  spec.cgroup = json["cgroup"].as_string();
  if (const Json* ready = json.find("ready_path")) spec.ready_path = ready->as_string();
  spec.limits = {json["size"]["cpu_millis"].as_int(), json["size"]["memory_bytes"].as_int(), json["pids"].as_int()};
  const std::tuple<const char*, std::int64_t*, int> numbers[] = {{"log_bytes", &spec.log_bytes, 4096},
                                                                 {"ready_interval_ms", &spec.ready_interval_ms, 10},
                                                                 {"heartbeat_interval_ms", &spec.heartbeat_interval_ms, 100},
                                                                 {"stop_grace_ms", &spec.stop_grace_ms, 0},
                                                                 {"quick_exit_ms", &spec.quick_exit_ms, 0},
                                                                 {"max_quick_exits", &spec.max_quick_exits, 1},
                                                                 {"backoff_ms", &spec.backoff_ms, 1},
                                                                 {"backoff_max_ms", &spec.backoff_max_ms, 1}};
  for (const auto& [key, value, least] : numbers) {
    ROOST_CHECK(read_number(json, key, *value, least));
  }
  ROOST_TRY(spec.sandbox, SandboxSpec::parse(json["sandbox"]));
  return spec;
}

}  // namespace roost::agent
