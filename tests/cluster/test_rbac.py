"""The chart's Role is enough for all that Roost does, and no more: what the API server's audit log says roostd asked for."""
import json

import pytest

from chart import Helm, kubectl, objects
from cluster import ClusterDaemon, FaultProxy
from roost import wait_for


@pytest.fixture
def rights(cluster, namespace, tmp_path):
    """The chart's rights in the test's namespace, and nothing else of it."""
    rendered = objects(cluster, Helm(tmp_path, cluster).template(namespace=namespace.name))
    chosen = [o for (kind, _), o in rendered.items() if kind in ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": chosen})
    kubectl(cluster, "apply", "-f", "-", stdin=text)
    yield chosen
    kubectl(cluster, "delete", "-f", "-", stdin=text)


@pytest.fixture
def proxy(cluster, namespace, rights):
    """Passes on what bears the token of the chart's service account."""
    with FaultProxy(cluster) as started:
        token = kubectl(cluster, "--namespace", namespace.name, "create", "token", "session-manager").stdout
        started.token(token)
        started.replace("rules.token", token)
        yield started


@pytest.fixture
def daemon(build, namespace, proxy):
    """roostd as the chart's service account."""
    with ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as started:
        yield started


def granted(objects_of_rights):
    """{(group, resource, verb)}"""
    return {(group, resource, verb) for o in objects_of_rights if o["kind"] in ("Role", "ClusterRole") for rule in o["rules"]
            for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]}


def asked(cluster, namespace):
    """What the service account asked for, and what of it was refused for want of a right."""
    user, wanted, refused = f"system:serviceaccount:{namespace.name}:session-manager", set(), []
    for line in (cluster.directory / "audit.log").read_text().splitlines():
        event = json.loads(line)
        if event["user"]["username"] != user:
            continue
        what = event["objectRef"]
        resource = "/".join(filter(None, (what["resource"], what.get("subresource"))))
        wanted.add((what.get("apiGroup", ""), resource, event["verb"]))
        if event["annotations"]["authorization.k8s.io/decision"] != "allow":
            refused.append(f'{event["verb"]} {event["requestURI"]}')
    return wanted, refused


def test_the_role_is_enough_and_each_right_is_used(daemon, proxy, cluster, namespace, rights):
    # The guide's flow.
    uuid = daemon.create()  # waits until it runs
    daemon.post(f"/session/{uuid}/chat", {"message": "Hello!"})
    for size, millis in (("up", 2000), ("down", 1000)):
        daemon.post(f"/session/{uuid}/scale", {"scale": size})
        wait_for(lambda: (daemon.session(uuid)["observed"]["size"] or {}).get("cpu_millis") == millis, what=f"scaled {size}")
    # Edited behind Roost's back.
    namespace.change("services", f"user-{uuid}", {"spec": {"ports": [{"port": 81, "targetPort": 1}]}})
    namespace.change("secrets", f"user-{uuid}", {"stringData": {"token": "x"}})
    namespace.change("ingresses", f"user-{uuid}", {"spec": {"rules": [{"host": "evil.example.com"}]}})
    wait_for(lambda: namespace.get("services", f"user-{uuid}")["spec"]["ports"][0]["port"] == 80, what="the Service mended")
    wait_for(lambda: "evil" not in json.dumps(namespace.get("ingresses", f"user-{uuid}")["spec"]), what="the Ingress mended")
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "running")
    # A Job that bears the name of the verifying one makes room.
    kubectl(cluster, "--namespace", namespace.name, "create", "job", f"backup-{uuid}", "--image=localhost/other:1")
    wait_for(lambda: namespace.get("jobs", f"backup-{uuid}").get("status", {}).get("succeeded"), what="the other Job's end")
    daemon.delete(f"/session/{uuid}")
    wait_for(lambda: daemon.session(uuid) is None, what="the session's end", timeout=90)
    # Its Deployment was deleted, which roostd has not heard of when it shall fall asleep: then the volume keeps the generation.
    proxy.rules([{"match": "/deployments?watch=1", "do": "cut"}])
    daemon.stop()
    daemon.start()
    uuid = daemon.create()
    namespace.remove("deployments", f"user-{uuid}")
    wait_for(lambda: not namespace.pods(uuid), what="its pod's end")
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")

    wanted, refused = asked(cluster, namespace)
    assert not refused
    assert wanted - granted(rights) == set(), "asked for without a right"
    # The logs of tasks: fake nodes have none, and their tasks end at once. tests/node/test_restore.py reads them.
    assert granted(rights) - wanted - {("", "pods/log", "get")} == set(), "a right that is not used"


def test_without_the_right_to_read_storage_classes_all_else_works(build, cluster, namespace, daemon, rights, tmp_path):
    cluster_role = [o for o in rights if o["kind"].startswith("Cluster")]
    kubectl(cluster, "delete", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": cluster_role}))
    daemon.stop()
    daemon.start()
    uuid = daemon.create()  # waits until it runs
    kubectl(cluster, "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": cluster_role}))
