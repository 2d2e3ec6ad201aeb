"""A Redis that is not as it should be: the API says 503 and when to come back, /ready, /health and the log say what is wrong, and
once it is mended everything goes on without a restart."""
import json
import shutil

import pytest

from redis import Redis
from roost import Daemon, wait_for


@pytest.fixture(scope="module")
def server():
    with Redis(lines=["requirepass sesame", "enable-protected-configs yes"]) as started:
        yield started


@pytest.fixture(scope="module")
def roostd(build, server):
    overrides = {"ROOST_STORE__PLUGIN": "store-redis",
                 "ROOST_STORE__CONFIG": json.dumps({"address": server.socket, "check_interval_ms": 200}),
                 "ROOST_STORE__SECRETS": json.dumps({"password": {"value": "sesame"}})}
    with Daemon(build, overrides) as started:
        started.cli = lambda *words: server.cli("-a", "sesame", "--no-auth-warning", *words)
        started.uuid = started.create("bad-redis")
        yield started


def write(daemon):
    return daemon.post(f"/session/{daemon.uuid}/chat", {"message": "hello"})


def meets(daemon, *words):
    """Waits until a message is refused because of the store, in words that say why, and /ready and /health say so too."""
    def refused():
        answer = write(daemon)
        told = answer.body.decode() if isinstance(answer.body, bytes) else answer.body
        return answer if answer.status == 503 and all(word in told for word in words) else None
    answer = wait_for(refused, what=f"a message refused for {words}")
    assert int(answer.headers["retry-after"]) >= 1
    wait_for(lambda: all(word in str(daemon.get("/ready", key=None).body) for word in words), what="/ready's reason")
    wait_for(lambda: all(word in daemon.get("/health", key=None).json.get("not_ready", "") for word in words), what="/health's reason")
    assert daemon.get("/health", key=None).status == 200
    wait_for(lambda: all(word in daemon.tail(1 << 20) for word in words), what="the log's reason")
    assert "sesame" not in daemon.tail(1 << 20)


def goes_on(daemon):
    wait_for(lambda: daemon.get("/ready", key=None).status == 200, what="/ready")
    wait_for(lambda: write(daemon).status in (200, 202), what="a message")


def test_a_wrong_password(roostd, server):
    roostd.cli("CONFIG", "SET", "requirepass", "other")
    server.cli("-a", "other", "CLIENT", "KILL", "TYPE", "normal")
    meets(roostd, "password are wrong")
    server.cli("-a", "other", "CONFIG", "SET", "requirepass", "sesame")
    goes_on(roostd)


def test_memory_that_is_full(roostd):
    roostd.cli("CONFIG", "SET", "maxmemory", "1")
    meets(roostd, "memory is full")
    roostd.cli("CONFIG", "SET", "maxmemory", "0")
    goes_on(roostd)


def test_a_replica_that_is_read_only(roostd):
    roostd.cli("REPLICAOF", "127.0.0.1", "1")
    meets(roostd, "name the master, or use Sentinel")
    roostd.cli("REPLICAOF", "NO", "ONE")
    goes_on(roostd)


def test_too_few_replicas(roostd):
    roostd.cli("CONFIG", "SET", "min-replicas-to-write", "1")
    meets(roostd, "too few of its replicas")
    roostd.cli("CONFIG", "SET", "min-replicas-to-write", "0")
    goes_on(roostd)


def test_a_disk_that_takes_no_snapshot(roostd, server):
    gone = server.directory / "gone"
    gone.mkdir()
    roostd.cli("CONFIG", "SET", "dir", gone)
    shutil.rmtree(gone)
    roostd.cli("CONFIG", "SET", "save", "3600 1000000")
    roostd.cli("BGSAVE")
    meets(roostd, "cannot write its data to disk")
    roostd.cli("CONFIG", "SET", "save", "")
    roostd.cli("CONFIG", "SET", "dir", server.directory)
    goes_on(roostd)


def test_a_key_of_the_wrong_type(roostd):
    def each(commands):  # of the 256 streams, in one call
        return roostd.cli("EVAL", "local kept = 0; for n = 0, 255 do local key = string.format('roost:{%02x}:changes', n); local other = key .. '.kept'; "
                          + commands + " end; return kept", "0")
    kept = each("if redis.call('EXISTS', key) == 1 then redis.call('RENAME', key, other); kept = kept + 1 end; redis.call('SET', key, 'not a stream')")
    assert int(kept) > 0
    meets(roostd, "holds something else", "WRONGTYPE at roost:{")
    each("redis.call('DEL', key); if redis.call('EXISTS', other) == 1 then redis.call('RENAME', other, key) end")
    goes_on(roostd)


def test_kill_9_with_everything_still_there_afterwards(roostd, server):
    before = write(roostd).json["queue_length"]
    server.kill()
    meets(roostd, "cannot connect to")
    server.start()
    goes_on(roostd)
    assert write(roostd).json["queue_length"] > before


def test_a_server_that_is_still_loading(roostd, server):
    # While it loads it answers after each 1,024 commands: with half a millisecond for each, about twice a second.
    roostd.cli("EVAL", "for i = 1, 20000 do redis.call('SET', 'filler:' .. i, 1) end", "0")
    server.kill()
    server.lines.append("key-load-delay 500")
    server.start()
    meets(roostd, "loading its data")
    roostd.cli("CONFIG", "SET", "key-load-delay", "0")
    server.lines.pop()
    goes_on(roostd)


def test_roostd_that_is_there_before_redis(build, tmp_path):
    server = Redis(directory=tmp_path / "redis")
    overrides = {"ROOST_STORE__PLUGIN": "store-redis", "ROOST_STORE__CONFIG": json.dumps({"address": server.socket})}
    daemon = Daemon(build, overrides)
    try:
        daemon.start(wait=False)
        wait_for(lambda: "cannot connect to" in daemon.tail(), what="the log's reason")
        wait_for(lambda: "listens on" in daemon.tail(), what="its address")
        assert daemon.get("/ready", key=None).status == 503
        assert daemon.get("/health", key=None).status == 200
        server.start()
        daemon.wait_ready()
        daemon.create(running=False)
    finally:
        daemon.__exit__(None, None, None)
        server.kill()
