"""Backups on a schedule, with the real agent: a workspace that runs and one that sleeps, .roostignore, and kill -9 of the daemon."""
import subprocess

import pytest

from roost import Daemon, wait_for

OFTEN = {"ROOST_SESSIONS__BACKUP_EVERY": "3s", "ROOST_BACKUPS__WALK": "1s"}
IGNORE = b"# what a build makes again\nbuild/\n*.log\n"


@pytest.fixture
def daemon(build):
    with Daemon(build, OFTEN) as started:
        yield started


def backups(daemon, uuid, trigger="schedule"):
    return [b for b in daemon.get(f"/session/{uuid}/backups").json["backups"] if b["state"] == "verified" and b["trigger"] == trigger]


def names(daemon, backup):
    listed = subprocess.run(["unzip", "-Z1", daemon.directory / "backups" / backup["archive"]], capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


def metric(daemon, name):
    lines = daemon.get("/metrics", key=None).body.decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


def at_rest(daemon, uuid):
    return [b for b in backups(daemon, uuid) if not b["live"]]


def filled(daemon):
    uuid = daemon.create()
    workspace = daemon.workspace(uuid)
    for name, data in {".roostignore": IGNORE, "work.c": b"int x;\n", "build/out": b"made\n", "a.log": b"said\n"}.items():
        if "/" in name:
            assert workspace.run("mkdir", "-p", "/workspace/" + name.split("/")[0])[0] == 0
        workspace.write(name, data)
    return uuid


def test_what_runs_is_saved_live_again_and_again_and_what_sleeps_once(daemon):
    uuid = filled(daemon)
    daemon.workspace(uuid).write("later.txt", b"x")
    # The first may have been begun before the files were there.
    wait_for(lambda: len(backups(daemon, uuid)) >= 3, 90, "three backups")
    live = backups(daemon, uuid)[-1]
    assert live["live"] and live["exclusions"] and live["trigger"] == "schedule", live
    assert daemon.session(uuid)["phase"] == "running" and daemon.session(uuid)["last_backup_at"]
    left_out = {(s["kind"], s["reason"]): s["count"] for s in live["skipped"]}
    assert left_out[("directory", "excluded")] == 1 and left_out[("file", "excluded")] == 1, live
    assert {"work.c", "later.txt", ".roostignore"} <= names(daemon, live) and not {"build/out", "a.log"} & names(daemon, live)

    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    wait_for(lambda: at_rest(daemon, uuid), 60, "one at rest")
    wait_for(lambda: metric(daemon, "roost_backup_oldest_unsaved_seconds") == 0, 30, "nothing to be unsaved")
    begun = metric(daemon, 'roost_backup_schedule_total{result="started"}')
    # Another session's backups show that the schedule went on meanwhile.
    other = daemon.create()
    wait_for(lambda: len(backups(daemon, other)) >= 3, 90, "the schedule to go on")
    assert len(at_rest(daemon, uuid)) == 1, "it slept ever since"
    assert metric(daemon, 'roost_backup_schedule_total{result="started"}') > begun
    assert metric(daemon, 'roost_backup_schedule_total{result="failed"}') == 0

    # A delete takes everything, whatever the user said.
    deleted = daemon.delete(f"/session/{uuid}")
    assert deleted.status == 200 and deleted.json["backup"]["exclusions"] is False, deleted
    assert {"work.c", "build/out", "a.log"} <= names(daemon, deleted.json["backup"])


def test_it_is_in_nobodys_way(daemon):
    uuid = filled(daemon)
    # Whatever the schedule does at the moment: a backup that somebody asks for begins, and one is not taken for the other.
    for _ in range(5):
        begun = daemon.post(f"/session/{uuid}/backups")
        assert begun.status == 202, begun
        done = wait_for(lambda path=begun.json["operation"]: (o := daemon.get(path)).status == 200 and o.json["done"] and o.json, 60, "its end")
        assert (done["trigger"], done["outcome"]) == ("request", "succeeded"), done
        assert done["backup"]["exclusions"] is False and "build/out" in names(daemon, done["backup"])
        wait_for(lambda n=len(backups(daemon, uuid)): len(backups(daemon, uuid)) > n, 60, "the next of the schedule")
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "running")


def test_kill_9_begins_nothing_twice(daemon):
    uuid = filled(daemon)
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    for _ in range(4):
        daemon.kill()
        daemon.start()
    wait_for(lambda: at_rest(daemon, uuid), 90, "one at rest")
    # It is begun, done and never begun again, however often the daemon comes back.
    for _ in range(2):
        daemon.kill()
        daemon.start()
    other = daemon.create()
    wait_for(lambda: len(backups(daemon, other)) >= 2, 90, "the schedule to go on")
    known = daemon.get(f"/session/{uuid}/backups").json["backups"]
    assert len([b for b in known if not b["live"]]) == 1, known


def test_what_is_no_longer_good_is_made_anew(daemon):
    uuid = filled(daemon)
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    (first,) = wait_for(lambda: at_rest(daemon, uuid), 60, "one at rest")
    (daemon.directory / "backups" / first["archive"]).unlink()
    wait_for(lambda: [b["id"] for b in at_rest(daemon, uuid) if b["id"] != first["id"]], 90, "another one")
