"""Backups on demand: of a running workspace and of one that sleeps, cancelled, replaced, killed in the middle."""
import os
import subprocess
import threading

import pytest

from roost import wait_for


def finished(daemon, path, timeout=90):
    return wait_for(lambda: (o := daemon.get(path).json)["done"] and o, timeout, f"the end of {path}\n{daemon.tail()}")


def archives(daemon, uuid):
    return {p.name: p for p in (daemon.directory / "backups").glob(f"workspace-{uuid}-*.zip")}


def unzipped(archive, name):
    return subprocess.run(["unzip", "-p", archive, name], capture_output=True, check=True).stdout


def asleep(daemon, uuid):
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")


def test_a_running_workspace_is_backed_up_and_runs_on(daemon):
    uuid = daemon.create()
    visitor = daemon.workspace(uuid)
    visitor.write("a.txt", b"first")
    pid = visitor.request("GET", "/pid").body
    begun = daemon.post(f"/session/{uuid}/backups")
    assert begun.status == 202 and begun.json["status"] == "started" and begun.json["live"] is True, begun
    assert begun.headers["location"] == begun.json["operation"]
    done = finished(daemon, begun.json["operation"])
    assert (done["kind"], done["outcome"], done["trigger"]) == ("backup", "succeeded", "request"), done
    assert done["backup"]["live"] is True and done["backup"]["verified_at"]
    (archive,) = archives(daemon, uuid).values()
    assert done["backup"]["archive"] == archive.name and unzipped(archive, "a.txt") == b"first"
    assert visitor.request("GET", "/pid").body == pid
    assert daemon.session(uuid)["last_backup_at"]
    assert daemon.session(uuid)["protection"]["backup"] is None, "a live one lets no volume go"


def test_a_sleeping_workspace_is_backed_up_and_sleeps_on(daemon):
    uuid = daemon.create()
    daemon.workspace(uuid).write("a.txt", b"at rest")
    asleep(daemon, uuid)
    begun = daemon.post(f"/session/{uuid}/backups", {})
    done = finished(daemon, begun.json["operation"])
    assert done["outcome"] == "succeeded" and done["backup"]["live"] is False and done["backup_id"] == begun.json["backup_id"]
    assert daemon.session(uuid)["phase"] == "asleep" and not daemon.supervisors()
    wait_for(lambda: not list((daemon.directory / "data").rglob("tasks/*")), what="the end of its tasks")
    assert daemon.delete(f"/session/{uuid}").status == 200
    assert len(archives(daemon, uuid)) == 2, "a delete makes one of its own"


def test_what_cannot_be_backed_up_is_refused(daemon):
    uuid = daemon.create()
    assert daemon.post(f"/session/{uuid}/backups", {"later": True}).status == 422
    assert daemon.post("/session/00000000/backups").status == 404
    dry = daemon.post(f"/session/{uuid}/backups?dry_run=true")
    assert dry.status == 200 and dry.json["dry_run"] is True and daemon.session(uuid)["operation"] is None
    daemon.workspace(uuid).write("big", os.urandom(30 << 20))
    begun = daemon.post(f"/session/{uuid}/backups")
    second = daemon.post(f"/session/{uuid}/backups")
    if second.status == 202:  # the first one was quick
        finished(daemon, second.json["operation"])
    else:
        assert second.status == 409 and begun.json["operation"].rsplit("/", 1)[1] in second.json["detail"], second
    finished(daemon, daemon.session(uuid)["operation"] and f"/operations/{daemon.session(uuid)['operation']['id']}")


def test_a_backup_says_how_far_it_is_and_of_how_much(daemon):
    uuid = daemon.create()
    code, output = daemon.workspace(uuid).run("bash", "-c", "head -c 96M /dev/urandom | base64 -w 0 | head -c 96M > /workspace/large; touch /workspace/small")
    assert code == 0, output
    asleep(daemon, uuid)
    operation = daemon.post(f"/session/{uuid}/backups").json["operation"]

    def told():
        document = daemon.get(operation).json
        assert not document["done"], f"it never said how much there is: {document}"
        progress = document["progress"] or {}
        return "total_bytes" in progress and {**progress, "step": document["step"]}

    progress = wait_for(told, 60, "the totals")
    assert (progress["step"], progress["total_bytes"], progress["total_files"]) == ("backup", 96 << 20, 2), progress
    assert progress["bytes"] <= 96 << 20 and progress["files"] <= 2
    assert finished(daemon, operation)["progress"] is None


def test_a_wake_does_not_wait_for_a_backup(daemon):
    uuid = daemon.create()
    for i in range(30):
        daemon.workspace(uuid).write(f"f{i}", os.urandom(4 << 20))
    asleep(daemon, uuid)
    begun = daemon.post(f"/session/{uuid}/backups")
    wait_for(lambda: daemon.processes("roost-agent", " backup ") or daemon.get(begun.json["operation"]).json["done"], what="its task")
    daemon.post(f"/session/{uuid}/wake")
    daemon.wait_phase(uuid, "running")
    done = finished(daemon, begun.json["operation"])
    assert done["outcome"] in ("cancelled", "succeeded"), done
    wait_for(lambda: not daemon.processes("roost-agent", " backup "), what="the end of its task")
    if done["outcome"] == "cancelled":
        assert done["reason"] == "Cancelled" and not archives(daemon, uuid)
        assert daemon.session(uuid)["last_backup_at"] is None


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.7])
def test_kill_9_during_a_backup_loses_nothing(daemon, moment):
    uuid = daemon.create()
    data = os.urandom(8 << 20)
    daemon.workspace(uuid).write("work.bin", data)
    asleep(daemon, uuid)
    begun = daemon.post(f"/session/{uuid}/backups")
    killer = threading.Timer(moment, daemon.kill)
    killer.start()
    killer.join()
    daemon.start()
    done = finished(daemon, begun.json["operation"])
    assert done["outcome"] == "succeeded", done
    assert unzipped(archives(daemon, uuid)[done["backup"]["archive"]], "work.bin") == data


def test_a_delete_takes_the_place_of_a_backup(daemon):
    uuid = daemon.create()
    data = os.urandom(8 << 20)
    daemon.workspace(uuid).write("work.bin", data)
    asleep(daemon, uuid)
    daemon.post(f"/session/{uuid}/backups")
    deleted = daemon.delete(f"/session/{uuid}")
    assert deleted.status == 200, deleted
    assert unzipped(archives(daemon, uuid)[deleted.json["backup"]["archive"]], "work.bin") == data
