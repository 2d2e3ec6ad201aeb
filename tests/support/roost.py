"""A real roostd for tests: its own data, run directory and port, started, killed and asked like a user would."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

TOP = pathlib.Path(__file__).resolve().parents[2]
GUIDE_KEY = "your-secure-api-key-change-in-production"
WORKLOAD = (pathlib.Path(__file__).parent / "workload.py").read_text()


def wait_for(condition, timeout=30, what="the condition"):
    """Waits until condition() is truthy and returns that; an AssertionError names what did not come."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.05)


def free_port():
    """One that stays free until it is used, also while its user is restarted: below those that the kernel gives to whoever asks for any,
    never the same twice, and never one of another worker's of this run."""
    return next(PORTS)


def ports():
    worker, workers = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    numbers = list(range(10_000 + worker, 20_000, workers))
    random.Random(os.urandom(8)).shuffle(numbers)
    for port in numbers:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port


PORTS = ports()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Daemon:
    """Use as a context manager. `overrides` are ROOST_* variables; `workload` a tiny HTTP server instead of VS Code."""

    redis = None  # where the documents are, if not in a file of the daemon's own

    def __init__(self, build, overrides=None, vscode=False, directory=None):
        self.build = pathlib.Path(build).resolve()
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="roost-t-"))
        self.port = free_port()
        self.process = None
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("ROOST_")},
            "ROOST_HTTP__LISTEN": f"127.0.0.1:{self.port}",
            "ROOST_DATA_DIR": str(self.directory / "data"),
            "ROOST_COMPUTE__CONFIG__RUN_DIR": str(self.directory / "run"),
            "ROOST_BACKUP__CONFIG__PATH": str(self.directory / "backups"),
        }
        for name in ("ROOST_NODE_BIN", "ROOST_CODE_SERVER", "ROOST_CACHE"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        if not vscode:
            self.environment["ROOST_COMPUTE__CONFIG__COMMAND"] = json.dumps(
                ["/usr/bin/python3", "-c", WORKLOAD, "{socket}", "{workspace}"])
        if self.redis:
            self.environment["ROOST_STORE__PLUGIN"] = "store-redis"
            self.environment["ROOST_STORE__CONFIG"] = json.dumps({"address": self.redis.socket, "key_prefix": self.directory.name})
        self.environment.update(overrides or {})

    # ---- its life
    def start(self, wait=True):
        (self.directory / "backups").mkdir(exist_ok=True)
        self.log = open(self.directory / "roostd.log", "ab")
        self.process = subprocess.Popen([self.build / "bin/roostd", "--config", TOP / "config/roost.yaml"], env=self.environment,
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL, start_new_session=True)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=60):
        def ready():
            assert self.process.poll() is None, f"roostd ended with {self.process.returncode}:\n{self.tail()}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.get("/ready", key=None).status == 200
        wait_for(ready, timeout, f"/ready\n{self.tail()}")

    def kill(self):
        """kill -9: what a crash or the OOM killer does."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout=30):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"roostd did not stop within {timeout} s\n{self.tail()}") from None
        return self.process.returncode if self.process else None

    def lose_documents(self):
        """Everything that the store of a stopped daemon knows."""
        for path in (self.directory / "data").glob("store.db*"):
            path.unlink()
        if self.redis:
            keys = self.redis.cli("--scan", "--pattern", f"{self.directory.name}:*").split("\n")
            assert int(self.redis.cli("DEL", *keys)) == len(keys) > 1

    def tail(self, size=6000):
        with contextlib.suppress(FileNotFoundError):
            return (self.directory / "roostd.log").read_text(errors="replace")[-size:]
        return ""

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind:
            print(self.tail())
        if self.process:
            self.process.kill()
            self.process.wait()
        wait_for(self.end_supervisors, what="the supervisors' end")
        shutil.rmtree(self.directory, ignore_errors=True)

    def end_supervisors(self):
        """Kills those there are; True once there are none. To be repeated: one may have been starting when the daemon was killed."""
        left = self.supervisors()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    def processes(self, *words):
        """Pids whose command line holds this daemon's directory and every word."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if str(self.directory) in line and all(w in line for w in words) and "pytest" not in line:
                        found.append(int(entry.name))
        return found

    def supervisors(self):
        return self.processes("roost-agent")

    # ---- its API
    def request(self, method, path, body=None, key=GUIDE_KEY, headers=None, host=None, timeout=90):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            all_headers = dict(headers or {})
            if key:
                all_headers.setdefault("X-API-Key", key)
            if host:
                all_headers["Host"] = host
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
                all_headers.setdefault("Content-Type", "application/json")
            connection.request(method, path, body=body, headers=all_headers)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self.request("POST", path, body=body, **kwargs)

    def delete(self, path, **kwargs):
        return self.request("DELETE", path, **kwargs)

    def raw(self, data, timeout=15, half_close=False):
        """Sends bytes as they are; everything that comes back until the server closes or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                s.sendall(data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
            received = b""
            with contextlib.suppress(socket.timeout, ConnectionResetError):
                while chunk := s.recv(65536):
                    received += chunk
            return received

    # ---- sessions
    def create(self, user="test@example.com", running=True):
        answer = self.post("/session/create", {"user_id": user})
        assert answer.status in (200, 201), answer
        uuid = answer.json["uuid"]
        if running:
            self.wait_phase(uuid, "running")
        return uuid

    def session(self, uuid):
        answer = self.get(f"/session/{uuid}")
        return answer.json if answer.status == 200 else None

    def wait_phase(self, uuid, phase, timeout=90):
        last = {}

        def there():
            last.clear()
            last.update(self.session(uuid) or {"phase": "gone"})
            return last["phase"] == phase
        try:
            wait_for(there, timeout)
        except AssertionError:
            raise AssertionError(f"{uuid} did not become {phase}: {last}\n{self.tail()}") from None
        return last

    def workspace(self, uuid):
        return Workspace(self, uuid)


class Workspace:
    """A visitor with a browser's manners: logs in by an access link, then speaks to the workload through the gateway."""

    def __init__(self, daemon, uuid):
        self.daemon, self.host = daemon, f"vs-code-{uuid}.localhost:{daemon.port}"
        answer = daemon.get(f"/session/{uuid}/access")
        assert answer.status == 200, answer
        self.link = answer.json["url"]
        split = urllib.parse.urlsplit(self.link)
        login = daemon.get(f"{split.path}?{split.query}", key=None, host=self.host)
        assert login.status == 303, login
        self.cookie = login.headers["set-cookie"].split(";")[0]

    def request(self, method, path, body=None, headers=None):
        return self.daemon.request(method, path, body=body, key=None, host=self.host,
                                   headers={"Cookie": self.cookie, "Origin": f"http://{self.host}", **(headers or {})})

    def write(self, name, data):
        answer = self.request("POST", "/write?" + urllib.parse.urlencode({"path": name}), body=data)
        assert answer.status == 200, answer

    def read(self, name):
        answer = self.request("GET", "/read?" + urllib.parse.urlencode({"path": name}))
        return answer.body if answer.status == 200 else None

    def run(self, *command):
        """Runs a command inside the workspace: (exit code, output)."""
        answer = self.request("POST", "/exec", body=json.dumps(command))
        assert answer.status == 200, answer
        return answer.json["code"], answer.json["output"]
