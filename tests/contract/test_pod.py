"""`roost-agent serve --pod`: the door of a workspace's pod, without a cluster: the Secret is a directory, the program our stand-in."""
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from roost import WORKLOAD, Answer, free_port, wait_for

ID = "abcd0123"
WITHOUT_CAPABILITIES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()  # as in a pod


def encode(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Pod:
    def __init__(self, build, directory, command=None, grace_ms=2000, uuid=ID, token=None, api_url=None):
        self.port = free_port()
        self.uuid = uuid
        self.host = f"vs-code-{uuid}.localhost:{self.port}"
        self.directory = directory
        self.secret = os.urandom(32).hex()
        self.token = token or os.urandom(32).hex()
        for name in ("secret", "workspace"):
            (directory / name).mkdir()
        (directory / "run").mkdir()
        files = {"login-secret": self.secret, "token": self.token,
                 "serve.json": json.dumps({"id": uuid, "url": f"http://{self.host}", "ready_path": "/healthz", "stop_grace_ms": grace_ms})}
        if api_url:
            files["api-url"] = api_url
        for name, text in files.items():
            (directory / "secret" / name).write_text(text)
        self.output = open(directory / "output", "ab")
        self.process = subprocess.Popen(
            [*WITHOUT_CAPABILITIES, build / "bin/roost-agent", "serve", "--pod", directory / "secret", "--run", directory / "run", "--listen", f"127.0.0.1:{self.port}",
             "--", *(command or ["/usr/bin/python3", "-c", WORKLOAD, "{socket}", "{workspace}"])],
            env={**os.environ, "ROOST_WORKSPACE_DIRECTORY": str(directory / "workspace"), "HOSTNAME": "pod-1"},
            stdout=self.output, stderr=self.output, stdin=subprocess.DEVNULL, start_new_session=True)

    def request(self, method, path, body=None, host=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers={"Host": host or self.host, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def health(self):
        with contextlib.suppress(OSError):
            return self.request("GET", "/.roost/healthz", host=f"10.0.0.7:{self.port}").status

    def wait_ready(self):
        wait_for(lambda: self.health() == 200, what="readiness\n" + self.text())

    def link(self, secret=None, expires_in=60):
        """As roostd makes it: core/gateway/login.hpp."""
        said = f"{int(time.time()) + expires_in}.{encode(os.urandom(16))}"
        mac = hmac.new((secret or self.secret).encode(), f"roost-access:v1:{self.uuid}:{said}".encode(), hashlib.sha256).digest()
        return f"/.roost/login?token=v1.{said}.{encode(mac)}"

    def log_in(self):
        answer = self.request("GET", self.link())
        assert answer.status == 303, answer
        return {"Cookie": answer.headers["set-cookie"].split(";")[0], "Origin": f"http://{self.host}"}

    def run(self, login, *command):
        answer = self.request("POST", "/exec", body=json.dumps(command), headers=login)
        assert answer.status == 200, answer
        return answer.json["output"]

    def kept(self):
        """The agent's own children: the door, and the local API."""
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        return [int(pid) for pid in children if b"roost-agent" in open(f"/proc/{pid}/cmdline", "rb").read()]

    def text(self):
        return (self.directory / "output").read_text(errors="replace")

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.output.close()


@pytest.fixture
def pod(build, tmp_path_factory):
    made = Pod(build, tmp_path_factory.mktemp("p"))
    yield made
    made.end()


def test_a_visitor_logs_in_by_a_link_that_works_once(pod):
    pod.wait_ready()
    assert pod.request("GET", "/").status == 401
    link = pod.link()
    answer = pod.request("GET", link)
    assert answer.status == 303 and answer.headers["location"] == "/?folder=/workspace", answer
    assert answer.headers["set-cookie"].startswith("__Host-roost=v1.")
    assert pod.request("GET", link).status == 401
    assert pod.request("GET", pod.link(secret="x" * 64)).status == 401
    assert pod.request("GET", pod.link(expires_in=-1)).status == 401
    login = pod.log_in()
    assert pod.request("POST", "/write?path=a.txt", body="hello", headers=login).status == 200
    assert (pod.directory / "workspace/a.txt").read_text() == "hello"
    assert pod.request("POST", "/write?path=a.txt", body="x", headers={**login, "Origin": "http://evil.example"}).status == 403
    assert pod.request("GET", "/", headers={"Cookie": login["Cookie"]}, host=f"vs-code-ffffffff.localhost:{pod.port}").status in (401, 404)


def test_the_program_has_none_of_the_secrets_in_its_environment(pod):
    pod.wait_ready()
    environment = pod.run(pod.log_in(), "env")
    assert "HOSTNAME=pod-1" in environment
    assert pod.secret not in environment and pod.token not in environment
    lines = pod.run(pod.log_in(), "sh", "-c", "cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' '")
    assert pod.secret not in lines and pod.token not in lines


def test_probes_need_no_login_and_activity_needs_the_token(pod):
    pod.wait_ready()
    assert pod.request("GET", "/.roost/activity", host="10.0.0.7:1111").status == 401
    assert pod.request("GET", "/.roost/activity", host="10.0.0.7:1111", headers={"Authorization": "Bearer " + pod.secret}).status == 401
    token = {"Authorization": "Bearer " + pod.token}
    assert "http_request" not in str(pod.request("GET", "/.roost/activity", host="10.0.0.7:1111", headers=token).json["signals"])
    pod.run(pod.log_in(), "true")
    assert "http_request" in str(pod.request("GET", "/.roost/activity", host="10.0.0.7:1111", headers=token).json["signals"])
    assert pod.request("GET", "/", host="10.0.0.7:1111").status == 404


def test_a_program_that_ends_is_started_again_and_the_visitor_stays_logged_in(pod):
    pod.wait_ready()
    login = pod.log_in()
    first = pod.run(login, "sh", "-c", "echo $PPID").strip()
    os.kill(int(first), signal.SIGKILL)
    wait_for(lambda: pod.health() == 503, what="the end seen")
    assert pod.request("GET", "/", headers={**login, "Accept": "text/html"}).status == 503
    pod.wait_ready()
    assert pod.run(login, "sh", "-c", "echo $PPID").strip() != first


def test_a_door_that_dies_is_put_back(pod):
    pod.wait_ready()
    login = pod.log_in()
    (door,) = pod.kept()
    os.kill(door, signal.SIGKILL)
    wait_for(lambda: pod.health() == 200 and pod.request("GET", "/", headers=login).status != 401, what="the door")


def test_a_program_that_keeps_failing_ends_the_container_with_the_reason(build, tmp_path):
    pod = Pod(build, tmp_path, command=["/bin/sh", "-c", "echo no such editor; exit 7"])
    try:
        assert pod.process.wait(60) == 1
        assert "CrashLoop" in pod.text() and "no such editor" in pod.text()
    finally:
        pod.end()


def test_sigterm_ends_the_program_first_and_everything_within_the_grace(build, tmp_path):
    pod = Pod(build, tmp_path, command=["/usr/bin/python3", "-c", "import signal\nsignal.signal(signal.SIGTERM, lambda *a: print('saved', flush=True))\n"
                                        + WORKLOAD, "{socket}", "{workspace}"])
    try:
        pod.wait_ready()
        pod.process.send_signal(signal.SIGTERM)
        assert pod.process.wait(20) == 0
        assert "saved" in pod.text()  # it was asked, did not end, and was ended
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", pod.port), timeout=5).close()
    finally:
        pod.end()


@pytest.mark.parametrize("name, text, word", [
    ("serve.json", "{", "serve.json"),
    ("serve.json", json.dumps({"id": ID, "url": "https://elsewhere.example"}), "must hold its id"),
    ("login-secret", "short", "login-secret"),
])
def test_a_secret_that_is_not_one_is_refused_by_its_name(build, tmp_path, name, text, word):
    pod = Pod(build, tmp_path)
    pod.end()
    (tmp_path / "secret" / name).write_text(text)
    done = subprocess.run([build / "bin/roost-agent", "serve", "--pod", tmp_path / "secret", "--run", tmp_path / "run2"], capture_output=True, text=True,
                          timeout=30)
    assert done.returncode == 1 and word in done.stderr, done


@pytest.fixture
def chatting(build, shared_daemon, tmp_path_factory):
    """A pod of a session that a real daemon has, which knows the daemon by a name, as in a cluster."""
    uuid = shared_daemon.create("pod@example.com")
    token = (shared_daemon.directory / "run/ws" / uuid / "token").read_text().strip()
    made = Pod(build, tmp_path_factory.mktemp("p"), uuid=uuid, token=token, api_url=f"http://localhost:{shared_daemon.port}")
    made.wait_ready()
    yield made, shared_daemon
    made.end()


def say(daemon, uuid, text):
    assert daemon.post(f"/session/{uuid}/chat", {"message": text}).status in (200, 202)


def replies(daemon, uuid):
    return [message.get("reply") for message in daemon.get(f"/session/{uuid}/messages").json["messages"]]


ANSWER = ("roost-agent", "chat", "--once", "--", "sh", "-c", "cat; printf \" back\"")


def test_a_consumer_in_the_pod_answers_a_message(chatting):
    pod, daemon = chatting
    login = pod.log_in()
    say(daemon, pod.uuid, "there")
    pod.run(login, *ANSWER)
    assert replies(daemon, pod.uuid) == [{"text": "there back"}]
    # Nothing else is behind the socket.
    for path in ("/sessions", f"/session/{pod.uuid}/messages/claim"):
        output = pod.run(login, "sh", "-c", f'curl -s -o /dev/null -w "%{{http_code}}" --unix-socket "$ROOST_API_SOCKET" -X POST http://localhost{path}')
        assert output == "404", output


def test_the_token_is_in_no_argument_or_environment_and_its_holders_cannot_be_looked_into(chatting):
    pod, daemon = chatting
    login = pod.log_in()
    say(daemon, pod.uuid, "warm it up")
    pod.run(login, *ANSWER)
    for pid in (pod.process.pid, *pod.kept()):
        for name in ("cmdline", "environ"):
            assert pod.token.encode() not in open(f"/proc/{pid}/{name}", "rb").read()
    assert pod.token not in pod.text()
    # The same user may look into the supervisor, so it could into the others if they let it.
    look = "for pid in {}; do head -c1 /proc/$pid/environ >/dev/null 2>&1 && echo yes || echo no; done"
    seen = pod.run(login, "sh", "-c", look.format(" ".join(str(pid) for pid in (pod.process.pid, *pod.kept()))))
    assert seen.split() == ["yes", "no", "no"], seen


def test_an_api_that_dies_is_put_back_and_follows_the_url(chatting):
    pod, daemon = chatting
    login = pod.log_in()
    url = pod.directory / "secret/api-url"
    good = url.read_text()
    url.write_text("http://nobody.invalid:1")  # a name that is in no DNS
    say(daemon, pod.uuid, "one")
    ask = ("sh", "-c", 'curl -s -o /dev/null -w "%{http_code}" --unix-socket "$ROOST_API_SOCKET" -X POST http://localhost/messages/claim -d "{}"')
    assert pod.run(login, *ask) == "503"
    assert pod.health() == 200, "the door and the program do not wait for a name"
    url.write_text(good)
    for pid in pod.kept():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(pod.kept()) == 2 and pod.health() == 200, what="both put back")
    pod.run(login, *ANSWER)
    assert replies(daemon, pod.uuid) == [{"text": "one back"}]


def test_without_a_url_there_is_no_local_api(pod):
    pod.wait_ready()
    assert "ROOST_API_SOCKET" not in pod.run(pod.log_in(), "env") and len(pod.kept()) == 1
