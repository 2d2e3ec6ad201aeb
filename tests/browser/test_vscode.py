"""The real thing: VS Code in Chromium through the gateway, and the guide's Node.js class."""
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from browser import Browser
from roost import TOP, Daemon, wait_for

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def vscode(build):
    if not os.environ.get("ROOST_CODE_SERVER"):
        pytest.skip("ROOST_CODE_SERVER is not set: run through ./dev test browser")
    with Daemon(build, vscode=True) as daemon:
        yield daemon


@pytest.fixture
def browser():
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    with Browser() as opened:
        yield opened


def volume_of(daemon, uuid):
    (path,) = [p for p in (daemon.directory / "data").rglob(f"pvc-{uuid}") if p.is_dir()]
    return path / "data"


def test_a_week_in_the_life(vscode, browser):
    """Open, edit, save; sleep, wake, still there; scale; delete; the archive holds the file and nothing else is left."""
    daemon = vscode
    uuid = daemon.create("week@example.com")
    stranger = browser("open", url=f"http://vs-code-{uuid}.localhost:{daemon.port}/")
    assert stranger["status"] == 401, stranger
    browser.shot("stranger")

    browser("open", url=daemon.get(f"/session/{uuid}/access").json["url"])
    browser("workbench")
    assert "token" not in browser("navigations")["urls"][-1]
    browser("terminal", line="echo start > hello.txt")
    data = volume_of(daemon, uuid)
    wait_for(lambda: (data / "hello.txt").exists(), 30, "the terminal's file")
    browser("edit", file="hello.txt", text="written in VS Code")
    wait_for(lambda: (data / "hello.txt").read_text() == "written in VS Code", 30, "the saved file")
    browser.shot("workbench")

    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    assert daemon.get(f"/session/{uuid}/status").json["replicas"] == 0
    assert not daemon.supervisors()
    page = browser("open", url=f"http://vs-code-{uuid}.localhost:{daemon.port}/")
    browser.shot("waking")
    assert page["status"] in (200, 202, 503), page
    browser("workbench")  # the visit woke it, and the waking page led on by itself
    daemon.wait_phase(uuid, "running")
    assert (data / "hello.txt").read_text() == "written in VS Code"

    for direction, memory in (("up", 2 << 30), ("down", 1 << 30)):
        daemon.post(f"/session/{uuid}/scale", {"scale": direction})
        wait_for(lambda: daemon.session(uuid)["observed"]["size"]["memory_bytes"] == memory, 30, f"scale {direction}")

    answer = daemon.delete(f"/session/{uuid}")
    assert (answer.status, answer.json["status"]) == (200, "terminated")
    (archive,) = (daemon.directory / "backups").glob(f"workspace-{uuid}-*.zip")
    assert subprocess.run(["unzip", "-p", archive, "hello.txt"], capture_output=True, text=True).stdout == "written in VS Code"
    assert not data.exists() and not daemon.supervisors()


def test_kill_9_of_the_daemon_interrupts_nobody(vscode, browser):
    daemon = vscode
    uuid = daemon.create("crash@example.com")
    browser("open", url=daemon.get(f"/session/{uuid}/access").json["url"])
    browser("workbench")
    data = volume_of(daemon, uuid)
    browser("terminal", line="MARK=alive; echo $$ > pid1")
    wait_for(lambda: (data / "pid1").exists() and (data / "pid1").read_text().strip(), 30, "the shell's pid")
    navigations = len(browser("navigations")["urls"])
    supervisors = daemon.supervisors()

    daemon.kill()
    daemon.start()
    browser("connected")
    assert daemon.supervisors() == supervisors
    wait_for(lambda: (browser("terminal", line="echo $$ $MARK > pid2"), (data / "pid2").exists())[1], 60, "the terminal, after the kill")
    assert (data / "pid2").read_text().split() == [(data / "pid1").read_text().strip(), "alive"], "the same shell"
    assert len(browser("navigations")["urls"]) == navigations, "no reload, no new login"
    browser.shot("after-kill-9")


def test_from_a_terminal_in_vscode_nothing_of_the_host_can_be_reached(vscode, browser):
    daemon = vscode
    uuid, other = daemon.create("a"), daemon.create("b")
    (volume_of(daemon, other) / "private.txt").write_text("private")
    browser("open", url=daemon.get(f"/session/{uuid}/access").json["url"])
    browser("workbench")
    secret = daemon.directory / "data/secret.key"
    browser("terminal", line=f"(curl -sm3 http://127.0.0.1:{daemon.port}/health; curl -sm3 http://10.0.2.2:{daemon.port}/health; cat {secret}; "
                             f"cat /etc/shadow; find / -xdev -name private.txt 2>/dev/null; env | grep ROOST | grep -v ^ROOST_API_SOCKET=) > probe.txt 2>/dev/null; echo done > probed")
    data = volume_of(daemon, uuid)
    wait_for(lambda: (data / "probed").exists(), 60, "the probe")
    assert (data / "probe.txt").read_text() == ""


def test_a_page_of_one_workspace_cannot_act_on_another_or_on_the_api(vscode, browser):
    daemon = vscode
    one, two = daemon.create("a"), daemon.create("b")
    for uuid in (two, one):  # logged in to both: the cookies are there to be abused
        browser("open", url=daemon.get(f"/session/{uuid}/access").json["url"])
        browser("workbench")
    attempts = {
        "read the other": f"fetch('http://vs-code-{two}.localhost:{daemon.port}/', {{credentials:'include'}}).then(r=>r.text()).then(()=>'read').catch(()=>'refused')",
        "post to the other": f"fetch('http://vs-code-{two}.localhost:{daemon.port}/x', {{method:'POST',credentials:'include',mode:'no-cors',body:'x'}}).then(r=>r.type==='opaque'?'opaque':'done').catch(()=>'refused')",
        "socket to the other": f"new Promise(d=>{{const s=new WebSocket('ws://vs-code-{two}.localhost:{daemon.port}/');s.onopen=()=>d('open');s.onerror=()=>d('refused')}})",
        "the API by its address": f"fetch('http://127.0.0.1:{daemon.port}/sessions', {{headers:{{'X-API-Key':'your-secure-api-key-change-in-production'}}}}).then(r=>r.text()).then(()=>'read').catch(()=>'refused')",
        "the API under its own name": "fetch('/sessions', {headers:{'X-API-Key':'your-secure-api-key-change-in-production'}}).then(r=>r.text()).then(t=>t.includes('\"sessions\"')?'read':'refused')",
    }
    for what, script in attempts.items():
        assert browser("evaluate", script=script)["value"] in ("refused", "opaque"), what


def test_the_guides_node_class_runs_word_for_word(build):
    with Daemon(build) as daemon:
        done = subprocess.run(["node", HERE / "guide_client.mjs", f"http://127.0.0.1:{daemon.port}", TOP / "docs/client-api-guide.md"],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.strip().splitlines()
        assert re.fullmatch(rf"Workspace: http://vs-code-[0-9a-f]{{8}}\.localhost:{daemon.port}", lines[0])
        result = json.loads(lines[-1])
        assert result["session"]["status"] == "created" and result["status"] == 404
