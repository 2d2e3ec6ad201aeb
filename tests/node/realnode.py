"""A real Kubernetes node on this machine with Roost in it, installed by its Helm chart. Its storage, network and container runtime are
those of any node; what it lacks, DNS and an ingress controller, tests do by address and by front.py.
Thread safety: one thread at a time; Kubectl may be used by several.
"""
import contextlib
import fcntl
import http.client
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import threading

from front import Front
from roost import TOP, Answer, wait_for

HERE = pathlib.Path(__file__).parent
STATE = pathlib.Path("/var/tmp/roost-node")
LOCK = "/run/lock/roost-node"
CACHE = pathlib.Path(os.environ.get("ROOST_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "roost")
DOMAIN = "preview.roost.test"
ADDRESS = "10.96.10.10"
IMAGES = ("roost", "roost-agent", "roost-workspace")
PATIENCE = 180  # seconds for one thing of the cluster: two cores do all of it

PROGRAMS = ("containerd", "runc", "ctr", "iptables", "ipset", "nft", "conntrack", "debootstrap", "buildah", "openssl", "mkfs.ext4")


def why_not():
    """Why there can be no node on this machine; None where there can be one."""
    if os.geteuid() != 0:
        return "a Kubernetes node needs root"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"not installed: {', '.join(missing)} (./dev setup node)"
    if 'VERSION_CODENAME=bookworm' not in pathlib.Path("/etc/os-release").read_text():
        return "the images are built from this machine's programs, on Debian 12's libraries"
    if subprocess.run(["pgrep", "-x", "kubelet"], capture_output=True).returncode == 0:
        return "this machine is a Kubernetes node already"
    return None


def run(*command, check=True, timeout=PATIENCE, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, **options)
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


class Kubectl:
    def __init__(self, config):
        self.program = CACHE / "kube/kube"
        self.environment = {**os.environ, "KUBECONFIG": str(config)}

    def run(self, *arguments, **options):
        return run(self.program, "kubectl", *arguments, env=self.environment, **options)

    def __call__(self, *arguments, **options):
        return self.run(*arguments, **options).stdout

    def get(self, *what):
        return json.loads(self("get", *what, "-o", "json"))

    def there(self, *what):
        """The object, or None."""
        done = self.run("get", *what, "-o", "json", "--ignore-not-found")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def pods(self, selector):
        return self.get("pods", "-l", selector)["items"]


class Watch:
    """Every state of objects that the API server showed while this was open, as (ADDED, MODIFIED or DELETED, object). Use as a context manager."""

    def __init__(self, kubectl, kind, selector):
        self.seen = []
        self.process = subprocess.Popen([kubectl.program, "kubectl", "get", kind, "-l", selector, "--watch", "-o", "json", "--output-watch-events"],
                                        stdout=subprocess.PIPE, text=True, env=kubectl.environment)
        self.thread = threading.Thread(target=self.follow, daemon=True)

    def follow(self):
        decoder, text = json.JSONDecoder(), ""
        for line in self.process.stdout:
            text = (text + line).lstrip()
            with contextlib.suppress(ValueError):
                event, end = decoder.raw_decode(text)
                text = text[end:]
                self.seen.append((event["type"], event["object"]))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.thread.join(10)


class Node:
    """The node with Roost installed. Sessions are asked for through the Service of the session-manager, by its ClusterIP."""

    def __init__(self, build):
        self.build = build
        self.key = secrets.token_hex(32)
        self.front = None

    # ---- its life
    def __enter__(self):
        self.lock = open(LOCK, "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # one bridge, one kubelet
        self.logs = TOP / "build/node"
        try:
            self.node("down", STATE)
            self.node("images", self.logs, self.build, timeout=900)
            self.config = self.node("up", STATE, timeout=1200).stdout.strip()
            self.kubectl = Kubectl(self.config)
            self.node("load", STATE, *(self.logs / f"{name}.tar" for name in IMAGES), timeout=600)
            self.certificate()
            self.helm("install")
            self.front = Front(self.kubectl, STATE).start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.keep_logs()
        try:
            if self.front:
                self.front.stop()
            self.node("down", STATE)
        finally:
            self.lock.close()

    def node(self, *arguments, timeout=PATIENCE):
        return run(HERE / "node", *arguments, timeout=timeout)

    def keep_logs(self):
        """What explains a failure, before the node goes."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for name, what in {"roostd": ("logs", "deployment/session-manager", "--tail=2000"), "objects": ("get", "all,pvc,ingress,jobs", "-o", "wide"),
                           "pods": ("describe", "pods"), "events": ("get", "events", "--sort-by=.lastTimestamp")}.items():
            (self.logs / f"{name}.log").write_text(self.kubectl(*what, check=False, timeout=60))

    def certificate(self):
        """The wildcard certificate that the chart expects of whoever installs it."""
        cert, key = STATE / "wild.crt", STATE / "wild.key"
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN=*.{DOMAIN}",
            "-addext", f"subjectAltName=DNS:*.{DOMAIN}", "-keyout", key, "-out", cert)
        self.kubectl("create", "secret", "tls", "roost-workspaces-tls", f"--cert={cert}", f"--key={key}")

    def values(self):
        """The chart's values: small requests, as two cores hold everything; what a restore replaced is kept for a minute."""
        return {
            "service": {"clusterIP": ADDRESS},
            "apiKeys": {"list": [{"name": "test", "key": self.key, "scopes": ["admin"]}]},
            "workspaces": {"domain": DOMAIN, "storage": {"size": "1Gi"}},
            "backups": {"size": "1Gi"},
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
            # Without DNS workspaces know the API by the Service's address.
            "config": {"sessions": {"kept_volume": "60s"}, "compute": {"config": {"requests": {"cpu_percent": 2, "memory_percent": 10}, "grace_s": 15, "api_url": f"http://{ADDRESS}",
                                              "task": {"size": {"cpu_millis": 300, "memory_bytes": 256 << 20}}}}},
        }

    def helm(self, command, values=None):
        file = STATE / "values.json"
        file.write_text(json.dumps(values or self.values()))
        run(TOP / "tests/cluster/helm", command, "roost", TOP / "packaging/helm/roost", "-f", file, "--wait", "--timeout", f"{PATIENCE}s",
            env=self.kubectl.environment, timeout=900)
        self.wait_ready()

    # ---- its API
    def request(self, method, path, body=None, timeout=90):
        connection = http.client.HTTPConnection(ADDRESS, 80, timeout=timeout)
        try:
            headers = {"X-API-Key": self.key, **({"Content-Type": "application/json"} if body is not None else {})}
            connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path):
        return self.request("GET", path)

    def post(self, path, body=None):
        return self.request("POST", path, body)

    def delete(self, path):
        return self.request("DELETE", path)

    def wait_ready(self):
        def ready():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.get("/ready").status == 200
        wait_for(ready, PATIENCE, "/ready through the Service")

    # ---- sessions
    def create(self, user="node@example.com"):
        answer = self.post("/session/create", {"user_id": user})
        assert answer.status in (200, 201), answer
        return answer.json["uuid"]

    def session(self, uuid):
        with contextlib.suppress(OSError, http.client.HTTPException):  # roostd may be between two pods
            answer = self.get(f"/session/{uuid}")
            return answer.json if answer.status == 200 else {"phase": f"none: {answer.status}"}
        return {"phase": "unknown"}

    def wait_phase(self, uuid, *phases, timeout=PATIENCE):
        last = {}

        def there():
            last.clear()
            last.update(self.session(uuid))
            return last["phase"] in phases
        try:
            wait_for(there, timeout)
        except AssertionError:
            pods = self.kubectl("get", "pods", "-o", "wide")
            raise AssertionError(f"{uuid} did not become {phases}: {json.dumps(last)[:3000]}\n{pods}") from None
        return last

    def running(self, user="node@example.com"):
        uuid = self.create(user)
        self.wait_phase(uuid, "running")
        return uuid

    def pod(self, uuid):
        """The workspace's only pod."""
        (pod,) = self.kubectl.pods(f"app=user-{uuid}")
        return pod

    def inside(self, uuid, script, **options):
        """Runs a shell's line inside the workspace's container: its output."""
        return self.kubectl("exec", f"deployment/user-{uuid}", "-c", "workspace", "--", "sh", "-c", script, **options)

    def directory(self, claim):
        """Where a claim's files are on this machine."""
        volume = self.kubectl.get("pvc", claim)["spec"]["volumeName"]
        return pathlib.Path(self.kubectl.get("pv", volume)["spec"]["local"]["path"])

    def archives(self, uuid):
        return sorted(self.directory("session-manager-backups").glob(f"workspace-{uuid}-*.zip"))

    def assert_gone(self, uuid):
        """Nothing of the session is left but its verifying Job, which stays a day for people."""
        def left():
            kinds = "deployments,services,ingresses,persistentvolumeclaims,secrets,replicasets,pods,jobs"
            names = [f"{i['kind']}/{i['metadata']['name']}" for i in self.kubectl.get(kinds)["items"] if uuid in i["metadata"]["name"]]
            return [name for name in names if not name.split("/")[1].startswith(f"backup-{uuid}")]
        wait_for(lambda: not left(), PATIENCE, f"the end of {left()}")
