#include "compute/kubernetes/settings.hpp"

#include <algorithm>

#include "roost/plugin.hpp"

namespace roost::kubernetes {

void invalid(const std::string& message) { throw sdk::Failure(ROOST_INVALID, message); }

namespace {

void read(const Json& json, std::string_view key, std::string& value) {
  if (json.has(key)) value = json[key].str();
}
void read(const Json& json, std::string_view key, std::int64_t& value) { value = json[key].integer(value); }
void read(const Json& json, std::string_view key, std::vector<std::string>& value) {
  if (!json.has(key)) return;
  value.clear();
  for (const Json& item : json[key].items()) value.push_back(item.str());
}

Size read_size(const Json& json, Size fallback) {
  return {json["cpu_millis"].integer(fallback.cpu_millis), json["memory_bytes"].integer(fallback.memory_bytes)};
}

// A volume's name becomes a part of URLs.
VolumeRequest read_volume(const Json& json, const std::string& id) {
  VolumeRequest volume;
  if (!json.is_object()) return volume;
  volume.name = json["name"].str();
  volume.token = json["token"].str();
  volume.uid = json["uid"].str();
  volume.create = json["create"].boolean();
  volume.size_bytes = json["size_bytes"].integer();
  const std::string plain = "pvc-" + id;
  const std::string generation = plain + "-g";
  const bool numbered = volume.name.compare(0, generation.size(), generation) == 0 && volume.name.size() > generation.size() &&
                        volume.name.size() <= generation.size() + 9 &&
                        volume.name.find_first_not_of("0123456789", generation.size()) == std::string::npos;
  if (volume.name != plain && !numbered)
    invalid("volume.name must be " + plain + " or " + generation + "N, not \"" + volume.name + "\"");
  return volume;
}

}  // namespace

void check_id(std::string_view id) {
  const bool hex = id.size() == 8 &&
                   std::all_of(id.begin(), id.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (!hex) invalid("an id is 8 hexadecimal digits, not \"" + std::string(id.substr(0, 64)) + "\"");
}

Settings Settings::parse(std::string_view config) {
  const Json json = Json::parse(config, "configuration of compute-kubernetes");
  Settings s;
  read(json, "kubeconfig", s.kubeconfig);
  read(json, "context", s.context);
  read(json, "service_account_dir", s.service_account_dir);
  read(json, "namespace", s.name_space);
  read(json, "image", s.image);
  if (s.image.empty()) invalid("compute-kubernetes: image is missing: the workspace's container image");
  read(json, "agent_image", s.agent_image);
  read(json, "image_pull_policy", s.image_pull_policy);
  s.install_command = {"cp", "-dR", "/roost/agent-bundle/.", "/roost/bin/"};
  read(json, "install_command", s.install_command);
  read(json, "command", s.command);
  s.pod_template = json["pod_template"];
  s.labels = json["labels"];
  read(json, "user", s.user);
  read(json, "grace_s", s.grace_s);
  read(json["requests"], "cpu_percent", s.request_cpu_percent);
  read(json["requests"], "memory_percent", s.request_memory_percent);
  read(json, "readiness_path", s.readiness_path);
  read(json, "api_url", s.api_url);
  read(json, "storage_class", s.storage_class);
  read(json, "access_mode", s.access_mode);
  read(json, "exposure", s.exposure);
  read(json["ingress"], "class", s.ingress_class);
  read(json["ingress"], "tls_secret", s.tls_secret);
  read(json["ingress"], "issuer", s.issuer);
  s.ingress_annotations = json["ingress"]["annotations"];
  read(json["gateway"], "name", s.gateway_name);
  read(json["gateway"], "namespace", s.gateway_namespace);
  read(json["gateway"], "section", s.gateway_section);
  if (s.exposure == "gateway" && s.gateway_name.empty())
    invalid("compute-kubernetes: gateway.name is missing: exposure is \"gateway\"");
  const Json& task = json["task"];
  s.task_image = s.agent_image.empty() ? s.image : s.agent_image;
  read(task, "image", s.task_image);
  s.task_command = {"roost-agent"};
  read(task, "command", s.task_command);
  read(task, "user", s.task_user);
  read(task, "group", s.task_group);
  read(task, "deadline_s", s.task_deadline_s);
  read(task, "keep_s", s.task_keep_s);
  s.task_size = read_size(task["size"], s.task_size);
  return s;
}

Spec Spec::parse(std::string_view document) {
  const Json json = Json::parse(document, "workspace-spec");
  Spec spec;
  spec.id = json["id"].str();
  check_id(spec.id);
  spec.user_id = json["user_id"].str();
  spec.generation = json["generation"].integer();
  if (spec.generation < 1) invalid("workspace-spec: generation must be at least 1");
  const std::string& state = json["state"].str();
  if (state != "running" && state != "stopped")
    invalid("workspace-spec: state must be running or stopped, not \"" + state + "\"");
  spec.running = state == "running";
  spec.size = read_size(json["size"], {});
  if (spec.size.cpu_millis < 1 || spec.size.memory_bytes < 1) invalid("workspace-spec: size must be greater than 0");
  spec.volume = read_volume(json["volume"], spec.id);
  if (spec.volume.name.empty()) invalid("workspace-spec: volume is missing");
  if (spec.volume.token.empty()) invalid("workspace-spec: volume.token is missing");
  spec.login_secret = json["login_secret"].str();
  spec.token = json["token"].str();
  spec.url = json["url"].str();
  return spec;
}

Task Task::parse(std::string_view text) {
  Task task;
  task.document = Json::parse(text, "task-spec");
  const Json& json = task.document;
  task.id = json["id"].str();
  check_id(task.id);
  task.operation = json["operation"].str();
  check_id(task.operation);
  task.attempt = json["attempt"].integer(1);
  if (task.attempt < 1 || task.attempt > 1'000'000) invalid("task-spec: attempt must be between 1 and 1000000");
  task.kind = json["kind"].str();
  if (task.kind != "backup" && task.kind != "verify" && task.kind != "restore")
    invalid("task-spec: unknown kind \"" + task.kind + "\"");
  task.volume = read_volume(json["volume"], task.id);
  if (task.kind != "verify" && task.volume.name.empty()) invalid("task-spec: a " + task.kind + " needs a volume");
  task.live = json["live"].boolean();
  task.user_id = json["user_id"].str();
  task.generation = json["generation"].integer();
  task.bytes = json["bytes"].integer();
  return task;
}

}  // namespace roost::kubernetes
