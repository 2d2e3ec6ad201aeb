"""kill -9 of roostd at every write to the cluster and at random moments: everything converges, nothing twice, nothing lost, nothing
left over."""
import contextlib
import http.client

import pytest

from chaos import Chaos
from cluster import ClusterDaemon, FaultProxy
from roost import wait_for

# Each write of a session's life, as "METHOD path"; what leads to it, and the phase that it leads to.
LIFE = {
    "create": ("running", ["POST {core}/persistentvolumeclaims", "POST {core}/secrets", "POST {apps}/deployments", "POST {core}/services",
                           "POST {net}/ingresses"]),
    "sleep": ("asleep", ["PATCH {apps}/deployments/user-"]),
    "wake": ("running", ["PATCH {apps}/deployments/user-"]),
    "scale": ("running", ["PATCH {core}/pods/user-"]),
    "delete": (None, ["PATCH {apps}/deployments/user-", "POST {batch}/jobs", "POST {core}/secrets", "DELETE {batch}/jobs/backup-",
                      "DELETE {apps}/deployments/user-", "DELETE {core}/services/user-", "DELETE {net}/ingresses/user-",
                      "DELETE {core}/secrets/user-", "DELETE {core}/persistentvolumeclaims/pvc-"]),
}


class Lives:
    """Sessions whose actions are each cut short by a kill -9 of roostd at one write, and repeated by the client, who got no answer.
    `volumes`: the claim's UID by session, which never changes."""

    def __init__(self, daemon, proxy, when):
        self.daemon, self.space, self.proxy, self.when, self.volumes = daemon, daemon.namespace, proxy, when, {}
        name = self.space.name
        self.places = {"core": f"/api/v1/namespaces/{name}", "apps": f"/apis/apps/v1/namespaces/{name}",
                       "net": f"/apis/networking.k8s.io/v1/namespaces/{name}", "batch": f"/apis/batch/v1/namespaces/{name}"}

    def killed_at(self, action, write, key):
        """Answers the session: the one of that key, which a create names."""
        match = write.format(**self.places)
        self.proxy.rules([{"match": match, "do": "kill", "when": self.when, "pid": self.daemon.process.pid, "times": 1}])
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.act(action, key, timeout=5)
        try:
            wait_for(lambda: self.daemon.process.poll() is not None, 120, "the kill")
        except AssertionError:
            raise AssertionError(f"{action} did without {match}\n{self.daemon.tail()}") from None
        self.proxy.rules([])
        self.daemon.start()
        return self.act(action, key)

    def act(self, action, key, timeout=90):
        if action == "create":
            answer = self.daemon.post("/session/create", {"user_id": "u"}, headers={"Idempotency-Key": key}, timeout=timeout)
        elif action == "delete":
            answer = self.daemon.delete(f"/session/{key}", headers={"Prefer": "respond-async"}, timeout=timeout)
        else:
            answer = self.daemon.post(f"/session/{key}/{action}", {"scale": "up"} if action == "scale" else None, timeout=timeout)
        assert answer.status in (200, 201, 202), answer
        return answer.json["uuid"] if action == "create" else key

    def converged(self, uuid, action):
        phase = LIFE[action][0]
        self.daemon.wait_phase(uuid, phase)
        if action == "scale":
            wait_for(lambda: self.daemon.session(uuid)["observed"]["size"]["cpu_millis"] == 2000, what="the larger size")
        claim = self.space.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"]
        assert self.volumes.setdefault(uuid, claim) == claim, "the volume was replaced"
        wait_for(lambda: len(self.space.pods(uuid)) == (phase == "running"), what="one pod or none")

    def released(self, uuid):
        wait_for(lambda: self.daemon.session(uuid) is None, 90, "the delete")
        assert self.daemon.delete(f"/session/{uuid}").json["backup"]["verified_at"], "released with its receipt only"
        try:
            wait_for(lambda: {kind for kind, _ in self.space.left(uuid)} == {"jobs", "pods"})
        except AssertionError:
            raise AssertionError(f"more or less than the verifying Job is left: {self.space.left(uuid)}\n{self.daemon.tail()}") from None
        assert len(self.space.list("jobs", f"session-uuid={uuid}")) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_kill_9_at_every_write_of_a_sessions_life(build, namespace, when):
    """One session for each write of a create and of a delete, as what is written together may all be there when roostd comes back."""
    with FaultProxy(namespace.cluster) as proxy, ClusterDaemon(build, namespace, kubeconfig=proxy.kubeconfig) as daemon:
        lives = Lives(daemon, proxy, when)
        uuids = [lives.killed_at("create", write, f"life {i}") for i, write in enumerate(LIFE["create"][1])]
        assert sorted(uuids) == sorted(s["uuid"] for s in daemon.get("/sessions").json["sessions"]), "each is there once"
        uuids += [daemon.create() for _ in LIFE["delete"][1][len(uuids):]]
        for uuid in uuids:
            lives.converged(uuid, "create")
        for action in ("sleep", "wake", "scale"):
            for write in LIFE[action][1]:
                lives.converged(lives.killed_at(action, write, uuids[0]), action)
        for uuid, write in zip(uuids, LIFE["delete"][1], strict=True):
            lives.killed_at("delete", write, uuid)
        for uuid in uuids:
            lives.released(uuid)
        assert daemon.get("/sessions").json["count"] == 0


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
        # One that was put to sleep between its claim and its first start has the claim alone, until it is woken.
        needed = {uuid for uuid, phase in listed.items() if kind == "persistentvolumeclaims" or phase == "running"}
        assert names <= {f"{prefix}{uuid}" for uuid in listed}, f"orphans among the {kind}"
        assert names >= {f"{prefix}{uuid}" for uuid in needed}, f"missing among the {kind}"
