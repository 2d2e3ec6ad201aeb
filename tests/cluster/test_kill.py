"""kill -9 of roostd at every write to the cluster and at random moments: everything converges, nothing twice, nothing lost, nothing
left over."""
import contextlib
import http.client

import pytest

from chaos import Chaos
from cluster import ClusterDaemon, FaultProxy
from roost import wait_for

# Each write of a session's life, as "METHOD path"; what leads to it, and the phase that the life goes on from.
LIFE = [
    ("create", "running", ["POST {core}/persistentvolumeclaims", "POST {core}/secrets", "POST {apps}/deployments", "POST {core}/services",
                           "POST {net}/ingresses"]),
    ("sleep", "asleep", ["PATCH {apps}/deployments/user-"]),
    ("wake", "running", ["PATCH {apps}/deployments/user-"]),
    ("scale", "running", ["PATCH {core}/pods/user-"]),
    ("delete", None, ["PATCH {apps}/deployments/user-", "POST {batch}/jobs", "POST {core}/secrets", "DELETE {batch}/jobs/backup-",
                      "DELETE {apps}/deployments/user-", "DELETE {core}/services/user-", "DELETE {net}/ingresses/user-",
                      "DELETE {core}/secrets/user-", "DELETE {core}/persistentvolumeclaims/pvc-"]),
]


def act(daemon, action, uuid):
    """The request of that action; its answer may be lost. Answers the session's id."""
    with contextlib.suppress(Exception):
        if action == "create":
            return daemon.post("/session/create", {"user_id": "u"}, headers={"Idempotency-Key": "life"}, timeout=5).json["uuid"]
        if action == "delete":
            daemon.delete(f"/session/{uuid}", headers={"Prefer": "respond-async"}, timeout=5)
        else:
            daemon.post(f"/session/{uuid}/{action}", {"scale": "up"} if action == "scale" else None, timeout=5)
    return uuid


def arrived(daemon, action, phase):
    """Whether the one session is where the action leads, so that no write is to come."""
    with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
        sessions = [daemon.session(s["uuid"]) for s in daemon.get("/sessions").json["sessions"]]
        if phase is None:
            return not sessions
        (session,) = sessions
        return session["phase"] == session["wanted"]["state"] == phase and (
            action != "scale" or session["observed"]["size"]["cpu_millis"] == 2000)
    return False


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_at_every_write_of_a_sessions_life(build, namespace, when):
    space = namespace.name
    places = {"core": f"/api/v1/namespaces/{space}", "apps": f"/apis/apps/v1/namespaces/{space}",
              "net": f"/apis/networking.k8s.io/v1/namespaces/{space}", "batch": f"/apis/batch/v1/namespaces/{space}"}
    with FaultProxy(namespace.cluster) as proxy, ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as daemon:
        uuid, volume, killed = None, None, []
        for action, phase, writes in LIFE:
            for i, write in enumerate(writes):
                if i > 0:
                    proxy.rules([])
                    daemon.start(wait=False)
                # What is written together may have been written before the kill, all but the last.
                proxy.rules([{"match": write.format(**places), "do": "kill", "when": when, "pid": daemon.process.pid, "times": 1}])
                if i == 0:
                    uuid = act(daemon, action, uuid)
                wait_for(lambda: daemon.process.poll() is not None or arrived(daemon, action, phase), 60, f"{action}: {write}")
                killed += [f"{action}: {write}"] if daemon.process.poll() is not None else []
                daemon.kill()
            proxy.rules([])
            daemon.start()
            uuid = act(daemon, action, uuid)  # the client repeats what it got no answer to
            if phase:
                daemon.wait_phase(uuid, phase)
                claim = namespace.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"]
                assert volume in (None, claim), "the volume was replaced"
                volume = claim
                wait_for(lambda: len(namespace.pods(uuid)) == (phase == "running"), what="one pod or none")
        wait_for(lambda: daemon.session(uuid) is None, 90, "the delete")
        assert {f"{action}: {writes[0]}" for action, _, writes in LIFE} < set(killed), killed
        assert len(killed) >= 7, ", ".join(killed)
        receipt = daemon.delete(f"/session/{uuid}").json["backup"]
        assert receipt["verified_at"], "released with its receipt only"
        assert daemon.get("/sessions").json["count"] == 0
        wait_for(lambda: {kind for kind, _ in namespace.left(uuid)} == {"jobs", "pods"}, what="the verifying Job alone")
        assert len(namespace.list("jobs")) == 1


@pytest.mark.parametrize("seed", range(2))
def test_kill_9_at_random_moments_and_everything_converges(daemon, seed):
    chaos = Chaos(daemon, seed)

    def kill_again_and_again():
        for _ in range(6):
            chaos.over.wait(chaos.chance.uniform(0.05, 2))
            daemon.kill()
            daemon.start()
    chaos.run(kill_again_and_again)
    listed = chaos.check()
    space = daemon.namespace

    def pods():
        return sorted(p["metadata"]["labels"]["uuid"] for p in space.list("pods", "roost.dev/role=workspace"))
    wait_for(lambda: pods() == sorted(u for u, phase in listed.items() if phase == "running"), what="one pod for each running session")
    for kind, prefix in (("persistentvolumeclaims", "pvc-"), ("deployments", "user-"), ("services", "user-"), ("ingresses", "user-")):
        names = {i["metadata"]["name"] for i in space.list(kind, "app.kubernetes.io/managed-by=roost")}
        assert names == {f"{prefix}{uuid}" for uuid in listed}, "no orphan, none missing"
