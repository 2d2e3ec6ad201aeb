"""The catalogue of backups: lists, files and ranges out of archives, holds, retention, rot, archives that vanish and that nobody knows,
removal through a kill -9, and the catalogue made anew out of the storage alone."""
import base64
import hashlib
import http.client
import io
import json
import os
import subprocess
import zipfile

import pytest

from roost import GUIDE_KEY, TOP, Daemon, wait_for
from s3 import S3Daemon, S3Server, TrickyProxy

ALICE, BOB = "a-key-of-alice-for-the-tests", "a-key-of-bob-for-the-tests"
KEYS = {"ROOST_AUTH__KEYS": json.dumps([{"name": "guide", "key": GUIDE_KEY, "scopes": ["admin"]},
                                        {"name": "alice", "key": ALICE, "scopes": ["sessions"], "user": "alice"},
                                        {"name": "bob", "key": BOB, "scopes": ["read"], "user": "bob"}])}
BRISK = {**KEYS, "ROOST_BACKUPS__WALK": "1s"}


def saved(daemon, user, files, keep=False):
    """A session of that user with these files, deleted: its uuid and its backup."""
    uuid = daemon.create(user)
    workspace = daemon.workspace(uuid)
    for name, data in files.items():
        workspace.write(name, data)
    assert daemon.delete(f"/session/{uuid}").status == 200
    backups = daemon.get(f"/session/{uuid}/backups").json["backups"]
    assert len(backups) == 1, backups
    return uuid, backups[0]


def backup(daemon, identity):
    answer = daemon.get(f"/backups/{identity}")
    return answer.json if answer.status == 200 else None


def metric(daemon, line):
    return any(found.startswith(line) for found in daemon.get("/metrics", key=None).body.decode().splitlines())


@pytest.fixture(params=["directory", "versitygw"])
def daemon(request, build):
    if request.param == "directory":
        with Daemon(build, KEYS) as made:
            yield made
    else:
        with S3Server(request.param) as server, S3Daemon(build, server, KEYS) as made:
            yield made


def test_the_catalogue_its_files_and_whose_they_are(daemon):
    large, odd = os.urandom(3 << 20), "päth with spaces & signs%.txt"
    uuid, made = saved(daemon, "alice", {"src/main.c": b"int main() {}\n", "large.bin": large, odd: b"odd"})
    saved(daemon, "bob", {"secret.txt": b"bob's"})
    at = f"/backups/{made['id']}"

    # Lists, and whose they are.
    assert [b["user_id"] for b in daemon.get("/backups").json["backups"]].count("alice") == 1
    assert [b["id"] for b in daemon.get("/backups", key=ALICE).json["backups"]] == [made["id"]]
    assert [b["user_id"] for b in daemon.get("/backups?user_id=alice", key=BOB).json["backups"]] == []
    assert made["state"] == "verified" and made["consistency"] == "at rest" and made["last_proven_restorable_at"] == made["verified_at"]
    for path in (at, f"{at}/files", f"{at}/files/src/main.c", f"{at}/archive", f"/session/{uuid}/backups"):
        assert daemon.get(path, key=ALICE).status == 200, path
        assert daemon.get(path, key=BOB).status == 404, path
        assert daemon.get(path, key=None).status == 401, path

    # One file, without the rest.
    listed = {f["path"]: f for f in daemon.get(f"{at}/files").json["files"]}
    assert listed["large.bin"]["sha256"] == hashlib.sha256(large).hexdigest() and listed["src"]["type"] == "directory"
    answer = daemon.get(f"{at}/files/large.bin", key=ALICE)
    assert answer.body == large and answer.headers["content-length"] == str(len(large)) and "transfer-encoding" not in answer.headers
    assert answer.headers["etag"] == f'"{hashlib.sha256(large).hexdigest()}"'
    assert daemon.get(f"{at}/files/" + "p%C3%A4th%20with%20spaces%20&%20signs%25.txt").body == b"odd"
    assert daemon.get(f"{at}/files/?path_base64url=" + base64.urlsafe_b64encode(b"src/main.c").decode().rstrip("=")).body == b"int main() {}\n"
    assert daemon.get(f"{at}/files/nothing").status == 404
    for hostile in ("../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "src/../src/main.c"):
        assert daemon.get(f"{at}/files/{hostile}").status in (400, 404), hostile

    # The whole archive, and parts of it.
    archive = daemon.get(f"{at}/archive").body
    with zipfile.ZipFile(io.BytesIO(archive)) as unpacked:
        assert unpacked.testzip() is None and unpacked.read("large.bin") == large
    part = daemon.get(f"{at}/archive", headers={"Range": "bytes=1000-1999"})
    assert part.status == 206 and part.body == archive[1000:2000] and part.headers["content-range"] == f"bytes 1000-1999/{len(archive)}"
    assert daemon.get(f"{at}/archive", headers={"Range": "bytes=-100"}).body == archive[-100:]
    assert daemon.get(f"{at}/archive", headers={"Range": f"bytes={len(archive)}-"}).status == 416
    assert daemon.get(f"{at}/archive", headers={"Range": f"bytes=7-{2**64 - 1}"}).body == archive[7:]
    head = daemon.request("HEAD", f"{at}/archive")
    assert head.status == 200 and head.headers["content-length"] == str(len(archive)) and head.body == b""


def test_pages_go_on_where_the_last_ended(build):
    with Daemon(build, KEYS) as daemon:
        made = sorted(saved(daemon, "alice", {"a.txt": b"a"})[1]["id"] for _ in range(3))
        seen, cursor = [], ""
        while cursor is not None:
            page = daemon.get(f"/backups?limit=1&cursor={cursor}").json
            seen += [b["id"] for b in page["backups"]]
            cursor = page["next_cursor"]
        assert seen == made


def test_retention_removes_on_the_record_and_a_hold_keeps(build):
    with Daemon(build, {**BRISK, "ROOST_BACKUPS__RETENTION": "1h"}) as daemon:
        _, held = saved(daemon, "alice", {"a.txt": b"a"})
        _, going = saved(daemon, "alice", {"b.txt": b"b"})
        wait_for(lambda: backup(daemon, going["id"])["protected_until"], 60, "the keeper to have seen it")
        assert daemon.post(f"/backups/{held['id']}/hold", {"until": None, "reason": "an audit"}, key=ALICE).status == 200
        daemon.stop()
        daemon.environment["ROOST_BACKUPS__RETENTION"] = "1s"
        daemon.start()
        wait_for(lambda: backup(daemon, going["id"]) is None, 60, "retention")
        gone = daemon.get(f"/backups/{going['id']}", key=ALICE)
        assert gone.status == 404 and "by retention: kept for" in gone.json["detail"], gone
        assert not (daemon.directory / "backups" / going["archive"]).exists()
        assert (daemon.directory / "backups" / held["archive"]).exists() and backup(daemon, held["id"])["hold"]["by"] == "alice"
        assert daemon.delete(f"/backups/{held['id']}?override=true").status == 409
        assert daemon.delete(f"/backups/{held['id']}/hold").status == 200
        wait_for(lambda: not (daemon.directory / "backups" / held["archive"]).exists(), 60, "retention, without the hold")
        assert "backup.deleted" in (daemon.directory / "data/audit.log").read_text()


def test_rot_is_found_by_a_drill_and_cut_off_on_the_way_out(build):
    with Daemon(build, BRISK) as daemon:
        data = os.urandom(1 << 20)
        _, made = saved(daemon, "alice", {"large.bin": data})
        archive = daemon.directory / "backups" / made["archive"]
        assert daemon.post(f"/backups/{made['id']}/verify", key=ALICE).status == 202
        wait_for(lambda: (b := backup(daemon, made["id"]))["verify_asked_at"] is None and b["last_proven_restorable_at"] > made["verified_at"], 60, "a drill")
        stored = bytearray(archive.read_bytes())
        at = stored.find(data[500_000:500_100])
        stored[at] ^= 1
        os.chmod(archive, 0o600)
        archive.write_bytes(stored)
        with pytest.raises(http.client.IncompleteRead):
            daemon.get(f"/backups/{made['id']}/files/large.bin")
        # The wrong bytes were noticed on their way out: a drill looks at all of them.
        wait_for(lambda: backup(daemon, made["id"])["state"] == "damaged", 60, "the drill")
        assert "drill" == backup(daemon, made["id"])["note"]["by"]
        wait_for(lambda: metric(daemon, 'roost_backups{state="damaged"} 1'), 60, "the metric")
        assert metric(daemon, 'roost_backup_drills_total{result="damaged"} 1')
        assert archive.exists(), "the rest of it may still be of use"
        assert daemon.get(f"/backups/{made['id']}/archive").body == bytes(stored), "and comes as it is"


def test_what_vanished_is_missing_and_what_nobody_knows_is_left(build):
    with Daemon(build, BRISK) as daemon:
        _, made = saved(daemon, "alice", {"a.txt": b"a"})
        archive = daemon.directory / "backups" / made["archive"]
        stranger = daemon.directory / "backups" / "holiday.zip"
        stranger.write_bytes(b"not of Roost")
        archive.rename(daemon.directory / "elsewhere.zip")
        wait_for(lambda: backup(daemon, made["id"])["state"] == "missing", 60, "the keeper")
        assert daemon.get(f"/backups/{made['id']}/files").status == 409
        wait_for(lambda: [s["archive"] for s in daemon.get("/backups/strangers").json["strangers"]] == ["holiday.zip"], 60, "the stranger")
        wait_for(lambda: metric(daemon, "roost_backups_strangers 1") and metric(daemon, 'roost_backups{state="missing"} 1'), 60, "the metrics")
        assert daemon.get("/backups/strangers", key=ALICE).status == 403
        (daemon.directory / "elsewhere.zip").rename(archive)
        wait_for(lambda: backup(daemon, made["id"])["state"] == "verified", 60, "its proof")
        assert stranger.read_bytes() == b"not of Roost"


def test_a_removal_survives_kill_9(build):
    with S3Server("versitygw") as server, TrickyProxy(server.port) as proxy, S3Daemon(build, server, BRISK, proxy.endpoint) as daemon:
        _, made = saved(daemon, "alice", {"a.txt": b"a"})
        assert daemon.delete(f"/backups/{made['id']}", key=ALICE).status == 409
        proxy.down = True
        assert daemon.delete(f"/backups/{made['id']}?override=true&reason=asked").status == 202
        wait_for(lambda: proxy.refused, 60, "the attempt to remove it")
        daemon.kill()
        assert any(made["archive"] in name for name in server.names())
        proxy.down = False
        daemon.start()
        wait_for(lambda: backup(daemon, made["id"]) is None, 60, "the removal")
        assert not server.names()
        assert "by guide: asked" in daemon.get(f"/backups/{made['id']}").json["detail"]


def recover(daemon):
    return subprocess.run([daemon.build / "bin/roostd", "--config", TOP / "config/roost.yaml", "recover"], env=daemon.environment,
                          capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("place", ["directory", "versitygw"])
def test_the_catalogue_comes_back_from_the_storage_alone(build, place):
    if place == "directory":
        check_recovery(Daemon(build, BRISK))
    else:
        with S3Server(place) as server:
            check_recovery(S3Daemon(build, server, BRISK))


def check_recovery(made):
    with made as daemon:
        _, one = saved(daemon, "alice", {"a.txt": b"alice's"})
        _, two = saved(daemon, "bob", {"b.txt": b"bob's"})
        refused = recover(daemon)
        told = "stop every one of them" if daemon.redis else "stop the other one"
        assert refused.returncode == 1 and told in refused.stderr, refused
        daemon.stop()
        daemon.lose_documents()
        if "ROOST_BACKUP__CONFIG__PATH" in daemon.environment:
            (daemon.directory / "backups/holiday.zip").write_bytes(b"not of Roost")
            whole = (daemon.directory / "backups" / one["archive"]).read_bytes()
            (daemon.directory / "backups/workspace-00000000-20251115T035136Z.zip").write_bytes(whole[:-1])
        done = recover(daemon)
        assert done.returncode == 0 and "recovered 2 backups, 0 were known already" in done.stdout, done
        if "ROOST_BACKUP__CONFIG__PATH" in daemon.environment:
            assert "stranger: holiday.zip" in done.stdout and "damaged: workspace-00000000-20251115T035136Z.zip" in done.stdout, done
        again = recover(daemon)
        assert "recovered 0 backups, 2 were known already" in again.stdout, again
        daemon.start()
        for before, user, name, data in ((one, ALICE, "a.txt", b"alice's"), (two, BOB, "b.txt", b"bob's")):
            after = daemon.get(f"/backups/{before['id']}", key=user).json
            for member in ("id", "session_id", "user_id", "archive", "archive_bytes", "files", "bytes", "tree_hash", "consistency"):
                assert after[member] == before[member], member
            assert daemon.get(f"/backups/{before['id']}/files/{name}", key=user).body == data
        # Nobody has read them since: a restore waits for that, and asks for it.
        early = daemon.post(f"/backups/{one['id']}/restore", {}, key=ALICE)
        if early.status == 409:  # the drill was not quicker
            assert "last_proven_restorable_at" in early.json["detail"], early
            early = wait_for(lambda: (r := daemon.post(f"/backups/{one['id']}/restore", {}, key=ALICE)).status != 409 and r, 90, "the restore")
        assert early.status == 201, early
        daemon.wait_phase(early.json["uuid"], "running")
        assert daemon.workspace(early.json["uuid"]).read("a.txt") == b"alice's"
        # The drills begin with them.
        wait_for(lambda: all(backup(daemon, b["id"])["last_proven_restorable_at"] for b in (one, two)), 90, "their proof")
        assert backup(daemon, one["id"])["note"] is None
