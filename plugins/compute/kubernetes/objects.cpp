#include "compute/kubernetes/objects.hpp"

#include <algorithm>

#include "compute/kubernetes/quantity.hpp"

namespace roost::kubernetes {
namespace {

Json strings(const std::vector<std::string>& values) {
  Json list = Json::array();
  for (const std::string& value : values) list.push(value);
  return list;
}

Json labels(const Settings& settings, const std::string& id) {
  Json base =
      Json::object({{"app", workload_name(id)}, {"uuid", id}, {kSession, id}, {kManagedBy, kManager}, {kRole, "workspace"}});
  return merge(settings.labels, base);  // ours win: the selectors rely on them
}

Json metadata(const Settings& settings, const std::string& name, const std::string& id) {
  return Json::object({{"name", name}, {"labels", labels(settings, id)}});
}

Json container_security() {
  return Json::object({{"allowPrivilegeEscalation", false}, {"capabilities", Json::object({{"drop", Json::array({"ALL"})}})}});
}

Json install_container(const Settings& settings) {
  const Json small = Json::object({{"cpu", "100m"}, {"memory", "64Mi"}});
  return Json::object({{"name", "agent"},
                       {"image", settings.agent_image},
                       {"imagePullPolicy", settings.image_pull_policy},
                       {"command", strings(settings.install_command)},
                       {"resources", Json::object({{"limits", small}, {"requests", small}})},
                       {"securityContext", container_security()},
                       {"volumeMounts", Json::array({Json::object({{"name", "agent"}, {"mountPath", "/roost/bin"}})})}});
}

// The agent answers it, for the program behind it: see serve.json.
Json probe(int period_s, int failures) {
  return Json::object({{"httpGet", Json::object({{"path", "/.roost/healthz"}, {"port", "http"}})},
                       {"periodSeconds", period_s},
                       {"timeoutSeconds", 2},
                       {"failureThreshold", failures}});
}

Json workspace_container(const Settings& settings, const Spec& spec) {
  Json mounts = Json::array({Json::object({{"name", "workspace"}, {"mountPath", "/workspace"}}),
                             Json::object({{"name", "session"}, {"mountPath", "/roost/session"}, {"readOnly", true}}),
                             Json::object({{"name", "run"}, {"mountPath", "/run/roost"}})});
  if (!settings.agent_image.empty()) {
    mounts.push(Json::object({{"name", "agent"}, {"mountPath", "/roost/bin"}, {"readOnly", true}}));
  }
  std::vector<std::string> arguments = {"serve", "--pod", "/roost/session"};
  if (!settings.command.empty()) arguments.emplace_back("--");
  arguments.insert(arguments.end(), settings.command.begin(), settings.command.end());
  const Json in_place = Json::array({Json::object({{"resourceName", "cpu"}, {"restartPolicy", "NotRequired"}}),
                                     Json::object({{"resourceName", "memory"}, {"restartPolicy", "NotRequired"}})});
  return Json::object({{"name", kContainer},
                       {"image", settings.image},
                       {"imagePullPolicy", settings.image_pull_policy},
                       {"command", Json::array({settings.agent_image.empty() ? "roost-agent" : "/roost/bin/roost-agent"})},
                       {"args", strings(arguments)},
                       {"env", Json::array({Json::object({{"name", "ROOST_SESSION_ID"}, {"value", spec.id}}),
                                            Json::object({{"name", "ROOST_WORKSPACE_URL"}, {"value", spec.url}})})},
                       {"ports", Json::array({Json::object({{"name", "http"}, {"containerPort", 1111}})})},
                       {"resources", resources(settings, spec.size)},
                       {"resizePolicy", in_place},
                       {"startupProbe", probe(1, 600)},
                       {"readinessProbe", probe(5, 3)},
                       {"securityContext", container_security()},
                       {"terminationMessagePolicy", "FallbackToLogsOnError"},
                       {"volumeMounts", mounts}});
}

// An evicted pod's ReplicaSet asks for the next one while it still ends. With ReadWriteOncePod the scheduler keeps that one off
// the volume; with the other modes this does, anywhere in the cluster: every node's label kubernetes.io/os has one value. Beside
// what the template asks for already.
Json apart_from_itself(const Json& made, std::string_view id) {
  static constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
  const Json self = Json::object({{"matchLabels", Json::object({{"app", workload_name(id)}})}});
  Json::Array terms = made["spec"]["affinity"]["podAntiAffinity"][kRequired].items();
  terms.push_back(Json::object({{"topologyKey", "kubernetes.io/os"}, {"labelSelector", self}}));
  const Json apart = Json::object({{"podAntiAffinity", Json::object({{kRequired, Json::from(std::move(terms))}})}});
  return merge(made, Json::object({{"spec", Json::object({{"affinity", apart}})}}));
}

}  // namespace

std::string workload_name(std::string_view id) { return "user-" + std::string(id); }

std::string host_of(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return {};
  url.remove_prefix(scheme + 3);
  return std::string(url.substr(0, url.find_first_of("/:?#")));
}

Json volume_claim(const Settings& settings, const Spec& spec) {
  Json meta = metadata(settings, spec.volume.name, spec.id);
  meta.set("annotations",
           Json::object({{kToken, spec.volume.token}, {kUser, spec.user_id}, {kGeneration, std::to_string(spec.generation)}}));
  Json claim = Json::object(
      {{"accessModes", Json::array({settings.access_mode})},
       {"resources", Json::object({{"requests", Json::object({{"storage", memory_text(spec.volume.size_bytes)}})}})}});
  if (!settings.storage_class.empty()) claim.set("storageClassName", settings.storage_class);
  return Json::object({{"apiVersion", "v1"}, {"kind", "PersistentVolumeClaim"}, {"metadata", meta}, {"spec", claim}});
}

Json resources(const Settings& settings, const Size& size) {
  const std::int64_t cpu = std::max<std::int64_t>(1, size.cpu_millis * settings.request_cpu_percent / 100);
  const std::int64_t memory = std::max<std::int64_t>(1, size.memory_bytes * settings.request_memory_percent / 100);
  return Json::object({{"limits", Json::object({{"cpu", cpu_text(size.cpu_millis)}, {"memory", memory_text(size.memory_bytes)}})},
                       {"requests", Json::object({{"cpu", cpu_text(cpu)}, {"memory", memory_text(memory)}})}});
}

Json pod_template(const Settings& settings, const Spec& spec) {
  Json volumes = Json::array(
      {Json::object({{"name", "workspace"}, {"persistentVolumeClaim", Json::object({{"claimName", spec.volume.name}})}}),
       Json::object(
           {{"name", "session"}, {"secret", Json::object({{"secretName", workload_name(spec.id)}, {"defaultMode", 0440}})}}),
       Json::object({{"name", "run"}, {"emptyDir", Json::object({{"medium", "Memory"}, {"sizeLimit", "16Mi"}})}})});
  Json pod = Json::object({{"automountServiceAccountToken", false},
                           {"enableServiceLinks", false},
                           {"terminationGracePeriodSeconds", settings.grace_s},
                           {"securityContext", Json::object({{"runAsNonRoot", settings.user != 0},
                                                             {"runAsUser", settings.user},
                                                             {"runAsGroup", settings.user},
                                                             {"fsGroup", settings.user},
                                                             {"fsGroupChangePolicy", "OnRootMismatch"},
                                                             {"seccompProfile", Json::object({{"type", "RuntimeDefault"}})}})}});
  if (!settings.agent_image.empty()) {
    volumes.push(Json::object({{"name", "agent"}, {"emptyDir", Json::object()}}));
    pod.set("initContainers", Json::array({install_container(settings)}));
  }
  pod.set("containers", Json::array({workspace_container(settings, spec)}));
  pod.set("volumes", volumes);
  const Json made = Json::object({{"metadata", Json::object({{"labels", labels(settings, spec.id)}})}, {"spec", pod}});
  Json laid_over = merge(made, settings.pod_template);
  laid_over.at("metadata").set("labels", merge(laid_over["metadata"]["labels"], labels(settings, spec.id)));
  return settings.access_mode == "ReadWriteOncePod" ? laid_over : apart_from_itself(laid_over, spec.id);
}

Json deployment(const Settings& settings, const Spec& spec) {
  Json meta = metadata(settings, workload_name(spec.id), spec.id);
  meta.set("annotations", Json::object({{kGeneration, std::to_string(spec.generation)}, {kUser, spec.user_id}}));
  // Recreate: two pods never share the volume. The old ReplicaSets are of no use: nothing is rolled back.
  return Json::object(
      {{"apiVersion", "apps/v1"},
       {"kind", "Deployment"},
       {"metadata", meta},
       {"spec", Json::object({{"replicas", spec.running ? 1 : 0},
                              {"revisionHistoryLimit", 0},
                              {"strategy", Json::object({{"type", "Recreate"}})},
                              {"selector", Json::object({{"matchLabels", Json::object({{"app", workload_name(spec.id)}})}})},
                              {"template", pod_template(settings, spec)}})}});
}

Json service(const Settings& settings, const std::string& id) {
  const Json port = Json::object({{"name", "http"}, {"port", 80}, {"targetPort", 1111}, {"protocol", "TCP"}});
  return Json::object({{"apiVersion", "v1"},
                       {"kind", "Service"},
                       {"metadata", metadata(settings, workload_name(id), id)},
                       // A pod that starts answers its visitor that it does.
                       {"spec", Json::object({{"type", "ClusterIP"},
                                              {"publishNotReadyAddresses", true},
                                              {"selector", Json::object({{"app", workload_name(id)}})},
                                              {"ports", Json::array({port})}})}});
}

namespace {

Json http_route(const Settings& settings, const std::string& id, const std::string& host) {
  Json parent = Json::object({{"name", settings.gateway_name}});
  if (!settings.gateway_namespace.empty()) parent.set("namespace", settings.gateway_namespace);
  if (!settings.gateway_section.empty()) parent.set("sectionName", settings.gateway_section);
  const Json backend = Json::object({{"name", workload_name(id)}, {"port", 80}});
  return Json::object(
      {{"apiVersion", "gateway.networking.k8s.io/v1"},
       {"kind", "HTTPRoute"},
       {"metadata", metadata(settings, workload_name(id), id)},
       {"spec", Json::object({{"parentRefs", Json::array({parent})},
                              {"hostnames", Json::array({host})},
                              {"rules", Json::array({Json::object({{"backendRefs", Json::array({backend})}})})}})}});
}

Json ingress(const Settings& settings, const std::string& id, const std::string& host) {
  Json meta = metadata(settings, workload_name(id), id);
  Json annotations = settings.ingress_annotations;
  if (!settings.issuer.empty()) annotations.set("cert-manager.io/cluster-issuer", settings.issuer);
  if (!annotations.is_null()) meta.set("annotations", annotations);
  const Json backend =
      Json::object({{"service", Json::object({{"name", workload_name(id)}, {"port", Json::object({{"number", 80}})}})}});
  const Json path = Json::object({{"path", "/"}, {"pathType", "Prefix"}, {"backend", backend}});
  Json spec;
  if (!settings.ingress_class.empty()) spec.set("ingressClassName", settings.ingress_class);
  if (!settings.tls_secret.empty() || !settings.issuer.empty()) {
    // An issuer writes into the secret that is named here: each session needs its own then.
    const std::string name = settings.issuer.empty() ? settings.tls_secret : "tls-" + id;
    spec.set("tls", Json::array({Json::object({{"hosts", Json::array({host})}, {"secretName", name}})}));
  }
  const Json http = Json::object({{"paths", Json::array({path})}});
  spec.set("rules", Json::array({Json::object({{"host", host}, {"http", http}})}));
  return Json::object({{"apiVersion", "networking.k8s.io/v1"}, {"kind", "Ingress"}, {"metadata", meta}, {"spec", spec}});
}

}  // namespace

Json route(const Settings& settings, const std::string& id, const std::string& host) {
  return settings.exposure == "gateway" ? http_route(settings, id, host) : ingress(settings, id, host);
}

std::string secret_digest(const Json& string_data) {
  std::string all;
  for (const char* key : {"login-secret", "serve.json", "token"}) all += string_data[key].str() + '\n';
  all += string_data["api-url"].str();
  return digest(all);
}

Json secret(const Settings& settings, const Spec& spec) {
  // What is left of the pod's grace when the program was asked to end and did not is for the agent itself.
  const std::int64_t stop_grace_ms = std::max<std::int64_t>(1, settings.grace_s - 5) * 1000;
  const Json serve = Json::object(
      {{"id", spec.id}, {"url", spec.url}, {"ready_path", settings.readiness_path}, {"stop_grace_ms", stop_grace_ms}});
  Json data = Json::object({{"login-secret", spec.login_secret}, {"token", spec.token}, {"serve.json", serve.dump()}});
  if (!settings.api_url.empty()) data.set("api-url", settings.api_url);
  Json meta = metadata(settings, workload_name(spec.id), spec.id);
  meta.set("annotations", Json::object({{kDigest, secret_digest(data)}}));
  return Json::object({{"apiVersion", "v1"}, {"kind", "Secret"}, {"type", "Opaque"}, {"metadata", meta}, {"stringData", data}});
}

}  // namespace roost::kubernetes
