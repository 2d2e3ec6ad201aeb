"""roostd export and import: from SQLite into Redis and back, with real stores; damage, a store in use and interruptions."""
import json
import pathlib
import sqlite3
import subprocess
import time

import pytest

from redis import Redis
from roost import TOP, Daemon


def transfer(daemon, what, file, store=None):
    environment = dict(daemon.environment)
    if store is not None:
        environment["ROOST_STORE__PLUGIN"] = "store-redis"
        environment["ROOST_STORE__CONFIG"] = json.dumps(store)
    return subprocess.run([daemon.build / "bin/roostd", "--config", TOP / "config/roost.yaml", what, file], env=environment,
                          capture_output=True, text=True, timeout=120)


@pytest.fixture
def source(build):
    """A stopped daemon over SQLite with two sessions, a queue and a tombstone; it remembers what clients know."""
    with Daemon(build) as daemon:
        daemon.kept, asleep, gone = (daemon.create("ada@example.com") for _ in range(3))
        for text in ("one", "two", "three"):
            daemon.sent = daemon.post(f"/session/{daemon.kept}/chat", {"message": text}).json["message_id"]
        claimed = daemon.post(f"/session/{daemon.kept}/messages/claim", {"max": 1}).json["messages"][0]
        daemon.post(f"/session/{daemon.kept}/messages/{claimed['id']}/ack", {"reply": "re: one", "claim": claimed["claim"]})
        daemon.post(f"/session/{asleep}/sleep")
        daemon.wait_phase(asleep, "asleep")
        daemon.post(f"/session/{daemon.kept}/sleep")
        daemon.wait_phase(daemon.kept, "asleep")
        daemon.receipt = daemon.delete(f"/session/{gone}").json
        daemon.asleep, daemon.gone = asleep, gone
        daemon.made = daemon.post("/session/create", {"user_id": "bob@example.com"}, headers={"Idempotency-Key": "k-1"}).json["uuid"]
        daemon.wait_phase(daemon.made, "running")
        daemon.post(f"/session/{daemon.made}/sleep")
        daemon.wait_phase(daemon.made, "asleep")
        daemon.history = daemon.get(f"/session/{daemon.kept}/messages").json
        assert daemon.stop() == 0
        yield daemon


def knows_everything(daemon, source):
    assert {s["uuid"] for s in daemon.get("/sessions").json["sessions"]} == {source.kept, source.asleep, source.made}
    assert daemon.get(f"/session/{source.kept}/messages").json == source.history
    assert daemon.delete(f"/session/{source.gone}").json == source.receipt, "the second DELETE answers the same receipt"
    again = daemon.post("/session/create", {"user_id": "bob@example.com"}, headers={"Idempotency-Key": "k-1"})
    assert again.json["uuid"] == source.made, "the key is remembered"


def test_from_sqlite_into_redis_and_back(source, tmp_path):
    with Redis() as redis:
        store = {"address": redis.socket}
        out = transfer(source, "export", tmp_path / "a.export")
        assert out.returncode == 0 and "exported 3 sessions" in out.stdout, out
        assert (tmp_path / "a.export").stat().st_mode & 0o777 == 0o600
        into = transfer(source, "import", tmp_path / "a.export", store)
        assert into.returncode == 0 and "imported 3 sessions" in into.stdout, into

        source.environment |= {"ROOST_STORE__PLUGIN": "store-redis", "ROOST_STORE__CONFIG": json.dumps(store)}
        source.start()
        knows_everything(source, source)
        sent = source.post(f"/session/{source.kept}/chat", {"message": "four"}).json["message_id"]
        assert sent > source.sent, "a queue goes on behind its last number"
        busy = transfer(source, "export", tmp_path / "busy.export", store)
        assert busy.returncode == 1 and "stop every one of them first" in busy.stderr, busy
        source.post(f"/session/{source.kept}/sleep")
        source.wait_phase(source.kept, "asleep")
        source.history = source.get(f"/session/{source.kept}/messages").json
        assert source.stop() == 0

        assert transfer(source, "export", tmp_path / "b.export", store).returncode == 0
        for name in ("ROOST_STORE__PLUGIN", "ROOST_STORE__CONFIG"):
            del source.environment[name]
        full = transfer(source, "import", tmp_path / "b.export")
        assert full.returncode == 1 and "not empty" in full.stderr, full
        for path in pathlib.Path(source.directory / "data").glob("store.db*"):
            path.unlink()
        back = transfer(source, "import", tmp_path / "b.export")
        assert back.returncode == 0, back
        source.start()
        knows_everything(source, source)
        assert source.post(f"/session/{source.kept}/chat", {"message": "five"}).json["message_id"] > sent


def test_a_damaged_file_changes_nothing(source, tmp_path):
    good = tmp_path / "good.export"
    assert transfer(source, "export", good).returncode == 0
    text = good.read_bytes()
    lines = text.splitlines(keepends=True)
    half = len(lines) // 2
    damaged = {
        "flipped": text[:len(text) // 2] + bytes([text[len(text) // 2] ^ 1]) + text[len(text) // 2 + 1:],
        "a line less": b"".join(lines[:half] + lines[half + 1:]),
        "two lines swapped": b"".join([*lines[:half], lines[half + 1], lines[half], *lines[half + 2:]]),
        "cut": text[:-200],
        "without its end": b"".join(lines[:-1]),
        "more behind it": text + lines[1],
    }
    with Redis() as redis:
        for how, content in damaged.items():
            (tmp_path / "bad.export").write_bytes(content)
            done = transfer(source, "import", tmp_path / "bad.export", {"address": redis.socket})
            assert done.returncode == 1 and "bad.export:" in done.stderr, (how, done)
            assert redis.cli("KEYS", "*document*") == "", how


@pytest.mark.parametrize("kind,still", [("history", True), ("message", False)])
def test_what_expires_while_it_is_exported_is_no_change(source, tmp_path, kind, still):
    """One document ends every 5 ms: of those that the store removes by itself, or of those that only a roostd removes."""
    count = 4_000
    with sqlite3.connect(source.directory / "data/store.db") as store:
        now_ms = int(time.time() * 1000)
        store.executemany("INSERT INTO documents(partition, key, revision, expires_ms, value) VALUES(?, ?, 1, ?, ?)",
                          [(source.kept[:2].encode(), f"{kind}/{source.kept}/{1000 + i:016x}", now_ms + 5 * i, b"{}")
                           for i in range(count)])
    store.close()
    source.environment["ROOST_STORE__CONFIG__PURGE_INTERVAL_MS"] = "10"
    done = transfer(source, "export", tmp_path / "a.export")
    if still:
        assert done.returncode == 0 and "exported 3 sessions" in done.stdout, done
    else:
        assert done.returncode == 1 and f"the store changed while it was being exported ({kind}/" in done.stderr, done
        assert not (tmp_path / "a.export").exists()


def test_a_store_that_an_import_did_not_finish_is_not_used(source, tmp_path):
    whole = tmp_path / "whole.export"
    assert transfer(source, "export", whole).returncode == 0
    with sqlite3.connect(source.directory / "data/store.db") as store:
        store.execute("INSERT INTO documents(partition, key, revision, value) VALUES(?, 'import', 1, ?)",
                      (b"transfer", b'{"sha256":"0","line":32}'))
    store.close()
    done = subprocess.run([source.build / "bin/roostd", "--config", TOP / "config/roost.yaml"], env=source.environment,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "roostd import FILE again" in done.stderr, done
    done = transfer(source, "export", tmp_path / "half.export")
    assert done.returncode == 1 and "roostd import FILE again" in done.stderr, done
    assert list(tmp_path.iterdir()) == [whole]
    done = subprocess.run([source.build / "bin/roostd", "--config", TOP / "config/roost.yaml", "recover"], env=source.environment,
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "roostd import FILE again" in done.stderr, done
    done = transfer(source, "import", whole)
    assert done.returncode == 1 and "import of another file" in done.stderr, done
    with sqlite3.connect(source.directory / "data/store.db") as store:
        store.execute("DELETE FROM documents WHERE partition = ?", (b"transfer",))
    store.close()
    source.start()
    knows_everything(source, source)


def test_an_interrupted_import_goes_on(source, tmp_path):
    file = tmp_path / "a.export"
    assert transfer(source, "export", file).returncode == 0
    with Redis() as redis:
        store = {"address": redis.socket}
        process = subprocess.Popen([source.build / "bin/roostd", "--config", TOP / "config/roost.yaml", "import", file],
                                   env={**source.environment, "ROOST_STORE__PLUGIN": "store-redis", "ROOST_STORE__CONFIG": json.dumps(store)},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and "transfer" not in redis.cli("--scan", check=False):
            pass
        process.kill()
        process.wait()
        redis.cli("DEL", "roost:lease:leader")  # else the dead one's lease holds for half a minute
        done = transfer(source, "import", file, store)
        finished = "not empty" in done.stderr  # it was faster than the kill
        assert done.returncode == 0 or finished, done
        source.environment |= {"ROOST_STORE__PLUGIN": "store-redis", "ROOST_STORE__CONFIG": json.dumps(store)}
        source.start()
        knows_everything(source, source)
