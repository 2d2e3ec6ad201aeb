"""roostctl's commands about backups against a real roostd: look into one, fetch it, hold it, prove it, remove it."""
import hashlib
import json
import os
import zipfile

import pytest

from ctl import Ctl
from roost import Daemon, wait_for

FILES = {"notes.txt": b"hello\n", "src/a b#c?%.txt": "Ünï\n".encode(), "empty": b"", "big.bin": os.urandom(2 << 20)}
ODD = b"od\xff\\d\n\x1b[2J"


@pytest.fixture(scope="module")
def kept(build, tmp_path_factory):
    """A session with files that was deleted, and what is known of it: (ctl, daemon, uuid, backup)."""
    with Daemon(build, {"ROOST_BACKUPS__WALK": "1s"}) as daemon:
        ctl = Ctl(build, tmp_path_factory.mktemp("home"), f"http://127.0.0.1:{daemon.port}")
        uuid, backup = saved(ctl, daemon, "keeper@example.com")
        yield ctl, daemon, uuid, backup


def saved(ctl, daemon, user):
    uuid = daemon.create(user)
    workspace = daemon.workspace(uuid)
    assert workspace.run("mkdir", "-p", "/workspace/src")[0] == 0
    for name, data in FILES.items():
        workspace.write(name, data)
    assert workspace.run("bash", "-c", r"printf odd > $'/workspace/od\xff\\d\n\e[2J'")[0] == 0
    ctl("session", "delete", uuid)
    (backup,) = ctl.json("backup", "list", "--session", uuid)["backups"]
    return uuid, backup


def test_a_backup_is_listed_and_shown(kept):
    ctl, daemon, uuid, backup = kept
    assert ctl("backup", "list", "--user", "keeper@example.com", "-o", "name").out.split() == [backup["id"]]
    row = ctl("backup", "ls").out.splitlines()[1].split()
    assert row[0] == backup["id"] and "verified" in row
    assert ctl("backup", "get", backup["id"], "--json").raw.strip() == daemon.get(f"/backups/{backup['id']}").body.strip()
    assert backup["archive"] in ctl("backup", "get", backup["id"]).out
    ctl("backup", "get", f"{uuid}-20250101T000000Z", code=3)
    ctl("backup", "list", "--session", "nonsense", code=1)
    assert ctl.json("backup", "strangers")["strangers"] == []


def test_its_files_are_listed_and_fetched(kept, tmp_path):
    ctl, daemon, uuid, backup = kept
    names = ctl("backup", "files", backup["id"], "-o", "name").out.splitlines()
    assert set(FILES) <= set(names) and "od\\xff\\d\\n\\x1b[2J" in names
    table = ctl("backup", "files", backup["id"]).out
    assert "\x1b" not in table and len(table.splitlines()) == len(names) + 1
    within = ctl("backup", "files", backup["id"], "src/").out
    assert "src/a b#c?%.txt" in within and "notes.txt" not in within
    assert ctl("backup", "files", backup["id"], "--limit", "1", "-o", "name").out.splitlines() == names[:1]
    for name, data in {**FILES, ODD: b"odd"}.items():
        assert ctl("backup", "cat", backup["id"], name).raw == data
        ctl("backup", "download", backup["id"], name, "--to", str(tmp_path / "file"), "--force")
        assert (tmp_path / "file").read_bytes() == data
    ctl("backup", "cat", backup["id"], "absent", code=3)
    assert "directory" in ctl("backup", "cat", backup["id"], "src", code=1).err


def test_the_whole_archive_is_fetched_and_continued(kept, tmp_path):
    ctl, daemon, uuid, backup = kept
    name = ctl("backup", "download", backup["id"], "-o", "name", cwd=tmp_path).out.strip()
    whole = (tmp_path / name).read_bytes()
    assert name == backup["archive"] and len(whole) == backup["archive_bytes"]
    (tmp_path / "again.zip.part").write_bytes(whole[: len(whole) // 2])
    done = ctl.json("backup", "download", backup["id"], "--to", "again.zip", cwd=tmp_path)
    assert (tmp_path / "again.zip").read_bytes() == whole and done["sha256"] == hashlib.sha256(whole).hexdigest()
    with zipfile.ZipFile(tmp_path / name) as archive:
        assert archive.read("notes.txt") == FILES["notes.txt"]


def test_a_hold_keeps_it_until_it_is_ended(kept):
    ctl, daemon, uuid, backup = kept
    held = ctl.json("backup", "hold", backup["id"], "--reason", "audit 7", "--until", "30d")
    assert held["hold"]["reason"] == "audit 7" and held["hold"]["until"]
    assert "audit 7" in ctl("backup", "list").out and "Held:" in ctl("backup", "get", backup["id"]).out
    assert "hold" in ctl("backup", "delete", backup["id"], "--yes", "--override", code=4).err
    ctl("backup", "hold", backup["id"], "--reason", "x", "--until", "2020-01-01", code=1)
    ctl("backup", "hold", backup["id"], "--reason", "x", "--until", "whenever", code=2)
    assert ctl.json("backup", "unhold", backup["id"])["hold"] is None


def test_it_is_proven_again_and_rot_is_an_error(kept):
    ctl, daemon, uuid, backup = kept
    proven = ctl.json("backup", "verify", backup["id"], "--wait")
    assert proven["state"] == "verified" and proven["last_proven_restorable_at"] > backup["last_proven_restorable_at"]
    _, rotten = saved(ctl, daemon, "rot@example.com")
    archive = daemon.directory / "backups" / rotten["archive"]
    data = bytearray(archive.read_bytes())
    data[data.find(FILES["big.bin"][1000:1100])] ^= 1
    os.chmod(archive, 0o600)
    archive.write_bytes(data)
    assert "damaged" in ctl("backup", "verify", rotten["id"], "--wait", code=1).err
    assert ctl("backup", "cat", rotten["id"], "big.bin", code=None).code in (1, 6), "the server cuts wrong bytes off"


def test_a_backup_is_removed_by_a_decision(kept):
    ctl, daemon, uuid, backup = kept
    _, last = saved(ctl, daemon, "short@example.com")
    assert "--yes" in ctl("backup", "delete", last["id"], code=2).err
    ctl("backup", "delete", last["id"], "--yes", code=4)  # the newest good one of a session that is gone
    asked = ctl.on_a_terminal("backup", "delete", last["id"], "--override", "--reason", "the user asked")
    asked.until("Type yes: ").type("yes\n")
    assert "deleting" in asked.finish().text
    wait_for(lambda: ctl("backup", "get", last["id"], code=None).code == 3, what="its end")
    assert "the user asked" in ctl("backup", "get", last["id"], code=3).err
