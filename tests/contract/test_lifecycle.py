"""A session's life over HTTP: files survive, limits change, one workload at a time, preconditions and idempotency hold."""
import http.client
import json

from roost import GUIDE_KEY, wait_for


def test_files_survive_sleep_and_wake(daemon):
    uuid = daemon.create()
    daemon.workspace(uuid).write("a.txt", b"kept")
    assert daemon.post(f"/session/{uuid}/sleep").json["status"] == "sleeping"
    daemon.wait_phase(uuid, "asleep")
    assert daemon.get(f"/session/{uuid}/status").json["replicas"] == 0
    wait_for(lambda: not daemon.supervisors(), what="the workload's end")
    assert daemon.post(f"/session/{uuid}/wake", {}).json["status"] == "waking"
    daemon.wait_phase(uuid, "running")
    assert daemon.get(f"/session/{uuid}/status").json["replicas"] == 1
    assert daemon.workspace(uuid).read("a.txt") == b"kept"
    assert len(daemon.supervisors()) == 1


def test_a_visit_wakes_a_sleeping_workspace(daemon):
    uuid = daemon.create()
    visitor = daemon.workspace(uuid)
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    page = visitor.request("GET", "/", headers={"Accept": "text/html"})
    assert b"<html" in page.body.lower() and b"<h1>workspace</h1>" not in page.body
    daemon.wait_phase(uuid, "running")
    assert wait_for(lambda: visitor.request("GET", "/").body == b"<h1>workspace</h1>", what="the workload behind the gateway")


def test_scale_changes_the_limits_in_force_without_a_restart(daemon):
    uuid = daemon.create()
    visitor = daemon.workspace(uuid)
    pid = visitor.request("GET", "/pid").body
    for direction, memory, cpu in (("up", 2 << 30, 2000), ("down", 1 << 30, 1000)):
        answer = daemon.post(f"/session/{uuid}/scale", {"scale": direction})
        assert answer.json["action"] == f"scale_{direction}" and answer.json["status"] == "success"
        size = wait_for(lambda: (s := daemon.session(uuid)["observed"]["size"])["memory_bytes"] == memory and s, what=f"{direction} in force")
        assert size["cpu_millis"] == cpu
    assert visitor.request("GET", "/pid").body == pid


def test_scale_while_asleep_is_in_force_after_the_wake(daemon):
    uuid = daemon.create()
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    assert daemon.post(f"/session/{uuid}/scale", {"scale": "up"}).status == 200
    daemon.post(f"/session/{uuid}/wake")
    assert daemon.wait_phase(uuid, "running")["observed"]["size"]["memory_bytes"] == 2 << 30


def test_quick_changes_of_mind_end_where_the_last_one_said(daemon):
    uuid = daemon.create(running=False)
    for action in ["sleep", "wake"] * 5 + ["sleep"]:
        assert daemon.post(f"/session/{uuid}/{action}").status == 200
    daemon.wait_phase(uuid, "asleep")
    for action in ["wake", "sleep"] * 5 + ["wake"]:
        assert daemon.post(f"/session/{uuid}/{action}").status == 200
    daemon.wait_phase(uuid, "running")
    assert len(daemon.supervisors()) == 1


def test_an_idempotency_key_creates_one_session(daemon):
    headers = {"Idempotency-Key": "login-42"}
    first = daemon.post("/session/create", {"user_id": "a"}, headers=headers)
    second = daemon.post("/session/create", {"user_id": "a"}, headers=headers)
    assert first.json["uuid"] == second.json["uuid"]
    assert daemon.get("/sessions").json["count"] == 1
    other = daemon.post("/session/create", {"user_id": "a"}, headers={"Idempotency-Key": "login-43"})
    assert other.json["uuid"] != first.json["uuid"]


def test_if_match_and_dry_run(daemon):
    uuid = daemon.create()
    stale = daemon.post(f"/session/{uuid}/sleep", headers={"If-Match": '"1"'})
    assert stale.status in (409, 412), stale
    etag = daemon.get(f"/session/{uuid}").headers["etag"]
    assert daemon.post(f"/session/{uuid}/sleep?dry_run=true").status == 200
    assert daemon.get(f"/session/{uuid}").headers["etag"] == etag
    assert daemon.session(uuid)["phase"] == "running"
    assert daemon.post(f"/session/{uuid}/sleep", headers={"If-Match": etag}).status == 200


def test_sessions_are_listed_in_pages(daemon):
    uuids = sorted(daemon.create(f"u{i}", running=False) for i in range(5))
    seen, cursor = [], ""
    for _ in range(10):
        page = daemon.get(f"/sessions?limit=2&cursor={cursor}").json
        seen += [s["uuid"] for s in page["sessions"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert seen == uuids


def test_a_user_can_have_only_so_many_sessions(build):
    from roost import Daemon
    with Daemon(build, {"ROOST_SESSIONS__PER_USER": "2"}) as daemon:
        daemon.create("a", running=False)
        daemon.create("a", running=False)
        third = daemon.post("/session/create", {"user_id": "a"})
        assert third.status == 429 and "retry-after" in third.headers and "2" in third.json["detail"]
        assert daemon.post("/session/create", {"user_id": "b"}).status in (200, 201)


def events(daemon, path, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    connection.request("GET", path, headers={"X-API-Key": GUIDE_KEY, "Accept": "text/event-stream", **headers})
    stream = connection.getresponse()
    assert stream.status == 200 and stream.getheader("Content-Type").startswith("text/event-stream")
    return connection, stream


def test_a_client_that_is_cut_off_before_its_first_event_misses_none(daemon):
    uuid = daemon.create()
    connection, stream = events(daemon, f"/session/{uuid}/events")
    begin = [stream.readline().decode() for _ in range(4)]
    assert begin[:2] == ["retry: 1000\n", "\n"] and begin[2].startswith("id: ") and begin[3] == "\n", begin
    connection.close()
    sent = daemon.post(f"/session/{uuid}/chat", {"message": "hello"}).json["message_id"]
    connection, stream = events(daemon, f"/session/{uuid}/events", **{"Last-Event-ID": begin[2][4:].strip()})
    lines = iter(lambda: stream.readline().decode(), "")
    missed = next(line for line in lines if line.startswith("data:") and "message_id" in line)
    assert json.loads(missed[5:])["message_id"] == sent
    connection.close()


def test_events_tell_the_story(daemon):
    connection, stream = events(daemon, "/events")
    uuid = daemon.create()
    types, phases = set(), []
    while "running" not in phases:
        line = stream.readline().decode().strip()
        if line.startswith("event:"):
            types.add(line.split(":", 1)[1].strip())
        if line.startswith("data:"):
            data = json.loads(line.split(":", 1)[1])
            if data.get("uuid") == uuid and "phase" in data:
                phases.append(data["phase"])
    assert "session.created" in types
    connection.close()
