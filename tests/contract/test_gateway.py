"""Workspaces over the gateway: closed to strangers, apart from each other and from the API (design: origins)."""
import urllib.parse

import pytest

from roost import GUIDE_KEY


@pytest.fixture(scope="module")
def two(shared_daemon):
    a, b = shared_daemon.create("a"), shared_daemon.create("b")
    return a, b


def test_a_stranger_sees_nothing_and_cannot_tell_what_exists(shared_daemon, two):
    hosts = [f"vs-code-{two[0]}.localhost:{shared_daemon.port}", f"vs-code-00000000.localhost:{shared_daemon.port}"]
    answers = [shared_daemon.get("/", key=None, host=h) for h in hosts]
    assert [a.status for a in answers] == [401, 401]
    assert answers[0].body.replace(two[0].encode(), b"") == answers[1].body.replace(b"00000000", b"")
    with_key = shared_daemon.get("/", key=GUIDE_KEY, host=hosts[0])
    assert with_key.status == 401, "an API key opens no workspace"


def test_an_access_link_works_once(shared_daemon, two):
    visitor = shared_daemon.workspace(two[0])
    assert visitor.request("GET", "/").body == b"<h1>workspace</h1>"
    split = urllib.parse.urlsplit(visitor.link)
    again = shared_daemon.get(f"{split.path}?{split.query}", key=None, host=visitor.host)
    assert again.status in (401, 403, 410) and "set-cookie" not in again.headers


def test_a_cookie_opens_its_own_workspace_only(shared_daemon, two):
    visitor = shared_daemon.workspace(two[0])
    other = f"vs-code-{two[1]}.localhost:{shared_daemon.port}"
    assert shared_daemon.get("/", key=None, host=other, headers={"Cookie": visitor.cookie}).status == 401
    forged = visitor.cookie[:-2] + ("AA" if visitor.cookie[-2:] != "AA" else "BB")
    assert shared_daemon.get("/", key=None, host=visitor.host, headers={"Cookie": forged}).status == 401


def test_cookie_and_key_are_not_forwarded(shared_daemon, two):
    visitor = shared_daemon.workspace(two[0])
    echoed = visitor.request("GET", "/echo", headers={"X-API-Key": "secret-key", "Cookie": visitor.cookie + "; mine=1"}).json
    headers = {name.lower(): value for name, value in echoed}
    assert "x-api-key" not in headers and headers["cookie"] == "mine=1"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost", "http://vs-code-00000000.localhost"])
def test_a_foreign_page_cannot_act(shared_daemon, two, origin):
    visitor = shared_daemon.workspace(two[0])
    assert visitor.request("POST", "/write?path=x", body=b"x", headers={"Origin": origin}).status == 403
    upgrade = {"Origin": origin, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert visitor.request("GET", "/", headers=upgrade).status == 403


def test_a_workspaces_page_cannot_act_on_another_or_on_the_api(shared_daemon, two):
    a, b = shared_daemon.workspace(two[0]), shared_daemon.workspace(two[1])
    assert b.request("POST", "/write?path=x", body=b"x", headers={"Origin": f"http://{a.host}"}).status == 403
    api = shared_daemon.get("/sessions", headers={"Origin": f"http://{a.host}"})
    assert "access-control-allow-origin" not in api.headers
    preflight = shared_daemon.request("OPTIONS", "/session/create", headers={
        "Origin": f"http://{a.host}", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"})
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "vs-code-.localhost", "vs-code-1823b3a8.evil.example", "localhost.evil.example",
                                  "vs-code-1823b3a8.localhost.evil.example"])
def test_other_host_names_are_misdirected(shared_daemon, two, host):
    """DNS rebinding: a name that the daemon does not know is answered 421 whatever it carries."""
    assert shared_daemon.get("/sessions", host=host).status == 421


def test_the_api_is_not_under_a_workspaces_name(shared_daemon, two):
    visitor = shared_daemon.workspace(two[0])
    answer = visitor.request("GET", "/sessions", headers={"X-API-Key": GUIDE_KEY})
    assert b'"sessions"' not in answer.body
