"""A new roostd over the sessions of an old one: an upgrade, which touches no workspace; and an old one that was only paused, whose
late calls are refused."""
import contextlib
import json
import os
import shutil
import signal

import pytest

from cluster import KINDS, ClusterDaemon, FaultProxy
from roost import wait_for

SESSIONS = 100


def versions(space):
    """{(kind, name): resourceVersion} of all that Roost writes for its workspaces, and each pod's UID."""
    found = {}
    for kind in KINDS:
        for item in space.list(kind, "app.kubernetes.io/managed-by=roost"):
            meta = item["metadata"]
            found[kind, meta["name"]] = meta["uid"] if kind == "pods" else meta["resourceVersion"]
    return found


def template_images(space, uuid):
    (pod,) = space.pods(uuid)
    return {c["image"] for c in pod["spec"]["containers"]} | {c["image"] for c in pod["spec"]["initContainers"]}


def test_an_upgrade_with_100_workspaces_restarts_none_of_them(build, namespace):
    with ClusterDaemon(build, namespace, overrides={"ROOST_SESSIONS__PER_USER": str(SESSIONS)}) as daemon:
        uuids = [daemon.create(running=False) for _ in range(SESSIONS)]
        for uuid in uuids:
            daemon.wait_phase(uuid, "running")
        wait_for(lambda: all(d["status"].get("availableReplicas") for d in namespace.list("deployments")), what="the controllers' last word")
        before = versions(namespace)
        daemon.stop()
        compute = json.loads(daemon.environment["ROOST_COMPUTE__CONFIG"])
        compute.update({"image": "localhost/workspace:2", "agent_image": "localhost/agent:2", "grace_s": 45})
        daemon.environment["ROOST_COMPUTE__CONFIG"] = json.dumps(compute)
        daemon.start()

        # One sleeps and wakes, and takes the new template; by then the daemon has looked at all the others as well.
        moved = uuids[SESSIONS // 2]
        assert template_images(namespace, moved) == {"localhost/workspace:1", "localhost/agent:1"}
        assert daemon.post(f"/session/{moved}/sleep").status == 200
        daemon.wait_phase(moved, "asleep")
        assert daemon.post(f"/session/{moved}/wake").status == 200
        daemon.wait_phase(moved, "running")
        assert template_images(namespace, moved) == {"localhost/workspace:2", "localhost/agent:2"}
        phases = {s["uuid"]: s["phase"] for s in daemon.get("/sessions?limit=200").json["sessions"]}
        assert phases == {uuid: "running" for uuid in uuids}
        others = {key: value for key, value in before.items() if moved not in key[1]}
        after = versions(namespace)
        assert {key: after.get(key) for key in others} == others, "something of a workspace was written"


@contextlib.contextmanager
def taken_over(build, namespace, first, proxy):
    """Pauses `first`, whose last call is held on its way, and starts a second roostd over what its store holds: in Redis the same
    store, else a copy of it."""
    os.kill(first.process.pid, signal.SIGSTOP)
    second = ClusterDaemon(build, namespace)
    shutil.copytree(first.directory / "data", second.directory / "data", dirs_exist_ok=True)
    if second.redis:
        second.environment["ROOST_STORE__CONFIG"] = first.environment["ROOST_STORE__CONFIG"]
    try:
        with second:
            yield second
    finally:
        (proxy.directory / "rules.release").touch()


def pods_that_start(namespace, uuid):
    return [pod["metadata"]["uid"] for pod in namespace.pods(uuid) if "deletionTimestamp" not in pod["metadata"]]


@pytest.mark.parametrize("late, then", [("sleep", "wake"), ("wake", "sleep")])
def test_a_paused_leaders_late_call_is_refused(build, namespace, late, then):
    """Its write left before the pause and arrives after another has led, finished the step, and gone on. (It stays paused: the file
    that it has to itself, as no replica has, would let it lead.)"""
    phase = {"sleep": "asleep", "wake": "running"}
    with FaultProxy(namespace.cluster) as proxy, ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as first:
        uuid = first.create()
        if late == "wake":
            first.post(f"/session/{uuid}/sleep")
            first.wait_phase(uuid, "asleep")
        claim = namespace.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"]
        proxy.rules([{"match": "PATCH ", "do": "hold", "times": 1}])
        assert first.post(f"/session/{uuid}/{late}").status == 200
        wait_for(lambda: (proxy.directory / "rules.used").exists(), what="the call that is held")
        with taken_over(build, namespace, first, proxy) as second:
            for action in (late, then):
                assert second.post(f"/session/{uuid}/{action}").status == 200
                second.wait_phase(uuid, phase[action])
            pods = pods_that_start(namespace, uuid)
            assert len(pods) == (then == "wake")

            (proxy.directory / "rules.release").touch()
            wait_for(lambda: (proxy.directory / "rules.held").exists(), what="the late call's arrival")
            assert (proxy.directory / "rules.held").read_text() == "409\n", "the late call changed something"
            assert second.wait_phase(uuid, phase[then])["volume"]["uid"] == claim
            assert pods_that_start(namespace, uuid) == pods, "the first one's late steps reached the cluster"
            assert namespace.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"] == claim
