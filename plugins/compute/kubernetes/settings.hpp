// Settings: the plugin's configuration, and the documents that the host hands it, as typed values. The host has checked the
// configuration by the manifest's schema, the documents by core/abi/schemas.
// Thread safety: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compute/kubernetes/json.hpp"

namespace roost::kubernetes {

[[noreturn]] void invalid(const std::string& message);  // fails the call with ROOST_INVALID

struct Size {
  std::int64_t cpu_millis = 0;
  std::int64_t memory_bytes = 0;
  bool operator==(const Size&) const = default;
};

struct Settings {
  // How the API server is reached. Without a kubeconfig: the pod's own service account.
  std::string kubeconfig;
  std::string context;
  std::string service_account_dir = "/var/run/secrets/kubernetes.io/serviceaccount";
  std::string name_space;  // empty: the context's, or the pod's own

  // The workspace's pod.
  std::string image;
  std::string agent_image;  // empty: the workspace's image has the agent, no init container
  std::string image_pull_policy = "IfNotPresent";
  std::vector<std::string> install_command;  // of the init container; copies the agent to /roost/bin
  std::vector<std::string> command;          // what the agent runs in there; empty: code-server
  Json pod_template;                         // laid over the template: {"metadata":..,"spec":..}
  Json labels;                               // more labels on every object
  std::int64_t user = 1000;
  std::int64_t grace_s = 30;
  std::int64_t request_cpu_percent = 100;  // of the limit
  std::int64_t request_memory_percent = 100;
  std::string readiness_path = "/healthz";
  std::string api_url;  // of the daemon, as workspaces reach it; empty: no API for a chat consumer in there

  // Its volume.
  std::string storage_class;  // empty: the cluster's default
  std::string access_mode = "ReadWriteOncePod";

  // Its address.
  std::string exposure = "ingress";  // or "gateway" or "none"
  std::string ingress_class;
  std::string tls_secret;  // one wildcard certificate; empty: none, unless issuer is set
  std::string issuer;      // a certificate per session by cert-manager's annotation
  Json ingress_annotations;
  std::string gateway_name;
  std::string gateway_namespace;
  std::string gateway_section;

  // Tasks.
  std::string task_image;  // empty: agent_image, else image
  std::vector<std::string> task_command;
  std::int64_t task_user = 0;  // with the capabilities of its kind of task and nothing else
  std::int64_t task_group = 0;
  std::int64_t task_deadline_s = 6 * 3600;
  std::int64_t task_keep_s = 24 * 3600;  // how long the verifying Job stays
  Size task_size{1000, std::int64_t{512} << 20};

  // Throws INVALID naming the member.
  [[nodiscard]] static Settings parse(std::string_view config);
};

struct VolumeRequest {
  std::string name;
  std::string token;
  std::string uid;  // empty: not known yet
  bool create = false;
  std::int64_t size_bytes = 0;
};

struct Spec {
  std::string id;
  std::string user_id;
  std::int64_t generation = 0;
  bool running = false;
  Size size;
  VolumeRequest volume;
  std::string login_secret;  // secret
  std::string token;         // secret
  std::string url;
  [[nodiscard]] static Spec parse(std::string_view document);
};

struct Task {
  std::string id;
  std::string operation;
  std::int64_t attempt = 1;
  std::string kind;      // backup, verify, restore
  VolumeRequest volume;  // name empty: none
  bool live = false;
  std::string user_id;
  std::int64_t generation = 0;  // of a restore
  std::int64_t bytes = 0;       // of a restore: what is unpacked
  Json document;                // as it was given; holds secrets
  [[nodiscard]] static Task parse(std::string_view document);
};

// Throws INVALID unless it is 8 hexadecimal digits: ids become parts of names and of URLs.
void check_id(std::string_view id);

}  // namespace roost::kubernetes
