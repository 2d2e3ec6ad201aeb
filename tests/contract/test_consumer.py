"""The chat consumer inside a workspace: `roost-agent chat` answers through the local API, which leads to its own session's queue only."""
import json
import re

import pytest

from roost import TOP, wait_for

ASK = """
import http.client, json, os, socket, sys
class Unix(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect(os.environ["ROOST_API_SOCKET"])
for method, target in json.loads(sys.argv[1]):
    c = Unix("localhost"); c.request(method, target, body="{}", headers={"Host": "127.0.0.1", "X-API-Key": "x"})
    print(c.getresponse().status)
"""

WAIT_AND_END = """
import os, subprocess, time
chat = subprocess.Popen(["roost-agent", "chat", "--", "cat"])
def waits():  # for a message: the connection of its claim is open
    return any(os.path.realpath(f"/proc/{chat.pid}/fd/{fd}").split("/")[-1].startswith("socket:") for fd in os.listdir(f"/proc/{chat.pid}/fd"))
while not waits(): time.sleep(0.01)
chat.terminate()
print(chat.wait(20))
"""


@pytest.fixture
def session(shared_daemon):
    uuid = shared_daemon.create("consumer@example.com")
    return uuid, shared_daemon.workspace(uuid)


def say(daemon, uuid, text):
    answer = daemon.post(f"/session/{uuid}/chat", {"message": text})
    assert answer.status in (200, 202), answer


def history(daemon, uuid):
    return daemon.get(f"/session/{uuid}/messages").json["messages"]


def queue_length(daemon, uuid):
    return daemon.get(f"/session/{uuid}/status").json["queue_length"]


def test_a_command_answers_a_message(shared_daemon, session):
    uuid, inside = session
    say(shared_daemon, uuid, "höre: \"zu\"")
    code, output = inside.run("roost-agent", "chat", "--once", "--", "sh", "-c",
                              'printf "%s %s " "$ROOST_MESSAGE_ID" "$ROOST_MESSAGE_ATTEMPT"; cat')
    assert code == 0, output
    (message,) = history(shared_daemon, uuid)
    assert message["reply"] == {"text": f"{message['id']} 1 höre: \"zu\""}
    assert queue_length(shared_daemon, uuid) == 0


def test_the_documented_commands_do_what_they_say(shared_daemon, session):
    uuid, inside = session
    page = (TOP / "docs/api.md").read_text()
    claim = re.search(r"^curl --unix-socket .*$", page, re.M).group(0)
    say(shared_daemon, uuid, "from the page")
    code, output = inside.run("sh", "-c", "exec " + claim.replace("curl", "curl -fsS", 1))
    assert code == 0 and json.loads(output)["messages"][0]["message"] == "from the page", output
    command = re.search(r"^roost-agent chat -- .*$", page, re.M).group(0)
    assert command.split()[:3] == ["roost-agent", "chat", "--"]


def test_what_fails_comes_again(shared_daemon, session):
    uuid, inside = session
    say(shared_daemon, uuid, "try twice")
    code, output = inside.run("roost-agent", "chat", "--once", "--visibility", "1", "--", "sh", "-c", "echo lost; exit 3")
    assert code == 1 and "ended with 3" in output, output
    assert queue_length(shared_daemon, uuid) == 1 and history(shared_daemon, uuid)[0].get("reply") is None
    code, output = inside.run("roost-agent", "chat", "--once", "--", "sh", "-c", "cat; echo \" $ROOST_MESSAGE_ATTEMPT\"")
    assert code == 0, output
    assert history(shared_daemon, uuid)[0]["reply"] == {"text": "try twice 2\n"}


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(shared_daemon, session):
    uuid, inside = session
    say(shared_daemon, uuid, "slow")
    code, output = inside.run("roost-agent", "chat", "--once", "--visibility", "1", "--", "sh", "-c", "sleep 4242 & sleep 4242")
    assert code == 1 and "longer than the visibility" in output, output
    assert inside.run("pgrep", "-f", "sleep 4242")[0] == 1, "nothing of it is left"


def test_it_ends_when_asked_to(session):
    _, inside = session
    code, output = inside.run("python3", "-c", WAIT_AND_END)
    assert (code, output.strip()) == (0, "0"), output


def test_only_the_sessions_own_queue_is_behind_the_socket(shared_daemon, session):
    uuid, inside = session
    other = shared_daemon.create("other@example.com", running=False)
    say(shared_daemon, other, "not for you")
    targets = [["POST", f"/session/{other}/messages/claim"], ["POST", f"/session/{uuid}/messages/claim"], ["GET", "/sessions"],
               ["POST", f"/messages/../../{other}/messages/claim"], ["POST", "/messages/claim?x=1"], ["DELETE", f"/session/{uuid}"],
               ["POST", f"http://127.0.0.1/session/{other}/messages/claim"]]
    code, output = inside.run("python3", "-c", ASK, json.dumps(targets))
    assert code == 0 and output.split() == ["404"] * len(targets), output
    assert queue_length(shared_daemon, other) == 1
    code, output = inside.run("python3", "-c", ASK, json.dumps([["POST", "/messages/claim"]]))
    assert (code, output.split()) == (0, ["200"]), output


def test_the_token_is_not_inside(shared_daemon, session):
    uuid, inside = session
    token = (shared_daemon.directory / "run/ws" / uuid / "token").read_text().strip()
    assert len(token) == 64 and ((shared_daemon.directory / "run/ws" / uuid / "token").stat().st_mode & 0o777) == 0o600
    assert token not in (shared_daemon.directory / "run/ws" / uuid / "spec.json").read_text()
    pattern = f"{token[:-1]}[{token[-1]}]"  # does not find itself on a command line
    code, output = inside.run("sh", "-c", f"grep -rIls {pattern} /roost /run /tmp /workspace /home /etc; "
                              f"cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n' | grep {pattern}")
    assert token not in output and code == 1, output
    assert token not in shared_daemon.tail(1 << 20)
    answer = shared_daemon.get("/sessions", key=token)
    assert answer.status == 401, "it is good for this session's queue only"


def test_a_workspace_that_outlives_its_daemon_goes_on(daemon):
    uuid = daemon.create("outlives@example.com")
    inside = daemon.workspace(uuid)
    pid = inside.request("GET", "/pid").body
    daemon.kill()
    daemon.start()
    daemon.wait_phase(uuid, "running")
    say(daemon, uuid, "still there?")
    code, output = inside.run("roost-agent", "chat", "--once", "--", "cat")
    assert code == 0, output
    assert inside.request("GET", "/pid").body == pid
    wait_for(lambda: history(daemon, uuid)[0]["reply"] == {"text": "still there?"}, what="the reply")
