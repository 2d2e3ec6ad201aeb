"""roostctl against a real roostd: what people and scripts do with it."""
import json
import os
import pathlib
import signal
import stat
import subprocess
import threading

import pytest

from ctl import Ctl, FaultServer, http
from roost import GUIDE_KEY, Daemon, wait_for


def url_of(daemon):
    return f"http://127.0.0.1:{daemon.port}"


@pytest.fixture
def ctl(build, shared_daemon, tmp_path):
    return Ctl(build, tmp_path, url_of(shared_daemon))


def test_the_life_of_a_session(ctl, shared_daemon):
    made = ctl.json("session", "create", "life@example.com", "--idempotency-key", "life-1")
    uuid = made["uuid"]
    assert ctl.json("session", "create", "life@example.com", "--idempotency-key", "life-1")["uuid"] == uuid
    assert "running" in ctl("session", "wake", uuid, "--wait").out
    assert ctl("session", "list", "--user", "life@example.com", "-o", "name").out == uuid + "\n"
    table = ctl("s", "ls", "--user", "life@example.com").out.splitlines()
    assert table[0].split()[:3] == ["UUID", "USER", "PHASE"] and table[1].split()[:3] == [uuid, "life@example.com", "running"]
    assert "replicas 1" in ctl("session", "status", uuid).out
    assert "Volume:" in ctl("session", "get", uuid).out
    assert ctl("session", "scale", uuid, "up").out == f"{uuid} success\n"
    assert "asleep" in ctl("session", "sleep", uuid, "--wait").out
    assert ctl("session", "access", uuid).out.startswith(f"http://vs-code-{uuid}.")
    deleted = ctl("session", "delete", uuid)
    assert uuid in deleted.out and "terminated" in deleted.out and "verified" in deleted.out
    assert "delete of" in deleted.err or "remove of" in deleted.err, "the progress is on stderr"
    receipt = ctl.json("session", "delete", uuid)
    assert receipt["status"] == "terminated" and receipt["backup"]["verified_at"]
    operation = receipt["operation"]
    assert ctl.json("operation", "get", operation.rsplit("/", 1)[1])["done"] is True
    assert "done" in ctl("op", "wait", operation).out
    gone = ctl("session", "get", uuid, code=3)
    assert "was deleted at" in gone.err and gone.out == ""


def test_json_is_the_apis_own_document(ctl, shared_daemon):
    uuid = shared_daemon.create("verbatim@example.com")
    assert ctl("session", "get", uuid, "--json").raw.strip() == shared_daemon.get(f"/session/{uuid}").body.strip()
    assert ctl("--json", "session", "list").raw.strip() == shared_daemon.get("/sessions?limit=1000").body.strip()
    missing = ctl("--json", "session", "get", "00000000", code=3)
    assert missing.err.strip().encode() == shared_daemon.get("/session/00000000").body.strip()


def test_lists_of_many_pages_become_one(ctl, shared_daemon):
    uuids = sorted(shared_daemon.create(f"page{i}@example.com", running=False) for i in range(3))
    listed = ctl.json("session", "list")
    assert set(uuids) <= {s["uuid"] for s in listed["sessions"]} and listed["next_cursor"] is None
    assert len(ctl("session", "list", "--limit", "2", "-o", "name").out.split()) == 2


def test_a_user_id_may_be_anything(ctl):
    for user in ["a/b?c#d&e=f%20+g h", "Ünïcödé 日本", "'; drop --", "..", "-dash", "\u202egnp.exe"]:
        made = ctl("session", "create", "--json", "--", user, code=None)
        if made.code != 0:  # the server's own rule; then it says so
            assert made.code == 1 and json.loads(made.err)["status"] == 422, made.err
            continue
        uuid = json.loads(made.out)["uuid"]
        assert ctl("session", "list", f"--user={user}", "-o", "name").out.split() == [uuid]
        table = ctl("session", "list", f"--user={user}").out
        assert "\u202e" not in table and len(table.splitlines()) == 2


def test_exit_codes_say_what_went_wrong(build, ctl, shared_daemon, tmp_path):
    ctl("session", "get", "00000000", code=3)
    ctl("session", "get", "no such?id", code=3)
    ctl("session", "create", "", code=1)
    ctl("session", "scale", "00000000", "sideways", code=2)
    ctl(code=2)
    wrong = ctl("session", "list", code=5, env={"ROOST_API_KEY": "wrong"})
    assert "key" in wrong.err and "wrong" not in wrong.err
    ctl("session", "list", code=5, env={"ROOST_API_KEY": ""})
    nobody = ctl("session", "list", "--timeout", "2s", code=6, env={"ROOST_URL": "http://127.0.0.1:1"})
    assert "cannot reach" in nobody.err
    ctl("session", "list", code=2, env={"ROOST_URL": "127.0.0.1"})
    with open("/dev/full", "w") as full:
        assert subprocess.run([ctl.program, "session", "list"], env=ctl.environment, stdout=full, stderr=subprocess.DEVNULL).returncode == 1


def test_a_retry_never_makes_a_second_session(ctl, shared_daemon):
    """The server makes the session, and the answer is lost."""
    def lost(request, connection):
        method, path, headers, body = request
        answer = shared_daemon.request(method, path, body=body, headers={k: v for k, v in headers.items() if k != "host"}, key=None)
        assert answer.status == 201, answer

    def passed(request, connection):
        method, path, headers, body = request
        answer = shared_daemon.request(method, path, body=body, headers={k: v for k, v in headers.items() if k != "host"}, key=None)
        connection.sendall(f"HTTP/1.1 {answer.status} X\r\nContent-Length: {len(answer.body)}\r\n\r\n".encode() + answer.body)

    with FaultServer(lost, lost, passed) as server:
        uuid = ctl.json("session", "create", "once@example.com", env={"ROOST_URL": server.url})["uuid"]
        keys = {headers["idempotency-key"] for _, _, headers, _ in server.requests}
        assert len(server.requests) == 3 and len(keys) == 1
    assert [s["uuid"] for s in shared_daemon.get("/sessions?user_id=once@example.com").json["sessions"]] == [uuid]


def answer_one(daemon, uuid, reply):
    messages = daemon.post(f"/session/{uuid}/messages/claim", {"max": 1, "wait_s": 30}).json["messages"]
    daemon.post(f"/session/{uuid}/messages/{messages[0]['id']}/ack", {"reply": reply, "claim": messages[0]["claim"]})
    return messages[0]["message"]


def test_chat(ctl, shared_daemon):
    uuid = shared_daemon.create("chat@example.com", running=False)
    assert "queued; 1 waiting" in ctl("chat", "send", uuid, "Hello!").out
    ctl("chat", "send", uuid, "-", input="from a\nfile\x1b[2J".encode())
    assert answer_one(shared_daemon, uuid, {"text": "Hello to you"}) == "Hello!"
    table = ctl("chat", "history", uuid).out
    assert "Hello to you" in table and "from a\\nfile\\x1b[2J" in table and "\x1b" not in table
    assert [m["message"] for m in ctl.json("chat", "history", uuid)["messages"]] == ["Hello!", "from a\nfile\x1b[2J"]
    answer_one(shared_daemon, uuid, {"text": "noted"})
    waiting = ctl.start("chat", "send", uuid, "and now?", "--wait")
    answer_one(shared_daemon, uuid, {"text": "a\x1b[31mred reply"})
    assert waiting.finish().out == "a\\x1b[31mred reply\n"


def test_chat_follow_shows_messages_and_replies_as_they_come(ctl, shared_daemon):
    uuid = shared_daemon.create("follow@example.com", running=False)
    ctl("chat", "send", uuid, "before")
    following = ctl.start("chat", "follow", uuid)
    assert following.line().endswith(">  before\n")
    ctl("chat", "send", uuid, "during")
    assert following.line().endswith(">  during\n")
    answer_one(shared_daemon, uuid, {"text": "yes"})
    assert following.line().endswith("<  yes\n")
    following.interrupt().finish(130)


def test_events_go_on_after_the_server_was_killed(build, tmp_path):
    with Daemon(build) as daemon:
        ctl = Ctl(build, tmp_path, url_of(daemon))
        following = ctl.start("events", "--json")
        wait_for(lambda: "roost_event_streams 1" in daemon.get("/metrics").body.decode(), what="the stream")
        second = daemon.create("events@example.com", running=False)
        seen = json.loads(following.line())
        while seen["data"].get("uuid") != second:
            seen = json.loads(following.line())
        assert seen["event"] == "session.created" and seen["id"]
        daemon.kill()
        daemon.start()
        while seen["event"] != "reset":
            seen = json.loads(following.line())
        third = daemon.create("events@example.com", running=False)
        while seen["data"].get("uuid") != third:
            seen = json.loads(following.line())
        following.interrupt().finish(130)


def test_the_events_of_a_session_end_with_it(ctl, shared_daemon):
    uuid = shared_daemon.create("ends@example.com")
    following = ctl.start("session", "events", uuid)
    ctl("session", "scale", uuid, "up")
    ctl("session", "delete", uuid, "-q")
    done = following.finish(code=None)
    assert done.code == 0 and done.out.splitlines()[-1].split()[3] == "session.deleted"


def test_watch_prints_what_changes(ctl, shared_daemon):
    uuid = shared_daemon.create("watch@example.com")
    watching = ctl.start("session", "status", uuid, "--watch", "--interval", "100ms", "--json")
    assert json.loads(watching.line())["replicas"] == 1
    ctl("session", "sleep", uuid)
    while json.loads(watching.line())["replicas"] != 0:
        pass
    watching.interrupt().finish(130)


def test_no_wait_answers_at_once_and_the_delete_goes_on(ctl, shared_daemon):
    uuid = shared_daemon.create("async@example.com")
    answer = ctl.json("session", "delete", uuid, "--no-wait")
    assert answer["status"] in ("terminating", "terminated")
    assert ctl.json("operation", "wait", answer["operation"])["step"] == "done"


def test_giving_up_data_is_asked_for(ctl, shared_daemon):
    uuid = shared_daemon.create("careful@example.com", running=False)
    refused = ctl("session", "delete", uuid, "--skip-backup", code=2)
    assert "--yes" in refused.err
    asked = ctl.on_a_terminal("session", "delete", uuid, "--skip-backup")
    asked.until("Type yes: ").type("no\n")
    asked.finish(2)
    assert shared_daemon.session(uuid)["phase"] not in ("deleting", "delete_blocked")
    asked = ctl.on_a_terminal("session", "delete", uuid, "--skip-backup")
    asked.until("Type yes: ").type("yes\n")
    assert "terminated" in asked.finish().text


# ---- contexts and keys

def test_contexts(build, shared_daemon, tmp_path):
    ctl = Ctl(build, tmp_path, key=None)
    (tmp_path / "key").write_text(GUIDE_KEY + "\n")
    ctl("config", "set", "dev", "--url", url_of(shared_daemon), "--key-file", "key", cwd=tmp_path)
    ctl("config", "set", "other", "--url", "https://roost.example.com/", "--key-env", "OTHER_KEY")
    config = tmp_path / ".config/roost/config.yaml"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    listed = ctl.json("config", "list")
    assert listed["current"] == "dev" and [c["name"] for c in listed["contexts"]] == ["dev", "other"]
    assert ctl("session", "list").out.startswith("UUID")
    ctl("session", "list", "--context", "other", code=2)  # its variable is not set
    ctl("config", "use", "other")
    assert ctl("config", "ls").out.splitlines()[2].split()[:2] == ["*", "other"]
    assert ctl("session", "list", "--context", "dev", env={"ROOST_URL": "http://127.0.0.1:1"}).out.startswith("UUID")
    ctl("config", "use", "nobody", code=3)
    ctl("config", "delete", "other")
    ctl("config", "delete", "other", code=3)
    assert ctl.json("config", "list")["current"] == ""
    ctl("config", "set", "bad name", "--url", "http://a", code=2)
    ctl("config", "set", "no-url", code=2)


def test_a_key_that_others_may_read_is_refused(build, shared_daemon, tmp_path):
    ctl = Ctl(build, tmp_path, key=None)
    ctl("config", "set", "dev", "--url", url_of(shared_daemon), "--key-file", "-", input=GUIDE_KEY.encode())
    config = tmp_path / ".config/roost/config.yaml"
    assert GUIDE_KEY in config.read_text()
    assert ctl("session", "list").err == ""
    config.chmod(0o644)
    refused = ctl("session", "list", code=2)
    assert "chmod 600" in refused.err and GUIDE_KEY not in refused.err
    own = ctl("session", "list", env={"ROOST_API_KEY": GUIDE_KEY})
    assert "chmod 600" in own.err, "it is not used, and still said"
    assert GUIDE_KEY not in ctl("config", "list", "--json").out


def test_a_contexts_key_goes_to_its_own_server_only(build, tmp_path):
    ctl = Ctl(build, tmp_path, key=None)
    (tmp_path / "key").write_text("secret-of-prod")
    ctl("config", "set", "prod", "--url", "https://roost.example.com", "--key-file", str(tmp_path / "key"))
    with FaultServer(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n") as server:
        refused = ctl("session", "list", "--url", server.url, code=5)
        assert "is not sent" in refused.err
        assert "x-api-key" not in server.requests[0][2]


def test_the_key_is_asked_for_without_an_echo(build, shared_daemon, tmp_path):
    ctl = Ctl(build, tmp_path, url_of(shared_daemon), key=None)
    asked = ctl.on_a_terminal("session", "list", "--key-file", "-").until("API key for")
    wait_for(lambda: not asked.echoes(), what="the echo to be off")
    asked.type(GUIDE_KEY + "\n")
    done = asked.finish()
    assert "UUID" in done.text and GUIDE_KEY not in done.text
    for end in (signal.SIGINT, signal.SIGTERM):
        asked = ctl.on_a_terminal("session", "list", "--key-file", "-").until("API key for")
        wait_for(lambda: not asked.echoes(), what="the echo to be off")
        asked.process.send_signal(end)
        wait_for(asked.echoes, what="the echo to be on again")
        asked.finish(130)


def test_no_key_is_in_the_list_of_processes(ctl):
    following = ctl.start("events")
    line = pathlib.Path(f"/proc/{following.process.pid}/cmdline").read_bytes()
    assert GUIDE_KEY.encode() not in line
    ctl("session", "list", "--key", GUIDE_KEY, code=2)
    following.interrupt().finish(130)


# ---- the terminal

def test_a_delete_shows_its_progress_on_a_terminal(ctl, shared_daemon):
    uuid = shared_daemon.create("progress@example.com")
    done = ctl.on_a_terminal("session", "delete", uuid, columns=80).finish()
    assert "\r" in done.text and f"of {uuid}:" in done.text and "\x1b[K" in done.text
    assert "terminated" in done.text


def test_tables_fit_the_terminal_and_colour_can_be_turned_off(ctl, shared_daemon):
    shared_daemon.create("wide" * 40 + "@example.com")
    done = ctl.on_a_terminal("session", "list", columns=90, env={"NO_COLOR": "1"}).finish()
    assert "\x1b" not in done.text and "…" in done.text
    assert all(len(line) <= 90 for line in done.text.splitlines())
    assert "\x1b[" in ctl.on_a_terminal("session", "list").finish().text
    assert "\x1b" not in ctl.on_a_terminal("session", "list", env={"TERM": "dumb"}).finish().text
    assert "wide" * 40 in ctl("session", "list").out, "a pipe gets all of it"


# ---- the rest

def test_doctor(ctl, build, shared_daemon, tmp_path):
    well = ctl("doctor").out
    assert "read and change sessions" in well and "error" not in well
    checks = {c["check"]: c["result"] for c in ctl.json("doctor")["checks"]}
    assert checks == {"server": "ok", "version": "ok", "clock": "ok", "ready": "ok", "key": "ok"}
    assert "not known" in ctl("doctor", code=5, env={"ROOST_API_KEY": "wrong"}).out
    ctl("doctor", code=6, env={"ROOST_URL": "http://127.0.0.1:1"})


def test_version(ctl):
    assert ctl("version").out.splitlines()[1].startswith("roost")
    assert ctl.json("version")["server"]["plugin_abi"]
    assert ctl("version", "--client", env={"ROOST_URL": "http://127.0.0.1:1"}).out == ctl("--version").out


def test_completion_in_a_real_bash(ctl):
    script = """
      source <(roostctl completion bash)
      complete -p roostctl
      try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _roostctl; echo "${COMPREPLY[*]}"; }
      try roostctl sess
      try roostctl session sl
      try roostctl config use ""
      try roostctl --key-file ke
    """
    (ctl.home / "key one").write_text("x")
    ctl("config", "set", "dev", "--url", "http://127.0.0.1:1")
    done = subprocess.run(["bash", "--norc", "-c", script], env={**ctl.environment, "PATH": f"{ctl.program.parent}:{os.environ['PATH']}"},
                          cwd=ctl.home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.splitlines() == ["complete -F _roostctl roostctl", "session", "sleep", "dev", "key one"]


def completed(ctl, *words, **environment):
    return ctl("__complete", *words, env=environment).out.splitlines()


def test_completion_knows_the_servers_sessions_and_backups(ctl, shared_daemon):
    uuid = shared_daemon.create("tab@example.com")
    assert completed(ctl, "session", "get", uuid[:5]) == [f"{uuid}\ttab@example.com, running"]
    assert completed(ctl, "--url", "http", ":", "//127.0.0.1", ":", "1", "session", "get", uuid) == [], "another server"
    backup = ctl.json("session", "delete", uuid)["backup"]["id"]
    assert completed(ctl, "backup", "get", uuid) == [f"{backup}\ttab@example.com, verified"]
    other = shared_daemon.create("tab@example.com", running=False)
    assert any(line.startswith(other) for line in completed(ctl, "backup", "restore", backup, "--into", ""))
    path = {"PATH": f"{ctl.program.parent}:{os.environ['PATH']}"}
    for shell, script in [
        (["bash", "--norc", "-c"], f"""source <(roostctl completion bash)
            COMP_WORDS=(roostctl session get {other[:6]}); COMP_CWORD=3; _roostctl; echo "${{COMPREPLY[*]}}" """),
        (["zsh", "-f", "-c"], f"""compdef() {{ : }}; _describe() {{ print -l -- ${{${{(P)2}}%%:*}} }}
            source <(roostctl completion zsh); words=(roostctl session get {other[:6]}); CURRENT=4; _roostctl"""),
        (["fish", "--no-config", "-c"], f"roostctl completion fish | source; complete -C 'roostctl session get {other[:6]}' | cut -f 1"),
    ]:
        done = subprocess.run([*shell, script], env={**ctl.environment, **path}, cwd=ctl.home, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == (other + "\n", ""), shell


def test_completion_is_silent_where_the_server_is_of_no_use(ctl):
    quiet = [("http://127.0.0.1:1", "the server is away")]
    with FaultServer(b"") as mute, FaultServer(http(401, {"detail": "no"})) as refusing, \
            FaultServer(http(200, {"sessions": [{"uuid": "1823b3a8"}], "count": 1, "next_cursor": "1823b3a8"}), http(500)) as half:
        for url, why in quiet + [(mute.url, "it hangs up"), (refusing.url, "the key is wrong"), (half.url, "half a list")]:
            done = ctl("__complete", "session", "get", "", env={"ROOST_URL": url})
            assert (done.out, done.err) == ("", ""), why
    evil = {"uuid": "$(reboot)", "user_id": "x", "phase": "running"}
    good = {"uuid": "1823b3a8", "user_id": "a\tb\x1b[2J", "phase": "running"}
    with FaultServer(http(200, {"sessions": [evil, good], "count": 2, "next_cursor": None})) as server:
        assert completed(ctl, "session", "get", "", ROOST_URL=server.url) == ["1823b3a8\ta\\tb\\x1b[2J, running"]


def test_the_manual_is_made_of_the_commands(ctl, build):
    page = ctl("__manual").raw
    assert (build / "share/man/man1/roostctl.1").read_bytes() == page
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-P-cbou"], input=page, capture_output=True, timeout=60)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    text = " ".join(done.stdout.decode().replace("\u2010", "-").split())
    assert "backup restore BACKUP" in text and "--as-new" in text and "A new session, filled from the backup" in text


def test_completion_in_a_real_zsh_and_fish(ctl):
    environment = {**ctl.environment, "PATH": f"{ctl.program.parent}:{os.environ['PATH']}"}
    zsh = """
      compdef() { print compdef $@ }
      _describe() { print -l -- ${(P)2} }
      source <(roostctl completion zsh)
      words=(roostctl session wa); CURRENT=3; _roostctl
    """
    done = subprocess.run(["zsh", "-f", "-c", zsh], env=environment, cwd=ctl.home, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["compdef _roostctl roostctl", "wake:Start it again"], done
    fish = "roostctl completion fish | source; complete -C 'roostctl session wa'"
    done = subprocess.run(["fish", "--no-config", "-c", fish], env=environment, cwd=ctl.home, capture_output=True, text=True, timeout=60)
    assert done.stdout == "wake\tStart it again\n", done
