"""The guide on Kubernetes: its shell commands, every kubectl command as printed, its answers, its objects."""
import json
import os
import re
import subprocess

import pytest

from roost import GUIDE_KEY, TOP, wait_for

GUIDE = (TOP / "docs/client-api-guide.md").read_text()
KUBECTL = [line.split(" #")[0].strip() for line in re.findall(r"^kubectl .*$", GUIDE, re.M)]
SAMPLE = "1823b3a8"
NEED_A_REAL_NODE = {f"kubectl logs job/backup-{SAMPLE}", "kubectl exec -it deployment/session-manager -- ls -lh /backups/"}


@pytest.fixture
def shell(daemon, tmp_path):
    """Runs a command of the guide: `kubectl` is the cluster's own, in the daemon's namespace; the sample's id is `uuid`."""
    config = tmp_path / "kubeconfig"
    config.write_text((daemon.cluster.directory / "kubeconfig").read_text())
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\nexec {daemon.cluster.kube} kubectl "$@"\n')
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "KUBECONFIG": str(config)}
    subprocess.run([kubectl, "config", "set-context", "--current", "--namespace", daemon.namespace.name], env=environment, check=True,
                   capture_output=True)

    def run(command, uuid=SAMPLE):
        done = subprocess.run(["bash", "-c", command.replace(SAMPLE, uuid)], env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout
    return run


def test_the_guides_shell_commands_give_the_guides_answers(daemon, shell):
    section = GUIDE.split("## Test Commands", 1)[1]
    script = re.search(r"```bash\n(.*?)```", section, re.S).group(1).replace("http://34.46.174.78", f"http://127.0.0.1:{daemon.port}")
    # The guide's sleeps allow for any cluster; here each waits for what it is there for.
    settled = ('*\'"phase":"running"\'*\'"wanted":{"state":"running"\'*|*\'"phase":"asleep"\'*\'"wanted":{"state":"asleep"\'*')
    prelude = (f'set -e\nsleep() {{ for _ in $(seq 600); do case $(curl -s http://127.0.0.1:{daemon.port}/session/$UUID -H "X-API-Key: {GUIDE_KEY}") in '
               f'{settled}) return;; esac; command sleep 0.1; done; return 1; }}\n')
    out = shell(prelude + script)
    uuid = re.search(r"Session: ([0-9a-f]{8})\n", out).group(1)
    answers = [json.loads(text) for text in re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}", out)]
    assert [a["uuid"] for a in answers] == [uuid] * 8
    status, sleeping, asleep, waking, awake, up, down, deleted = answers
    assert set(status) == {"uuid", "session", "replicas", "queue_length"}
    assert set(status["session"]) == {"user_id", "status", "created_at", "last_activity"}
    assert (status["replicas"], status["queue_length"], status["session"]["status"]) == (1, 0, "created")
    assert sleeping == {"uuid": uuid, "action": "sleep", "status": "sleeping", "message": "Pod queued for sleep"}
    assert asleep["replicas"] == 0 and asleep["session"]["status"] == "sleeping"
    assert waking == {"uuid": uuid, "action": "wake", "status": "waking"}
    assert awake["replicas"] == 1 and awake["session"]["status"] == "created"
    assert up == {"uuid": uuid, "action": "scale_up", "status": "success", "message": "Pod scaled up"}
    assert (down["action"], down["status"]) == ("scale_down", "success")
    assert (deleted["status"], deleted["message"]) == ("terminated", "Session and all resources deleted")
    wait_for(lambda: daemon.namespace.left(uuid) == {("jobs", f"backup-{uuid}"), *task_pods(daemon, uuid)}, what="an empty namespace")


def task_pods(daemon, uuid):
    """The verifying Job's pod, which goes with it; its Secret went before."""
    pods = daemon.namespace.list("pods", f"batch.kubernetes.io/job-name=backup-{uuid}")
    return {("pods", p["metadata"]["name"]) for p in pods}


def test_create_answers_every_field_of_the_guide(daemon):
    body = daemon.post("/session/create", {"user_id": "john@example.com"}).json
    assert set(body) == {"uuid", "user_id", "status", "created_at", "workspace_url"}
    assert body["user_id"] == "john@example.com" and body["status"] == "created"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", body["created_at"])
    assert body["workspace_url"] == f"https://vs-code-{body['uuid']}.preview.hyperbola.in"


def test_every_kubectl_command_of_the_guide_shows_what_the_guide_says(daemon, shell):
    uuid = daemon.create()
    ran = set()

    def run(command):
        assert command in KUBECTL, f"the guide has no such command: {command}"
        ran.add(command)
        return shell(command, uuid).splitlines()
    (claim,) = run(f"kubectl get pvc pvc-{SAMPLE}")[1:]
    assert claim.split()[:2] == [f"pvc-{uuid}", "Bound"] and "5Gi" in claim.split()
    (deployment,) = run(f"kubectl get deployment user-{SAMPLE}")[1:]
    assert deployment.split()[:2] == [f"user-{uuid}", "1/1"]
    (service,) = run(f"kubectl get service user-{SAMPLE}")[1:]
    assert service.split()[:2] == [f"user-{uuid}", "ClusterIP"] and "80/TCP" in service.split()
    (ingress,) = run(f"kubectl get ingress user-{SAMPLE}")[1:]
    assert f"vs-code-{uuid}.preview.hyperbola.in" in ingress.split() and "443" in ingress
    (pod,) = run(f"kubectl get pod -l app=user-{SAMPLE}")[1:]
    assert pod.split()[1:3] == ["1/1", "Running"]
    assert [line.split()[0] for line in run("kubectl get pods -l uuid")[1:]] == [pod.split()[0]]
    assert [line.split()[0] for line in run("kubectl get pvc | grep pvc-") if "roost-backups" not in line] == [f"pvc-{uuid}"]
    assert daemon.delete(f"/session/{uuid}").status == 200
    (job,) = run(f"kubectl get jobs -l session-uuid={SAMPLE}")[1:]
    assert job.split()[:3] == [f"backup-{uuid}", "Complete", "1/1"]
    assert [line.split()[0] for line in run("kubectl get jobs -l job-type=backup")[1:]] == [f"backup-{uuid}"]
    assert set(KUBECTL) == ran | NEED_A_REAL_NODE


def test_the_objects_are_those_of_the_guide(daemon):
    uuid, space = daemon.create(), daemon.namespace
    container = space.get("deployments", f"user-{uuid}")["spec"]["template"]["spec"]["containers"][0]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    assert container["ports"][0]["containerPort"] == 1111
    assert {"name": "workspace", "mountPath": "/workspace"} in container["volumeMounts"]
    port = space.get("services", f"user-{uuid}")["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (80, 1111)
    for kind, name in (("deployments", "user"), ("persistentvolumeclaims", "pvc"), ("services", "user"), ("ingresses", "user"), ("secrets", "user")):
        labels = space.get(kind, f"{name}-{uuid}")["metadata"]["labels"]
        assert labels["app"] == f"user-{uuid}" and labels["uuid"] == uuid
    before = space.pods(uuid)[0]["metadata"]["uid"]
    daemon.post(f"/session/{uuid}/scale", {"scale": "up"})
    limits = wait_for(lambda: (r := space.pods(uuid)[0]["status"]["containerStatuses"][0].get("resources", {}).get("limits")) == {
        "cpu": "2", "memory": "2Gi"} and r, what="the larger size in force")
    assert limits and space.pods(uuid)[0]["metadata"]["uid"] == before, "in place"


def test_a_deleted_session_leaves_nothing_and_its_jobs_say_what_they_read(daemon):
    uuid, space = daemon.create(), daemon.namespace
    volume = space.get("persistentvolumeclaims", f"pvc-{uuid}")["metadata"]["uid"]
    seen = {}

    def copying():
        for job in space.list("jobs", f"roost.dev/session={uuid},roost.dev/task=backup"):
            seen.update(job)
        return seen or daemon.session(uuid) is None
    answer = daemon.delete(f"/session/{uuid}", headers={"Prefer": "respond-async"})
    assert answer.status in (200, 202), answer
    wait_for(copying, what="the copying Job")
    wait_for(lambda: daemon.session(uuid) is None, 60, "the delete")
    pod = seen["spec"]["template"]
    assert pod["metadata"]["annotations"]["roost.dev/volume-uid"] == volume
    mounts = {m["name"]: m for m in pod["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["workspace"]["readOnly"] and mounts["workspace"]["mountPath"] == "/workspace"
    assert mounts["backup-0"]["mountPath"] == "/backups"
    assert seen["spec"]["backoffLimit"] == 0
    receipt = daemon.delete(f"/session/{uuid}").json["backup"]
    assert receipt["archive"] == pod["metadata"]["annotations"]["roost.dev/archive"]
    assert re.fullmatch(rf"workspace-{uuid}-\d{{8}}T\d{{6}}Z\.zip", receipt["archive"])
    assert wait_for(lambda: space.left(uuid) == {("jobs", f"backup-{uuid}"), *task_pods(daemon, uuid)}, what="an empty namespace")
