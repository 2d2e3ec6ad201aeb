"""A real Kubernetes control plane with fake nodes, and roostd on it. ROOST_TEST_CLUSTER is the state directory of one that runs."""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.parse
import uuid as uuids

from roost import TOP, Daemon, wait_for

FIXTURE = TOP / "tests/cluster/fixture"
KINDS = {  # what Roost makes, and where it is
    "persistentvolumeclaims": "/api/v1", "secrets": "/api/v1", "services": "/api/v1", "pods": "/api/v1",
    "deployments": "/apis/apps/v1", "jobs": "/apis/batch/v1", "ingresses": "/apis/networking.k8s.io/v1",
}


class Cluster:
    """The API server as an administrator sees it. Thread safety: any thread; each has a connection of its own."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).resolve()
        _, port, self.kube = (self.directory / "apiserver.args").read_text().split()
        self.port, self.token = int(port), (self.directory / "token").read_text().strip()
        self.context = ssl.create_default_context(cafile=self.directory / "ca.crt")
        self.local = threading.local()

    def request(self, method, path, body=None, content_type="application/json"):
        """(status, document); a connection that died between two requests is made anew once."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body)
        for attempt in (1, 2):
            try:
                if not getattr(self.local, "connection", None):
                    self.local.connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=60)
                self.local.connection.request(method, path, body=data, headers=headers)
                response = self.local.connection.getresponse()
                text = response.read()
                break
            except (OSError, http.client.HTTPException):
                self.local.connection.close()
                self.local.connection = None
                if attempt == 2:
                    raise
        with contextlib.suppress(ValueError):
            return response.status, json.loads(text)
        return response.status, text.decode(errors="replace")

    def restart_api_server(self):
        subprocess.run([TOP / "tests/cluster/cluster", "restart_apiserver", self.directory], check=True, capture_output=True, timeout=120)

    def namespace(self):
        return Namespace(self)


class Namespace:
    """A namespace of its own, with the claim that tasks mount; removed at the end. Use as a context manager."""

    def __init__(self, cluster):
        self.cluster, self.name = cluster, f"t-{uuids.uuid4().hex[:10]}"

    def __enter__(self):
        self.cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.name}})
        wait_for(lambda: self.get("serviceaccounts", "default", base="/api/v1"), what="the namespace's service account")
        self.make("persistentvolumeclaims", {"metadata": {"name": "roost-backups"}, "spec": {
            "accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "50Gi"}}}})
        return self

    def __exit__(self, *_):
        self.cluster.request("DELETE", f"/api/v1/namespaces/{self.name}", {"propagationPolicy": "Background"})

    def path(self, kind, name="", base=None):
        return f"{base or KINDS[kind]}/namespaces/{self.name}/{kind}" + (f"/{name}" if name else "")

    def get(self, kind, name, base=None):
        status, document = self.cluster.request("GET", self.path(kind, name, base))
        assert status in (200, 404), document
        return document if status == 200 else None

    def list(self, kind, selector=""):
        status, document = self.cluster.request("GET", self.path(kind) + "?labelSelector=" + urllib.parse.quote(selector))
        assert status == 200, document
        return document["items"]

    def make(self, kind, document, base=None):
        status, made = self.cluster.request("POST", self.path(kind, base=base), document)
        assert status == 201, made
        return made

    def change(self, kind, name, merge):
        status, changed = self.cluster.request("PATCH", self.path(kind, name), merge, "application/merge-patch+json")
        assert status == 200, changed
        return changed

    def remove(self, kind, name):
        status, answer = self.cluster.request("DELETE", self.path(kind, name), {"propagationPolicy": "Background"})
        assert status in (200, 202), answer

    def pods(self, uuid):
        """The workspace's pods, those that are ending too."""
        return self.list("pods", f"uuid={uuid}")

    def left(self, uuid):
        """What bears the session's id in its name or labels: (kind, name). The Job that reports the backup stays a day."""
        return {(kind, item["metadata"]["name"]) for kind in KINDS for item in self.list(kind)
                if uuid in item["metadata"]["name"] or uuid in item["metadata"].get("labels", {}).values()}


class ClusterDaemon(Daemon):
    """roostd on the cluster: compute-kubernetes in the namespace, store-sqlite, and backup-fake, as fake nodes run no task.
    `compute` is laid over the plugin's configuration; `server`: another address of the API server (a FaultProxy's)."""

    def __init__(self, build, namespace, overrides=None, compute=None, kubeconfig=None):
        super().__init__(build, vscode=True)
        self.namespace, self.cluster = namespace, namespace.cluster
        for name in ("ROOST_COMPUTE__CONFIG__RUN_DIR", "ROOST_BACKUP__CONFIG__PATH"):
            del self.environment[name]
        plugins = self.build / "lib/roost"
        config = {"kubeconfig": str(kubeconfig or self.cluster.directory / "kubeconfig"), "namespace": namespace.name,
                  "image": "localhost/workspace:1", "agent_image": "localhost/agent:1", "ingress": {"tls_secret": "wildcard"}}
        self.environment.update({
            "ROOST_PLUGINS__DIRECTORIES": json.dumps([str(plugins / "plugins"), str(plugins / "test-plugins")]),
            "ROOST_COMPUTE__PLUGIN": "compute-kubernetes", "ROOST_COMPUTE__CONFIG": json.dumps({**config, **(compute or {})}),
            "ROOST_BACKUP__PLUGIN": "backup-fake", "ROOST_BACKUP__CONFIG": "{}",
            "ROOST_WORKSPACES__HOST_PATTERN": "vs-code-{uuid}.preview.hyperbola.in",
            "ROOST_WORKSPACES__URL_PATTERN": "https://vs-code-{uuid}.preview.hyperbola.in",
            **(overrides or {})})

    def supervisors(self):
        return []  # workspaces are pods


class FaultProxy:
    """tests/cluster/fault_proxy.py before the API server; `kubeconfig` leads through it and reads its token from a file."""

    def __init__(self, cluster):
        self.cluster, self.directory = cluster, pathlib.Path(tempfile.mkdtemp(prefix="roost-faults-"))

    def __enter__(self):
        self.rules([])
        (self.directory / "rules.token").write_text(self.cluster.token)
        self.token(self.cluster.token)
        state = self.cluster.directory
        self.process = subprocess.Popen(
            [sys.executable, TOP / "tests/cluster/fault_proxy.py", f"https://127.0.0.1:{self.cluster.port}", state / "server.crt",
             state / "server.key", state / "ca.crt", self.directory / "rules"], stdout=subprocess.PIPE, text=True)
        port = int(self.process.stdout.readline())
        self.kubeconfig = self.directory / "kubeconfig"
        self.kubeconfig.write_text(json.dumps({
            "current-context": "test", "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(state / "ca.crt")}}],
            "users": [{"name": "test", "user": {"tokenFile": "token"}}]}))
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def replace(self, name, text):
        (self.directory / f"{name}.new").write_text(text)
        os.replace(self.directory / f"{name}.new", self.directory / name)

    def rules(self, rules):
        self.replace("rules", json.dumps(rules))

    def token(self, token):
        self.replace("token", token)
