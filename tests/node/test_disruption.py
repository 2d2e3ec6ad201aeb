"""What nodes, pods, disks and upgrades do to workspaces and to deletes. A volume never has two writers; nothing waits for ever."""
import contextlib
import json
import os
import signal
import subprocess
import threading

import pytest

from realnode import PATIENCE, STATE, run
from roost import wait_for


class PodHistory:
    """Every state of a session's pods that the API server showed, so that no moment is missed."""

    def __init__(self, node, uuid):
        self.process = subprocess.Popen([node.kubectl.program, "kubectl", "get", "pods", "-l", f"app=user-{uuid}", "--watch", "-o", "json",
                                         "--output-watch-events"], stdout=subprocess.PIPE, text=True, env=node.kubectl.environment)
        self.alive, self.most = {}, 0
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        decoder, text = json.JSONDecoder(), ""
        for line in self.process.stdout:
            text += line
            with contextlib.suppress(ValueError):
                event, end = decoder.raw_decode(text.lstrip())
                text = text.lstrip()[end:]
                self.see(event)

    def see(self, event):
        """A pod may write from the moment that a node is to run it until its containers have ended."""
        pod = event["object"]
        ended = event["type"] == "DELETED" or pod["status"]["phase"] in ("Succeeded", "Failed")
        if ended or not pod["spec"].get("nodeName"):
            self.alive.pop(pod["metadata"]["uid"], None)
        else:
            self.alive[pod["metadata"]["uid"]] = True
        self.most = max(self.most, len(self.alive))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.kill()
        self.process.wait()
        self.thread.join(10)
        if kind is None:
            assert self.most == 1, f"{self.most} pods could write to one volume at the same time"


@pytest.fixture
def workspace(node):
    """A running one, deleted at the end with all that it has."""
    uuid = node.running()
    node.inside(uuid, "echo precious > /workspace/file.txt")
    yield uuid
    node.delete(f"/session/{uuid}")
    node.wait_phase(uuid, "none: 404")
    node.assert_gone(uuid)


def file_is_there(node, uuid):
    return node.inside(uuid, "cat /workspace/file.txt", check=False) == "precious\n"


def first_process(node, uuid):
    """The pid on this machine of the workspace's first process."""
    container = node.pod(uuid)["status"]["containerStatuses"][0]["containerID"].split("://")[1]
    tasks = run("ctr", "-a", STATE / "containerd.sock", "-n", "k8s.io", "tasks", "ls").stdout
    return next(int(line.split()[1]) for line in tasks.splitlines() if line.startswith(container))


def test_a_pod_that_takes_its_whole_grace_period_while_the_user_wakes(node, workspace):
    uuid = workspace
    with PodHistory(node, uuid) as history:
        old = node.pod(uuid)["metadata"]["uid"]
        os.kill(first_process(node, uuid), signal.SIGSTOP)  # it hears no SIGTERM: the node waits, then kills
        node.post(f"/session/{uuid}/sleep")
        wait_for(lambda: node.pod(uuid)["metadata"].get("deletionTimestamp"), PATIENCE, "the pod's end to begin")
        assert node.post(f"/session/{uuid}/wake").status == 200
        assert node.get(f"/session/{uuid}/status").status == 200
        wait_for(lambda: [p["metadata"]["uid"] for p in node.kubectl.pods(f"app=user-{uuid}")] not in ([], [old]), PATIENCE, "the new pod")
        node.wait_phase(uuid, "running")
        assert file_is_there(node, uuid)
        assert history.thread.is_alive()


def test_a_drained_node_loses_nothing_and_says_what_it_waits_for(node, workspace):
    uuid = workspace
    with PodHistory(node, uuid):
        node.kubectl("drain", "real", "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector", f"app=user-{uuid}", "--timeout=120s")
        try:
            said = wait_for(lambda: (lambda s: s["phase"] != "running" and s["observed"].get("reason") and s)(node.session(uuid)), PATIENCE,
                            "the reason why it does not start")
            assert said["observed"]["reason"] == "Unschedulable", said
            for action in ("sleep", "wake"):  # the user tries what users try
                assert node.post(f"/session/{uuid}/{action}").status == 200
                node.wait_phase(uuid, *(("asleep",) if action == "sleep" else ("starting", "failed")))
        finally:
            node.kubectl("uncordon", "real")
        node.wait_phase(uuid, "running")
        assert file_is_there(node, uuid)


def test_a_drain_of_everything_roost_included(node, workspace):
    uuid = workspace
    with PodHistory(node, uuid):
        try:
            node.kubectl("drain", "real", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=150s")
            assert all(not pod["spec"].get("nodeName") for pod in node.kubectl.get("pods")["items"] if pod["status"]["phase"] == "Pending")
        finally:
            node.kubectl("uncordon", "real")
        node.wait_ready()
        node.wait_phase(uuid, "running")
        wait_for(lambda: file_is_there(node, uuid), PATIENCE, "the file")


def test_an_upgrade_of_roost_restarts_no_workspace(node):
    uuids = [node.create(f"upgrade{i}@example.com") for i in range(4)]
    for uuid in uuids:
        node.wait_phase(uuid, "running")

    def pods():
        return {uuid: (lambda p: (p["metadata"]["uid"], p["status"]["containerStatuses"][0]["containerID"],
                                  p["status"]["containerStatuses"][0]["restartCount"]))(node.pod(uuid)) for uuid in uuids}
    before, roostd = pods(), node.kubectl.pods("app.kubernetes.io/component=session-manager")[0]["metadata"]["uid"]
    versions = {uuid: node.kubectl.get("deployment", f"user-{uuid}")["metadata"]["generation"] for uuid in uuids}
    for name in ("roost", "roost-agent", "roost-workspace"):
        run("ctr", "-a", STATE / "containerd.sock", "-n", "k8s.io", "images", "tag", f"localhost/{name}:dev", f"localhost/{name}:next")
    values = node.values()
    values["images"] = {"daemon": "localhost/roost:next", "agent": "localhost/roost-agent:next", "workspace": "localhost/roost-workspace:next"}
    values["workspaces"]["podTemplate"] = {"metadata": {"annotations": {"roost.test/upgraded": "yes"}}}
    node.helm("upgrade", values)
    assert node.kubectl.pods("app.kubernetes.io/component=session-manager")[0]["metadata"]["uid"] != roostd, "Roost itself was replaced"
    for uuid in uuids:
        node.wait_phase(uuid, "running")
    assert pods() == before
    assert {uuid: node.kubectl.get("deployment", f"user-{uuid}")["metadata"]["generation"] for uuid in uuids} == versions, "nothing was written"

    slept = uuids[0]  # the new template comes with the next sleep and wake
    for action, phase in (("sleep", "asleep"), ("wake", "running")):
        node.post(f"/session/{slept}/{action}")
        node.wait_phase(slept, phase)
    pod = node.pod(slept)
    assert pod["metadata"]["annotations"]["roost.test/upgraded"] == "yes"
    assert pod["spec"]["containers"][0]["image"] == "localhost/roost-workspace:next"
    assert {u: p for u, p in pods().items() if u != slept} == {u: p for u, p in before.items() if u != slept}
    for uuid in uuids:
        node.delete(f"/session/{uuid}")
    for uuid in uuids:
        node.wait_phase(uuid, "none: 404")
    node.helm("upgrade")


def backup_pod(node, uuid):
    """The copying Job's pod, once it runs."""
    for pod in node.kubectl.pods("roost.dev/role=task"):
        if pod["metadata"]["name"].startswith("backup-" + uuid) and pod["metadata"]["labels"]["roost.dev/task"] == "backup" \
                and pod["status"]["phase"] == "Running":
            return pod
    return None


@pytest.mark.parametrize("how", ["deleted", "evicted", "killed"])
def test_a_backup_job_that_is(node, how):
    """... in the middle is made again; the volume stays until an archive of it was read back."""
    uuid = node.running()
    node.inside(uuid, "head -c 150000000 /dev/urandom > /workspace/large.bin && echo precious > /workspace/file.txt", timeout=600)
    volume = node.kubectl.get("pvc", f"pvc-{uuid}")["metadata"]["uid"]
    threading.Thread(target=lambda: node.delete(f"/session/{uuid}"), daemon=True).start()
    pod = wait_for(lambda: backup_pod(node, uuid), PATIENCE, "the backup's pod")["metadata"]["name"]
    if how == "deleted":
        node.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    elif how == "evicted":
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "default"}}
        node.kubectl("create", "--raw", f"/api/v1/namespaces/default/pods/{pod}/eviction", "-f", "-", input=json.dumps(eviction))
    else:
        container = wait_for(lambda: (node.kubectl.there("pod", pod) or {"status": {}})["status"].get("containerStatuses"), PATIENCE, "its container")
        tasks = run("ctr", "-a", STATE / "containerd.sock", "-n", "k8s.io", "tasks", "ls").stdout
        os.kill(next(int(line.split()[1]) for line in tasks.splitlines() if line.startswith(container[0]["containerID"].split("://")[1])), signal.SIGKILL)
    assert node.archives(uuid) == [], "what was interrupted is no archive"
    present = node.kubectl.there("pvc", f"pvc-{uuid}")
    assert present and present["metadata"]["uid"] == volume and "deletionTimestamp" not in present["metadata"]
    node.wait_phase(uuid, "none: 404", timeout=2 * PATIENCE)
    (archive,) = node.archives(uuid)
    assert subprocess.run(["unzip", "-p", archive, "file.txt"], capture_output=True, text=True).stdout == "precious\n"
    node.assert_gone(uuid)


def test_a_full_backup_volume_blocks_the_delete_and_says_so(node):
    uuid = node.running()
    node.inside(uuid, "head -c 20000000 /dev/urandom > /workspace/large.bin")
    backups = node.directory("session-manager-backups")
    run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "tmpfs", backups)  # what new pods see as the backup volume
    try:
        deleting = threading.Thread(target=lambda: node.delete(f"/session/{uuid}"))  # it waits for an answer longer than we do
        deleting.start()
        blocked = node.wait_phase(uuid, "delete_blocked")
        assert blocked["reason"] == blocked["operation"]["reason"] == "NoSpace", blocked
        assert {"type": "DeleteBlocked", "status": True, "reason": "NoSpace", "message": blocked["message"]} in blocked["conditions"]
        present = node.kubectl.there("pvc", f"pvc-{uuid}")
        assert present and "deletionTimestamp" not in present["metadata"]
    finally:
        run("umount", "-l", backups)
    deleting.join()
    node.wait_phase(uuid, "none: 404")
    (archive,) = node.archives(uuid)
    assert subprocess.run(["unzip", "-tq", archive], capture_output=True).returncode == 0
    node.assert_gone(uuid)
