"""The guide is the contract: its shell commands and its Node.js class run word for word, only the address changed."""
import json
import re
import subprocess

from roost import TOP, wait_for

GUIDE = (TOP / "docs/client-api-guide.md").read_text()


def block(heading, language):
    section = GUIDE.split(heading, 1)[1]
    return re.search(rf"```{language}\n(.*?)```", section, re.S).group(1)


def test_the_guides_shell_commands_give_the_guides_answers(daemon):
    script = block("## Test Commands", "bash").replace("http://34.46.174.78", f"http://127.0.0.1:{daemon.port}")
    # The guide's sleeps allow for a cluster; here the waits are for conditions, so they are cut short.
    prelude = "set -e\nsleep() { command sleep 4; }\n"
    done = subprocess.run(["bash", "-c", prelude + script], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    uuid = re.search(r"Session: ([0-9a-f]{8})\n", done.stdout).group(1)
    answers = [json.loads(text) for text in re.findall(r"\{(?:[^{}]|\{[^{}]*\})*\}", done.stdout)]
    assert [a["uuid"] for a in answers] == [uuid] * 8
    status, sleeping, asleep, waking, awake, up, down, deleted = answers
    assert status["replicas"] == 1 and status["queue_length"] == 0
    assert status["session"]["user_id"] == "test@example.com" and status["session"]["status"] == "created"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", status["session"]["created_at"])
    assert status["session"]["last_activity"] >= status["session"]["created_at"]
    assert (sleeping["action"], sleeping["status"], sleeping["message"]) == ("sleep", "sleeping", "Pod queued for sleep")
    assert asleep["replicas"] == 0 and asleep["session"]["status"] == "sleeping"
    assert (waking["action"], waking["status"]) == ("wake", "waking")
    assert awake["replicas"] == 1
    assert (up["action"], up["status"], up["message"]) == ("scale_up", "success", "Pod scaled up")
    assert (down["action"], down["status"]) == ("scale_down", "success")
    assert (deleted["status"], deleted["message"]) == ("terminated", "Session and all resources deleted")


def test_create_answers_every_field_of_the_guide(daemon):
    answer = daemon.post("/session/create", {"user_id": "john@example.com"})
    body = answer.json
    assert re.fullmatch("[0-9a-f]{8}", body["uuid"])
    assert body["user_id"] == "john@example.com" and body["status"] == "created"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", body["created_at"])
    assert body["workspace_url"] == f"http://vs-code-{body['uuid']}.localhost:{daemon.port}"


def test_monitoring_commands_of_the_guide(daemon):
    uuid = daemon.create(running=False)
    sessions = daemon.get("/sessions").json
    assert [s["uuid"] for s in sessions["sessions"]] == [uuid] and sessions["count"] == 1
    assert daemon.get("/health", key=None).status == 200
    assert b"roost_sessions" in daemon.get("/metrics", key=None).body


def test_delete_backs_up_first_and_leaves_nothing_else(daemon):
    uuid = daemon.create()
    daemon.workspace(uuid).write("notes/week.txt", b"a week's work")
    answer = daemon.delete(f"/session/{uuid}")
    assert answer.status == 200, answer
    assert answer.json["uuid"] == uuid and answer.json["status"] == "terminated"
    archives = list((daemon.directory / "backups").glob("*.zip"))
    assert [bool(re.fullmatch(rf"workspace-{uuid}-\d{{8}}T\d{{6}}Z\.zip", a.name)) for a in archives] == [True], archives
    assert subprocess.run(["unzip", "-p", archives[0], "notes/week.txt"], capture_output=True).stdout == b"a week's work"
    assert subprocess.run(["unzip", "-tq", archives[0]], capture_output=True).returncode == 0
    assert daemon.get(f"/session/{uuid}/status").status == 404
    assert daemon.get("/sessions").json["count"] == 0
    wait_for(lambda: not daemon.supervisors(), what="the end of the session's processes")
    left = [p for p in (daemon.directory / "data").rglob("*") if uuid in p.name]
    left += [p for p in (daemon.directory / "run").rglob("*") if uuid in p.name]
    assert left == []
    again = daemon.delete(f"/session/{uuid}")
    assert again.status == 200 and again.json["status"] == "terminated"
