"""Bad input: the right status, a clear detail, the daemon unharmed (run under ASan by ./dev test)."""
import json
import re
import socket

import pytest

from roost import GUIDE_KEY

KEY = f"X-API-Key: {GUIDE_KEY}\r\n"


def status_of(received):
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", received)
    return int(match.group(1)) if match else None


def statuses_of(received):
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def head(daemon, line="GET /health HTTP/1.1", extra=""):
    return f"{line}\r\nHost: 127.0.0.1:{daemon.port}\r\n{extra}\r\n".encode("latin-1")


@pytest.fixture(autouse=True)
def unharmed(shared_daemon):
    yield
    assert shared_daemon.get("/health", key=None).status == 200
    assert shared_daemon.process.poll() is None, shared_daemon.tail()


@pytest.mark.parametrize("extra, expected", [
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", 400),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", 400),
    ("Content-Length: -5\r\n", 400),
    ("Content-Length: +5\r\n", 400),
    ("Content-Length: abc\r\n", 400),
    ("Content-Length: 5, 5\r\n", 400),
    ("Content-Length: 99999999999999999999\r\n", 400),
    ("Content-Length: 99999999\r\n", 413),
    ("Transfer-Encoding: gzip\r\n", 501),
    ("Transfer-Encoding: chunked, gzip\r\n", 501),
    ("Transfer-Encoding: xchunked\r\n", 501),
    ("Content-Length : 5\r\n", 400),
    ("X: a\x00b\r\n", 400),
    ("X: a\x01b\r\n", 400),
    (" folded: x\r\n", 400),
    ("X: a\r\n b\r\n", 400),
    ("Host: elsewhere\r\n", 400),
])
def test_request_smuggling_shapes_are_refused_and_the_connection_closes(shared_daemon, extra, expected):
    smuggled = "GET /sessions HTTP/1.1\r\nHost: x\r\n\r\n"
    data = head(shared_daemon, "POST /session/create HTTP/1.1", KEY + "Content-Type: application/json\r\n" + extra) + smuggled.encode()
    received = shared_daemon.raw(data)
    assert status_of(received) in ({expected, 400} if expected == 501 else {expected}), received
    assert len(statuses_of(received)) == 1, "what follows a framing error is never taken for a request"


@pytest.mark.parametrize("line, expected", [
    ("GET /health HTTP/9.9", {400, 505}), ("GET  /health HTTP/1.1", {400}), ("GET /health", {400}), ("\x00\x01\x02", {400}),
    ("GET " + "/a" * 8192 + " HTTP/1.1", {414, 431}), ("GET /%00 HTTP/1.1", {400}), ("GET /session/..%2f..%2fetc HTTP/1.1", {400, 404}),
    ("GET /session/%zz/status HTTP/1.1", {400}), ("GET /session/../sessions HTTP/1.1", {400, 404}), ("BREW /health HTTP/1.1", {405, 501, 400}),
    ("DELETE /health HTTP/1.1", {405}), ("GET http://evil.example/sessions HTTP/1.1", {400, 421}),
])
def test_bad_request_lines(shared_daemon, line, expected):
    assert status_of(shared_daemon.raw(head(shared_daemon, line, KEY + "Connection: close\r\n"))) in expected


def test_ten_thousand_headers(shared_daemon):
    assert status_of(shared_daemon.raw(head(shared_daemon, extra="".join(f"X-{i}: y\r\n" for i in range(10_000))))) == 431


def test_one_huge_header(shared_daemon):
    assert status_of(shared_daemon.raw(head(shared_daemon, extra="X: " + "y" * 100_000 + "\r\n"))) == 431


def test_a_truncated_body_does_nothing(shared_daemon):
    before = shared_daemon.get("/sessions").json["count"]
    shared_daemon.raw(head(shared_daemon, "POST /session/create HTTP/1.1", KEY + "Content-Type: application/json\r\nContent-Length: 100\r\n") +
                      b'{"user_id":"trunc@example.com"}', half_close=True)
    assert shared_daemon.get("/sessions").json["count"] == before


def test_a_bad_chunk_does_nothing_and_is_not_a_request(shared_daemon):
    before = shared_daemon.get("/sessions").json["count"]
    received = shared_daemon.raw(
        head(shared_daemon, "POST /session/create HTTP/1.1", KEY + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n") +
        b"ZZ\r\nGET /sessions HTTP/1.1\r\n\r\n")
    assert statuses_of(received) == [400], received
    assert shared_daemon.get("/sessions").json["count"] == before


def test_requests_that_are_piped_together_are_answered_in_order(shared_daemon):
    received = shared_daemon.raw(head(shared_daemon) + head(shared_daemon, "GET /nowhere HTTP/1.1", KEY) +
                                 head(shared_daemon, extra="Connection: close\r\n"))
    assert statuses_of(received) == [200, 404, 200]


def test_slow_headers_hold_nobody_up_and_end_in_408(build):
    from roost import Daemon
    with Daemon(build, {"ROOST_HTTP__HEADER_DEADLINE": "1s"}) as daemon:
        slow = [socket.create_connection(("127.0.0.1", daemon.port), timeout=20) for _ in range(100)]
        for s in slow:
            s.sendall(b"GET /health HTTP/1.1\r\nX: ")
        assert daemon.get("/health", key=None).status == 200
        for s in slow:
            assert status_of(s.recv(65536)) == 408
            s.close()


def test_idle_connections_hold_nobody_up(shared_daemon):
    idle = []
    for _ in range(1000):
        s = socket.create_connection(("127.0.0.1", shared_daemon.port), timeout=20)
        idle.append(s)
    for s in idle[:200]:
        s.sendall(head(shared_daemon))
    for s in idle[:200]:
        assert status_of(s.recv(65536)) == 200
    assert shared_daemon.get("/health", key=None, timeout=30).status == 200, "it does not wait until they are cut for idleness"
    for s in idle:
        s.close()


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"x"', b"null", b"{}", b'{"user_id":1}', b'{"user_id":null}', b'{"user_id":""}', b'{"user_id":"a","user_id":"b"}',
    b'{"user_id":"a\\u0000b"}', b'{"user_id":"\xff"}', b'{"user_id":"' + b"a" * 300 + b'"}', b'{"user_id":"a\\nb"}', b"[" * 5000,
    b'{"user_id":"a","n":18446744073709551616}', b'{"user_id":"a","n":1e400}', b'{"user_id":"a"} x', b'{"user_id":"a",}', b"user_id=a",
])
def test_bad_json_is_refused_with_a_reason(shared_daemon, body):
    before = shared_daemon.get("/sessions").json["count"]
    answer = shared_daemon.post("/session/create", body, headers={"Content-Type": "application/json"})
    assert answer.status in (400, 422), answer
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == answer.status and len(problem["detail"]) > 10 and problem["title"]
    assert shared_daemon.get("/sessions").json["count"] == before


def test_another_content_type_is_415_and_a_large_body_413(shared_daemon):
    assert shared_daemon.post("/session/create", b"user_id=a", headers={"Content-Type": "text/plain"}).status == 415
    assert shared_daemon.post("/session/create", b"a" * (2 << 20), headers={"Content-Type": "application/json"}).status == 413


@pytest.mark.parametrize("uuid", ["x", "1823b3a", "1823B3A8", "1823b3a88", "%2e%2e", "........", "1823b3a8%00", "1823b3a8%2f", "*", "00000000"])
def test_bad_uuids_are_not_found(shared_daemon, uuid):
    for method, rest in (("GET", "/status"), ("POST", "/sleep"), ("DELETE", ""), ("GET", "")):
        answer = shared_daemon.request(method, f"/session/{uuid}{rest}")
        assert answer.status in (400, 404), answer
        assert answer.json["detail"]


def test_keys(shared_daemon):
    for headers in ({}, {"X-API-Key": ""}, {"X-API-Key": "wrong"}, {"X-API-Key": GUIDE_KEY[:-1]}, {"X-API-Key": GUIDE_KEY + " x"}):
        answer = shared_daemon.get("/sessions", key=None, headers=headers)
        assert answer.status == 401, answer
        assert GUIDE_KEY not in answer.body.decode()
    assert shared_daemon.get("/sessions", key=None, headers={"Authorization": f"Bearer {GUIDE_KEY}"}).status == 200


def test_wrong_values(shared_daemon):
    uuid = shared_daemon.create("v", running=False)
    for body in ({"scale": "sideways"}, {"scale": 1}, {}, {"scale": "UP"}):
        assert shared_daemon.post(f"/session/{uuid}/scale", body).status in (400, 422)
    for body in ({"message": ""}, {"message": 5}, {}, {"message": "x" * 70_000}):
        assert shared_daemon.post(f"/session/{uuid}/chat", body).status in (400, 413, 422)
    for path in ("/sessions?limit=0", "/sessions?limit=x", "/sessions?limit=-1"):
        assert shared_daemon.get(path).status in (400, 422)


def test_errors_do_not_leak_paths(shared_daemon):
    answer = shared_daemon.get("/nowhere")
    assert answer.status == 404 and str(shared_daemon.directory) not in answer.body.decode()
    assert "server" not in answer.headers or "/" not in answer.headers["server"]


def test_openapi_is_served(shared_daemon):
    document = shared_daemon.get("/openapi.json", key=None).json
    assert document["openapi"].startswith("3.") and "/session/{uuid}/status" in document["paths"]
    json.dumps(document)
