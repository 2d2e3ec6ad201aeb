"""Restores over HTTP, with the real agent: the old tree comes back exactly, and whatever goes wrong leaves what was there."""
import hashlib
import os
import stat
import subprocess
import threading

import pytest

from roost import Daemon, wait_for

TREE = r"""
import os, time
os.makedirs("src/deep/er", exist_ok=True)
os.makedirs("empty/inside", exist_ok=True)
open("src/main.c", "w").write("int main() { return 0; }\n")
open("src/tool", "w").write("#!/bin/sh\n"); os.chmod("src/tool", 0o4755)
open("src/deep/er/secret", "w").write("x" * 70000); os.chmod("src/deep/er/secret", 0o400)
open("nothing", "w").close()
open(b"odd \xff\xfe\n name", "wb").write(b"odd")
open("large", "wb").write(os.urandom(3 << 20))
with open("sparse", "wb") as f: f.truncate(5 << 20); f.seek(4 << 20); f.write(b"end")
os.symlink("src/main.c", "link"); os.symlink("/nowhere/at all", "dangling"); os.symlink(b"\xfe", "odd-link")
os.chmod("empty", 0o1777); os.chmod("empty/inside", 0o500); os.chmod("src/deep", 0o2750)
for path in ["src/main.c", "nothing", "large", "empty/inside", "empty", "src/deep/er", "src/deep", "src"]:
    os.utime(path, ns=(1_600_000_000_123_456_789, 1_600_000_001_987_654_321))
"""
CHANGES = r"""
import os, shutil
os.chmod("empty/inside", 0o700); shutil.rmtree("empty"); shutil.rmtree("src/deep")
open("src/main.c", "a").write("changed\n"); os.chmod("src/tool", 0o600)
os.unlink("link"); open("link", "w").write("a file now"); os.makedirs("new/one")
open("new/one/file", "w").write("new")
"""


def run(daemon, uuid, script):
    code, output = daemon.workspace(uuid).run("/usr/bin/python3", "-c", script)
    assert code == 0, output


def volume(daemon, uuid):
    return daemon.directory / "data/workspaces/volumes" / daemon.session(uuid)["volume"]["name"] / "data"


def volumes(daemon):
    return sorted(p.name for p in (daemon.directory / "data/workspaces/volumes").iterdir())


def tree(top):
    """Everything that a backup promises to keep: path to what it is."""
    found, top = {}, os.fsencode(top)
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            entry = [stat.S_IFMT(status.st_mode), status.st_mtime_ns]
            if stat.S_ISLNK(status.st_mode):
                entry.append(os.readlink(path))
            else:
                entry.append(stat.S_IMODE(status.st_mode))
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as f:
                    entry.append(hashlib.sha256(f.read()).hexdigest())
            assert status.st_uid == os.lstat(top).st_uid, path
            found[os.path.relpath(path, top)] = entry
    return found


def asleep(daemon, uuid):
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")


def awake(daemon, uuid):
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "running")


def finished(daemon, path, timeout=120):
    return wait_for(lambda: (o := daemon.get(path).json)["done"] and o, timeout, f"the end of {path}\n{daemon.tail()}")


def backed_up(daemon, uuid):
    done = finished(daemon, daemon.post(f"/session/{uuid}/backups").json["operation"])
    assert done["outcome"] == "succeeded", done
    return done["backup"]["id"]


def changed_since_its_backup(daemon):
    """A session that is asleep: (uuid, the backup, the tree in it, the tree now)."""
    uuid = daemon.create()
    run(daemon, uuid, TREE)
    asleep(daemon, uuid)
    backup, then = backed_up(daemon, uuid), tree(volume(daemon, uuid))
    awake(daemon, uuid)
    run(daemon, uuid, CHANGES)
    asleep(daemon, uuid)
    now = tree(volume(daemon, uuid))
    assert now != then
    return uuid, backup, then, now


def test_the_old_tree_comes_back_exactly(daemon):
    uuid, backup, then, now = changed_since_its_backup(daemon)
    kept = volume(daemon, uuid)
    begun = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
    assert begun.status == 202 and begun.json["status"] == "restoring" and begun.json["backup_id"] == backup, begun
    done = finished(daemon, begun.json["operation"])
    assert (done["kind"], done["outcome"], done["restores"]) == ("restore", "succeeded", backup), done
    assert volume(daemon, uuid) != kept and tree(volume(daemon, uuid)) == then
    session = daemon.session(uuid)
    assert session["phase"] == "asleep"
    (entry,) = session["kept_volumes"]
    assert entry["name"] == kept.parent.name and entry["until"] and tree(kept) == now
    awake(daemon, uuid)
    visitor = daemon.workspace(uuid)
    assert visitor.read("src/main.c") == b"int main() { return 0; }\n"
    visitor.write("src/main.c", b"and it can be written")
    asleep(daemon, uuid)
    back = daemon.post(f"/session/{uuid}/restore", {"backup_id": entry["backup_id"]})
    assert finished(daemon, back.json["operation"])["outcome"] == "succeeded"
    assert tree(volume(daemon, uuid)) == now, "what was replaced comes back the same way"
    assert len(volumes(daemon)) == 3
    assert daemon.delete(f"/session/{uuid}").status == 200
    wait_for(lambda: not volumes(daemon), what="the end of all its volumes")


def test_a_backup_of_a_deleted_session_becomes_a_new_one(daemon):
    uuid = daemon.create("ada@example.com")
    run(daemon, uuid, TREE)
    asleep(daemon, uuid)
    then = tree(volume(daemon, uuid))
    backup = daemon.delete(f"/session/{uuid}").json["backup"]["id"]
    made = daemon.post(f"/backups/{backup}/restore", {}, headers={"Idempotency-Key": "again"})
    assert made.status == 201 and made.json["status"] == "created" and made.json["user_id"] == "ada@example.com", made
    repeated = daemon.post(f"/backups/{backup}/restore", {}, headers={"Idempotency-Key": "again"})
    assert repeated.json["uuid"] == made.json["uuid"] != uuid
    assert finished(daemon, made.json["operation"])["outcome"] == "succeeded"
    daemon.wait_phase(made.json["uuid"], "running")
    assert tree(volume(daemon, made.json["uuid"])) == then
    other = daemon.post(f"/backups/{backup}/restore", {"user_id": "grace@example.com"})
    assert other.status == 201 and other.json["user_id"] == "grace@example.com"
    daemon.wait_phase(other.json["uuid"], "running")
    assert daemon.workspace(other.json["uuid"]).read("src/main.c")


def test_what_cannot_be_restored_is_refused(daemon):
    uuid = daemon.create()
    backup = backed_up(daemon, uuid)
    running = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
    assert running.status == 409 and "sleep" in running.json["detail"], running
    asleep(daemon, uuid)
    assert daemon.post(f"/session/{uuid}/restore", {}).status == 422
    assert daemon.post(f"/session/{uuid}/restore", {"backup_id": 7}).status == 422
    assert daemon.post(f"/session/{uuid}/restore", {"backup_id": backup, "force": "yes"}).status == 422
    assert daemon.post(f"/session/{uuid}/restore", {"backup_id": "00000000-20260101T000000Z"}).status == 404
    assert daemon.post("/backups/..%2f..%2fetc/restore", {}).status == 400
    dry = daemon.post(f"/session/{uuid}/restore?dry_run=true", {"backup_id": backup})
    assert dry.status == 200 and dry.json["dry_run"] is True and daemon.session(uuid)["operation"]["kind"] == "backup"


@pytest.mark.parametrize("how", ["damaged", "missing"])
def test_a_restore_that_fails_leaves_what_was_there(daemon, how):
    uuid, backup, then, now = changed_since_its_backup(daemon)
    archive = daemon.directory / "backups" / f"workspace-{backup}.zip"
    if how == "missing":
        archive.unlink()
    else:
        data = bytearray(archive.read_bytes())
        data[len(data) // 2] ^= 1
        archive.write_bytes(data)
    done = finished(daemon, daemon.post(f"/session/{uuid}/restore", {"backup_id": backup}).json["operation"])
    assert done["outcome"] == "failed" and done["reason"] == {"damaged": "Corrupt", "missing": "NotFound"}[how], done
    wait_for(lambda: volumes(daemon) == [f"pvc-{uuid}"], what="the end of the half-filled volume")
    assert tree(volume(daemon, uuid)) == now and daemon.session(uuid)["kept_volumes"] == []
    awake(daemon, uuid)


@pytest.mark.parametrize("moment", [0.0, 0.2, 0.5, 0.9, 1.4])
def test_kill_9_during_a_restore_loses_nothing(daemon, moment):
    uuid, backup, then, now = changed_since_its_backup(daemon)
    begun = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
    killer = threading.Timer(moment, daemon.kill)
    killer.start()
    killer.join()
    assert tree(daemon.directory / "data/workspaces/volumes" / f"pvc-{uuid}" / "data") == now, "the old one is not touched"
    daemon.start()
    done = finished(daemon, begun.json["operation"])
    assert done["outcome"] == "succeeded", done
    assert tree(volume(daemon, uuid)) == then
    assert volumes(daemon) == [f"pvc-{uuid}", f"pvc-{uuid}-g1"]


def test_a_killed_agent_is_tried_again(daemon):
    uuid, backup, then, now = changed_since_its_backup(daemon)
    begun = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
    pids = wait_for(lambda: daemon.processes("roost-agent", " restore ") or daemon.get(begun.json["operation"]).json["done"], what="its task")
    for pid in pids if pids is not True else []:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            pass
    assert finished(daemon, begun.json["operation"])["outcome"] == "succeeded"
    assert tree(volume(daemon, uuid)) == then


def test_a_wake_during_a_restore_wins(daemon):
    uuid, backup, then, now = changed_since_its_backup(daemon)
    begun = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
    wait_for(lambda: daemon.get(begun.json["operation"]).json["step"] in ("fill", "swap", "done"), what="the fill")
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "running")
    done = finished(daemon, begun.json["operation"])
    if done["outcome"] == "cancelled":
        wait_for(lambda: volumes(daemon) == [f"pvc-{uuid}"], what="the end of the half-filled volume")
        assert tree(volume(daemon, uuid)) == now
    else:  # it was quicker
        assert done["outcome"] == "succeeded" and tree(volume(daemon, uuid)) == then


def test_a_session_whose_volume_is_lost_is_brought_back(daemon):
    uuid, backup, then, now = changed_since_its_backup(daemon)
    volume(daemon, uuid).parent.rename(daemon.directory / "gone")
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "volume_lost")
    done = finished(daemon, daemon.post(f"/session/{uuid}/restore", {"backup_id": backup}).json["operation"])
    assert done["outcome"] == "succeeded", done
    daemon.wait_phase(uuid, "running")
    assert tree(volume(daemon, uuid)) == then


def test_what_was_replaced_goes_after_its_time_if_its_backup_is_there(build):
    with Daemon(build, {"ROOST_SESSIONS__KEPT_VOLUME": "2s", "ROOST_ENGINE__RESYNC": "1s"}) as daemon:
        uuid, backup, then, now = changed_since_its_backup(daemon)
        done = finished(daemon, daemon.post(f"/session/{uuid}/restore", {"backup_id": backup}).json["operation"])
        assert done["outcome"] == "succeeded", done
        wait_for(lambda: volumes(daemon) == [f"pvc-{uuid}-g1"], 60, f"the release of the old volume\n{daemon.tail()}")
        wait_for(lambda: daemon.session(uuid)["kept_volumes"] == [], what="the session to know of it")
        assert tree(volume(daemon, uuid)) == then
        archive = daemon.directory / "backups" / done["backup"]["archive"]
        assert subprocess.run(["unzip", "-tq", archive], capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_without_room_for_both_it_is_refused_with_the_numbers(build, tmp_path):
    small = tmp_path / "data"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", small], check=True)
    try:
        with Daemon(build, {"ROOST_DATA_DIR": str(small)}) as daemon:
            uuid = daemon.create()
            data = os.urandom(36 << 20)
            daemon.workspace(uuid).write("big.bin", data)
            asleep(daemon, uuid)
            backup = backed_up(daemon, uuid)
            done = finished(daemon, daemon.post(f"/session/{uuid}/restore", {"backup_id": backup}).json["operation"])
            assert done["outcome"] == "failed" and done["reason"] == "NoSpace", done
            assert str(36 << 20) in done["message"] and "free" in done["message"], done
            assert [p.name for p in (small / "workspaces/volumes").iterdir()] == [f"pvc-{uuid}"]
            assert (small / "workspaces/volumes" / f"pvc-{uuid}" / "data/big.bin").read_bytes() == data
    finally:
        subprocess.run(["umount", "-l", small], check=True)
