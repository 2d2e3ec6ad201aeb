"""roostctl and servers that are slow, broken or hostile: it ends in time, says what is wrong, and does no harm."""
import hashlib
import json
import socket
import threading
import time

import pytest

from ctl import Ctl, FaultServer, http, problem
from roost import wait_for

SESSIONS = {"sessions": [], "count": 0, "next_cursor": None}


@pytest.fixture
def ctl(build, tmp_path):
    return Ctl(build, tmp_path)


def ask(ctl, server, *words, **options):
    return ctl(*(words or ("session", "list")), env={"ROOST_URL": server.url}, **options)


def forever(request, connection):
    """No answer; until the client goes away."""
    connection.recv(1)


def test_a_server_that_says_nothing_is_given_up_in_time(ctl):
    with FaultServer(forever) as server:
        assert "in time" in ask(ctl, server, "session", "list", "--timeout", "1s", code=6).err


def test_an_answer_that_comes_drop_by_drop_is_given_up_in_time(ctl):
    ended = threading.Event()

    def drip(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not ended.wait(0.05):
            connection.sendall(b" ")
    with FaultServer(drip) as server:
        ask(ctl, server, "session", "list", "--timeout", "1s", code=6)
    ended.set()


def test_an_interrupt_ends_a_wait_at_once(ctl):
    with FaultServer(forever) as server:
        waiting = ctl.start("session", "list", env={"ROOST_URL": server.url})
        wait_for(lambda: server.requests, what="the request")
        waiting.interrupt().finish(130)


@pytest.mark.parametrize("answer", [
    b"", b"\x00\xff\x1b[2Jgarbage\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"sess",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"ses", b"HTTP/9.9 999 \r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n"],
    ids=["closed", "garbage", "ssh", "short", "cut-chunk", "odd-version", "odd-length"])
def test_what_is_no_whole_answer_is_a_failure(ctl, answer):
    with FaultServer(answer) as server:
        done = ask(ctl, server, "session", "list", "--timeout", "2s", code=None)
        assert done.code in (1, 6) and done.out == "" and "\x1b" not in done.err and done.err.count("\n") <= 8, (done.code, done.err)


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"", b"[]", b"{\"sessions\":{}}", b"{\"a\":1,\"a\":2}", b"\xff\xfe", b"{" * 100000],
                         ids=["html", "empty", "array", "no-list", "twice", "not-utf8", "deep"])
def test_an_answer_that_is_not_roosts_is_named_so(ctl, body):
    with FaultServer(http(200, body)) as server:
        done = ask(ctl, server, code=1)
        assert "Roost" in done.err and done.out == "", done.err


def test_an_endless_body_ends_at_a_limit(ctl):
    def pour(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 1048576)
    with FaultServer(pour) as server:
        assert "larger than" in ask(ctl, server, code=1).err


def test_a_list_that_does_not_end_ends(ctl):
    with FaultServer(http(200, {"sessions": [{"uuid": "a"}], "count": 1, "next_cursor": "again"})) as server:
        assert "does not end" in ask(ctl, server, code=1).err


def test_a_redirect_is_not_followed(ctl):
    with FaultServer(http(200, SESSIONS)) as other:
        with FaultServer(http(302, b"", {"Location": other.url + "/sessions"})) as server:
            assert "redirect" in ask(ctl, server, code=1).err
        assert other.requests == [], "the key would have gone along"


def test_a_passing_failure_is_tried_again(ctl):
    with FaultServer(problem(503, "starting"), b"", problem(429, "slower", Retry_After="1"), http(200, SESSIONS)) as server:
        began = time.monotonic()
        assert ask(ctl, server).out.startswith("UUID")
        assert len(server.requests) == 4 and time.monotonic() - began >= 1, "Retry-After was honoured"


def test_a_wait_beyond_the_time_is_not_begun(ctl):
    with FaultServer(problem(503, "come back tomorrow", Retry_After="86400")) as server:
        assert "come back tomorrow" in ask(ctl, server, code=6).err
        assert len(server.requests) == 1


def test_what_could_act_twice_is_not_repeated(ctl):
    with FaultServer(b"") as server:
        ctl("doctor", code=6, env={"ROOST_URL": server.url})
        assert len(server.requests) == 1


@pytest.mark.parametrize("status,code", [(400, 1), (401, 5), (403, 5), (404, 3), (409, 4), (412, 4), (422, 1), (500, 1), (501, 1)])
def test_a_problem_becomes_an_exit_code_and_its_detail(ctl, status, code):
    answer = problem(status, "what is wrong \x1b[2J\u202e and\nwhat to do")
    with FaultServer(answer) as server:
        assert ask(ctl, server, code=code).err == "roostctl: what is wrong \\x1b[2J\\u202e and\\nwhat to do\n"
        as_json = ask(ctl, server, "--json", "session", "list", code=code)
        assert as_json.err.encode() == answer.split(b"\r\n\r\n", 1)[1] + b"\n" and as_json.out == ""


def test_with_json_an_own_failure_is_a_problem_too(ctl):
    done = ctl("--json", "session", "list", "--timeout", "1s", code=6, env={"ROOST_URL": "http://127.0.0.1:1"})
    assert "cannot reach" in json.loads(done.err)["detail"]


def test_the_key_goes_in_the_header_and_the_id_is_encoded(ctl):
    with FaultServer(problem(404, "no")) as server:
        ask(ctl, server, "session", "get", "../a b/%2e?x#y", code=3)
        method, path, headers, _ = server.requests[0]
        assert path == "/session/..%2Fa%20b%2F%252e%3Fx%23y" and headers["x-api-key"]


def stream(*events):
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + "".join(events).encode()


def event(number, kind="session.phase", uuid="1823b3a8"):
    return f"id: e-{number}\nevent: {kind}\ndata: {{\"uuid\":\"{uuid}\",\"at\":\"2025-11-15T03:51:36.653291\",\"n\":{number}}}\n\n"


def test_a_stream_that_breaks_goes_on_from_the_last_event(ctl):
    with FaultServer(stream(event(1), event(2), event(3)[:20]), b"", problem(503, "restarting", Retry_After="1"),
                     stream(event(3), event(4, "session.deleted"))) as server:
        done = ask(ctl, server, "session", "events", "1823b3a8", "--json")
        assert [json.loads(line)["data"]["n"] for line in done.out.splitlines()] == [1, 2, 3, 4]
        assert [headers.get("last-event-id") for _, _, headers, _ in server.requests] == [None, "e-2", "e-2", "e-2"]


def test_a_stream_that_breaks_before_its_first_event_goes_on_from_where_it_began(ctl):
    with FaultServer(stream("retry: 1\n\nid: e-7\n\n"), stream(event(8, "session.deleted"))) as server:
        done = ask(ctl, server, "session", "events", "1823b3a8", "--json")
        assert [json.loads(line)["data"]["n"] for line in done.out.splitlines()] == [8]
        assert [headers.get("last-event-id") for _, _, headers, _ in server.requests] == [None, "e-7"]


def test_a_hostile_stream_does_no_harm(ctl):
    evil = "id: 1\nevent: \x1b]0;x\x07\ndata: not json \x1b[2J\n\n"
    with FaultServer(stream(evil, event(2, "session.deleted"))) as server:
        out = ask(ctl, server, "session", "events", "1823b3a8").out
        assert "\x1b" not in out and "not json \\x1b[2J" in out
    with FaultServer(http(200, SESSIONS)) as server:
        assert "something else" in ask(ctl, server, "events", code=1).err

    def flood(request, connection):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
        while True:
            connection.sendall(b"x" * 1048576)
    with FaultServer(flood) as server:
        assert "more than" in ask(ctl, server, "events", code=1).err


# ---- downloads

DATA = bytes(range(256)) * 4096  # 1 MiB
TAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


def archive(data=DATA, tag=TAG, cut_at=None):
    """Serves data with ranges; cut_at: the connection breaks at that byte of the whole."""
    def answer(request, connection):
        first = int(request[2].get("range", "bytes=0-")[6:-1])
        if first >= len(data):
            connection.sendall(http(416, b"", {"Content-Range": f"bytes */{len(data)}"}))
            return
        head = f"HTTP/1.1 206 X\r\nContent-Range: bytes {first}-{len(data) - 1}/{len(data)}\r\n" if first else "HTTP/1.1 200 X\r\n"
        head += f"ETag: {tag}\r\n" if tag else ""
        connection.sendall(f"{head}Content-Length: {len(data) - first}\r\n\r\n".encode() + data[first:cut_at])
    return answer


def fetch(ctl, server, *words, **options):
    return ask(ctl, server, "backup", "download", "b1", "--to", "a.zip", *words, **options)


def test_a_download_that_breaks_goes_on_where_it_was(ctl, tmp_path):
    with FaultServer(archive(cut_at=100_000), problem(503, "restarting"), archive(cut_at=900_000), archive()) as server:
        done = fetch(ctl, server)
        assert (tmp_path / "a.zip").read_bytes() == DATA and not (tmp_path / "a.zip.part").exists()
        assert TAG.strip('"') in done.out
        assert [headers.get("range") for _, _, headers, _ in server.requests][0] is None
        assert int(server.requests[-1][2]["range"][6:-1]) > 800_000


def test_a_download_that_was_interrupted_is_continued_by_the_next(ctl, tmp_path):
    def half(request, connection):
        connection.sendall(f"HTTP/1.1 200 X\r\nETag: {TAG}\r\nContent-Length: {len(DATA)}\r\n\r\n".encode() + DATA[:500_000])
        connection.recv(1)
    part = tmp_path / "a.zip.part"
    with FaultServer(half) as server:
        running = ctl.start("backup", "download", "b1", "--to", "a.zip", env={"ROOST_URL": server.url})
        wait_for(lambda: part.exists() and part.stat().st_size == 500_000, what="the first half")
        assert "another download" in fetch(ctl, server, code=4).err
        running.interrupt().finish(130)
    with FaultServer(archive()) as server:
        fetch(ctl, server)
        assert server.requests[0][2]["range"] == "bytes=499999-"
        assert (tmp_path / "a.zip").read_bytes() == DATA


@pytest.mark.parametrize("left", [b"something else", DATA + b"more", DATA[:-1] + b"x", DATA, b"x"], ids=["other", "longer", "differs", "whole", "one-byte"])
def test_a_part_that_does_not_fit_is_begun_anew(ctl, tmp_path, left):
    (tmp_path / "a.zip.part").write_bytes(left)
    with FaultServer(archive()) as server:
        fetch(ctl, server)
        assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_server_without_ranges_is_read_from_the_beginning(ctl, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA[:1000])
    with FaultServer(http(200, DATA, {"ETag": TAG})) as server:
        fetch(ctl, server)
        assert (tmp_path / "a.zip").read_bytes() == DATA


def test_bytes_that_are_not_what_they_should_be_are_not_kept(ctl, tmp_path):
    with FaultServer(archive(DATA[:-1] + b"?")) as server:
        assert "SHA-256" in fetch(ctl, server, code=1).err
        assert list(tmp_path.glob("a.zip*")) == []
        out = ask(ctl, server, "backup", "cat", "b1", "x", code=1)
        assert "SHA-256" in out.err


def test_without_a_checksum_it_is_said(ctl, tmp_path):
    with FaultServer(archive(tag=None)) as server:
        assert "warning" in fetch(ctl, server).err
        assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_file_that_is_there_stays_unless_it_is_said(ctl, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"mine")
    with FaultServer(archive()) as server:
        assert "exists" in fetch(ctl, server, code=4).err
        assert (tmp_path / "a.zip").read_bytes() == b"mine" and server.requests == []
        fetch(ctl, server, "--force")
        assert (tmp_path / "a.zip").read_bytes() == DATA


def test_a_file_that_comes_up_meanwhile_stays_too(ctl, tmp_path):
    def meanwhile(request, connection):
        connection.sendall(f"HTTP/1.1 200 X\r\nETag: {TAG}\r\nContent-Length: {len(DATA)}\r\n\r\n".encode())
        (tmp_path / "a.zip").write_bytes(b"mine")
        connection.sendall(DATA)
    with FaultServer(meanwhile) as server:
        assert "a.zip.part" in fetch(ctl, server, code=4).err
    assert (tmp_path / "a.zip").read_bytes() == b"mine" and (tmp_path / "a.zip.part").read_bytes() == DATA


def test_nothing_is_written_through_a_link(ctl, tmp_path):
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "a.zip.part").symlink_to(tmp_path / "precious")
    with FaultServer(archive()) as server:
        fetch(ctl, server, code=1)
    assert (tmp_path / "precious").read_bytes() == b"mine"


def test_a_name_that_the_server_says_is_never_a_path(ctl, tmp_path):
    for name in ["../evil.zip", "/tmp/evil.zip", ".bashrc", "a\nb", ""]:
        with FaultServer(http(200, {"id": "b1", "archive": name}), archive()) as server:
            assert "--to" in ask(ctl, server, "backup", "download", "b1", code=2).err
    with FaultServer(http(200, {"id": "b1", "archive": "workspace-1823b3a8-20251115T035136Z.zip"}), archive()) as server:
        ask(ctl, server, "backup", "download", "b1")
        assert (tmp_path / "workspace-1823b3a8-20251115T035136Z.zip").read_bytes() == DATA


def test_cat_gives_a_pipe_everything_and_a_terminal_only_text(ctl):
    with FaultServer(archive()) as server:
        assert ask(ctl, server, "backup", "cat", "b1", "dir/a b#c").raw == DATA
        assert server.requests[0][1] == "/backups/b1/files/dir/a%20b%23c"
        shown = ctl.on_a_terminal("backup", "cat", "b1", "x", env={"ROOST_URL": server.url}).finish(2)
        assert "not plain text" in shown.text
    with FaultServer(archive(b"evil \x1b]0;x\x07", None)) as server:
        assert "\x1b" not in ctl.on_a_terminal("backup", "cat", "b1", "x", env={"ROOST_URL": server.url}).finish(2).text
    with FaultServer(archive("Ünï\n".encode(), None)) as server:
        assert "Ünï" in ctl.on_a_terminal("backup", "cat", "b1", "x", env={"ROOST_URL": server.url}).finish().text
    with FaultServer(archive("日本\n".encode() * 20_000, None)) as server:  # its pieces end within characters
        assert ctl.on_a_terminal("backup", "cat", "b1", "x", env={"ROOST_URL": server.url}).finish().text.count("日本") == 20_000


def test_a_name_that_cannot_stand_in_a_path_is_asked_for_in_base64(ctl):
    with FaultServer(archive(b"odd", None)) as server:
        for name, asked in [(b"od\xff\\d\n", "b2T_XGQK"), (b"a/../b", "YS8uLi9i"), (b"./a", "Li9h")]:
            assert ask(ctl, server, "backup", "cat", "b1", name).raw == b"odd"
            assert server.requests[-1][1] == f"/backups/b1/files/?path_base64url={asked}"


def test_waiting_for_a_proof_ends_with_its_outcome(ctl):
    asked = {"id": "b1", "state": "verified", "verify_asked_at": "2025-11-15T03:51:36.653291"}
    done = {**asked, "verify_asked_at": None}
    with FaultServer(http(202, asked), http(200, asked), http(200, asked), http(200, done)) as server:
        assert "verified" in ask(ctl, server, "backup", "verify", "b1", "--wait").out
        assert [method for method, *_ in server.requests] == ["POST", "GET", "GET", "GET"]
    rot = {**done, "state": "damaged", "note": {"reason": "big.bin differs", "by": "drill", "at": None}}
    with FaultServer(http(202, asked), http(200, rot)) as server:
        assert "big.bin differs" in ask(ctl, server, "backup", "verify", "b1", "--wait", code=1).err


@pytest.mark.parametrize("outcome,code", [("succeeded", 0), ("failed", 1), ("cancelled", 4)])
def test_waiting_for_an_operation_ends_with_its_outcome(ctl, outcome, code):
    step = {"id": "5d0c1f2a", "uuid": "1823b3a8", "kind": "backup", "step": "backup", "done": False, "outcome": None, "reason": "", "message": ""}
    half = {**step, "progress": {"bytes": 512, "total_bytes": 1024, "files": 1, "total_files": 2}}
    end = {**step, "step": "done", "done": True, "outcome": outcome, "reason": "" if code == 0 else "NoSpace", "message": "the disk is full"}
    begun = {"uuid": "1823b3a8", "operation": "/operations/5d0c1f2a", "backup_id": "b1", "status": "started"}
    with FaultServer(http(202, begun), http(200, step), http(200, half), http(200, end), http(200, {"id": "b1", "state": "verified"})) as server:
        done = ask(ctl, server, "backup", "create", "1823b3a8", "--wait", code=code)
        assert "\x1b" not in done.err and done.err.startswith("backup of 1823b3a8: backup\n")
        assert ("verified" in done.out) if code == 0 else ("NoSpace: the disk is full" in done.err and done.out == "")
    with FaultServer(http(202, begun), http(200, half), http(200, end), http(200, {"id": "b1", "state": "verified"})) as server:
        drawn = ctl.on_a_terminal("backup", "create", "1823b3a8", "--wait", columns=110, env={"ROOST_URL": server.url}).finish(code).text
        assert "[############............]  50%  512 B of 1.0 KiB  1 of 2 files" in drawn and drawn.count("\r") >= 2


def test_a_delete_that_is_blocked_ends_the_wait(ctl):
    step = {"id": "5d0c1f2a", "uuid": "1823b3a8", "kind": "delete", "step": "backup", "done": False, "reason": "NoSpace", "message": "the disk is full"}
    with FaultServer(http(202, {"uuid": "1823b3a8", "status": "terminating", "operation": "/operations/5d0c1f2a"}), http(200, step),
                     http(200, {"uuid": "1823b3a8", "phase": "deleting"}), http(200, step),
                     http(200, {"uuid": "1823b3a8", "phase": "delete_blocked"})) as server:
        assert "blocked, the data stays: NoSpace: the disk is full" in ask(ctl, server, "session", "delete", "1823b3a8", code=4).err


def test_an_address_with_an_unreachable_proxy_is_direct_on_this_machine(ctl):
    with FaultServer(http(200, SESSIONS)) as server:
        ctl("session", "list", env={"ROOST_URL": server.url, "http_proxy": "http://127.0.0.1:1"})
