"""roostctl makes backups and brings them back, against a real roostd, and shows how far they are."""
import os

import pytest

from ctl import Ctl
from roost import Daemon

DATA = os.urandom(2 << 20)


@pytest.fixture(scope="module")
def world(build, tmp_path_factory):
    """A session that sleeps on its files: (ctl, daemon, uuid)."""
    with Daemon(build) as daemon:
        ctl = Ctl(build, tmp_path_factory.mktemp("home"), f"http://127.0.0.1:{daemon.port}")
        uuid = daemon.create("restore@example.com")
        daemon.workspace(uuid).write("notes.txt", b"hello\n")
        daemon.workspace(uuid).write("big.bin", DATA)
        ctl("session", "sleep", uuid, "--wait")
        yield ctl, daemon, uuid


def test_a_backup_is_made_and_brought_back(world):
    ctl, daemon, uuid = world
    begun = ctl.json("backup", "create", uuid)
    backup, operation = begun["backup_id"], begun["operation"]
    waited = ctl("operation", "wait", operation)
    assert "succeeded" in waited.out and backup in waited.out and f"backup of {uuid}:" in waited.err
    ctl("session", "wake", uuid, "--wait")
    daemon.workspace(uuid).write("notes.txt", b"spoilt\n")
    assert "sleep" in ctl("backup", "restore", backup, "--into", uuid, code=4).err
    ctl("session", "sleep", uuid, "--wait")
    assert "restored" in ctl("backup", "restore", backup, "--into", uuid, "--wait").out
    assert "Kept volume:" in ctl("session", "get", uuid).out
    ctl("session", "wake", uuid, "--wait")
    assert daemon.workspace(uuid).read("notes.txt") == b"hello\n"
    new = ctl("backup", "restore", backup, "--as-new", "--user", "other@example.com", "--wait", "-o", "name").out.strip()
    daemon.wait_phase(new, "running")
    assert daemon.session(new)["user_id"] == "other@example.com" and daemon.workspace(new).read("big.bin") == DATA


def test_where_to_must_be_said(world):
    ctl, daemon, uuid = world
    backup = f"{uuid}-20250101T000000Z"
    assert "--into" in ctl("backup", "restore", backup, code=2).err
    ctl("backup", "restore", backup, "--into", uuid, "--as-new", code=2)
    ctl("backup", "restore", backup, "--into", uuid, "--user", "x", code=2)
    ctl("backup", "restore", backup, "--as-new", code=3)
    ctl("backup", "create", "00000000", code=3)


def test_no_wait_answers_with_the_operation(world):
    ctl, daemon, uuid = world
    other = daemon.create("async@example.com")
    answer = ctl.json("backup", "create", other)
    assert answer["status"] == "started"
    assert ctl.json("operation", "wait", answer["operation"])["outcome"] == "succeeded"
    assert ctl.json("operation", "get", answer["operation"].rsplit("/", 1)[1])["backup_id"] == answer["backup_id"]


def test_a_restore_shows_its_progress_on_a_terminal(world):
    ctl, daemon, uuid = world
    other = daemon.create("bar@example.com")
    daemon.workspace(other).write("big.bin", DATA)
    ctl("session", "sleep", other, "--wait")
    backup = ctl.json("backup", "create", other)
    ctl("operation", "wait", backup["operation"])
    done = ctl.on_a_terminal("backup", "restore", backup["backup_id"], "--into", other, "--wait", columns=120).finish()
    assert "\r" in done.text and f"restore of {other}:" in done.text and "is restored" in done.text
