"""The chart on a cluster: installed, upgraded, removed. Fake nodes run no roostd; what is proven is what the objects are and what stays."""
import base64
import json

import pytest

from chart import CHART, Helm, kubectl, merged
from roost import wait_for

ONE_NODE = {"backups": {"accessMode": "ReadWriteOnce"}}


@pytest.fixture
def helm(cluster, tmp_path):
    return Helm(tmp_path, cluster)


@pytest.fixture
def installed(helm, namespace):
    """install(values): as a person would, in the test's namespace; a second call upgrades."""
    values = {"rbac": {"clusterRole": False}}  # it is of no namespace, so it would outlive the test's

    def install(more=None):
        return helm.run("upgrade", "--install", "roost", CHART, "--namespace", namespace.name, values=merged(values, more or {}))
    yield install
    helm.run("uninstall", "roost", "--namespace", namespace.name, check=False)


def secret_of(namespace):
    found = namespace.get("secrets", "session-manager-keys")
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


def test_it_becomes_ready_with_the_guides_names(installed, namespace):
    notes = installed(ONE_NODE).stdout
    assert f"kubectl -n {namespace.name} get secret session-manager-keys" in notes
    assert "*.preview.example.com must lead to the ingress controller" in notes
    wait_for(lambda: namespace.get("deployments", "session-manager").get("status", {}).get("readyReplicas") == 1, what="a ready replica")
    service = namespace.get("services", "session-manager")
    assert [(p["port"], p["targetPort"]) for p in service["spec"]["ports"]] == [(80, "http")]
    pod, = namespace.list("pods", "app.kubernetes.io/component=session-manager")
    mounts = {m["mountPath"] for m in pod["spec"]["containers"][0]["volumeMounts"]}
    assert {"/backups", "/var/lib/roost"} <= mounts


def test_the_key_that_was_made_outlives_upgrades(installed, namespace):
    installed(ONE_NODE)
    first = secret_of(namespace)
    key, = json.loads(first["keys"])
    assert key == {"name": "admin", "key": first["admin"], "scopes": ["admin"]} and len(first["admin"]) >= 40
    installed(merged(ONE_NODE, {"config": {"log": {"level": "debug"}}}))
    assert secret_of(namespace) == first
    installed(merged(ONE_NODE, {"apiKeys": {"list": [{"name": "ops", "key": "o" * 32, "scopes": ["admin"]}]}}))
    assert json.loads(secret_of(namespace)["keys"]) == [{"name": "ops", "key": "o" * 32, "scopes": ["admin"]}]


def test_an_upgrade_touches_no_workspace_and_an_uninstall_no_data(installed, helm, namespace):
    installed(ONE_NODE)
    workspace = {"metadata": {"name": "user-0a1b2c3d", "labels": {"app.kubernetes.io/managed-by": "roost", "app": "user-0a1b2c3d"}},
                 "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "user-0a1b2c3d"}},
                          "template": {"metadata": {"labels": {"app": "user-0a1b2c3d"}},
                                       "spec": {"containers": [{"name": "workspace", "image": "localhost/workspace:1"}]}}}}
    namespace.make("deployments", workspace)
    def pods():
        return [(p["metadata"]["uid"], p["status"].get("phase")) for p in namespace.list("pods", "app=user-0a1b2c3d")]
    before = wait_for(lambda: pods() if pods() and pods()[0][1] == "Running" else None, what="the workspace's pod")
    generation = namespace.get("deployments", "user-0a1b2c3d")["metadata"]["generation"]
    claims = {name: namespace.get("persistentvolumeclaims", name)["metadata"]["uid"] for name in ("session-manager-data", "session-manager-backups")}
    installed(merged(ONE_NODE, {"images": {"daemon": "localhost/roost:next", "workspace": "localhost/roost-workspace:next"}}))
    helm.run("uninstall", "roost", "--namespace", namespace.name)
    wait_for(lambda: not namespace.list("pods", "app.kubernetes.io/component=session-manager"), what="the daemon's end")
    assert pods() == before and namespace.get("deployments", "user-0a1b2c3d")["metadata"]["generation"] == generation
    assert {name: namespace.get("persistentvolumeclaims", name)["metadata"]["uid"] for name in claims} == claims
    for policy in ("roost-workspaces", "roost-tasks"):
        assert namespace.get("networkpolicies", policy, base="/apis/networking.k8s.io/v1"), "workspaces that run on are still kept apart"
    # The same claims serve the next install.
    installed(ONE_NODE)
    assert {name: namespace.get("persistentvolumeclaims", name)["metadata"]["uid"] for name in claims} == claims


def test_the_daemon_lives_under_the_strictest_pod_security(installed, namespace):
    kubectl(namespace.cluster, "label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    installed(ONE_NODE)
    wait_for(lambda: namespace.list("pods", "app.kubernetes.io/component=session-manager"), what="the daemon's pod")


def volume(name, namespace, claim, node):
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": {
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/x"}, "storageClassName": "none",
        "claimRef": {"namespace": namespace, "name": claim, "kind": "PersistentVolumeClaim"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}}}


def test_backups_on_one_node_are_refused_where_workspaces_are_bound_to_others(helm, namespace):
    names = [f"{namespace.name}-{node}" for node in ("a", "b")]
    try:
        for name, node in zip(names, ("a", "b")):
            kubectl(namespace.cluster, "create", "-f", "-", stdin=json.dumps(volume(name, namespace.name, f"pvc-0000000{node}", node)))
        install = ("install", "roost", CHART, "--namespace", namespace.name, "--dry-run=server")
        done = helm.run(*install, values=ONE_NODE, check=False)
        assert done.returncode != 0 and "are bound to several (a, b): use ReadWriteMany" in done.stderr, done.stderr
        helm.run(*install, values={})
    finally:
        kubectl(namespace.cluster, "delete", "persistentvolume", *names)


def test_the_plain_manifests_can_be_applied(cluster, namespace):
    from chart import TOP
    text = (TOP / "packaging/kubernetes/roost.yaml").read_text().replace("namespace: roost\n", f"namespace: {namespace.name}\n")
    done = kubectl(cluster, "apply", "--dry-run=server", "-f", "-", stdin=text)
    assert "Warning" not in done.stderr, done.stderr
