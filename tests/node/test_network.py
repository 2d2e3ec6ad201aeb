"""Who reaches whom: the chart's NetworkPolicies, enforced. What is refused here is reached once the policy is gone, so that a refusal
is the policy's."""
import contextlib
import http.server
import json
import threading

import pytest

from realnode import ADDRESS, PATIENCE, run
from roost import wait_for

METADATA, INTERNET = "169.254.169.254", "198.51.100.7"  # the latter is for documentation: nobody has it
MANAGED = {"app.kubernetes.io/managed-by": "roost"}


class Listener(http.server.ThreadingHTTPServer):
    """Answers anything, at an address that it gives this machine. Use as a context manager."""

    def __init__(self, address, port):
        self.address = f"{address}/32"
        run("ip", "address", "replace", self.address, "dev", "lo")
        super().__init__((address, port), http.server.BaseHTTPRequestHandler)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()
        run("ip", "address", "del", self.address, "dev", "lo")


class Pod:
    """One that sleeps, of the workspace's image. Use as a context manager."""

    def __init__(self, node, name, labels, namespace="default"):
        self.node, self.name, self.namespace = node, name, namespace
        image = node.kubectl.get("deployments", "-l", "roost.dev/role=workspace")["items"][0]["spec"]["template"]["spec"]["containers"][0]["image"]
        self.object = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "workspace", "image": image, "command": ["sleep", "3600"]}]}}

    def __enter__(self):
        self.node.kubectl("apply", "-f", "-", input=json.dumps(self.object))
        self.node.kubectl("wait", "--namespace", self.namespace, "--for=condition=Ready", f"pod/{self.name}", f"--timeout={PATIENCE}s")
        return self

    def __exit__(self, *_):
        self.node.kubectl("delete", "pod", self.name, "--namespace", self.namespace, "--wait=false", check=False)

    @property
    def address(self):
        return self.node.kubectl.get("pod", self.name, "--namespace", self.namespace)["status"]["podIP"]

    def reaches(self, address, port):
        """Whether a connection to it is made within seconds."""
        done = self.node.kubectl.run("exec", self.name, "--namespace", self.namespace, "-c", "workspace", "--", "timeout", "5", "bash", "-c",
                                     f"exec 3<>/dev/tcp/{address}/{port} && echo yes", check=False, timeout=60)
        return done.stdout.strip() == "yes"


class Workspace(Pod):
    """The pod of a session. Nobody waits for the end of its delete."""

    def __init__(self, node, user):
        self.node, self.namespace, self.uuid = node, "default", node.running(user)
        self.name = node.pod(self.uuid)["metadata"]["name"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.node.delete(f"/session/{self.uuid}").status in (200, 202)

    def serves(self, port):
        """A user's own server, beside VS Code."""
        self.node.inside(self.uuid, f"nohup python3 -m http.server {port} >/dev/null 2>&1 &")
        wait_for(lambda: self.reaches("127.0.0.1", port), PATIENCE, "the user's own server")


@pytest.fixture(scope="module")
def world(node):
    """Two workspaces, of two users, and what they might reach."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(Listener(METADATA, 80))
        stack.enter_context(Listener(INTERNET, 80))
        one, other = (stack.enter_context(Workspace(node, f"network-{i}@example.com")) for i in range(2))
        other.serves(8000)
        yield one, other


@contextlib.contextmanager
def without(node, policy):
    saved = node.kubectl.get("networkpolicy", policy)
    saved["metadata"] = {key: saved["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    node.kubectl("delete", "networkpolicy", policy)
    try:
        yield
    finally:
        node.kubectl("create", "-f", "-", input=json.dumps(saved))


def wait_closed(pod, address, port):
    wait_for(lambda: not pod.reaches(address, port), PATIENCE, f"{pod.name} to be kept from {address}:{port}")


def test_a_workspace_reaches_the_internet_and_roost_and_nothing_else(node, world):
    one, other = world
    service = node.kubectl.get("service", f"user-{other.uuid}")["spec"]
    kubelet = node.kubectl.get("node", "real")["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    closed = {"a neighbour": (other.address, 1111), "a neighbour's own server": (other.address, 8000),
              "a neighbour's Service": (service["clusterIP"], service["ports"][0]["port"]),
              "the API server": ("10.96.0.1", 443), "kubelet": ("10.244.0.1", kubelet), "the cloud's metadata": (METADATA, 80)}
    wait_closed(one, other.address, 1111)
    assert {what: one.reaches(*where) for what, where in closed.items()} == dict.fromkeys(closed, False)
    assert one.reaches(ADDRESS, 80) and one.reaches(INTERNET, 80)
    assert node.inside(one.uuid, f"curl -s -o /dev/null -w '%{{http_code}}' http://{ADDRESS}/health") == "200"

    with without(node, "roost-workspaces"):
        wait_for(lambda: one.reaches(other.address, 1111), PATIENCE, "a neighbour without a policy")
        assert {what: one.reaches(*where) for what, where in closed.items()} == dict.fromkeys(closed, True)
    wait_closed(one, other.address, 1111)


def test_a_workspace_is_reached_by_roost_and_the_ingress_controller_alone(node, world):
    one, _ = world
    one.serves(8000)
    node.kubectl("create", "namespace", "ingress-nginx")
    with Pod(node, "stranger", {"app": "stranger"}) as stranger, Pod(node, "controller", {}, "ingress-nginx") as controller:
        wait_for(lambda: controller.reaches(one.address, 1111), PATIENCE, "the ingress controller's way to a workspace")
        wait_closed(controller, one.address, 8000)
        wait_closed(stranger, one.address, 1111)
        assert stranger.reaches(ADDRESS, 80)  # it does reach what no policy guards
        assert node.session(one.uuid)["phase"] == "running"


def test_a_backups_task_reaches_nobody_and_is_reached_by_nobody(node, world):
    one, _ = world
    with Pod(node, "task", {**MANAGED, "roost.dev/role": "task"}) as task, Pod(node, "stranger", {"app": "stranger"}) as stranger:
        node.kubectl("exec", "task", "--", "sh", "-c", "nohup python3 -m http.server 8000 >/dev/null 2>&1 &")
        wait_closed(task, ADDRESS, 80)
        wait_closed(task, INTERNET, 80)
        wait_closed(stranger, task.address, 8000)
        with without(node, "roost-tasks"):
            wait_for(lambda: task.reaches(ADDRESS, 80) and stranger.reaches(task.address, 8000), PATIENCE, "a task without a policy")
