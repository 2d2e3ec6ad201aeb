"""The Helm chart: what it renders is accepted by an API server and by roostd, and what cannot work is refused with its reason."""
import hashlib
import ipaddress
import json
import os
import re
import subprocess
import urllib.parse

import pytest

from chart import CHART, Helm, kubectl, objects
from roost import GUIDE_KEY, TOP

# What people set, each in a way of its own.
SETS = {
    "defaults": {},
    "issuer": {"workspaces": {"tls": {"issuer": "letsencrypt"}, "ingress": {"className": "nginx", "annotations": {"a/b": "c"}}}},
    "gateway": {"workspaces": {"exposure": "gateway", "gateway": {"name": "web", "namespace": "gateways", "section": "https"}}},
    "nothing exposed": {"workspaces": {"exposure": "none", "tls": {"secret": ""}}, "networkPolicy": {"enabled": False}},
    "load balancer": {"service": {"type": "LoadBalancer", "annotations": {"a": "b"}}, "api": {"hosts": ["34.46.174.78"]}},
    "api ingress": {"api": {"ingress": {"enabled": True, "host": "api.example.com", "className": "nginx", "tlsSecret": "api-tls"}}},
    "keys": {"apiKeys": {"list": [{"name": "ops", "sha256": "0" * 64, "scopes": ["admin"]}, {"name": "app", "key": "k" * 32, "user": "a@b"}]}},
    "one node": {"backups": {"accessMode": "ReadWriteOnce"}, "workspaces": {"storage": {"accessMode": "ReadWriteOnce", "className": "fast", "size": "1Gi"}}},
    "claims of its own": {"backups": {"existingClaim": "mine"}, "data": {"existingClaim": "mine-too"}, "apiKeys": {"existingSecret": "keys"}},
    "another namespace": {"workspaces": {"namespace": "default"}, "backups": {"existingClaim": "a", "workspacesClaim": "b"}},
    "placed": {"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}], "priorityClassName": "high",
               "affinity": {"podAntiAffinity": {}}, "images": {"pullSecrets": [{"name": "registry"}]}, "podLabels": {"a": "b"},
               "podAnnotations": {"c": "d"}, "extraEnv": [{"name": "A", "value": "b"}],
               "extraVolumes": [{"name": "x", "emptyDir": {}}], "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
               "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway",
                                              "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "roost"}}}]},
    "roost.yaml": {"config": {"sessions": {"per_user": 5, "volume_size": "1Gi"}, "log": {"level": "debug"}, "http": {"metrics": "key"},
                              "sizes": {"small": {"cpu": 0.5}}, "compute": {"config": {"grace_s": 60}},
                              "workspaces": {"landing": "/?folder=/workspace/\"#: {}"}},
                   "workspaces": {"podTemplate": {"spec": {"runtimeClassName": "gvisor"}}, "labels": {"team": "a"}}},
    "replicas": {"replicas": 3, "redis": {"address": "redis:6379", "existingSecret": "redis", "tls": {"enabled": True, "caSecret": "redis-ca"},
                                          "config": {"durability": "refuse"}}},
    "replicas over Sentinels": {"replicas": 2, "redis": {"sentinels": ["s0:26379", "s1:26379"], "masterName": "roost"},
                                "secretKey": {"existingSecret": "mine"}},
    "no rights": {"serviceAccount": {"create": False, "name": "mine"}, "rbac": {"create": False, "clusterRole": False},
                  "podDisruptionBudget": {"enabled": False}},
}


@pytest.fixture
def helm(cluster, tmp_path):
    return Helm(tmp_path, cluster)


def config_of(rendered):
    return rendered["ConfigMap", "session-manager"]["data"]["roost.yaml"]


def check_config(build, text, directory, environment):
    file = directory / "roost.yaml"
    file.write_text(text)
    plain = {key: value for key, value in os.environ.items() if not key.startswith("ROOST_")}
    return subprocess.run([build / "bin/roostd", "--config", file, "--check-config"], env={**plain, **environment}, capture_output=True, text=True)


def environment_of(rendered, keys):
    """What the Deployment gives roostd."""
    container = rendered["Deployment", "session-manager"]["spec"]["template"]["spec"]["containers"][0]
    plain = {e["name"]: e["value"] for e in container["env"] if "value" in e}
    secret = {e["name"]: "5e" * 32 for e in container["env"] if "secretKeyRef" in e.get("valueFrom", {})}
    return {**secret, "ROOST_AUTH__KEYS": keys, "ROOST_HTTP__HOSTS": plain["ROOST_HTTP__HOSTS"].replace("$(POD_IP)", "10.1.2.3")}


def test_the_chart_is_clean(helm):
    helm.run("lint", "--strict", CHART, values={})


def test_what_is_committed_is_what_the_chart_says(helm, tmp_path):
    subprocess.run([TOP / "packaging/kubernetes/render.sh", tmp_path], env={**helm.environment(), "HELM": str(TOP / "tests/cluster/helm")}, check=True)
    subprocess.run([TOP / "packaging/helm/schema.py", tmp_path / "values.schema.json"], check=True)
    for name in ("packaging/kubernetes/roost.yaml", "config/roost.kubernetes.yaml"):
        assert (tmp_path / name).read_text() == (TOP / name).read_text(), f"{name}: run packaging/kubernetes/render.sh"
    assert (tmp_path / "values.schema.json").read_text() == (CHART / "values.schema.json").read_text(), "run packaging/helm/schema.py"


@pytest.mark.parametrize("name", SETS)
def test_an_api_server_accepts_it(helm, cluster, namespace, name):
    rendered = helm.template(SETS[name], namespace=namespace.name)
    done = kubectl(cluster, "apply", "--dry-run=server", "-f", "-", stdin=rendered)
    assert "Warning" not in done.stderr, done.stderr


def test_an_api_server_accepts_the_service_monitor(helm, cluster, namespace):
    # The least of the operator's definition that lets such an object in.
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "servicemonitors.monitoring.coreos.com"},
            "spec": {"group": "monitoring.coreos.com", "scope": "Namespaced",
                     "names": {"kind": "ServiceMonitor", "plural": "servicemonitors", "singular": "servicemonitor"},
                     "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                         "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}}
    kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(kind))
    try:
        kubectl(cluster, "wait", "--for=condition=Established", "crd/servicemonitors.monitoring.coreos.com", "--timeout=60s")
        rendered = helm.template({"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}, namespace=namespace.name)
        kubectl(cluster, "apply", "--dry-run=server", "-f", "-", stdin=rendered)
        monitor = objects(cluster, rendered)["ServiceMonitor", "session-manager"]
        service = objects(cluster, rendered)["Service", "session-manager"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    finally:
        kubectl(cluster, "delete", "crd", "servicemonitors.monitoring.coreos.com")


@pytest.mark.parametrize("name", SETS)
def test_roostd_accepts_the_configuration(helm, cluster, build, tmp_path, name):
    rendered = objects(cluster, helm.template(SETS[name]))
    secret = rendered.get(("Secret", "session-manager-keys"))
    keys = secret["stringData"]["keys"] if secret else f'[{{name: a, key: {"k" * 32}}}]'
    done = check_config(build, config_of(rendered), tmp_path, environment_of(rendered, keys))
    assert done.returncode == 0 and "warning" not in done.stderr, f"{done.stdout}\n{done.stderr}"


def test_the_shipped_file_holds_every_key(build, tmp_path):
    text = (TOP / "config/roost.kubernetes.yaml").read_text()
    done = check_config(build, text, tmp_path, {"ROOST_AUTH__KEYS": f'[{{name: a, key: {"k" * 32}}}]'})
    assert done.returncode == 0 and "warning" not in done.stderr, f"{done.stdout}\n{done.stderr}"
    written = set(re.findall(r"^ *([a-z_0-9]+):", text, re.M))
    manifest = json.loads(re.sub(r"@[A-Z0-9]+@", "", (TOP / "plugins/compute/kubernetes/manifest.json.in").read_text()))

    def leaves(node):
        for key, child in node.get("properties", {}).items():
            yield key
            yield from leaves(child)
    core = json.loads((TOP / "core/config/schema.json").read_text())
    for schema in (core, manifest["config_schema"]):
        missing = {key for key in leaves(schema)} - written
        assert not missing, f"config/roost.kubernetes.yaml lacks {missing}"


def test_how_the_agent_is_started_is_as_the_plugin_has_it():
    source = (TOP / "plugins/compute/kubernetes/settings.cpp").read_text()
    words = re.search(r"s\.install_command = \{(.*?)\};", source, re.S).group(1)
    written = (TOP / "config/roost.kubernetes.yaml").read_text()
    assert "install_command: [" + re.sub(r",\s+", ",", words) + "]" in written


def test_what_is_set_arrives(helm, cluster):
    rendered = objects(cluster, helm.template(SETS["roost.yaml"]))
    text = config_of(rendered)
    for line in ("per_user: 5", "level: debug", "metrics: key", "cpu: 0.5", "grace_s: 60", 'pod_template: {"spec":{"runtimeClassName":"gvisor"}}'):
        assert re.search(rf"^ *{re.escape(line)}$", text, re.M), f"{line} is not in\n{text}"
    # Another configuration is another pod.
    sums = {objects(cluster, helm.template(SETS[name]))["Deployment", "session-manager"]["spec"]["template"]["metadata"]["annotations"]
            ["roost.dev/config-sha256"] for name in ("defaults", "roost.yaml", "keys")}
    assert len(sums) == 3


@pytest.mark.parametrize("values, words", [
    ({"replicas": "two"}, "replicas"),
    ({"replica": 2}, "replica"),
    ({"workspaces": {"domain": "Example.com"}}, "domain"),
    ({"workspaces": {"exposure": "route"}}, "exposure"),
    ({"backups": {"size": "50GB"}}, "size"),
    ({"config": {"sessions": {"peruser": 5}}}, "peruser"),
    ({"config": {"chat": {"wakes": "yes"}}}, "wakes"),
    ({"apiKeys": {"list": [{"name": "a", "key": "short"}]}}, "key"),
    ({"apiKeys": {"list": [{"name": "a"}]}}, "list"),
    ({"networkPolicy": {"blockedCidrs": ["everything"]}}, "blockedCidrs"),
    ({"workspaces": {"domain": ""}}, "workspaces.domain: the domain of all workspaces is missing"),
    ({"replicas": 2, "backups": {"accessMode": "ReadWriteOnce"}}, "replicas: the backup volume is ReadWriteOnce, so only one node mounts it"),
    ({"replicas": 2}, "replicas: store-sqlite is one file of one roostd"),
    ({"replicas": 2, "config": {"store": {"plugin": "store-other"}}}, "replicas: the data volume"),
    ({"redis": {"sentinels": ["s:26379"]}}, "redis.masterName"),
    ({"redis": {"address": "r:6379"}, "config": {"store": {"plugin": "store-other"}}}, "config.store: redis.address or redis.sentinels says already"),
    ({"redis": {"address": "r:6379"}, "config": {"http": {"drain_deadline": "20s", "drain_delay": "10s"}}}, "terminationGracePeriodSeconds"),
    ({"workspaces": {"exposure": "gateway"}}, "workspaces.gateway.name"),
    ({"config": {"http": {"drain_deadline": "30s"}}}, "terminationGracePeriodSeconds: requests may take http.drain_deadline (30s)"),
    ({"api": {"ingress": {"enabled": True}}}, "api.ingress.host"),
    ({"workspaces": {"namespace": "elsewhere"}}, "backups.existingClaim and backups.workspacesClaim"),
    ({"apiKeys": {"list": [{"name": "guide", "key": GUIDE_KEY}]}}, "the one that the client guide prints"),
    ({"apiKeys": {"list": [{"name": "guide", "sha256": hashlib.sha256(GUIDE_KEY.encode()).hexdigest().upper()}]}},
     "the one that the client guide prints"),
])
def test_what_cannot_work_is_refused_with_its_reason(helm, values, words):
    assert words in helm.refused(values)


def test_replicas_share_what_they_must_and_nothing_else(helm, cluster):
    rendered = objects(cluster, helm.template(SETS["replicas"]))
    spec = rendered["Deployment", "session-manager"]["spec"]
    assert spec["replicas"] == 3 and spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert ("PersistentVolumeClaim", "session-manager-data") not in rendered
    pod = spec["template"]["spec"]
    assert next(volume for volume in pod["volumes"] if volume["name"] == "data")["emptyDir"] == {}
    environment = {variable["name"]: variable for variable in pod["containers"][0]["env"]}
    assert environment["ROOST_AUTH__SECRET_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "session-manager-secret-key", "key": "secret-key"}
    assert re.fullmatch("[0-9a-f]{64}", rendered["Secret", "session-manager-secret-key"]["stringData"]["secret-key"])
    assert {constraint["topologyKey"] for constraint in pod["topologySpreadConstraints"]} == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    text = config_of(rendered)
    assert "plugin: store-redis" in text and '"address":"redis:6379"' in text and 'secrets: {"password":{"env":"STORE_PASSWORD"}}' in text


def test_a_store_of_somebody_else_is_configured_as_it_wants(helm, cluster):
    other = {"config": {"store": {"plugin": "store-other", "config": {"address": "db:1"}, "secrets": {"password": {"env": "DB_PASSWORD"}}}}}
    text = config_of(objects(cluster, helm.template(other)))
    assert 'config: {"address":"db:1"}' in text and 'secrets: {"password":{"env":"DB_PASSWORD"}}' in text


@pytest.mark.parametrize("name, namespace, url", [
    ("defaults", "roost", "http://session-manager.roost.svc"),
    ("another port", "team-a", "http://session-manager.team-a.svc:8443"),
    ("another namespace", "roost", "http://session-manager.roost.svc"),
])
def test_workspaces_are_told_an_api_that_answers_to_that_name_and_may_be_reached(helm, cluster, name, namespace, url):
    values = {"service": {"port": 8443}} if name == "another port" else SETS[name]
    rendered = objects(cluster, helm.template(values, namespace=namespace))
    text = config_of(rendered)
    assert f'api_url: "{url}"' in text
    authority = urllib.parse.urlsplit(url)
    container, = rendered["Deployment", "session-manager"]["spec"]["template"]["spec"]["containers"]
    hosts, = [e["value"] for e in container["env"] if e["name"] == "ROOST_HTTP__HOSTS"]
    assert authority.hostname in json.loads(hosts), "roostd would answer 421"
    # The Service leads to the very port of the pods that the policy opens.
    port, = rendered["Service", "session-manager"]["spec"]["ports"]
    assert port["port"] == (authority.port or 80)
    opened = {p["port"] for rule in rendered["NetworkPolicy", "roost-workspaces"]["spec"]["egress"] for p in rule.get("ports", [])
              if any("podSelector" in peer for peer in rule["to"])}
    listening, = [p["containerPort"] for p in container["ports"] if p["name"] == port["targetPort"]]
    assert listening in opened and f":{listening}" in re.search(r"^ *listen: (.*)$", text, re.M).group(1)


@pytest.mark.parametrize("url, good", [("", True), ("http://10.1.2.3:8080", True), ("https://api.example.com", False), ("http://a/b", False)])
def test_another_address_for_workspaces_is_checked_before_anything_starts(helm, cluster, build, tmp_path, url, good):
    rendered = objects(cluster, helm.template({"config": {"compute": {"config": {"api_url": url}}}}))
    done = check_config(build, config_of(rendered), tmp_path, environment_of(rendered, f'[{{name: a, key: {"k" * 32}}}]'))
    assert (done.returncode == 0) == good and (good or "api_url" in done.stdout + done.stderr), f"{done.stdout}\n{done.stderr}"


def golden(name):
    return json.loads((TOP / f"tests/plugins/compute/kubernetes_golden/{name}.json").read_text())["spec"]["template"]


def test_the_network_policies_select_what_they_are_for(helm, cluster):
    rendered = objects(cluster, helm.template())
    pods = {"workspace": golden("deployment"), "copy": golden("backup-job"), "verify": golden("verify-job"),
            "manager": rendered["Deployment", "session-manager"]["spec"]["template"]}

    def selected(selector):
        return {name for name, pod in pods.items() if selector["matchLabels"].items() <= pod["metadata"]["labels"].items()}
    workspaces = rendered["NetworkPolicy", "roost-workspaces"]["spec"]
    tasks = rendered["NetworkPolicy", "roost-tasks"]["spec"]
    assert selected(workspaces["podSelector"]) == {"workspace"}
    assert selected(tasks["podSelector"]) == {"copy", "verify"}
    assert tasks["ingress"] == tasks["egress"] == [] and set(tasks["policyTypes"]) == {"Ingress", "Egress"}
    entry, = workspaces["ingress"]
    container, = pods["workspace"]["spec"]["containers"]
    assert [p["port"] for p in entry["ports"]] == [p["containerPort"] for p in container["ports"]] == [1111]
    api, = [rule for rule in workspaces["egress"] if [p["port"] for p in rule.get("ports", [])] == [8080]]
    for peer in (entry["from"][-1], api["to"][0]):
        assert selected(peer["podSelector"]) == {"manager"} and "namespaceSelector" in peer
    # The Internet, but neither the cluster's addresses, nor the API server's Service, nor the cloud's metadata.
    internet, = [rule for rule in workspaces["egress"] if any("ipBlock" in peer for peer in rule["to"])]
    blocks = [ipaddress.ip_network(text) for peer in internet["to"] for text in peer["ipBlock"]["except"]]
    for address in ("10.96.0.1", "169.254.169.254", "192.168.1.1", "172.20.0.1", "100.64.0.1", "168.63.129.16", "fd00::1", "fe80::1"):
        assert any(ipaddress.ip_address(address) in block for block in blocks), address
    for address in ("1.1.1.1", "2606:4700::1111"):
        assert not any(ipaddress.ip_address(address) in block for block in blocks), address
