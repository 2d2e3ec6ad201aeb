"""kill -9 at any moment, a full disk, a killed agent: every session converges, nothing is lost, nobody is interrupted."""
import os
import shutil
import signal
import subprocess
import threading
import time

import pytest

from chaos import Chaos
from roost import Daemon, wait_for


def test_workspaces_run_on_while_the_daemon_is_killed(daemon):
    uuid = daemon.create()
    visitor = daemon.workspace(uuid)
    pid, supervisors = visitor.request("GET", "/pid").body, daemon.supervisors()
    incarnation = daemon.session(uuid)["observed"]["incarnation"]
    for _ in range(3):
        daemon.kill()
        assert daemon.supervisors() == supervisors
        daemon.start()
        daemon.wait_phase(uuid, "running")
        assert visitor.request("GET", "/pid").body == pid, "the same process, and the cookie still opens it"
        assert daemon.session(uuid)["observed"]["incarnation"] == incarnation
    assert daemon.supervisors() == supervisors


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_at_random_moments_and_everything_converges(daemon, seed):
    """A client creates, sleeps, wakes, scales and deletes while the daemon is killed again and again: what was acknowledged is there."""
    chaos = Chaos(daemon, seed)

    def kill_again_and_again():
        for _ in range(6):
            chaos.over.wait(chaos.chance.uniform(0.05, 1.5))
            daemon.kill()
            daemon.start()
    chaos.run(kill_again_and_again)
    listed = chaos.check()
    running = [u for u, phase in listed.items() if phase == "running"]
    wait_for(lambda: len(daemon.processes("roost-agent", "serve")) == len(running), 30, "one supervisor for each running session")
    volumes = {p.name for p in (daemon.directory / "data").rglob("pvc-*") if p.is_dir()}
    assert volumes == {f"pvc-{u}" for u in listed}, "no orphan, none missing"


@pytest.mark.parametrize("moment", [0.0, 0.05, 0.15, 0.3, 0.6])
def test_kill_9_during_a_delete_loses_nothing(daemon, moment):
    uuid = daemon.create()
    daemon.workspace(uuid).write("work.bin", os.urandom(3 << 20))
    data = daemon.workspace(uuid).read("work.bin")
    killer = threading.Timer(moment, daemon.kill)
    killer.start()
    try:
        daemon.delete(f"/session/{uuid}", timeout=5)
    except Exception:
        pass
    killer.join()
    daemon.start()
    if daemon.session(uuid) and daemon.session(uuid)["phase"] == "running":
        daemon.delete(f"/session/{uuid}")  # the request never arrived
    wait_for(lambda: daemon.session(uuid) is None, 60, "the delete to finish")
    (archive,) = (daemon.directory / "backups").glob(f"workspace-{uuid}-*.zip")
    assert subprocess.run(["unzip", "-p", archive, "work.bin"], capture_output=True).stdout == data
    assert not [p for p in (daemon.directory / "backups").iterdir() if p.name != archive.name], "no leftovers"


def test_a_killed_agent_is_tried_again(daemon):
    uuid = daemon.create()
    visitor = daemon.workspace(uuid)
    for i in range(40):
        visitor.write(f"f{i}", os.urandom(1 << 20))
    killed = 0
    deleting = threading.Thread(target=lambda: daemon.delete(f"/session/{uuid}"))
    deleting.start()
    deadline = time.monotonic() + 20
    while killed < 2 and time.monotonic() < deadline:
        for pid in daemon.processes("roost-agent", " backup "):
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass
        if daemon.session(uuid) is None:
            break
    deleting.join(90)
    wait_for(lambda: daemon.session(uuid) is None, 90, "the delete to finish")
    assert killed, "the agent was never seen"
    (archive,) = (daemon.directory / "backups").glob(f"workspace-{uuid}-*.zip")
    assert subprocess.run(["unzip", "-tq", archive], capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_backup_disk_blocks_the_delete_with_its_reason_and_keeps_the_data(build, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], check=True)
    try:
        with Daemon(build, {"ROOST_BACKUP__CONFIG__PATH": str(small), "ROOST_HTTP__DELETE_WAIT": "2s"}) as daemon:
            uuid = daemon.create()
            data = os.urandom(4 << 20)
            daemon.workspace(uuid).write("big.bin", data)
            answer = daemon.delete(f"/session/{uuid}")
            assert answer.status == 202 and answer.json["status"] == "terminating", answer
            operation = answer.json["operation"]
            blocked = daemon.wait_phase(uuid, "delete_blocked")
            assert blocked["reason"] == "NoSpace" and "space" in blocked["message"].lower(), blocked
            assert daemon.get(operation).status == 200
            (volume,) = [p for p in (daemon.directory / "data").rglob("big.bin")]
            assert volume.read_bytes() == data
            wait_for(lambda: not list(small.iterdir()), what="a moment between two attempts, with no half-written archive")
            subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
            wait_for(lambda: daemon.session(uuid) is None, 90, "the delete, now that there is room")
            (archive,) = small.glob("*.zip")
            assert subprocess.run(["unzip", "-p", archive, "big.bin"], capture_output=True).stdout == data
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.own_store
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_data_disk_refuses_and_recovers(build, tmp_path):
    small = tmp_path / "data"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", small], check=True)
    try:
        with Daemon(build, {"ROOST_DATA_DIR": str(small)}) as daemon:
            uuid = daemon.create(running=False)
            filler = small / "filler"
            with open(filler, "wb", buffering=0) as f:
                try:
                    while True:
                        f.write(b"x" * 4096)
                        f.flush()
                except OSError:
                    pass
            answers = [daemon.post("/session/create", {"user_id": f"u{i}"}) for i in range(30)]
            assert any(a.status in (503, 507, 429) for a in answers), [a.status for a in answers]
            assert all("detail" in a.json for a in answers if a.status >= 400)
            assert daemon.get(f"/session/{uuid}/status").status == 200
            made = {a.json["uuid"] for a in answers if a.status in (200, 201)} | {uuid}
            filler.unlink()
            wait_for(lambda: daemon.post("/session/create", {"user_id": "after"}).status in (200, 201), 30, "a create after room was made")
            assert made <= {s["uuid"] for s in daemon.get("/sessions?limit=200").json["sessions"]}
            daemon.kill()
            daemon.start()
            assert made <= {s["uuid"] for s in daemon.get("/sessions?limit=200").json["sessions"]}
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_unreadable_files_block_the_delete_until_an_admin_accepts_the_loss(build):
    with Daemon(build, {"ROOST_HTTP__DELETE_WAIT": "2s"}) as daemon:
        uuid = daemon.create()
        visitor = daemon.workspace(uuid)
        visitor.write("good.txt", b"good")
        visitor.write("vanishing/x.txt", b"x")
        (volume,) = [p.parent for p in (daemon.directory / "data").rglob("good.txt")]
        bad = volume / "bad"
        bad.mkdir()
        mounted = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "tmpfs", bad]).returncode == 0
        if not mounted:
            os.chmod(bad, 0)
            if os.geteuid() == 0:
                pytest.skip("nothing is unreadable for root here")
        try:
            daemon.delete(f"/session/{uuid}")
            blocked = daemon.wait_phase(uuid, "delete_blocked")
            assert "bad" in blocked["message"], blocked
            assert (volume / "good.txt").exists()
        finally:
            if mounted:
                subprocess.run(["umount", "-l", bad])
            else:
                os.chmod(bad, 0o700)
        daemon.delete(f"/session/{uuid}?accept_losses=true")
        wait_for(lambda: daemon.session(uuid) is None, 60, "the delete")


def test_a_lost_volume_is_never_replaced_by_an_empty_one(daemon):
    uuid = daemon.create()
    daemon.workspace(uuid).write("a", b"a")
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")
    (volume,) = [p for p in (daemon.directory / "data").rglob(f"pvc-{uuid}")]
    aside = daemon.directory / "aside"
    shutil.move(volume, aside)
    daemon.post(f"/session/{uuid}/wake")
    lost = daemon.wait_phase(uuid, "volume_lost")
    assert lost["message"]
    assert not volume.exists()
    answer = daemon.delete(f"/session/{uuid}", headers={"Prefer": "respond-async"}, timeout=90)
    assert answer.status in (202, 409), answer
    shutil.move(aside, volume)
    wait_for(lambda: (s := daemon.session(uuid)) is None or s["phase"] in ("running", "deleting", "asleep"), 120, "the session, now that its volume is back")


def test_a_terminated_daemon_drains_and_leaves_workspaces_running(daemon):
    uuid = daemon.create()
    supervisors = daemon.supervisors()
    assert daemon.stop() == 0
    assert daemon.supervisors() == supervisors
    daemon.start()
    assert daemon.wait_phase(uuid, "running")


def test_a_second_daemon_on_the_same_data_is_refused(daemon, build):
    second = Daemon(build, directory=daemon.directory)
    done = subprocess.run([build / "bin/roostd", "--config", "config/roost.yaml"], env=second.environment, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert str(daemon.process.pid) in done.stderr + done.stdout
