"""What goes wrong around roostd on Kubernetes: the API server's failures, other hands in the namespace, pods that will not end."""
import contextlib
import datetime
import pathlib
import threading

import pytest

from chaos import Chaos
from cluster import ClusterDaemon, FaultProxy
from roost import wait_for


@pytest.fixture
def proxy(cluster):
    with FaultProxy(cluster) as started:
        yield started


def whole_life(daemon):
    """Create, sleep, wake, scale, delete; nothing is left. Answers the id."""
    uuid = daemon.create()
    assert daemon.post(f"/session/{uuid}/sleep").status == 200
    daemon.wait_phase(uuid, "asleep")
    assert daemon.post(f"/session/{uuid}/wake").status == 200
    daemon.wait_phase(uuid, "running")
    assert daemon.post(f"/session/{uuid}/scale", {"scale": "up"}).status == 200
    wait_for(lambda: daemon.session(uuid)["observed"]["size"] == {"cpu_millis": 2000, "memory_bytes": 2 << 30}, what="the larger size")
    daemon.delete(f"/session/{uuid}")
    wait_for(lambda: daemon.session(uuid) is None, 90, "the delete")
    wait_for(lambda: not {k for k, _ in daemon.namespace.left(uuid)} - {"jobs", "pods", "secrets"}, what="an empty namespace")
    return uuid


@pytest.mark.alone
def test_the_api_server_is_killed_in_the_middle(daemon):
    chaos = Chaos(daemon, seed=7)

    def restart():
        chaos.over.wait(2)
        daemon.cluster.restart_api_server()
        chaos.over.wait(2)
    chaos.run(restart)
    chaos.check()


EVERY = ("GET", "POST", "PATCH", "DELETE")


@pytest.mark.parametrize("methods,fault,times", [
    (EVERY, {"do": "answer", "status": 429, "retry_after": 0}, 4), (EVERY, {"do": "answer", "status": 500}, 4),
    (EVERY, {"do": "answer", "status": 503, "retry_after": 1}, 2),
    (["POST"], {"do": "lose"}, 12), (["PATCH"], {"do": "lose"}, 12), (["DELETE"], {"do": "lose"}, 12), (["GET"], {"do": "cut"}, 12),
], ids=["429", "500", "503", "lost-POST", "lost-PATCH", "lost-DELETE", "cut-GET"])
def test_a_life_among_failing_answers(build, namespace, proxy, methods, fault, times):
    """Of each kind of request the first ones fail, once roostd has begun; nothing of it reaches the user."""
    with ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as daemon:
        proxy.rules([{**fault, "match": f"{method} /", "times": times} for method in methods])
        whole_life(daemon)
    used = [line.split()[0] for line in (proxy.directory / "rules.used").read_text().splitlines()]
    assert set(used) == set(methods), used


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}}


@pytest.mark.alone
@pytest.mark.parametrize("fault", [{"do": "event", "body": GONE}, {"do": "answer", "status": 410, "reason": "Expired"}], ids=["event", "answer"])
def test_an_expired_watch_is_listed_again(build, namespace, proxy, fault):
    """What nobody watched is seen, though the server no longer has the version that any watch would go on from."""
    with ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as daemon:
        uuid = daemon.create()
        proxy.rules([{"match": "watch=1", "do": "cut"}])
        daemon.cluster.restart_api_server()  # ends the watches that are open
        namespace.remove("services", f"user-{uuid}")
        now = int(daemon.cluster.request("GET", namespace.path("services"))[1]["metadata"]["resourceVersion"])
        proxy.rules([{**fault, "match": "watch=1", "before": now}])
        wait_for(lambda: namespace.get("services", f"user-{uuid}"), 90, "the service to be put back")
        assert daemon.post(f"/session/{uuid}/sleep").status == 200
        daemon.wait_phase(uuid, "asleep")
        used = (proxy.directory / "rules.used").read_text()
        assert "/deployments?watch=1" in used and "/pods?watch=1" in used


def test_a_rotated_token_is_read_again(build, namespace, proxy):
    with ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as daemon:
        daemon.create()
        proxy.token("rotated")
        proxy.rules([{"match": " ", "do": "token", "token": "rotated"}])
        whole_life(daemon)
        assert "POST /api/v1" in (proxy.directory / "rules.used").read_text(), "the old token was refused"


@pytest.mark.parametrize("kind", ["services", "ingresses", "secrets", "deployments", "pods"])
def test_what_somebody_deletes_is_put_back(daemon, kind):
    uuid, space = daemon.create(), daemon.namespace
    name = space.pods(uuid)[0]["metadata"]["name"] if kind == "pods" else f"user-{uuid}"
    old, volume = space.get(kind, name)["metadata"]["uid"], space.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"]
    space.remove(kind, name)
    items = (lambda: space.pods(uuid)) if kind == "pods" else lambda: [i for i in [space.get(kind, name)] if i]
    wait_for(lambda: any(i["metadata"]["uid"] != old for i in items()), what=f"new {kind}")
    daemon.wait_phase(uuid, "running")
    wait_for(lambda: len(space.pods(uuid)) == 1, what="one pod")
    assert space.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"] == volume


@pytest.mark.parametrize("kind,edit,holds", [
    ("services", {"spec": {"selector": {"app": "other"}}}, lambda o, u: o["spec"]["selector"] == {"app": f"user-{u}"}),
    ("ingresses", {"spec": {"rules": [{"host": "evil.example.com"}]}}, lambda o, u: u in o["spec"]["rules"][0]["host"]),
    ("secrets", {"stringData": {"token": "forged"}}, lambda o, u: o["data"]["token"] != "Zm9yZ2Vk"),
    ("deployments", {"spec": {"replicas": 3}}, lambda o, u: o["spec"]["replicas"] == 1),
    ("deployments", {"spec": {"replicas": 0}}, lambda o, u: o["spec"]["replicas"] == 1),
], ids=["service", "ingress", "secret", "more-replicas", "no-replicas"])
def test_what_somebody_edits_is_put_back(daemon, kind, edit, holds):
    uuid, space = daemon.create(), daemon.namespace
    space.change(kind, f"user-{uuid}", edit)
    wait_for(lambda: holds(space.get(kind, f"user-{uuid}"), uuid), what="what Roost wrote")
    daemon.wait_phase(uuid, "running")
    wait_for(lambda: len(space.pods(uuid)) == 1, what="one pod")


def test_a_volume_that_vanished_is_never_replaced_by_an_empty_one(daemon):
    uuid, space = daemon.create(), daemon.namespace
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    space.remove("persistentvolumeclaims", f"pvc-{uuid}")
    wait_for(lambda: space.get("persistentvolumeclaims", f"pvc-{uuid}") is None, what="the claim's end")
    daemon.post(f"/session/{uuid}/wake")
    lost = daemon.wait_phase(uuid, "volume_lost")
    assert lost["reason"] == "VolumeLost" and lost["message"], lost
    answer = daemon.delete(f"/session/{uuid}", headers={"Prefer": "respond-async"})
    assert answer.status in (202, 409), answer
    daemon.kill()
    daemon.start()
    wait_for(lambda: daemon.session(uuid)["phase"] in ("volume_lost", "delete_blocked"), what="the same verdict after a restart")
    assert space.get("persistentvolumeclaims", f"pvc-{uuid}") is None and not space.pods(uuid)
    # One of the same name that somebody else made is not taken for it, and not touched.
    made = space.make("persistentvolumeclaims", {"metadata": {"name": f"pvc-{uuid}"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    wait_for(lambda: daemon.session(uuid)["reason"] == "VolumeForeign", 60, "the foreign volume to be seen")
    assert space.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"] == made["metadata"]["uid"] and not space.pods(uuid)


def test_a_volume_that_somebody_deletes_while_it_is_in_use(daemon):
    """The server keeps it as long as a pod has it, and so does Roost; the next sleep ends it, and no empty one takes its place."""
    uuid, space = daemon.create(), daemon.namespace
    (pod,) = space.pods(uuid)
    space.remove("persistentvolumeclaims", f"pvc-{uuid}")
    wait_for(lambda: daemon.session(uuid)["observed"]["reason"] == "VolumeTerminating", what="the reason")
    assert daemon.session(uuid)["phase"] == "running"
    assert [p["metadata"]["uid"] for p in space.pods(uuid)] == [pod["metadata"]["uid"]]
    daemon.post(f"/session/{uuid}/sleep")
    wait_for(lambda: space.get("persistentvolumeclaims", f"pvc-{uuid}") is None, what="the claim's end")
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "volume_lost")
    assert space.get("persistentvolumeclaims", f"pvc-{uuid}") is None and not space.pods(uuid)


class PodWatch:
    """Looks all the time at a session's pods; `most` is how many were placed on a node at once."""

    def __init__(self, space, uuid):
        self.space, self.uuid, self.most, self.over = space, uuid, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.wait(0.02):
            with contextlib.suppress(OSError):
                placed = [p for p in self.space.pods(self.uuid) if p["spec"].get("nodeName")]
                self.most = max(self.most, len(placed))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


SLOW = {"labels": {"roost.test/end": "held"}}  # tests/cluster/stages.yaml: such a pod ends when the label is taken away


def let_go(space, pod):
    space.change("pods", pod["metadata"]["name"], {"metadata": {"labels": {"roost.test/end": None}}})


@pytest.mark.parametrize("mode", ["ReadWriteOncePod", "ReadWriteOnce"])
def test_a_pod_that_is_slow_to_end_while_the_user_wakes(build, namespace, mode):
    with ClusterDaemon(build, namespace, compute={**SLOW, "access_mode": mode}) as daemon:
        uuid = daemon.create()
        with PodWatch(namespace, uuid) as watch:
            (old,) = namespace.pods(uuid)
            daemon.post(f"/session/{uuid}/sleep")
            wait_for(lambda: "deletionTimestamp" in namespace.pods(uuid)[0]["metadata"], what="the pod's ending")
            wait_for(lambda: daemon.get(f"/session/{uuid}/status").json["replicas"] == 0, what="a pod that ends not to count")
            daemon.post(f"/session/{uuid}/wake")
            daemon.kill()
            daemon.start()
            wait_for(lambda: daemon.session(uuid)["phase"] in ("starting", "stopping"), what="the wake to wait")
            let_go(namespace, old)
            daemon.wait_phase(uuid, "running")
            (new,) = namespace.pods(uuid)
            assert new["metadata"]["uid"] != old["metadata"]["uid"]
        assert watch.most == 1, "never two pods on one volume"


@pytest.mark.parametrize("mode", ["ReadWriteOncePod", "ReadWriteOnce"])
def test_a_drain_never_puts_two_pods_on_one_volume(build, namespace, mode):
    """The ReplicaSet asks for a new pod while the evicted one still ends: it must not be placed."""
    with ClusterDaemon(build, namespace, compute={**SLOW, "access_mode": mode}) as daemon:
        uuid = daemon.create()
        with PodWatch(namespace, uuid) as watch:
            (old,) = namespace.pods(uuid)
            name = old["metadata"]["name"]
            status, answer = namespace.cluster.request("POST", namespace.path("pods", name) + "/eviction",
                                                       {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
            assert status == 201, answer
            wait_for(lambda: len(namespace.pods(uuid)) == 2, what="the pod that takes its place")
            fresh = next(p for p in namespace.pods(uuid) if p["metadata"]["name"] != name)
            wait_for(lambda: any(c["type"] == "PodScheduled" and c["status"] == "False" for c in namespace.get(
                "pods", fresh["metadata"]["name"])["status"].get("conditions", [])), what="the scheduler's refusal")
            let_go(namespace, old)
            wait_for(lambda: [p["metadata"]["name"] for p in namespace.pods(uuid)] == [fresh["metadata"]["name"]], what="the old pod's end")
            daemon.wait_phase(uuid, "running")
        assert watch.most == 1, "never two pods on one volume"


@pytest.mark.parametrize("compute,quota,reason", [
    ({"image": "localhost/missing:1"}, None, "ImagePullBackOff"), ({"image": "localhost/crashing:1"}, None, "CrashLoopBackOff"),
    ({"pod_template": {"spec": {"nodeSelector": {"no": "such-node"}}}}, None, "Unschedulable"),
    ({"storage_class": "no-such-class"}, None, "StorageClassMissing"), ({}, {"pods": "0"}, "QuotaExceeded"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_the_api_says_why_a_workspace_does_not_come_up(build, namespace, compute, quota, reason):
    if quota:
        namespace.make("resourcequotas", {"metadata": {"name": "small"}, "spec": {"hard": quota}}, base="/api/v1")
        wait_for(lambda: "used" in namespace.get("resourcequotas", "small", base="/api/v1")["status"], what="the quota in force")
    with ClusterDaemon(build, namespace, compute=compute) as daemon:
        uuid = daemon.create(running=False)
        said = wait_for(lambda: (s := daemon.session(uuid))["observed"]["reason"] == reason and s, 60, reason)
        ready = next(c for c in said["conditions"] if c["type"] == "Ready")
        assert ready["status"] is False and ready["reason"] == reason and len(ready["message"]) > 10, said
        # Whatever it was, the session can be deleted.
        daemon.delete(f"/session/{uuid}", headers={"Prefer": "respond-async"})
        if reason in ("ImagePullBackOff", "CrashLoopBackOff"):
            wait_for(lambda: daemon.session(uuid) is None, 60, "the delete")


def faketime():
    """The library that shifts a program's clock (Debian's libfaketime)."""
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


def hours_ahead(daemon, uuid):
    made = datetime.datetime.fromisoformat(daemon.session(uuid)["created_at"]).replace(tzinfo=datetime.timezone.utc)
    return round((made - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 3600, 1)


@pytest.mark.skipif(not faketime(), reason="libfaketime is not installed")
def test_a_clock_that_is_an_hour_off_and_jumps(build, namespace):
    # AddressSanitizer wants to be the first library; it is linked in, so the order does no harm.
    clock = {"LD_PRELOAD": faketime(), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "ASAN_OPTIONS": "verify_asan_link_order=0"}
    with ClusterDaemon(build, namespace, {**clock, "FAKETIME": "+2h"}) as daemon:
        asleep, awake = daemon.create(), daemon.create()
        assert hours_ahead(daemon, awake) == 2
        daemon.post(f"/session/{asleep}/sleep")
        daemon.wait_phase(asleep, "asleep")
        daemon.kill()
        daemon.environment["FAKETIME"] = "+1h"  # an hour back
        daemon.start()
        daemon.wait_phase(awake, "running")
        daemon.post(f"/session/{asleep}/wake")
        daemon.wait_phase(asleep, "running")
        later = daemon.create()
        assert hours_ahead(daemon, later) == 1
        for uuid in (asleep, awake, later):
            daemon.delete(f"/session/{uuid}")
            wait_for(lambda: daemon.session(uuid) is None, 60, "the delete")
